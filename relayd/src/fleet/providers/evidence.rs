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
    /// Whether its models are what they would be sold as.
    pub identity: Vec<IdentityEvidence>,
    /// How long a prompt it takes.
    pub context: Option<ContextEvidence>,
}

/// How a model's answers compare with those of the operator's own engine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IdentityState {
    /// They are those of the same model.
    Passed,
    /// They are those of another one.
    Failed,
    /// They could not be compared.
    #[default]
    NotOffered,
}

/// A model's answers held against those of the operator's own engine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct IdentityEvidence {
    /// The engine's name of it.
    pub upstream: String,
    /// The model of the catalogue that it would be sold as.
    pub model: String,
    /// What came out.
    pub state: IdentityState,
    /// Why it is not offered; empty otherwise.
    pub reason: String,
    /// Questions that it answered.
    pub asked: u32,
    /// How many were answered as the same model answers.
    pub passed: u32,
    /// How many said nothing about the model.
    pub unsure: u32,
    /// Questions that it did not answer at the last look, where too few answers came for that.
    pub unanswered: u32,
    /// Answers that are still wanted before anything can be said.
    pub open: u32,
    /// How much of the words agreed, in the mean, in thousandths.
    pub agreement_milli: u32,
    /// Largest mean difference of likelihoods in one answer, in thousandths of a nat; none where
    /// the engines do not tell them.
    pub difference_milli: Option<u32>,
}

/// How long a prompt an engine takes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ContextEvidence {
    /// With which model, by the engine's name.
    pub upstream: String,
    /// Tokens that the engine says it takes; 0 where it does not say.
    pub declared_tokens: u64,
    /// Tokens that the catalogue sells; 0 is no bound.
    pub sold_tokens: u64,
    /// Longest prompt that it took, in tokens by our count; 0 is none.
    pub verified_tokens: u64,
    /// Why no longer one was verified; empty where all that was asked for was taken.
    pub reason: String,
}

impl IdentityState {
    /// The words, as shown.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed => "failed",
            Self::NotOffered => "not offered",
        }
    }
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

impl EngineEvidence {
    /// The models that can be sold, with the engine's names of them.
    pub(super) fn sold(&self) -> impl Iterator<Item = (&ModelName, &str)> {
        self.models.iter().filter_map(|one| Some((one.model.as_ref()?, one.upstream.as_str())))
    }
}

impl Evidence {
    /// From the store's text; a text of another build reads as no evidence, which only means that
    /// the provider is examined again.
    #[must_use]
    pub fn read(text: &str) -> Self {
        serde_json::from_str(text).unwrap_or_default()
    }

    /// The models that do not answer as what they would be sold as.
    #[must_use]
    pub fn other_models(&self) -> Vec<String> {
        let all = self.engines.iter().flat_map(|engine| &engine.identity);
        let others = all.filter(|found| found.state == IdentityState::Failed);
        others.map(|found| found.model.clone()).collect()
    }

    /// Whether it says the same as other evidence, whenever that was.
    #[must_use]
    pub fn says_what(&self, other: &Self) -> bool {
        (&self.engines, &self.missing) == (&other.engines, &other.missing)
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
