//! Asking an engine how many tokens a text has.

use std::time::Duration;

use serde::Deserialize;
use serde_json::json;

use super::Engine;
use super::error::{EngineError, read_refusal};
use crate::wire::EngineKind;

/// How long a count may take. A long text takes an engine some hundred milliseconds.
const COUNT_TIMEOUT: Duration = Duration::from_secs(5);

/// What the engines answer: llama.cpp lists the tokens, vLLM counts them too.
#[derive(Deserialize)]
struct Counted {
    count: Option<u64>,
    #[serde(default)]
    tokens: Vec<serde::de::IgnoredAny>,
}

impl Engine {
    /// Whether it answers `POST /tokenize`.
    #[must_use]
    pub fn counts_tokens(&self) -> bool {
        matches!(self.kind(), EngineKind::Llamacpp | EngineKind::Vllm)
    }

    /// Tokens of a text, special ones that it spells included; none are added. `upstream` is the
    /// engine's name of the model.
    ///
    /// # Errors
    /// When the engine cannot count or does not answer in time.
    pub async fn count_tokens(&self, upstream: &str, text: &str) -> Result<u64, EngineError> {
        let body = match self.kind() {
            EngineKind::Vllm => {
                json!({ "model": upstream, "prompt": text, "add_special_tokens": false })
            }
            _ => json!({ "content": text, "add_special": false, "parse_special": true }),
        };
        let body = body.to_string().into();
        let (status, answer) = self.post("/tokenize", body, COUNT_TIMEOUT).await?;
        if !status.is_success() {
            return Err(EngineError::refused(status.as_u16(), &read_refusal(&answer), None));
        }
        let counted: Counted = serde_json::from_slice(&answer)
            .map_err(|_| EngineError::mismatch("a count of tokens that cannot be read"))?;
        Ok(counted.count.unwrap_or(counted.tokens.len() as u64))
    }
}
