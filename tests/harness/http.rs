//! Raw HTTP against the public face: what an SDK would hide.

use anyhow::Context as _;
use futures::StreamExt as _;
use http::HeaderMap;
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use crate::relay::Relay;
use crate::secrets::{CANARY, check};

/// A chat route of the public face.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// `/v2/openai`
    Openai,
    /// `/v2/vllm`
    Vllm,
    /// `/v2/anthropic`
    Anthropic,
    /// `/v2/ollama`
    Ollama,
}

/// Somebody who calls the public face.
#[derive(Clone)]
pub struct Caller {
    base: String,
    key: Option<String>,
    client: reqwest::Client,
}

/// A whole answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The header fields.
    pub headers: HeaderMap,
    /// The body.
    pub text: String,
}

/// An answer that still comes.
pub struct Streamed {
    response: reqwest::Response,
    /// Everything read so far.
    pub text: String,
}

impl Route {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Openai, Self::Vllm, Self::Anthropic, Self::Ollama];

    /// The path of its chat.
    #[must_use]
    pub const fn path(self) -> &'static str {
        match self {
            Self::Openai => "/v2/openai/v1/chat/completions",
            Self::Vllm => "/v2/vllm/v1/chat/completions",
            Self::Anthropic => "/v2/anthropic/v1/messages",
            Self::Ollama => "/v2/ollama/api/chat",
        }
    }

    /// The word in scopes.
    #[must_use]
    pub const fn source(self) -> &'static str {
        match self {
            Self::Openai => "openai",
            Self::Vllm => "vllm",
            Self::Anthropic => "anthropic",
            Self::Ollama => "ollama",
        }
    }

    /// A small request for at most `most` tokens.
    #[must_use]
    pub fn body(self, model: &str, most: u64, stream: bool) -> Value {
        let prompt = format!("Tell me something about the sea. {CANARY}");
        let messages = json!([{"role": "user", "content": prompt}]);
        match self {
            Self::Ollama => json!({"model": model, "messages": messages, "stream": stream,
                "options": {"num_predict": most}}),
            _ => json!({"model": model, "messages": messages, "stream": stream,
                "max_tokens": most}),
        }
    }

    /// What ends a good stream.
    #[must_use]
    pub const fn end_marker(self) -> &'static str {
        match self {
            Self::Openai | Self::Vllm => "data: [DONE]",
            Self::Anthropic => "event: message_stop",
            Self::Ollama => "\"done\":true",
        }
    }
}

impl Caller {
    /// The owner of a daemon's first key.
    #[must_use]
    pub fn of(relay: &Relay) -> Self {
        Self::at(&relay.ready.public_url).with_key(&relay.ready.api_key)
    }

    /// A caller without a credential.
    #[must_use]
    pub fn at(base: &str) -> Self {
        let client = crate::client().unwrap_or_default();
        Self { base: base.trim_end_matches('/').to_owned(), key: None, client }
    }

    /// The same with another client, such as one that trusts a test's authority.
    #[must_use]
    pub fn through(self, client: reqwest::Client) -> Self {
        Self { client, ..self }
    }

    /// The same with this key.
    #[must_use]
    pub fn with_key(&self, key: &str) -> Self {
        Self { key: Some(key.to_owned()), ..self.clone() }
    }

    /// The same without a credential.
    #[must_use]
    pub fn guest(&self) -> Self {
        Self { key: None, ..self.clone() }
    }

    /// A request with the credential, to be changed and sent by hand.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.client.request(method, format!("{}{path}", self.base));
        match &self.key {
            Some(key) => request.header("x-api-key", key),
            None => request,
        }
    }

    /// Sends JSON text as it is.
    ///
    /// # Errors
    /// Those of the connection.
    pub async fn send(&self, method: Method, path: &str, body: &str) -> anyhow::Result<Answer> {
        let request = self.request(method, path).header("content-type", "application/json");
        Answer::read(request.body(body.to_owned()).send().await?).await
    }

    /// Asks with GET.
    ///
    /// # Errors
    /// Those of the connection.
    pub async fn get(&self, path: &str) -> anyhow::Result<Answer> {
        Answer::read(self.request(Method::GET, path).send().await?).await
    }

    /// Asks with POST.
    ///
    /// # Errors
    /// Those of the connection.
    pub async fn post(&self, path: &str, body: &Value) -> anyhow::Result<Answer> {
        self.send(Method::POST, path, &body.to_string()).await
    }

    /// Chats and reads the whole answer, streamed or not.
    ///
    /// # Errors
    /// Those of the connection.
    pub async fn chat(&self, route: Route, body: &Value) -> anyhow::Result<Answer> {
        self.post(route.path(), body).await
    }

    /// Chats and reads nothing yet.
    ///
    /// # Errors
    /// Those of the connection, and any status but 200.
    pub async fn stream(&self, route: Route, body: &Value) -> anyhow::Result<Streamed> {
        let request = self.request(Method::POST, route.path());
        let request = request.header("content-type", "application/json").body(body.to_string());
        let response = request.send().await?;
        if response.status() != 200 {
            let answer = Answer::read(response).await?;
            anyhow::bail!("no stream: {} {}", answer.status, answer.text);
        }
        Ok(Streamed { response, text: String::new() })
    }
}

impl Answer {
    /// Reads a whole answer.
    ///
    /// # Errors
    /// Those of the connection, and a secret in the answer.
    pub async fn read(response: reqwest::Response) -> anyhow::Result<Self> {
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let mut body = response.bytes_stream();
        let mut text = Vec::new();
        while let Some(chunk) = body.next().await {
            text.extend_from_slice(&chunk.context("the answer broke off")?);
        }
        let text = String::from_utf8_lossy(&text).into_owned();
        check("an answer", &text)?;
        check("an answer's head", &format!("{headers:?}"))?;
        Ok(Self { status, headers, text })
    }

    /// The body as JSON; `null` when it is none.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_default()
    }

    /// A header field as text; empty when it is absent.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// Status and error code, in one text: `401 INVALID_API_KEY`.
    #[must_use]
    pub fn outcome(&self) -> String {
        let json = self.json();
        let code = json["error"]["code"].as_str().or_else(|| json["code"].as_str());
        match code {
            Some(code) => format!("{} {code}", self.status),
            None => self.status.to_string(),
        }
    }
}

impl Streamed {
    /// The header fields.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        let value = self.response.headers().get(name);
        value.and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// Reads on; false at the end.
    ///
    /// # Errors
    /// When the connection breaks.
    pub async fn more(&mut self) -> anyhow::Result<bool> {
        let chunk = self.response.chunk().await.context("the stream broke off")?;
        if let Some(chunk) = &chunk {
            self.text.push_str(&String::from_utf8_lossy(chunk));
        }
        Ok(chunk.is_some())
    }

    /// Reads until the text occurs so many times.
    ///
    /// # Errors
    /// When the stream ends or breaks before.
    pub async fn until(&mut self, text: &str, times: usize) -> anyhow::Result<()> {
        while self.text.matches(text).count() < times {
            anyhow::ensure!(self.more().await?, "the stream ended early: {}", self.text);
        }
        Ok(())
    }

    /// Reads to the end.
    ///
    /// # Errors
    /// When the connection breaks.
    pub async fn rest(mut self) -> anyhow::Result<String> {
        while self.more().await? {}
        Ok(self.text.clone())
    }
}

impl Drop for Streamed {
    fn drop(&mut self) {
        if !std::thread::panicking()
            && let Err(error) = check("a stream", &self.text)
        {
            panic!("{error:#}");
        }
    }
}
