//! Which formats there are, and who speaks them.

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

/// The chat format an engine speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// `/v1/chat/completions` with server-sent events.
    Openai,
    /// `/v1/messages` with named server-sent events.
    Anthropic,
    /// `/api/chat` with newline-delimited JSON.
    Ollama,
}

/// What kind of server an engine is, as far as its request body depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EngineKind {
    /// llama.cpp's server: reports running counts as `timings` when asked.
    Llamacpp,
    /// vLLM: reports running usage in every chunk when asked.
    Vllm,
    /// Ollama.
    Ollama,
    /// A vendor's API: refuses fields that it does not know.
    Commercial,
    /// Anything else that speaks one of the dialects.
    Unknown,
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

impl Dialect {
    /// Every dialect.
    pub const ALL: [Self; 3] = [Self::Openai, Self::Anthropic, Self::Ollama];
}
