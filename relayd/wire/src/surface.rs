//! The public chat routes.

use crate::dialect::Dialect;

/// A public chat route: which body a caller sends and which answer it gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Surface {
    /// `POST /v2/openai/v1/chat/completions`: closed set of fields.
    Openai,
    /// `POST /v2/vllm/v1/chat/completions`: the same format, open to options of the engine.
    Vllm,
    /// `POST /v2/anthropic/v1/messages`: closed set of fields.
    Anthropic,
    /// `POST /v2/ollama/api/chat`: newline-delimited JSON, open to options of the engine.
    Ollama,
}

impl Surface {
    /// Every surface.
    pub const ALL: [Self; 4] = [Self::Openai, Self::Vllm, Self::Anthropic, Self::Ollama];

    /// The dialect whose format this surface is.
    #[must_use]
    pub const fn dialect(self) -> Dialect {
        match self {
            Self::Openai | Self::Vllm => Dialect::Openai,
            Self::Anthropic => Dialect::Anthropic,
            Self::Ollama => Dialect::Ollama,
        }
    }

    /// Whether fields that the contract does not name pass to the engine. The other surfaces
    /// refuse them.
    #[must_use]
    pub const fn is_open(self) -> bool {
        matches!(self, Self::Vllm | Self::Ollama)
    }

    /// The content type of a streamed answer.
    #[must_use]
    pub const fn stream_content_type(self) -> &'static str {
        match self {
            Self::Openai | Self::Vllm | Self::Anthropic => "text/event-stream",
            Self::Ollama => "application/x-ndjson",
        }
    }
}
