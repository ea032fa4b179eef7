//! Where an engine of each dialect is asked.

use crate::wire::Dialect;

/// Where a chat request goes, below the engine's base URL.
pub(crate) const fn chat_path(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Openai => "/v1/chat/completions",
        Dialect::Anthropic => "/v1/messages",
        Dialect::Ollama => "/api/chat",
    }
}

/// Where the engine lists its models.
pub(crate) const fn models_path(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Openai | Dialect::Anthropic => "/v1/models",
        Dialect::Ollama => "/api/tags",
    }
}
