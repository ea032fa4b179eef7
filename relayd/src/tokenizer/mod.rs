//! relayd's own counts of tokens, for answers of engines that are paid for what they count.
//!
//! A model's row of the catalogue names its tokenizer; it is loaded once, off the async threads,
//! when the row is first seen. What is kept are the tokenizers of the models that the catalogue
//! names now. A model whose tokenizer cannot be loaded has none, and why is kept for the operator.
//!
//! The room knows models, files and engines; it does not know requests, prices or providers.

mod gguf;
mod local;

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::sync::Mutex;

use crate::domain::{ModelName, TokenizerSource};
use crate::engines::Engine;

pub use local::{LoadError, LocalTokenizer};

/// Most texts of one count that an engine is asked about one by one; those beyond are counted as
/// one text.
const ASKED_MAX: usize = 64;

/// The tokenizers of the catalogue's models. Cheap to clone; all clones are one.
#[derive(Clone, Debug, Default)]
pub struct Tokenizers(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    known: ArcSwap<HashMap<ModelName, Known>>,
    /// One loads at a time.
    loading: Mutex<()>,
}

/// A model's tokenizer, or why it has none.
#[derive(Clone, Debug)]
struct Known {
    source: TokenizerSource,
    found: Result<Tokenizer, LoadError>,
}

/// What counts the tokens of a model.
#[derive(Clone, Debug)]
pub enum Tokenizer {
    /// In memory.
    Local(Arc<LocalTokenizer>),
    /// An engine of the operator's own.
    Engine {
        /// Which.
        engine: Arc<Engine>,
        /// What it calls the model.
        upstream: String,
    },
}

/// A model that wants a tokenizer.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The model.
    pub model: ModelName,
    /// Where its row says the tokenizer is.
    pub source: TokenizerSource,
    /// The backend that the row names and the engine's name of the model there, where the source
    /// is an engine that can count.
    pub engine: Option<(Arc<Engine>, String)>,
}

impl Tokenizers {
    /// Loads what is wanted and not loaded yet, and forgets what is not wanted any more. Returns
    /// the models whose tokenizer newly failed, with why.
    pub async fn follow(&self, wanted: Vec<Wanted>) -> Vec<(ModelName, LoadError)> {
        let _one = self.0.loading.lock().await;
        let before = self.0.known.load_full();
        let (mut known, mut failed) = (HashMap::with_capacity(wanted.len()), Vec::new());
        for Wanted { model, source, engine } in wanted {
            let kept = before.get(&model).filter(|kept| {
                kept.source == source && matches!(kept.found, Ok(Tokenizer::Local(_)))
            });
            let found = match (kept, &source) {
                (Some(kept), _) => kept.found.clone(),
                (None, TokenizerSource::Engine(backend)) => match engine {
                    Some((engine, upstream)) => Ok(Tokenizer::Engine { engine, upstream }),
                    None => Err(LoadError::engine(&format!(
                        "{backend} is no backend of the operator's own (llama.cpp or vLLM) that serves the model"
                    ))),
                },
                (None, file) => load(file.clone()).await,
            };
            let told = before.get(&model).is_some_and(|old| {
                old.source == source && old.found.as_ref().err() == found.as_ref().err()
            });
            if let Err(error) = &found
                && !told
            {
                failed.push((model.clone(), error.clone()));
            }
            known.insert(model, Known { source, found });
        }
        self.0.known.store(Arc::new(known));
        failed
    }

    /// The tokenizer of a model.
    #[must_use]
    pub fn get(&self, model: &ModelName) -> Option<Tokenizer> {
        self.0.known.load().get(model).and_then(|known| known.found.clone().ok())
    }

    /// Why a model has none: a sentence, or nothing where it has one.
    #[must_use]
    pub fn lack(&self, model: &ModelName) -> Option<String> {
        match self.0.known.load().get(model).map(|known| &known.found) {
            None => Some("its row names no tokenizer".to_owned()),
            Some(Err(error)) => Some(format!("its tokenizer cannot be used: {error}")),
            Some(Ok(_)) => None,
        }
    }
}

impl Tokenizer {
    /// Tokens of each text, summed: texts do not touch each other in a prompt, special tokens
    /// stand between them. In memory it counts on a thread for work that blocks.
    ///
    /// # Errors
    /// [`LoadError`]: an engine that does not answer, a text that cannot be cut.
    pub async fn count(&self, texts: Vec<String>) -> Result<u64, LoadError> {
        match self {
            Self::Local(tokenizer) => {
                let tokenizer = Arc::clone(tokenizer);
                let counting = move || {
                    texts
                        .iter()
                        .try_fold(0_u64, |sum, text| Ok(sum.saturating_add(tokenizer.count(text)?)))
                };
                let counted = tokio::task::spawn_blocking(counting).await;
                counted.map_err(|error| LoadError::engine(&error.to_string()))?
            }
            Self::Engine { engine, upstream } => {
                let mut texts = texts;
                if texts.len() > ASKED_MAX {
                    let rest = texts.split_off(ASKED_MAX - 1);
                    texts.push(rest.join("\n"));
                }
                let mut sum = 0_u64;
                for text in texts {
                    let counted = engine.count_tokens(upstream, &text).await;
                    let counted = counted.map_err(|error| LoadError::engine(&error.to_string()))?;
                    sum = sum.saturating_add(counted);
                }
                Ok(sum)
            }
        }
    }
}

/// Loads a file on a thread for work that blocks.
async fn load(source: TokenizerSource) -> Result<Tokenizer, LoadError> {
    let loading = move || match &source {
        TokenizerSource::Gguf(path) => LocalTokenizer::gguf(Path::new(path.as_ref())),
        TokenizerSource::Json(path) => LocalTokenizer::json(Path::new(path.as_ref())),
        TokenizerSource::Engine(backend) => {
            Err(LoadError::engine(&format!("{backend} is no file")))
        }
    };
    let loaded = tokio::task::spawn_blocking(loading).await;
    let loaded = loaded.map_err(|error| LoadError::engine(&error.to_string()))?;
    loaded.map(|tokenizer| Tokenizer::Local(Arc::new(tokenizer)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_tokenizer_is_loaded_once_and_its_lack_is_told_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("m.gguf");
        let file = gguf::tests::file("gpt-2", &["a", "b", "ab"], &["a b"]);
        std::fs::write(&path, file).unwrap();
        let model: ModelName = "m".parse().unwrap();
        let want = |source: String| {
            let source = source.parse().unwrap();
            vec![Wanted { model: model.clone(), source, engine: None }]
        };
        let all = Tokenizers::default();
        assert!(all.lack(&model).unwrap().contains("names no tokenizer"));
        let good = format!("gguf:{}", path.display());
        assert!(all.follow(want(good.clone())).await.is_empty());
        assert_eq!(
            all.get(&model).unwrap().count(vec!["abab".into(), "a".into()]).await.unwrap(),
            3
        );
        // It is in memory: the file is not read again.
        std::fs::remove_file(&path).unwrap();
        assert!(all.follow(want(good)).await.is_empty());
        assert!(all.lack(&model).is_none());

        let bad = || want("json:/nowhere/tokenizer.json".to_owned());
        assert_eq!(all.follow(bad()).await.len(), 1);
        assert!(all.follow(bad()).await.is_empty(), "told before");
        assert!(all.get(&model).is_none() && all.lack(&model).unwrap().contains("/nowhere/"));
        assert_eq!(all.follow(want("engine:gone".to_owned())).await.len(), 1);
        all.follow(Vec::new()).await;
        assert!(all.lack(&model).unwrap().contains("names no tokenizer"));
    }
}
