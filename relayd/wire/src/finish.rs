//! Why an answer ended, in each format's words.

use crate::Dialect;

/// Why an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Finish {
    /// The model was done.
    Stop,
    /// One of the caller's stop sequences came up.
    StopSequence,
    /// The output cap or the context's end was reached.
    Length,
    /// The model wants a tool to be called.
    ToolCalls,
    /// The model or a filter refused.
    Refused,
    /// A word that no format's description names.
    Unknown,
}

impl Finish {
    /// Reads the word of a dialect.
    #[must_use]
    pub(crate) fn read(word: &str) -> Self {
        // The three vocabularies do not contradict one another.
        match word {
            "stop" | "end_turn" | "load" | "unload" | "pause_turn" => Self::Stop,
            "stop_sequence" => Self::StopSequence,
            "length" | "max_tokens" | "model_context_window_exceeded" => Self::Length,
            "tool_calls" | "tool_use" | "function_call" => Self::ToolCalls,
            "content_filter" | "refusal" => Self::Refused,
            _ => Self::Unknown,
        }
    }

    /// The word of a dialect.
    #[must_use]
    pub(crate) const fn word(self, dialect: Dialect) -> &'static str {
        match (dialect, self) {
            (Dialect::Openai, Self::Stop | Self::StopSequence | Self::Unknown) => "stop",
            (Dialect::Openai, Self::ToolCalls) => "tool_calls",
            (Dialect::Openai, Self::Refused) => "content_filter",
            (Dialect::Openai | Dialect::Ollama, Self::Length) => "length",
            (Dialect::Anthropic, Self::Stop | Self::Unknown) => "end_turn",
            (Dialect::Anthropic, Self::StopSequence) => "stop_sequence",
            (Dialect::Anthropic, Self::Length) => "max_tokens",
            (Dialect::Anthropic, Self::ToolCalls) => "tool_use",
            (Dialect::Anthropic, Self::Refused) => "refusal",
            (Dialect::Ollama, _) => "stop",
        }
    }
}
