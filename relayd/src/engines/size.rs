//! How large an engine is: the context of its models and how many requests it runs at once.

use serde::Deserialize;

use super::detect::Detected;
use super::probe::PROBE_TIMEOUT;
use super::{Engine, EngineSpec};
use crate::wire::EngineKind;

/// What an engine tells of its size. What it does not tell is `None`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EngineSize {
    /// Prompt and answer of one request, in tokens.
    pub context_tokens: Option<u64>,
    /// Requests it runs at once.
    pub slots: Option<u32>,
}

/// llama.cpp's `/props`.
#[derive(Deserialize)]
struct Props {
    total_slots: Option<u32>,
    default_generation_settings: Option<Generation>,
}

#[derive(Deserialize)]
struct Generation {
    n_ctx: Option<u64>,
}

/// vLLM's `/v1/models`.
#[derive(Deserialize)]
struct Models {
    data: Vec<Model>,
}

#[derive(Deserialize)]
struct Model {
    max_model_len: Option<u64>,
}

/// Asks an engine for its size. An engine that does not tell, or not in time, has none.
pub async fn size(engine: &Detected) -> EngineSize {
    asked(engine).await.unwrap_or_default()
}

async fn asked(found: &Detected) -> Option<EngineSize> {
    let engine = Engine::new(&EngineSpec {
        base_url: found.url.clone(),
        dialect: found.dialect,
        kind: found.kind,
        credential_file: None,
    })
    .ok()?;
    let read = async |path| {
        let (status, body) = engine.get(path, PROBE_TIMEOUT).await.ok()?;
        status.is_success().then_some(body)
    };
    match found.kind {
        EngineKind::Llamacpp => Some(llamacpp(&read("/props").await?)?),
        EngineKind::Vllm => Some(vllm(&read("/v1/models").await?)?),
        EngineKind::Ollama | EngineKind::Commercial | EngineKind::Unknown => None,
    }
}

fn llamacpp(body: &[u8]) -> Option<EngineSize> {
    let props: Props = serde_json::from_slice(body).ok()?;
    let context_tokens = props.default_generation_settings.and_then(|settings| settings.n_ctx);
    Some(EngineSize { context_tokens, slots: props.total_slots })
}

fn vllm(body: &[u8]) -> Option<EngineSize> {
    let models: Models = serde_json::from_slice(body).ok()?;
    let context_tokens = models.data.iter().filter_map(|model| model.max_model_len).min();
    Some(EngineSize { context_tokens, slots: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_engine_tells_in_its_own_way() {
        let props = br#"{"total_slots":4,"default_generation_settings":{"n_ctx":1024,"id":0}}"#;
        let told = EngineSize { context_tokens: Some(1024), slots: Some(4) };
        assert_eq!(llamacpp(props), Some(told));
        let models =
            br#"{"data":[{"id":"a","max_model_len":8192},{"id":"b","max_model_len":4096}]}"#;
        assert_eq!(vllm(models).and_then(|size| size.context_tokens), Some(4096));
        assert_eq!(llamacpp(b"<html>"), None);
        assert_eq!(vllm(br#"{"data":[{}]}"#), Some(EngineSize::default()));
    }
}
