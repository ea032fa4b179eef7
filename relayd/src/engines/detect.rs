//! Finding out what listens at a URL.

use std::time::Duration;

use serde::Deserialize;

use super::error::EngineError;
use super::probe::PROBE_TIMEOUT;
use super::{Engine, EngineSpec, SetupError};
use crate::wire::{Dialect, EngineKind};

/// How long each question to a usual port may take: what is there is on this machine.
const USUAL_WAIT: Duration = Duration::from_millis(300);

/// Where the known engines listen unless told otherwise, in the order of preference.
pub const USUAL: [&str; 3] =
    ["http://127.0.0.1:11434", "http://127.0.0.1:8000", "http://127.0.0.1:8080"];

/// What listens at a URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Detected {
    /// Where, as it was asked for.
    pub url: String,
    /// What it speaks.
    pub dialect: Dialect,
    /// What it is.
    pub kind: EngineKind,
    /// The models it lists, as it calls them.
    pub models: Vec<String>,
}

/// Why nothing was found at a URL.
#[derive(Debug, thiserror::Error)]
pub enum DetectError {
    /// The URL is no base URL.
    #[error(transparent)]
    Setup(#[from] SetupError),
    /// Nothing answers, or nothing that is an engine.
    #[error("{url}: {error}")]
    Engine {
        /// The URL.
        url: String,
        /// What the last question met.
        error: EngineError,
    },
}

#[derive(Deserialize)]
struct OllamaVersion {
    #[serde(rename = "version")]
    _version: String,
}

/// Asks a URL what it is: Ollama, llama.cpp, vLLM, or something else that speaks OpenAI's format.
///
/// # Errors
/// When nothing answers there, or what answers lists no models in a known form. An engine that is
/// still loading is such a case; its error has `busy_for` set.
pub async fn detect(url: &str) -> Result<Detected, DetectError> {
    detect_within(url, PROBE_TIMEOUT).await
}

/// The first engine on its usual port, or `None`. Takes at most a second.
pub async fn detect_usual() -> Option<Detected> {
    let found = futures::future::join_all(USUAL.map(|url| detect_within(url, USUAL_WAIT))).await;
    // An engine without a model can answer nobody.
    found.into_iter().flatten().find(|engine| !engine.models.is_empty())
}

async fn detect_within(url: &str, wait: Duration) -> Result<Detected, DetectError> {
    let ask = |dialect, kind| {
        Engine::new(&EngineSpec { base_url: url.to_owned(), dialect, kind, credential_file: None })
    };
    let names = |models: Vec<super::ListedModel>| {
        models.into_iter().map(|model| model.name).collect::<Vec<_>>()
    };
    let unmet = |error| DetectError::Engine { url: url.to_owned(), error };

    let ollama = ask(Dialect::Ollama, EngineKind::Ollama)?;
    if let Ok((status, body)) = ollama.get("/api/version", wait).await
        && status.is_success()
        && serde_json::from_slice::<OllamaVersion>(&body).is_ok()
    {
        let models = names(ollama.models_within(wait).await.map_err(unmet)?);
        let (dialect, kind) = (Dialect::Ollama, EngineKind::Ollama);
        return Ok(Detected { url: url.to_owned(), dialect, kind, models });
    }
    let openai = ask(Dialect::Openai, EngineKind::Unknown)?;
    let models = openai.models_within(wait).await.map_err(unmet)?;
    let kind = match models.first().and_then(|model| model.owned_by.as_deref()) {
        Some("llamacpp") => EngineKind::Llamacpp,
        Some("vllm") => EngineKind::Vllm,
        _ => EngineKind::Unknown,
    };
    Ok(Detected { url: url.to_owned(), dialect: Dialect::Openai, kind, models: names(models) })
}
