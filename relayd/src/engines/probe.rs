//! Asking an engine how it is and what it serves.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::StreamExt as _;
use http::{Method, StatusCode};
use serde::Deserialize;
use tokio::time::timeout;

use super::Engine;
use super::error::{EngineError, Retry, read_refusal};
use super::kind::models_path;
use super::transport::{Broken, Outgoing};
use crate::wire::{Dialect, EngineKind};

/// How long a probe may take, connection included.
pub const PROBE_TIMEOUT: Duration = Duration::from_secs(3);

/// Largest answer to a probe, list or count, in bytes: a million tokens by their numbers.
const ANSWER_MAX_BYTES: usize = 8 * 1024 * 1024;

/// Most models taken from one engine's list.
const MODELS_MAX: usize = 1000;

/// How an engine is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Probe {
    /// It serves.
    Up,
    /// It answers that its model is still being loaded.
    Loading,
    /// It does not serve; why, in one line.
    Down(String),
}

/// One model in an engine's list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedModel {
    /// The engine's name of it.
    pub name: String,
    /// Whom the engine names as its owner; llama.cpp and vLLM name themselves.
    pub owned_by: Option<String>,
    /// Tokens that prompt and answer may have together, where the engine tells (llama.cpp, vLLM).
    pub context_tokens: Option<u64>,
}

#[derive(Deserialize)]
struct OpenaiList {
    data: Vec<OpenaiModel>,
}

#[derive(Deserialize)]
struct OpenaiModel {
    id: String,
    #[serde(default)]
    owned_by: Option<String>,
    /// vLLM's.
    #[serde(default)]
    max_model_len: Option<u64>,
    /// llama.cpp's.
    #[serde(default)]
    meta: Option<OpenaiMeta>,
}

#[derive(Deserialize)]
struct OpenaiMeta {
    #[serde(default)]
    n_ctx: Option<u64>,
}

#[derive(Deserialize)]
struct OllamaList {
    models: Vec<OllamaModel>,
}

#[derive(Deserialize)]
struct OllamaModel {
    name: String,
}

impl Engine {
    /// Asks the engine how it is, with its credential as the file holds it now. Takes at most
    /// [`PROBE_TIMEOUT`]; never fails.
    pub async fn probe(&self) -> Probe {
        self.transport.refresh().await;
        let path = match (self.kind(), self.dialect()) {
            (EngineKind::Llamacpp | EngineKind::Vllm, _) => "/health",
            (EngineKind::Ollama, _) | (EngineKind::Unknown, Dialect::Ollama) => "/api/version",
            (EngineKind::Commercial | EngineKind::Unknown, dialect) => models_path(dialect),
        };
        let answer = match self.get(path, PROBE_TIMEOUT).await {
            Ok(answer) => answer,
            Err(error) => return Probe::Down(error.cause.to_owned()),
        };
        match answer.0 {
            status if status.is_success() => Probe::Up,
            StatusCode::SERVICE_UNAVAILABLE => Probe::Loading,
            // It answers; that it lists no models says nothing about whether it serves.
            StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED
                if self.kind() == EngineKind::Unknown =>
            {
                Probe::Up
            }
            status @ (StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED) => {
                let (kind, status) = (self.kind(), status.as_u16());
                Probe::Down(format!(
                    "{path} answers with status {status}: is this a {kind} server?"
                ))
            }
            status => {
                let said = EngineError::refused(status.as_u16(), &read_refusal(&answer.1), None);
                Probe::Down(said.to_string())
            }
        }
    }

    /// The models that the engine lists, at most 1,000.
    ///
    /// # Errors
    /// Whatever keeps the list from being read.
    pub async fn models(&self) -> Result<Vec<ListedModel>, EngineError> {
        self.models_within(PROBE_TIMEOUT).await
    }

    pub(crate) async fn models_within(
        &self,
        wait: Duration,
    ) -> Result<Vec<ListedModel>, EngineError> {
        let (status, body) = self.get(models_path(self.dialect()), wait).await?;
        if !status.is_success() {
            return Err(EngineError::refused(status.as_u16(), &read_refusal(&body), None));
        }
        let mut models: Vec<ListedModel> = match self.dialect() {
            Dialect::Openai | Dialect::Anthropic => serde_json::from_slice::<OpenaiList>(&body)
                .map_err(no_list)?
                .data
                .into_iter()
                .map(|model| ListedModel {
                    name: model.id,
                    owned_by: model.owned_by,
                    context_tokens: model.max_model_len.or(model.meta.and_then(|it| it.n_ctx)),
                })
                .collect(),
            Dialect::Ollama => serde_json::from_slice::<OllamaList>(&body)
                .map_err(no_list)?
                .models
                .into_iter()
                .map(|model| ListedModel { name: model.name, owned_by: None, context_tokens: None })
                .collect(),
        };
        models.truncate(MODELS_MAX);
        Ok(models)
    }

    /// One GET with a bound on time and size; any status is an answer.
    pub(crate) async fn get(
        &self,
        path: &'static str,
        wait: Duration,
    ) -> Result<(StatusCode, Bytes), EngineError> {
        self.exchange(Method::GET, path, None, wait).await
    }

    /// One POST of JSON, likewise.
    pub(crate) async fn post(
        &self,
        path: &'static str,
        body: Bytes,
        wait: Duration,
    ) -> Result<(StatusCode, Bytes), EngineError> {
        self.exchange(Method::POST, path, Some(body), wait).await
    }

    async fn exchange(
        &self,
        method: Method,
        path: &'static str,
        body: Option<Bytes>,
        wait: Duration,
    ) -> Result<(StatusCode, Bytes), EngineError> {
        let out = |fresh| Outgoing {
            method: method.clone(),
            path,
            body: body.clone(),
            accept: "application/json",
            traceparent: None,
            tracestate: None,
            request_id: None,
            closes: false,
            fresh,
        };
        let read = async {
            let answer = match self.transport.send(out(false)).await {
                Err(error) if error.retry == Retry::SafeAgain => {
                    self.transport.send(out(true)).await?
                }
                answer => answer?,
            };
            let (head, mut body) = answer.into_parts();
            let mut all = BytesMut::new();
            while let Some(chunk) = body.next().await {
                let chunk = chunk.map_err(|Broken(cause)| EngineError::cut(cause))?;
                if all.len() + chunk.len() > ANSWER_MAX_BYTES {
                    return Err(EngineError::mismatch("the answer is larger than 8 MiB"));
                }
                all.extend_from_slice(&chunk);
            }
            Ok((head.status, all.freeze()))
        };
        timeout(wait, read).await.map_err(|_| EngineError::first_byte_timeout())?
    }
}

/// A list that cannot be read. What stands in it is not repeated.
fn no_list(_: serde_json::Error) -> EngineError {
    EngineError::mismatch("the list of models cannot be read")
}
