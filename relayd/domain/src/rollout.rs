//! Moving a model's traffic from the revision that serves to another one, by steps and with gates.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::FieldError;

/// All of the traffic, in thousandths.
pub const ALL_PERMILLE: u16 = 1_000;

/// Most steps of a plan.
pub const STEPS_MAX: usize = 20;

/// Bounds of the window over which a step is judged, in milliseconds: a second to a day.
pub const WINDOW_MS: (u64, u64) = (1_000, 86_400_000);

/// Bounds of the least number of requests of each revision before a step is judged.
pub const MIN_SAMPLES: (u32, u32) = (20, 1_000_000);

/// Most windows that a step waits for its samples before it is paused.
pub const PATIENCE_MAX: u32 = 1_000;

/// Bounds of a gate's chance to fail a revision that is no worse, in millionths.
pub const ALPHA_PPM: (u32, u32) = (1, 50_000);

/// Largest tolerance of a gate, in millionths: ten times as slow.
pub const TOLERANCE_MAX_PPM: u32 = 10_000_000;

/// Most canary prompts of a plan: each is asked of both revisions again and again.
pub const CANARY_PROMPTS_MAX: usize = 32;

/// Longest canary prompt, and longest text that its answer must hold, in bytes.
pub const CANARY_TEXT_MAX_BYTES: usize = 4_096;

/// Where a rollout is. Every change is one of [`RolloutState::may_become`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RolloutState {
    /// Its steps follow one another while the gates pass.
    Running,
    /// The split stays as it is until a person acts.
    Paused,
    /// The new revision serves all.
    Completed,
    /// The old revision serves all again.
    RolledBack,
}

/// One thing in which a new revision must not be worse than the one that serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Gate {
    /// The share of requests that the revision failed.
    Errors,
    /// The time from sending a request to its first content.
    Ttft,
    /// Answer tokens in a second of generating, of each request by itself.
    TokensPerSecond,
    /// Why answers end: a shift of the reasons.
    FinishReasons,
    /// The share of canary prompts that were answered as expected.
    Canary,
}

/// How much worse each gate lets a revision be, in millionths; none switches the gate off. A gate
/// fails only when a revision is worse by more than this *and* the test says that it is no chance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default)]
pub struct Gates {
    /// Difference of the shares of failed requests.
    pub errors_ppm: Option<u32>,
    /// Relative growth of the median or of the 95th percentile.
    pub ttft_ppm: Option<u32>,
    /// Relative loss of the median.
    pub tokens_per_second_ppm: Option<u32>,
    /// Share of answers that end for another reason (total variation distance).
    pub finish_reasons_ppm: Option<u32>,
    /// Difference of the shares of canary prompts answered as expected.
    pub canary_ppm: Option<u32>,
}

/// A prompt whose answer is known.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct CanaryPrompt {
    /// What is asked.
    pub prompt: String,
    /// What the answer must hold, letters' case aside.
    pub expect: String,
}

/// How a rollout goes.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RolloutPlan {
    /// Share of the new revision at each step, in thousandths: growing, the last is all. A first
    /// step of 0 only shadows.
    pub steps_permille: Vec<u16>,
    /// Least time of a step, in milliseconds.
    pub window_ms: u64,
    /// Least requests of each revision before a step is judged.
    pub min_samples: u32,
    /// Windows that a step waits for that many before it is paused.
    pub patience_windows: u32,
    /// Chance of each gate, at each step, to fail a revision that is no worse; in millionths.
    pub alpha_ppm: u32,
    /// Share of the requests of the running revision that are sent to the new one too, unseen and
    /// never billed; in thousandths.
    pub shadow_permille: u16,
    /// What must not be worse.
    pub gates: Gates,
    /// Asked of both revisions while it runs.
    pub canary_prompts: Vec<CanaryPrompt>,
}

impl RolloutState {
    /// Every state.
    pub const ALL: [Self; 4] = [Self::Running, Self::Paused, Self::Completed, Self::RolledBack];

    /// The word, as stored and shown.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Completed => "completed",
            Self::RolledBack => "rolled_back",
        }
    }

    /// Whether a rollout in this state may come into that one. The one table of transitions. A
    /// step further is a change of a running rollout into a running one.
    #[must_use]
    pub const fn may_become(self, next: Self) -> bool {
        use RolloutState::{Completed, Paused, RolledBack, Running};
        matches!(
            (self, next),
            (Running | Paused, Running | Completed | RolledBack) | (Running, Paused)
        )
    }

    /// Whether it still decides who serves.
    #[must_use]
    pub const fn is_open(self) -> bool {
        matches!(self, Self::Running | Self::Paused)
    }
}

impl fmt::Display for RolloutState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for RolloutState {
    type Err = String;
    /// Fails with a sentence that names the text.
    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|state| state.as_str() == text)
            .ok_or_else(|| format!("unknown state of a rollout '{text}'"))
    }
}

impl Gate {
    /// Every gate, in the order in which they are judged and shown.
    pub const ALL: [Self; 5] =
        [Self::Errors, Self::Ttft, Self::TokensPerSecond, Self::FinishReasons, Self::Canary];

    /// The word, as stored and shown.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Errors => "errors",
            Self::Ttft => "ttft",
            Self::TokensPerSecond => "tokens_per_second",
            Self::FinishReasons => "finish_reasons",
            Self::Canary => "canary",
        }
    }
}

impl fmt::Display for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Gates {
    /// The tolerance of a gate; none where it is off.
    #[must_use]
    pub const fn tolerance_ppm(&self, gate: Gate) -> Option<u32> {
        match gate {
            Gate::Errors => self.errors_ppm,
            Gate::Ttft => self.ttft_ppm,
            Gate::TokensPerSecond => self.tokens_per_second_ppm,
            Gate::FinishReasons => self.finish_reasons_ppm,
            Gate::Canary => self.canary_ppm,
        }
    }
}

impl Default for Gates {
    /// Half a point of errors, a fifth of speed, a tenth of answers, a tenth of canaries.
    fn default() -> Self {
        Self {
            errors_ppm: Some(5_000),
            ttft_ppm: Some(200_000),
            tokens_per_second_ppm: Some(200_000),
            finish_reasons_ppm: Some(100_000),
            canary_ppm: Some(100_000),
        }
    }
}

impl Default for RolloutPlan {
    /// 1, 5, 25, 50 and 100 %, ten minutes and 200 requests each.
    fn default() -> Self {
        Self {
            steps_permille: vec![10, 50, 250, 500, ALL_PERMILLE],
            window_ms: 600_000,
            min_samples: 200,
            patience_windows: 6,
            alpha_ppm: 1_000,
            shadow_permille: 0,
            gates: Gates::default(),
            canary_prompts: Vec::new(),
        }
    }
}

impl RolloutPlan {
    /// The share of a step; all past the last one.
    #[must_use]
    pub fn share_permille(&self, step: u32) -> u16 {
        let place = usize::try_from(step).unwrap_or(usize::MAX);
        self.steps_permille.get(place).copied().unwrap_or(ALL_PERMILLE)
    }

    /// Whether no step follows.
    #[must_use]
    pub fn is_last(&self, step: u32) -> bool {
        usize::try_from(step).unwrap_or(usize::MAX).saturating_add(1) >= self.steps_permille.len()
    }

    /// The longest that a step waits for its samples, in milliseconds.
    #[must_use]
    pub const fn patience_ms(&self) -> u64 {
        self.window_ms.saturating_mul(self.patience_windows as u64)
    }

    /// What is wrong with it; empty for a plan that can be carried out.
    #[must_use]
    pub fn check(&self) -> Vec<FieldError> {
        let mut wrong = Vec::new();
        let mut say = |field, text: String| {
            wrong.push(FieldError::body(field, "out_of_range", text));
        };
        let steps = &self.steps_permille;
        let grows = steps.is_sorted_by(|one, next| one < next);
        // All at once would leave nothing to compare with.
        let least = if self.shadow_permille == 0 { 1 } else { 0 };
        let begins = steps.first().is_some_and(|first| *first >= least);
        let ends = steps.last() == Some(&ALL_PERMILLE);
        if !(2..=STEPS_MAX).contains(&steps.len()) || !grows || !begins || !ends {
            say(
                "steps_permille",
                format!(
                    "2 to {STEPS_MAX} growing shares, from {least} (0 with shadow traffic) to {ALL_PERMILLE}"
                ),
            );
        }
        if !(WINDOW_MS.0..=WINDOW_MS.1).contains(&self.window_ms) {
            say("window_ms", format!("{} to {}", WINDOW_MS.0, WINDOW_MS.1));
        }
        if !(MIN_SAMPLES.0..=MIN_SAMPLES.1).contains(&self.min_samples) {
            say("min_samples", format!("{} to {}", MIN_SAMPLES.0, MIN_SAMPLES.1));
        }
        if !(1..=PATIENCE_MAX).contains(&self.patience_windows) {
            say("patience_windows", format!("1 to {PATIENCE_MAX}"));
        }
        if !(ALPHA_PPM.0..=ALPHA_PPM.1).contains(&self.alpha_ppm) {
            say("alpha_ppm", format!("{} to {}", ALPHA_PPM.0, ALPHA_PPM.1));
        }
        if self.shadow_permille > ALL_PERMILLE {
            say("shadow_permille", format!("0 to {ALL_PERMILLE}"));
        }
        for gate in Gate::ALL {
            if self.gates.tolerance_ppm(gate).is_some_and(|most| most > TOLERANCE_MAX_PPM) {
                say("gates", format!("{gate}: at most {TOLERANCE_MAX_PPM}"));
            }
        }
        if self.canary_prompts.len() > CANARY_PROMPTS_MAX {
            say("canary_prompts", format!("at most {CANARY_PROMPTS_MAX}"));
        }
        let fits = |text: &str| !text.is_empty() && text.len() <= CANARY_TEXT_MAX_BYTES;
        if !self.canary_prompts.iter().all(|canary| fits(&canary.prompt) && fits(&canary.expect)) {
            say("canary_prompts", format!("texts of 1 to {CANARY_TEXT_MAX_BYTES} bytes"));
        }
        wrong
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_ended_stays_ended() {
        for from in RolloutState::ALL {
            assert_eq!(from.as_str().parse::<RolloutState>().unwrap(), from);
            for to in RolloutState::ALL {
                assert!(from.is_open() || !from.may_become(to), "{from} to {to}");
            }
            // From wherever traffic is split there is a way back.
            assert_eq!(from.may_become(RolloutState::RolledBack), from.is_open(), "{from}");
        }
        assert!(!RolloutState::Paused.may_become(RolloutState::Paused));
    }

    #[test]
    fn the_default_plan_can_be_carried_out() {
        let plan = RolloutPlan::default();
        assert!(plan.check().is_empty(), "{:?}", plan.check());
        assert_eq!((plan.share_permille(0), plan.share_permille(4)), (10, 1_000));
        assert_eq!(
            (plan.share_permille(9), plan.is_last(3), plan.is_last(4)),
            (1_000, false, true)
        );
        let read: RolloutPlan = serde_json::from_str(r#"{"window_ms": 5000}"#).unwrap();
        assert_eq!(read, RolloutPlan { window_ms: 5_000, ..plan });
        assert!(serde_json::from_str::<RolloutPlan>(r#"{"window": 5}"#).is_err());
    }

    #[test]
    fn what_cannot_be_carried_out_is_named() {
        let with = |steps: &[u16], shadow| RolloutPlan {
            steps_permille: steps.to_vec(),
            shadow_permille: shadow,
            ..RolloutPlan::default()
        };
        for steps in [&[][..], &[1_000], &[0, 1_000], &[50, 50, 1_000], &[10, 500], &[900, 1_001]] {
            assert_eq!(with(steps, 0).check().len(), 1, "{steps:?}");
        }
        assert!(with(&[0, 10, 1_000], 500).check().is_empty());
        let wrong = RolloutPlan {
            window_ms: 10,
            min_samples: 1,
            patience_windows: 0,
            alpha_ppm: 0,
            shadow_permille: 1_001,
            canary_prompts: vec![CanaryPrompt { prompt: "?".into(), expect: String::new() }],
            gates: Gates { errors_ppm: Some(u32::MAX), ..Gates::default() },
            ..RolloutPlan::default()
        };
        assert_eq!(wrong.check().len(), 7, "{:?}", wrong.check());
    }
}
