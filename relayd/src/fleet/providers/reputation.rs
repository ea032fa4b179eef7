//! How far a provider can be relied on, from what was seen of it, and what follows from that.
//!
//! Five scores, each a Beta distribution over "it goes well": they begin at Beta(2, 2); what was
//! seen fades with time and with what is seen after it, so that a long good past does not cover a
//! change; and a score is worth its lower 5 % bound, so that being new is not being trusted.
//! [`Policy::decide`] is the whole policy: pure, and each step in words.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What every score begins with, on both sides.
const PRIOR: f64 = 2.0;

/// The 95th percentile of the standard normal distribution: the lower 5 % bound lies so many
/// standard deviations below the mean.
const Z_95: f64 = 1.644_854;

/// One thing that is scored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Dimension {
    /// It answers, and to the end.
    Availability,
    /// Its first token and its pace are those of its examination.
    Latency,
    /// Its answers are answers: in shape, not empty, not repeated.
    Quality,
    /// The counts that it claims are true.
    Honesty,
    /// Its model is the one that it sells, by hidden canaries.
    Identity,
}

/// One score.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Score {
    /// What went well, faded, without the prior.
    pub good: f64,
    /// What went wrong, likewise.
    pub bad: f64,
    /// As of when, milliseconds since the epoch.
    pub at_ms: i64,
}

/// The scores of a provider.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Reputation {
    /// See [`Dimension::Availability`].
    pub availability: Score,
    /// See [`Dimension::Latency`].
    pub latency: Score,
    /// See [`Dimension::Quality`].
    pub quality: Score,
    /// See [`Dimension::Honesty`].
    pub honesty: Score,
    /// See [`Dimension::Identity`].
    pub identity: Score,
}

/// Where a provider stands by the policy.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Standing {
    /// It gets its share of requests.
    #[default]
    Good,
    /// It gets few, and is looked at more often.
    Probation,
    /// It gets none until a person decides.
    Suspended,
}

/// A step of the policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Where it leads.
    pub to: Standing,
    /// By which score.
    pub dimension: Dimension,
    /// Why, for people: the score's bound, the threshold and what was seen.
    pub reason: String,
}

/// The lower bounds of one score, in thousandths: below them a step is taken; 0 is never.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Thresholds {
    /// Below it a provider is on probation.
    pub probation: u32,
    /// Below it it is suspended.
    pub suspension: u32,
}

/// What follows from the scores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Whether steps are taken; without, providers are only scored.
    pub automatic: bool,
    /// What was seen counts half after this time, in milliseconds.
    pub half_life_ms: i64,
    /// Of [`Dimension::Availability`].
    pub availability: Thresholds,
    /// Of [`Dimension::Latency`].
    pub latency: Thresholds,
    /// Of [`Dimension::Quality`].
    pub quality: Thresholds,
    /// Of [`Dimension::Honesty`].
    pub honesty: Thresholds,
    /// Of [`Dimension::Identity`].
    pub identity: Thresholds,
}

/// A provider comes out of its probation when every score is this far above the threshold that
/// led there, in thousandths: it shall not go in and out with each request.
const RECOVERY: u32 = 100;

impl Dimension {
    /// Each of them.
    pub const ALL: [Self; 5] =
        [Self::Identity, Self::Honesty, Self::Quality, Self::Availability, Self::Latency];

    /// The word, as stored and shown.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Availability => "availability",
            Self::Latency => "latency",
            Self::Quality => "quality",
            Self::Honesty => "honesty",
            Self::Identity => "identity",
        }
    }

    /// How many of the last things seen a score remembers. Canaries are few and each says much.
    const fn memory(self) -> f64 {
        match self {
            Self::Identity => 10.0,
            Self::Availability | Self::Latency | Self::Quality | Self::Honesty => 50.0,
        }
    }

    /// Least weight of what went wrong before anything follows: one mishap is none.
    const fn least_bad(self) -> f64 {
        match self {
            Self::Identity | Self::Honesty => 1.8,
            Self::Quality => 2.8,
            Self::Availability => 3.7,
            Self::Latency => 4.5,
        }
    }
}

impl fmt::Display for Dimension {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Standing {
    /// The word, as stored and shown.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Probation => "probation",
            Self::Suspended => "suspended",
        }
    }
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Default for Score {
    fn default() -> Self {
        Self { good: 0.0, bad: 0.0, at_ms: 0 }
    }
}

impl Score {
    /// Fades to `now_ms` and by what is added, of which it remembers `memory`: so much that went
    /// well, so much that did not. Weights below zero count as none.
    fn note(&mut self, good: f64, bad: f64, now_ms: i64, half_life_ms: i64, memory: f64) {
        let (good, bad) = (good.max(0.0), bad.max(0.0));
        let faded = self.faded(now_ms, half_life_ms);
        let keeps = (1.0 - 1.0 / memory).powf(good + bad);
        self.good = faded.good.mul_add(keeps, good);
        self.bad = faded.bad.mul_add(keeps, bad);
        self.at_ms = faded.at_ms;
    }

    /// The score as of a later time; an earlier one changes nothing.
    #[must_use]
    pub fn faded(&self, now_ms: i64, half_life_ms: i64) -> Self {
        let age = now_ms.saturating_sub(self.at_ms).max(0);
        #[expect(clippy::cast_precision_loss, reason = "times, far below 2^52 milliseconds")]
        let keeps = (-(age as f64) / half_life_ms.max(1) as f64).exp2();
        Self { good: self.good * keeps, bad: self.bad * keeps, at_ms: self.at_ms.max(now_ms) }
    }

    /// The lower 5 % bound of the share that goes well, in thousandths, 0 to 1000: the mean of
    /// the Beta distribution less 1.645 standard deviations.
    #[must_use]
    pub fn bound(&self) -> u32 {
        let (a, b) = (PRIOR + self.good, PRIOR + self.bad);
        let sum = a + b;
        let deviation = (a * b / (sum * sum * (sum + 1.0))).sqrt();
        let bound = (a / sum - Z_95 * deviation).clamp(0.0, 1.0) * 1_000.0;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "between 0 and 1000"
        )]
        let thousandths = bound.round() as u32;
        thousandths
    }
}

impl Reputation {
    /// One of the scores.
    #[must_use]
    pub const fn get(&self, dimension: Dimension) -> &Score {
        match dimension {
            Dimension::Availability => &self.availability,
            Dimension::Latency => &self.latency,
            Dimension::Quality => &self.quality,
            Dimension::Honesty => &self.honesty,
            Dimension::Identity => &self.identity,
        }
    }

    /// Adds what was seen: so much that went well, so much that did not.
    pub fn note(
        &mut self,
        dimension: Dimension,
        (good, bad): (f64, f64),
        now_ms: i64,
        half_life_ms: i64,
    ) {
        self.get_mut(dimension).note(good, bad, now_ms, half_life_ms, dimension.memory());
    }

    const fn get_mut(&mut self, dimension: Dimension) -> &mut Score {
        match dimension {
            Dimension::Availability => &mut self.availability,
            Dimension::Latency => &mut self.latency,
            Dimension::Quality => &mut self.quality,
            Dimension::Honesty => &mut self.honesty,
            Dimension::Identity => &mut self.identity,
        }
    }

    /// All scores as of a later time.
    #[must_use]
    pub fn faded(&self, now_ms: i64, half_life_ms: i64) -> Self {
        let mut faded = *self;
        for dimension in Dimension::ALL {
            *faded.get_mut(dimension) = self.get(dimension).faded(now_ms, half_life_ms);
        }
        faded
    }

    /// The worst of the bounds, in thousandths: what a provider is ranked by. A side of which
    /// nothing was seen does not count, unless nothing was seen of any.
    #[must_use]
    pub fn rank(&self) -> u32 {
        let seen = Dimension::ALL.into_iter().map(|dimension| self.get(dimension));
        let bounds = seen.filter(|score| score.good + score.bad > 0.0).map(Score::bound);
        bounds.min().unwrap_or_else(|| Score::default().bound())
    }
}

impl Policy {
    /// The thresholds of a score.
    #[must_use]
    pub const fn of(&self, dimension: Dimension) -> Thresholds {
        match dimension {
            Dimension::Availability => self.availability,
            Dimension::Latency => self.latency,
            Dimension::Quality => self.quality,
            Dimension::Honesty => self.honesty,
            Dimension::Identity => self.identity,
        }
    }

    /// What follows for a provider that stands so: the worst step that any score asks for, or the
    /// way out of its probation. Nobody comes out of a suspension but by a person.
    #[must_use]
    pub fn decide(&self, standing: Standing, seen: &Reputation, now_ms: i64) -> Option<Step> {
        if !self.automatic || standing == Standing::Suspended {
            return None;
        }
        let seen = seen.faded(now_ms, self.half_life_ms);
        if let Some(step) = self.fall(Standing::Suspended, &seen) {
            return Some(step);
        }
        if standing == Standing::Good {
            return self.fall(Standing::Probation, &seen);
        }
        let recovered = |dimension: Dimension| {
            let score = seen.get(dimension);
            score.bound() >= self.of(dimension).probation + RECOVERY
                || score.bad < dimension.least_bad() / 2.0
        };
        if !Dimension::ALL.into_iter().all(recovered) {
            return None;
        }
        let weakest = Dimension::ALL.into_iter().min_by_key(|one| seen.get(*one).bound())?;
        let bound = seen.get(weakest).bound();
        let reason = format!(
            "every score has recovered; the lowest is {weakest} with a lower bound of {bound} of 1000"
        );
        Some(Step { to: Standing::Good, dimension: weakest, reason })
    }

    fn fall(&self, to: Standing, seen: &Reputation) -> Option<Step> {
        Dimension::ALL.into_iter().find_map(|dimension| {
            let threshold = match to {
                Standing::Suspended => self.of(dimension).suspension,
                Standing::Probation | Standing::Good => self.of(dimension).probation,
            };
            let score = seen.get(dimension);
            let bound = score.bound();
            let falls = bound < threshold && score.bad >= dimension.least_bad();
            falls.then(|| Step {
                to,
                dimension,
                reason: format!(
                    "{dimension} has a lower bound of {bound} of 1000, below {threshold} for {to} \
                     (seen lately: {:.1} good, {:.1} bad)",
                    score.good, score.bad
                ),
            })
        })
    }
}

impl Default for Policy {
    /// Honesty and identity are strict. Being slow alone never suspends.
    fn default() -> Self {
        let thresholds = |probation, suspension| Thresholds { probation, suspension };
        Self {
            automatic: true,
            half_life_ms: 7 * 24 * 3_600 * 1_000,
            availability: thresholds(350, 100),
            latency: thresholds(150, 0),
            quality: thresholds(350, 150),
            honesty: thresholds(350, 200),
            identity: thresholds(350, 200),
        }
    }
}

#[cfg(test)]
#[path = "reputation_tests.rs"]
mod tests;
