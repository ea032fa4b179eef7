//! Telling Ollama to fetch a model.

use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http::header::CONTENT_TYPE;
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use serde::Deserialize;
use tokio::time::timeout;

/// Longest line of its progress, in bytes.
const LINE_MAX_BYTES: usize = 64 * 1024;

/// How long it may be silent: it verifies a large file without a word.
const SILENCE: Duration = Duration::from_secs(600);

/// A line of its progress.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Progress {
    status: String,
    completed: u64,
    total: u64,
    error: Option<String>,
}

/// Fetches a model into the Ollama at `base`; `tell` hears how far it is, in a few words.
///
/// # Errors
/// Why it could not be fetched, in one line.
pub(super) async fn pull(
    base: &str,
    reference: &str,
    mut tell: impl FnMut(String),
) -> Result<(), String> {
    let client: Client<_, Full<Bytes>> = Client::builder(TokioExecutor::new()).build_http();
    let body = serde_json::json!({ "model": reference, "stream": true }).to_string();
    let request = Request::post(format!("{base}/api/pull"))
        .header(CONTENT_TYPE, "application/json")
        .body(Full::new(Bytes::from(body)))
        .map_err(|error| error.to_string())?;
    let answer = timeout(SILENCE, client.request(request))
        .await
        .map_err(|_| "it does not answer".to_owned())?
        .map_err(|error| error.to_string())?;
    let status = answer.status();
    let mut body = answer.into_body();
    let mut line = Vec::new();
    while let Some(frame) = timeout(SILENCE, body.frame()).await.map_err(|_| "it is silent")? {
        let frame = frame.map_err(|error| error.to_string())?;
        for byte in frame.into_data().unwrap_or_default() {
            if byte != b'\n' {
                if line.len() == LINE_MAX_BYTES {
                    return Err("a line of its progress is too long".to_owned());
                }
                line.push(byte);
                continue;
            }
            if said(&line, &mut tell)? {
                return Ok(());
            }
            line.clear();
        }
    }
    if said(&line, &mut tell)? { Ok(()) } else { Err(format!("it ended with status {status}")) }
}

/// Takes one line; whether it is the last of a good end.
fn said(line: &[u8], tell: &mut impl FnMut(String)) -> Result<bool, String> {
    let Ok(progress) = serde_json::from_slice::<Progress>(line) else { return Ok(false) };
    if let Some(error) = progress.error {
        return Err(error);
    }
    if progress.status == "success" {
        return Ok(true);
    }
    let done = u128::from(progress.completed) * 100;
    match done.checked_div(u128::from(progress.total)) {
        Some(percent) => tell(format!("{} {}%", progress.status, percent.min(100))),
        None => tell(progress.status),
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::routing::post;
    use tokio::net::TcpListener;

    use super::*;

    async fn ollama(answer: &'static str) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new().route("/api/pull", post(move || async move { answer }));
        tokio::spawn(async move { axum::serve(listener, router).await });
        base
    }

    #[tokio::test]
    async fn progress_is_told_until_it_is_there() {
        let base = ollama(
            "{\"status\":\"pulling manifest\"}\n\
             {\"status\":\"pulling 8eeb52dfb3bb\",\"digest\":\"sha256:8e\",\"total\":200,\"completed\":50}\n\
             {\"status\":\"verifying sha256 digest\"}\n{\"status\":\"success\"}\n",
        )
        .await;
        let mut told = Vec::new();
        pull(&base, "smollm2:135m", |progress| told.push(progress)).await.unwrap();
        let expected = ["pulling manifest", "pulling 8eeb52dfb3bb 25%", "verifying sha256 digest"];
        assert_eq!(told, expected);
    }

    #[tokio::test]
    async fn what_cannot_be_fetched_says_why() {
        let base = ollama("{\"error\":\"pull model manifest: file does not exist\"}").await;
        let error = pull(&base, "nothing", |_| ()).await.unwrap_err();
        assert!(error.contains("file does not exist"), "{error}");
        let base = ollama("{\"status\":\"pulling manifest\"}\n").await;
        let error = pull(&base, "cut", |_| ()).await.unwrap_err();
        assert!(error.contains("ended"), "{error}");
    }
}
