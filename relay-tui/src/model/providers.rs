//! Providers: who wants in, what was measured, who serves.
//!
//! Units as in [`super::data`]; `_per_ks` per thousand seconds.

use super::filter::{Field, Row, Value, field};
use super::rows::{number, text};

/// Where a provider stands, those that a person must look at first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum ProviderState {
    Pending,
    Suspended,
    Probing,
    #[default]
    Joining,
    Approved,
    Rejected,
    Left,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Provider {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) state: ProviderState,
    pub(crate) reason: String,
    pub(crate) since_ms: i64,
    pub(crate) payout: String,
    pub(crate) agent_version: String,
    pub(crate) address: String,
    pub(crate) connected: bool,
    pub(crate) connected_at_ms: i64,
    pub(crate) heard_at_ms: i64,
    pub(crate) engines: Vec<Engine>,
    pub(crate) examined_at_ms: i64,
    /// What keeps it from being approved, a sentence each.
    pub(crate) missing: Vec<String>,
    pub(crate) max_concurrency: u32,
    /// What it may serve by an operator's word; empty is all that it offers.
    pub(crate) models_allowed: Vec<String>,
    /// Of a million answer tokens; 0 is none.
    pub(crate) price_floor_ncr: i64,
    pub(crate) joined_at_ms: i64,
    pub(crate) version: u64,
    pub(crate) public_key: String,
    /// By the ledger.
    pub(crate) earned_ncr: i64,
    /// Cards by its own word: kind, how many, MiB of each (0 is not said).
    pub(crate) declared: Vec<Declared>,
    pub(crate) reputation: Reputation,
}

/// Cards of one kind, by the provider's own word.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Declared {
    pub(crate) name: String,
    pub(crate) count: u32,
    /// Of each; 0 is not said.
    pub(crate) memory_mib: u64,
}

/// How it has done, and what followed by policy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Reputation {
    pub(crate) standing: Standing,
    /// The lowest of the scores' bounds.
    pub(crate) rank_milli: u32,
    /// In the daemon's order.
    pub(crate) scores: Vec<Score>,
    /// Newest first.
    pub(crate) steps: Vec<Step>,
    /// Newest first.
    pub(crate) mishaps: Vec<Mishap>,
}

/// Where the policy puts a provider; the worst first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Standing {
    Suspended,
    Probation,
    Good,
    /// The daemon does not say.
    #[default]
    Unknown,
}

/// One side of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Score {
    pub(crate) name: String,
    /// The lower 5 % bound of the share that goes well.
    pub(crate) bound_milli: u32,
    /// What was seen lately, in thousandths of a request.
    pub(crate) good_milli: u64,
    pub(crate) bad_milli: u64,
}

/// What followed from a score.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) at_ms: i64,
    pub(crate) to: Standing,
    pub(crate) score: String,
    pub(crate) reason: String,
}

/// What went wrong.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Mishap {
    pub(crate) at_ms: i64,
    pub(crate) score: String,
    pub(crate) text: String,
}

/// An inference server on its host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Engine {
    pub(crate) name: String,
    pub(crate) kind: String,
    pub(crate) dialect: String,
    /// up, loading or down.
    pub(crate) state: String,
    pub(crate) reason: String,
    pub(crate) running: u32,
    pub(crate) max_concurrency: u32,
    pub(crate) models: Vec<Offer>,
    pub(crate) benchmarks: Vec<Benchmark>,
    pub(crate) identity: Vec<Likeness>,
    pub(crate) context: Option<Context>,
    /// By the engine's own word, where it tells: what it works on, what waits inside it, the taken
    /// share of its KV cache, models in its memory.
    pub(crate) own_running: Option<u32>,
    pub(crate) own_waiting: Option<u32>,
    pub(crate) kv_cache_milli: Option<u32>,
    pub(crate) loaded_models: Option<u32>,
    /// Whose instance it is; empty for an engine that the provider itself offers.
    pub(crate) deployment: String,
    /// Whether anything is known of it but by its agent's word.
    pub(crate) examined: bool,
}

/// A model that an engine offers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Offer {
    pub(crate) upstream: String,
    /// Empty for one that nobody can buy here, and where its engine was not examined.
    pub(crate) model: String,
}

/// How a model's answers compare with those of an engine of the operator's own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Likeness {
    pub(crate) upstream: String,
    pub(crate) model: String,
    /// passed, failed or not offered.
    pub(crate) state: String,
    pub(crate) reason: String,
    pub(crate) asked: u32,
    pub(crate) passed: u32,
    /// Said nothing about the model.
    pub(crate) unsure: u32,
    pub(crate) agreement_milli: u32,
    /// In thousandths of a nat.
    pub(crate) difference_milli: Option<u32>,
}

/// How long a prompt an engine takes, in tokens.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Context {
    pub(crate) upstream: String,
    /// 0 where it does not say.
    pub(crate) declared: u64,
    /// 0 is no bound.
    pub(crate) sold: u64,
    pub(crate) verified: u64,
    pub(crate) reason: String,
}

/// A measurement through the provider's own connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Benchmark {
    pub(crate) upstream: String,
    pub(crate) concurrency: u32,
    pub(crate) requests: u32,
    pub(crate) failed: u32,
    pub(crate) ttft_p50_ms: u32,
    pub(crate) ttft_max_ms: u32,
    pub(crate) tokens_per_ks: u64,
}

impl ProviderState {
    /// Words, so that the meaning needs no colour; capitals where a person is wanted.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Pending => "PENDING",
            Self::Suspended => "SUSPENDED",
            Self::Probing => "probing",
            Self::Joining => "joining",
            Self::Approved => "approved",
            Self::Rejected => "REJECTED",
            Self::Left => "left",
        }
    }
}

impl Standing {
    /// Words, so that the meaning needs no colour; capitals where a person is wanted.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Suspended => "SUSPENDED",
            Self::Probation => "PROBATION",
            Self::Good => "good",
            Self::Unknown => "-",
        }
    }
}

impl Score {
    /// Nothing that it is about has happened lately.
    pub(crate) const fn is_unseen(&self) -> bool {
        self.good_milli == 0 && self.bad_milli == 0
    }
}

impl Reputation {
    /// The score of a name.
    pub(crate) fn score(&self, name: &str) -> Option<&Score> {
        self.scores.iter().find(|score| score.name == name)
    }
}

impl Provider {
    /// The word of the list: one that serves on probation is not like the others.
    pub(crate) const fn state_word(&self) -> &'static str {
        match (self.state, self.reputation.standing) {
            (ProviderState::Approved, Standing::Probation) => Standing::Probation.word(),
            (state, _) => state.word(),
        }
    }

    /// Its measurements, with the engine's name.
    pub(crate) fn benchmarks(&self) -> impl Iterator<Item = (&Engine, &Benchmark)> {
        self.engines
            .iter()
            .flat_map(|engine| engine.benchmarks.iter().map(move |run| (engine, run)))
    }

    /// The fastest of its measurements, in tokens a thousand seconds.
    pub(crate) fn fastest_per_ks(&self) -> Option<u64> {
        self.benchmarks().map(|(_, run)| run.tokens_per_ks).max()
    }

    /// Requests of its measurements, and how many of them failed.
    pub(crate) fn measured(&self) -> (u64, u64) {
        self.benchmarks().fold((0, 0), |(all, failed), (_, run)| {
            (all + u64::from(run.requests), failed + u64::from(run.failed))
        })
    }

    /// Models that were held against the operator's own, and those that answer like them. One that
    /// could not be asked is in neither.
    pub(crate) fn likenesses(&self) -> (usize, usize) {
        let all = self.engines.iter().flat_map(|engine| &engine.identity);
        let all = all.filter(|one| one.asked > 0);
        all.fold((0, 0), |(all, alike), one| (all + 1, alike + usize::from(one.state == "passed")))
    }

    /// Models of the catalogue that it would serve, each once.
    pub(crate) fn model_line(&self) -> String {
        let mut names: Vec<&str> = self
            .engines
            .iter()
            .flat_map(|engine| &engine.models)
            .map(|offer| offer.model.as_str())
            .filter(|model| !model.is_empty())
            .collect();
        names.sort_unstable();
        names.dedup();
        if names.is_empty() { "-".to_owned() } else { names.join(",") }
    }

    pub(crate) fn running(&self) -> u32 {
        self.engines.iter().map(|engine| engine.running).fold(0, u32::saturating_add)
    }

    /// Requests at once that its engines take, by its own word.
    pub(crate) fn slots(&self) -> u32 {
        self.engines.iter().map(|engine| engine.max_concurrency).fold(0, u32::saturating_add)
    }
}

impl Row for Provider {
    const FIELDS: &'static [Field] = &[
        field("state", 's', false),
        field("name", 'n', false),
        field("model", 'm', false),
        field("link", 'l', false),
        field("speed", 't', true),
        field("failed", 'f', true),
        field("missing", 'e', true),
        field("alike", 'k', true),
        field("run", 'r', true),
        field("score", 'o', true),
        field("standing", 'd', false),
        field("joined", 'j', true),
        field("earned", 'a', true),
        field("payout", 'p', false),
        field("version", 'v', false),
        field("id", 'i', false),
    ];

    fn id(&self) -> &str {
        &self.id
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn field(&self, name: &str) -> Value<'_> {
        match name {
            "state" => Value::Word(self.state_word()),
            "model" => Value::Text(self.model_line().into()),
            "link" => Value::Word(if self.connected { "up" } else { "down" }),
            "speed" => number(self.fastest_per_ks().unwrap_or(0) / 1_000),
            "failed" => number(self.measured().1),
            "missing" => number(self.missing.len()),
            "alike" => number(self.likenesses().1),
            "run" => number(self.running()),
            "score" => number(self.reputation.rank_milli),
            "standing" => Value::Word(self.reputation.standing.word()),
            "joined" => number(self.joined_at_ms),
            "earned" => number(self.earned_ncr),
            "payout" => text(&self.payout),
            "version" => text(&self.agent_version),
            "id" => text(&self.id),
            _ => text(&self.name),
        }
    }

    fn rank(&self, name: &str) -> Value<'_> {
        match name {
            // On probation: behind the suspended ones.
            "state" if self.state_word() == Standing::Probation.word() => {
                number(2 * ProviderState::Suspended as u8 + 1)
            }
            "state" => number(2 * self.state as u8),
            "standing" => number(self.reputation.standing as u8),
            _ => self.field(name),
        }
    }
}
