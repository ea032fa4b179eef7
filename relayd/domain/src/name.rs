//! Names of models: `mode.source.model`.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Longest model name, in bytes. Long enough for every known vendor, short enough for a label.
const MODEL_NAME_MAX_BYTES: usize = 160;

/// Why a text is not a name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Unknown mode.
    #[error("unknown mode '{0}', expected direct or opengpu")]
    Mode(String),
    /// Unknown source.
    #[error(
        "unknown source '{0}', expected ollama, vllm, openai, anthropic, audio, image, video or embedding"
    )]
    Source(String),
    /// Not a model name.
    #[error(
        "'{0}' is not a model name: 1 to 160 visible ASCII characters without blanks, quotes or backslashes"
    )]
    Model(String),
    /// Not three parts.
    #[error("'{0}' is not of the form mode.source.model")]
    Scope(String),
}

/// Where a request is served: on a backend that relayd calls, or as a task on the chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// A backend or upstream that relayd calls itself.
    Direct,
    /// A task on the OpenGPU chain.
    Opengpu,
}

/// The mode a request asks for; `auto` picks (contract section 2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ModeRequest {
    /// Direct where the caller may use the model there, else opengpu.
    #[default]
    Auto,
    /// Exactly this mode.
    Only(Mode),
}

/// The family of routes that serves a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// `/v2/ollama`.
    Ollama,
    /// `/v2/vllm`.
    Vllm,
    /// `/v2/openai`.
    Openai,
    /// `/v2/anthropic`.
    Anthropic,
    /// `/v2/audio`.
    Audio,
    /// `/v2/image`.
    Image,
    /// `/v2/video`.
    Video,
    /// `/v2/openai/v1/embeddings`.
    Embedding,
}

/// A canonical model name such as `deepseek-ai/DeepSeek-V4-Pro` or `gpt-oss:20b`.
///
/// Case-sensitive, 1 to 160 visible ASCII characters. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ModelName(Arc<str>);

/// The full name of a priced thing, `mode.source.model`; split at the first two dots only,
/// because model names contain dots.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Scope {
    /// Where it runs.
    pub mode: Mode,
    /// Which family of routes it answers.
    pub source: Source,
    /// Which model.
    pub model: ModelName,
}

impl Mode {
    /// Both modes.
    pub const ALL: [Self; 2] = [Self::Direct, Self::Opengpu];

    /// The name on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Opengpu => "opengpu",
        }
    }
}

impl Source {
    /// Every source.
    pub const ALL: [Self; 8] = [
        Self::Ollama,
        Self::Vllm,
        Self::Openai,
        Self::Anthropic,
        Self::Audio,
        Self::Image,
        Self::Video,
        Self::Embedding,
    ];

    /// The name on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ollama => "ollama",
            Self::Vllm => "vllm",
            Self::Openai => "openai",
            Self::Anthropic => "anthropic",
            Self::Audio => "audio",
            Self::Image => "image",
            Self::Video => "video",
            Self::Embedding => "embedding",
        }
    }
}

impl ModelName {
    /// Takes a name after checking it.
    ///
    /// # Errors
    /// [`NameError::Model`] when it is empty, too long or holds a character that has no place in
    /// a path, a label or a log line.
    pub fn new(name: &str) -> Result<Self, NameError> {
        let is_plain = |b: u8| b.is_ascii_graphic() && !matches!(b, b'"' | b'\'' | b'\\' | b'`');
        if name.is_empty() || name.len() > MODEL_NAME_MAX_BYTES || !name.bytes().all(is_plain) {
            return Err(NameError::Model(name.chars().take(MODEL_NAME_MAX_BYTES).collect()));
        }
        Ok(Self(name.into()))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Scope {
    /// `source.model`, the form used in price rows and messages.
    #[must_use]
    pub fn source_model(&self) -> String {
        format!("{}.{}", self.source, self.model)
    }
}

impl FromStr for Mode {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        Self::ALL
            .into_iter()
            .find(|mode| mode.as_str() == text)
            .ok_or_else(|| NameError::Mode(text.to_owned()))
    }
}

impl FromStr for Source {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        Self::ALL
            .into_iter()
            .find(|source| source.as_str() == text)
            .ok_or_else(|| NameError::Source(text.to_owned()))
    }
}

impl FromStr for ModelName {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        Self::new(text)
    }
}

impl FromStr for Scope {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        let mut parts = text.splitn(3, '.');
        let (Some(mode), Some(source), Some(model)) = (parts.next(), parts.next(), parts.next())
        else {
            return Err(NameError::Scope(text.to_owned()));
        };
        Ok(Self { mode: mode.parse()?, source: source.parse()?, model: model.parse()? })
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for ModelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.mode, self.source, self.model)
    }
}

impl TryFrom<String> for ModelName {
    type Error = NameError;
    fn try_from(text: String) -> Result<Self, NameError> {
        Self::new(&text)
    }
}

impl From<ModelName> for String {
    fn from(name: ModelName) -> Self {
        name.0.as_ref().to_owned()
    }
}

impl TryFrom<String> for Scope {
    type Error = NameError;
    fn try_from(text: String) -> Result<Self, NameError> {
        text.parse()
    }
}

impl From<Scope> for String {
    fn from(scope: Scope) -> Self {
        scope.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_splits_at_the_first_two_dots() {
        let scope: Scope = "direct.openai.Qwen/Qwen3.5-35B".parse().unwrap();
        assert_eq!(scope.model.as_str(), "Qwen/Qwen3.5-35B");
        assert_eq!(scope.to_string(), "direct.openai.Qwen/Qwen3.5-35B");
        assert_eq!(scope.source_model(), "openai.Qwen/Qwen3.5-35B");
    }

    #[test]
    fn bad_names_say_what_is_wrong() {
        assert_eq!("direct.openai".parse::<Scope>(), Err(NameError::Scope("direct.openai".into())));
        assert_eq!("auto.openai.x".parse::<Scope>(), Err(NameError::Mode("auto".into())));
        assert_eq!("direct.grpc.x".parse::<Scope>(), Err(NameError::Source("grpc".into())));
        for name in ["", "a b", "a\nb", "a\"b", "\u{1b}[31m", &"x".repeat(161)] {
            assert!(ModelName::new(name).is_err(), "{name:?}");
        }
    }
}
