//! A tokenizer in memory: loaded once from a file, counting without any wait.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::gguf::{self, Vocabulary};

/// Largest `tokenizer.json`, in bytes: the largest known have some thirty million.
const JSON_MAX_BYTES: u64 = 128 * 1024 * 1024;

/// ggml's numbers for tokens that are matched in the text before anything is merged.
const CONTROL: i32 = 3;
const USER_DEFINED: i32 = 4;

/// Byte-level BPE as Llama 3 and Qwen 2 cut text before merging; they differ in how many digits
/// stand together.
const WORDS: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|DIGITS| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// A loaded tokenizer.
#[derive(Debug)]
pub struct LocalTokenizer(tokenizers::Tokenizer);

/// Why a tokenizer could not be loaded: a sentence for the operator.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct LoadError(String);

impl LoadError {
    /// What an engine or thread that should have counted said.
    pub(super) fn engine(said: &str) -> Self {
        Self(said.to_owned())
    }
}

impl LocalTokenizer {
    /// Loads a `tokenizer.json`. Blocks.
    ///
    /// # Errors
    /// [`LoadError`].
    pub fn json(path: &Path) -> Result<Self, LoadError> {
        let size = fs::metadata(path).map_err(|error| failed(path, &error))?.len();
        if size > JSON_MAX_BYTES {
            return Err(failed(path, &format!("{size} bytes, at most {JSON_MAX_BYTES} are read")));
        }
        let bytes = fs::read(path).map_err(|error| failed(path, &error))?;
        Self::read(&bytes).map_err(|error| failed(path, &error))
    }

    /// Loads the tokenizer of a GGUF file: byte-level BPE with the pre-tokenizers `gpt-2`,
    /// `smollm`, `llama-bpe` and `qwen2`. Blocks.
    ///
    /// # Errors
    /// [`LoadError`]; for a family that is not among these it names what to use instead.
    pub fn gguf(path: &Path) -> Result<Self, LoadError> {
        let found = gguf::read(path).map_err(|error| failed(path, &error))?;
        let document = document(&found).map_err(|what| failed(path, &what))?;
        Self::read(document.to_string().as_bytes()).map_err(|error| failed(path, &error))
    }

    /// Tokens of a text, special ones that it spells included; none are added.
    ///
    /// # Errors
    /// [`LoadError`] for a text that the tokenizer has no word for.
    pub fn count(&self, text: &str) -> Result<u64, LoadError> {
        let encoded = self.0.encode_fast(text, false);
        encoded.map(|tokens| tokens.len() as u64).map_err(|error| LoadError(error.to_string()))
    }

    fn read(bytes: &[u8]) -> Result<Self, String> {
        let mut tokenizer =
            tokenizers::Tokenizer::from_bytes(bytes).map_err(|error| error.to_string())?;
        // A count is of the whole text, never of what fits a window.
        tokenizer.with_padding(None);
        tokenizer.with_truncation(None).map_err(|error| error.to_string())?;
        Ok(Self(tokenizer))
    }
}

/// The tokenizer of a GGUF file as a `tokenizer.json`.
fn document(found: &Vocabulary) -> Result<Value, String> {
    if found.model != "gpt2" {
        return Err(format!(
            "its tokenizer is of the family '{}', only byte-level BPE (gpt2) is read from GGUF: name a json:PATH or engine:BACKEND",
            found.model
        ));
    }
    if found.tokens.is_empty() || found.merges.is_empty() {
        return Err("it has no vocabulary or no merges".to_owned());
    }
    let byte_level = |regex: bool| json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": regex});
    let cut = |digits: &str| {
        let pattern = WORDS.replace("DIGITS", digits);
        json!({"type": "Sequence", "pretokenizers": [
            {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": false},
            byte_level(false),
        ]})
    };
    let (pre, whole_words) = match found.pre.as_str() {
        "gpt-2" => (byte_level(true), false),
        "smollm" => (
            json!({"type": "Sequence", "pretokenizers": [
                {"type": "Digits", "individual_digits": true},
                byte_level(true),
            ]}),
            false,
        ),
        "llama-bpe" | "llama3" => (cut(r"\p{N}{1,3}"), true),
        "qwen2" => (cut(r"\p{N}"), false),
        other => {
            return Err(format!(
                "its pre-tokenizer '{other}' is not known, expected gpt-2, smollm, llama-bpe or qwen2: name a json:PATH or engine:BACKEND"
            ));
        }
    };
    let special = |id: usize| {
        matches!(found.types.get(id).copied().unwrap_or_default(), CONTROL | USER_DEFINED)
    };
    let added: Vec<Value> = found
        .tokens
        .iter()
        .enumerate()
        .filter(|(id, _)| special(*id))
        .map(|(id, token)| {
            json!({"id": id, "content": token, "single_word": false, "lstrip": false,
                "rstrip": false, "normalized": false, "special": found.types.get(id) == Some(&CONTROL)})
        })
        .collect();
    let mut vocabulary = serde_json::Map::with_capacity(found.tokens.len());
    for (id, token) in found.tokens.iter().enumerate() {
        vocabulary.insert(token.clone(), id.into());
    }
    Ok(json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": added,
        "normalizer": null, "pre_tokenizer": pre, "post_processor": null, "decoder": null,
        "model": {
            "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false,
            "ignore_merges": whole_words, "vocab": vocabulary, "merges": found.merges,
        },
    }))
}

fn failed(path: &Path, why: &dyn std::fmt::Display) -> LoadError {
    LoadError(format!("{}: {why}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::super::gguf::tests::file;
    use super::*;

    fn written(pre: &str) -> (tempfile::TempDir, std::path::PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("m.gguf");
        let tokens = ["a", "b", "1", "2", "12", "ab", "\u{120}", "\u{120}ab"];
        let merges = ["a b", "1 2", "\u{120} ab"];
        fs::write(&path, file(pre, &tokens, &merges)).unwrap();
        (dir, path)
    }

    #[test]
    fn each_family_cuts_as_its_models_do() {
        // Words with their space before them; digits together, one by one, and up to three.
        for (pre, tokens) in [("gpt-2", 3), ("smollm", 4), ("llama-bpe", 3), ("qwen2", 4)] {
            let (_dir, path) = written(pre);
            let tokenizer = LocalTokenizer::gguf(&path).unwrap();
            assert_eq!(tokenizer.count("ab ab12").unwrap(), tokens, "{pre}");
            assert_eq!(tokenizer.count("").unwrap(), 0);
        }
    }

    #[test]
    fn what_is_not_known_is_refused_with_the_way_out() {
        let (_dir, path) = written("deepseek-llm");
        let refused = LocalTokenizer::gguf(&path).unwrap_err().to_string();
        assert!(
            refused.contains("deepseek-llm") && refused.contains("engine:BACKEND"),
            "{refused}"
        );
        assert!(LocalTokenizer::json(&path).is_err(), "a GGUF file is no JSON");
        assert!(LocalTokenizer::gguf(Path::new("/nowhere")).is_err());
    }
}
