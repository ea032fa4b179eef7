//! Where a model's tokenizer is found.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::BackendId;

/// Longest path of a tokenizer's file, in bytes: Linux's own bound.
const PATH_MAX_BYTES: usize = 4_096;

/// Where the tokenizer of a model is: `gguf:PATH`, `json:PATH` or `engine:BACKEND`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TokenizerSource {
    /// In the metadata of a GGUF file, which may be the model itself.
    Gguf(Arc<str>),
    /// In a `tokenizer.json`.
    Json(Arc<str>),
    /// Behind a backend of the operator's own, which is asked for each count.
    Engine(BackendId),
}

/// Why a text names no tokenizer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a tokenizer is gguf:PATH, json:PATH or engine:BACKEND")]
pub struct TokenizerSourceError;

impl fmt::Display for TokenizerSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gguf(path) => write!(f, "gguf:{path}"),
            Self::Json(path) => write!(f, "json:{path}"),
            Self::Engine(backend) => write!(f, "engine:{backend}"),
        }
    }
}

impl FromStr for TokenizerSource {
    type Err = TokenizerSourceError;
    fn from_str(text: &str) -> Result<Self, TokenizerSourceError> {
        let (kind, place) = text.split_once(':').ok_or(TokenizerSourceError)?;
        let is_path = !place.is_empty()
            && place.len() <= PATH_MAX_BYTES
            && !place.chars().any(char::is_control);
        match kind {
            "gguf" if is_path => Ok(Self::Gguf(place.into())),
            "json" if is_path => Ok(Self::Json(place.into())),
            "engine" => place.parse().map(Self::Engine).map_err(|_| TokenizerSourceError),
            _ => Err(TokenizerSourceError),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_reads_as_it_prints() {
        for text in ["gguf:/models/a b.gguf", "json:C:tokenizer.json", "engine:vllm-a"] {
            assert_eq!(text.parse::<TokenizerSource>().unwrap().to_string(), text);
        }
        for bad in ["", "gguf", "gguf:", "json:a\nb", "engine:", "engine:A B", "hub:gpt2"] {
            assert!(bad.parse::<TokenizerSource>().is_err(), "{bad}");
        }
    }
}
