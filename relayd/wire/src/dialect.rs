//! What an inference server speaks and what it is, as far as bodies and streams depend on it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The chat format that an engine speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Dialect {
    /// OpenAI's chat completions: llama.cpp, vLLM and most commercial APIs.
    Openai,
    /// Anthropic's messages.
    Anthropic,
    /// Ollama's chat.
    Ollama,
}

/// Which server it is, where that changes how it is asked or how its body is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EngineKind {
    /// llama.cpp's server: reports running counts as `timings` when asked.
    Llamacpp,
    /// vLLM: reports running usage in every chunk when asked.
    Vllm,
    /// Ollama.
    Ollama,
    /// An API that somebody else runs and bills for; refuses fields that it does not know.
    Commercial,
    /// Something that speaks the dialect; nothing else is assumed of it.
    Unknown,
}

/// A word that names no dialect or no engine.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{word}' is not one of {expected}")]
pub struct KindError {
    word: String,
    expected: &'static str,
}

impl Dialect {
    /// Every dialect.
    pub const ALL: [Self; 3] = [Self::Openai, Self::Anthropic, Self::Ollama];

    /// The word used in configuration and storage.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Openai => "openai",
            Self::Anthropic => "anthropic",
            Self::Ollama => "ollama",
        }
    }
}

impl EngineKind {
    /// Every kind.
    pub const ALL: [Self; 5] =
        [Self::Llamacpp, Self::Vllm, Self::Ollama, Self::Commercial, Self::Unknown];

    /// The word used in configuration and storage.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Llamacpp => "llamacpp",
            Self::Vllm => "vllm",
            Self::Ollama => "ollama",
            Self::Commercial => "commercial",
            Self::Unknown => "unknown",
        }
    }
}

impl fmt::Display for Dialect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for EngineKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Dialect {
    type Err = KindError;
    fn from_str(word: &str) -> Result<Self, KindError> {
        Self::ALL.into_iter().find(|dialect| dialect.as_str() == word).ok_or_else(|| KindError {
            word: word.chars().take(40).collect(),
            expected: "openai, anthropic, ollama",
        })
    }
}

impl FromStr for EngineKind {
    type Err = KindError;
    fn from_str(word: &str) -> Result<Self, KindError> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == word).ok_or_else(|| KindError {
            word: word.chars().take(40).collect(),
            expected: "llamacpp, vllm, ollama, commercial, unknown",
        })
    }
}
