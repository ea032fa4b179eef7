//! What was found out about a provider before a person decides.

use serde::{Deserialize, Serialize};

use crate::domain::ModelName;

/// Everything that was found out; stored as JSON with the provider.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Evidence {
    /// When the examination ended, milliseconds since the epoch; 0 is never.
    pub examined_at_ms: i64,
    /// Each engine that it offers.
    pub engines: Vec<EngineEvidence>,
    /// What keeps the evidence from being complete, a sentence each.
    pub missing: Vec<String>,
}

/// What was found out about one engine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct EngineEvidence {
    /// Its name on the provider's host.
    pub name: String,
    /// What it is, as the agent says.
    pub kind: String,
    /// What it speaks, as the agent says.
    pub dialect: String,
    /// `up`, `loading` or `down`, asked through the provider's connection.
    pub state: String,
    /// What it lists.
    pub models: Vec<ModelEvidence>,
    /// What was measured, by rising concurrency.
    pub benchmarks: Vec<Benchmark>,
}

/// One model that an engine lists.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelEvidence {
    /// The engine's name of it.
    pub upstream: String,
    /// The model of the catalogue that it would serve; none is a model that nobody can buy here.
    pub model: Option<ModelName>,
}

/// Chat requests of relayd's own, at one concurrency.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Benchmark {
    /// With which model, by the engine's name.
    pub upstream: String,
    /// Requests at once.
    pub concurrency: u32,
    /// Requests sent.
    pub requests: u32,
    /// How many of them failed.
    pub failed: u32,
    /// Half of the first tokens came within this time.
    pub ttft_p50_ms: u32,
    /// The slowest first token.
    pub ttft_max_ms: u32,
    /// Answer tokens over the whole time, in thousandths a second.
    pub tokens_per_ks: u64,
}

impl Evidence {
    /// From the store's text; a text of another build reads as no evidence, which only means that
    /// the provider is examined again.
    #[must_use]
    pub fn read(text: &str) -> Self {
        serde_json::from_str(text).unwrap_or_default()
    }

    /// Whether a person can decide.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.examined_at_ms > 0 && self.missing.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_never_examined_is_not_complete() {
        assert!(!Evidence::default().is_complete());
        assert_eq!(Evidence::read("{}"), Evidence::default());
        assert_eq!(Evidence::read("garbage"), Evidence::default());
        let done = Evidence { examined_at_ms: 1, ..Evidence::default() };
        assert!(done.is_complete());
        let text = serde_json::to_string(&done).unwrap();
        assert_eq!(Evidence::read(&text), done);
        let missing = vec!["no engine answers".to_owned()];
        assert!(!Evidence { missing, ..done }.is_complete());
    }
}
