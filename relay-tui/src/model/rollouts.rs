//! Models as they are served: revisions side by side, and the rollout that moves traffic.
//!
//! Units as in [`super::data`]; `_per_ks` per thousand seconds, `_permille` of requests.

use super::filter::{Field, Row, Value, field};
use super::rows::{number, text};

/// How a model is served, what a person must look at first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Standing {
    /// Nothing that serves it is up.
    Down,
    /// Its rollout waits for a person.
    Paused,
    Rolling,
    /// A rollout that only copies so far.
    Shadow,
    /// Its last rollout went back.
    RolledBack,
    /// Not all that serves it is up.
    Degraded,
    Stable,
    /// No backend lists it.
    Unserved,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum RolloutState {
    #[default]
    Running,
    Paused,
    Completed,
    RolledBack,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum GateKind {
    Errors,
    Ttft,
    TokensPerSecond,
    FinishReasons,
    Canary,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Off,
    Waiting,
    Passed,
    Failed,
}

/// A model and who serves it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ModelRow {
    pub(crate) name: String,
    /// 0 while no revision was made.
    pub(crate) live: u32,
    /// 0 unless a rollout is open.
    pub(crate) next: u32,
    pub(crate) share_permille: u32,
    pub(crate) shadow_permille: u32,
    /// Newest first.
    pub(crate) revisions: Vec<Revision>,
    /// The open one, else the last.
    pub(crate) rollout: Option<Rollout>,
    pub(crate) traffic: Vec<Traffic>,
    pub(crate) targets: u32,
    pub(crate) targets_up: u32,
    pub(crate) version: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Revision {
    pub(crate) number: u32,
    pub(crate) note: String,
    /// Backend, and what its engine calls the model; or a deployment, and nothing.
    pub(crate) targets: Vec<(String, String)>,
    /// What relayd says where the client said nothing, in words; empty for nothing.
    pub(crate) parameters: String,
    pub(crate) created_by: String,
    pub(crate) created_at_ms: i64,
}

impl Revision {
    /// Each of its backends with its name for the model, or its deployment alone.
    pub(crate) fn runs_on(&self) -> impl Iterator<Item = String> + '_ {
        self.targets.iter().map(|(on, name)| match name.as_str() {
            "" => on.clone(),
            name => format!("{on}={name}"),
        })
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rollout {
    pub(crate) id: String,
    pub(crate) from: u32,
    pub(crate) to: u32,
    pub(crate) state: RolloutState,
    pub(crate) reason: String,
    pub(crate) since_ms: i64,
    pub(crate) steps_permille: Vec<u32>,
    pub(crate) window_ms: u64,
    pub(crate) min_samples: u32,
    /// Windows that a step waits for so many requests before it is paused.
    pub(crate) patience_windows: u32,
    /// The chance of each gate to fail a revision that is no worse.
    pub(crate) alpha_ppm: u32,
    pub(crate) shadow_permille: u32,
    /// Prompts whose answers are known.
    pub(crate) canary_prompts: usize,
    /// From 0.
    pub(crate) step: u32,
    pub(crate) step_since_ms: i64,
    pub(crate) share_permille: u32,
    pub(crate) gates: Vec<Gate>,
    pub(crate) from_figures: Figures,
    pub(crate) to_figures: Figures,
    pub(crate) shadow_figures: Figures,
    /// Oldest first.
    pub(crate) history: Vec<Note>,
    pub(crate) created_by: String,
    pub(crate) version: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Gate {
    pub(crate) kind: GateKind,
    pub(crate) verdict: Verdict,
    pub(crate) words: String,
    pub(crate) tolerance_ppm: u32,
    /// Negative is better.
    pub(crate) worse_ppm: i64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Note {
    pub(crate) at_ms: i64,
    pub(crate) by: String,
    pub(crate) state: RolloutState,
    pub(crate) share_permille: u32,
    pub(crate) reason: String,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Figures {
    pub(crate) requests: u64,
    pub(crate) failed: u64,
    pub(crate) ttft_p50_ms: u32,
    pub(crate) ttft_p95_ms: u32,
    /// Of one request.
    pub(crate) tokens_per_ks_p50: u64,
    pub(crate) finish_stop: u64,
    /// Answers that ended for any reason that is told.
    pub(crate) finished: u64,
    pub(crate) canaries: u64,
    pub(crate) canaries_passed: u64,
    pub(crate) tokens_out: u64,
}

/// A revision's last minute.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Traffic {
    /// 0 for a model without revisions.
    pub(crate) revision: u32,
    pub(crate) figures: Figures,
    pub(crate) span_ms: u32,
    /// A value for each ten seconds, oldest first; 0 where nothing was asked.
    pub(crate) ttft_p95_ms: Vec<u32>,
}

impl Standing {
    /// Words, so that the meaning needs no colour; capitals where a person is wanted.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Down => "DOWN",
            Self::Paused => "PAUSED",
            Self::RolledBack => "ROLLED BACK",
            Self::Rolling => "rolling",
            Self::Shadow => "shadow",
            Self::Degraded => "degraded",
            Self::Stable => "stable",
            Self::Unserved => "unserved",
        }
    }
}

impl RolloutState {
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Paused => "PAUSED",
            Self::Completed => "completed",
            Self::RolledBack => "ROLLED BACK",
        }
    }

    pub(crate) const fn is_open(self) -> bool {
        matches!(self, Self::Running | Self::Paused)
    }
}

impl GateKind {
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Errors => "errors",
            Self::Ttft => "ttft",
            Self::TokensPerSecond => "tok/s",
            Self::FinishReasons => "finish reasons",
            Self::Canary => "canaries",
        }
    }
}

impl Verdict {
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Waiting => "waits",
            Self::Passed => "ok",
            Self::Failed => "FAIL",
        }
    }
}

impl Figures {
    pub(crate) fn failed_ppm(&self) -> Option<u32> {
        ppm(self.failed, self.requests)
    }

    /// The share of answers that came to their own end.
    pub(crate) fn stopped_ppm(&self) -> Option<u32> {
        ppm(self.finish_stop, self.finished)
    }
}

fn ppm(part: u64, all: u64) -> Option<u32> {
    part.saturating_mul(1_000_000).checked_div(all).and_then(|ppm| u32::try_from(ppm).ok())
}

impl Rollout {
    /// The share after one more step; `None` where the next one completes it.
    pub(crate) fn next_share_permille(&self) -> Option<u32> {
        let next = usize::try_from(self.step).unwrap_or(usize::MAX).saturating_add(1);
        self.steps_permille.get(next).copied()
    }

    pub(crate) fn gate(&self, kind: GateKind) -> Option<&Gate> {
        self.gates.iter().find(|gate| gate.kind == kind)
    }
}

impl Traffic {
    pub(crate) fn requests_per_ks(&self) -> u64 {
        let ms = u64::from(self.span_ms).max(1);
        self.figures.requests.saturating_mul(1_000_000) / ms
    }
}

impl ModelRow {
    /// Its rollout, while it is open.
    pub(crate) fn open(&self) -> Option<&Rollout> {
        self.rollout.as_ref().filter(|rollout| rollout.state.is_open())
    }

    pub(crate) fn standing(&self) -> Standing {
        match self.rollout.as_ref().map(|rollout| rollout.state) {
            _ if self.targets > 0 && self.targets_up == 0 => Standing::Down,
            Some(RolloutState::Paused) => Standing::Paused,
            Some(RolloutState::Running) if self.share_permille == 0 => Standing::Shadow,
            Some(RolloutState::Running) => Standing::Rolling,
            Some(RolloutState::RolledBack) => Standing::RolledBack,
            _ if self.targets == 0 => Standing::Unserved,
            _ if self.targets_up < self.targets => Standing::Degraded,
            _ => Standing::Stable,
        }
    }

    /// What a revision did in the last minute.
    pub(crate) fn traffic_of(&self, revision: u32) -> Option<&Traffic> {
        self.traffic.iter().find(|traffic| traffic.revision == revision)
    }

    /// Of all revisions together.
    pub(crate) fn requests_per_ks(&self) -> u64 {
        self.traffic.iter().map(Traffic::requests_per_ks).fold(0, u64::saturating_add)
    }

    /// Of all revisions together; none without requests.
    pub(crate) fn failed_ppm(&self) -> Option<u32> {
        let all = self.traffic.iter().map(|traffic| traffic.figures);
        let sum = all.fold((0_u64, 0_u64), |(failed, requests), one| {
            (failed.saturating_add(one.failed), requests.saturating_add(one.requests))
        });
        ppm(sum.0, sum.1)
    }

    /// Of the revision that serves most.
    pub(crate) fn ttft_p95_ms(&self) -> u32 {
        self.traffic_of(self.live).map_or(0, |traffic| traffic.figures.ttft_p95_ms)
    }

    /// The newest revision that does not serve: what a rollout would most likely be to.
    pub(crate) fn candidate(&self) -> Option<u32> {
        self.revisions.iter().map(|revision| revision.number).find(|number| *number != self.live)
    }
}

impl Row for ModelRow {
    const FIELDS: &'static [Field] = &[
        field("state", 's', false),
        field("name", 'n', false),
        field("rate", 'r', true),
        field("ttft", 't', true),
        field("err", 'e', true),
        field("share", 'h', true),
        field("up", 'u', false),
    ];

    fn id(&self) -> &str {
        &self.name
    }

    fn field(&self, name: &str) -> Value<'_> {
        match name {
            "state" => Value::Word(self.standing().word()),
            "rate" => number(self.requests_per_ks() / 1_000),
            "ttft" => number(self.ttft_p95_ms()),
            "err" => number(self.failed_ppm().unwrap_or(0) / 10_000),
            "share" => number(self.share_permille / 10),
            "up" => number(self.targets_up),
            _ => text(&self.name),
        }
    }

    fn rank(&self, name: &str) -> Value<'_> {
        match name {
            "state" => number(self.standing() as u8),
            "rate" => number(self.requests_per_ks()),
            "err" => number(self.failed_ppm().unwrap_or(0)),
            _ => self.field(name),
        }
    }
}
