//! What requests of one revision came to, as sums that add up over replicas.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::statistics::{Share, float};
use crate::wire::Finish;

/// How far apart the bounds of a bin are: values are known to 3 %.
const RATIO: f64 = 1.06;

/// The last bin: 0.1 times 1.06 to the 400th, far beyond any time in milliseconds.
const BIN_MAX: u16 = 400;

/// The lower bound of the first bin.
const LEAST: f64 = 0.1;

/// Least answer tokens of a request for its rate to say something.
const RATED_TOKENS_MIN: u64 = 4;

/// How one request ended, for the revision that it was on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum SampleEnd {
    /// It was answered.
    Answered {
        /// Why the answer ended.
        finish: Option<Finish>,
        /// From sending to the first content.
        ttft: Duration,
        /// From the first content, or from sending where it came whole, to the last.
        generating: Duration,
        /// Answer tokens.
        tokens: u64,
    },
    /// The revision failed it, or had no place for it while the running one had.
    Failed,
    /// The engine said that the request is wrong.
    Refused,
    /// Its caller left while it was answered.
    GivenUp {
        /// From sending to the first content, or to his leaving where none had come: it would have
        /// taken at least so long.
        ttft: Duration,
        /// From the first content to his leaving.
        generating: Duration,
        /// Answer tokens until then.
        tokens: u64,
    },
    /// It was taken away before it had failed or succeeded, or nobody had a place for it.
    Cancelled,
}

/// Values by bins whose bounds grow by a fixed ratio.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Bins(BTreeMap<u16, u64>);

/// Why answers ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Finishes {
    /// The model was done.
    pub stop: u64,
    /// A cap was reached.
    pub length: u64,
    /// A tool is to be called.
    pub tools: u64,
    /// A filter or the model refused.
    pub filter: u64,
    /// Anything else.
    pub other: u64,
}

/// Sums over requests.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Sums {
    /// All of them, but for those that were taken away or had no place.
    pub requests: u64,
    /// Failed by the revision.
    pub failed: u64,
    /// Said to be wrong by the engine.
    pub refused: u64,
    /// Given up by the caller, taken away, or without a place.
    pub cancelled: u64,
    /// Answer tokens.
    pub tokens: u64,
    /// Times to the first content, milliseconds.
    pub ttft: Bins,
    /// Rates of generating, tokens a second.
    pub rate: Bins,
    /// Why answers ended.
    pub finishes: Finishes,
    /// Canary prompts asked.
    pub canaries: u64,
    /// Those answered as expected.
    pub canaries_passed: u64,
}

impl Bins {
    fn add(&mut self, value: f64) {
        *self.0.entry(bin(value)).or_default() += 1;
    }

    fn merge(&mut self, other: &Self) {
        for (bin, count) in &other.0 {
            *self.0.entry(*bin).or_default() += count;
        }
    }

    /// How many values.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.0.values().sum()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The value below which so many thousandths of all lie; none of nothing.
    #[must_use]
    pub fn quantile(&self, permille: u64) -> Option<f64> {
        let wanted = (self.len() * permille).div_ceil(1_000).max(1);
        let mut below = 0;
        for (bin, count) in &self.0 {
            below += count;
            if below >= wanted {
                return Some(middle(*bin));
            }
        }
        None
    }

    /// How many lie above a value, whose own bin does not count.
    pub(super) fn above(&self, value: f64) -> Share {
        let bound = bin(value);
        let hits = self.0.range(bound.saturating_add(1)..).map(|(_, count)| count).sum();
        Share { of: self.len(), hits }
    }

    /// The counts of this and another, bin by bin in order.
    pub(super) fn beside<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = (u64, u64)> + 'a {
        let bins: std::collections::BTreeSet<u16> =
            self.0.keys().chain(other.0.keys()).copied().collect();
        let count = |of: &Self, bin: u16| of.0.get(&bin).copied().unwrap_or_default();
        bins.into_iter().map(move |bin| (count(self, bin), count(other, bin)))
    }
}

impl Finishes {
    fn add(&mut self, finish: Option<Finish>) {
        let place = match finish {
            Some(Finish::Stop | Finish::StopSequence) => &mut self.stop,
            Some(Finish::Length) => &mut self.length,
            Some(Finish::ToolCalls) => &mut self.tools,
            Some(Finish::Refused) => &mut self.filter,
            Some(Finish::Unknown) | None => &mut self.other,
        };
        *place += 1;
    }

    const fn all(&self) -> [u64; 5] {
        [self.stop, self.length, self.tools, self.filter, self.other]
    }
}

impl Sums {
    /// Takes one request in.
    pub fn add(&mut self, end: SampleEnd) {
        match end {
            SampleEnd::Cancelled => {
                self.cancelled += 1;
                return;
            }
            SampleEnd::Failed => self.failed += 1,
            SampleEnd::Refused => self.refused += 1,
            SampleEnd::Answered { finish, ttft, generating, tokens } => {
                self.finishes.add(finish);
                self.measure(ttft, generating, tokens);
            }
            // Whoever leaves because nothing comes would else be heard by no gate.
            SampleEnd::GivenUp { ttft, generating, tokens } => {
                self.cancelled += 1;
                self.measure(ttft, generating, tokens);
            }
        }
        self.requests += 1;
    }

    fn measure(&mut self, ttft: Duration, generating: Duration, tokens: u64) {
        self.tokens += tokens;
        self.ttft.add(ttft.as_secs_f64() * 1e3);
        if tokens >= RATED_TOKENS_MIN && !generating.is_zero() {
            self.rate.add(float(tokens) / generating.as_secs_f64());
        }
    }

    /// Takes one canary prompt in.
    pub fn add_canary(&mut self, passed: bool) {
        self.canaries += 1;
        self.canaries_passed += u64::from(passed);
    }

    /// Takes the sums of others in.
    pub fn merge(&mut self, other: &Self) {
        self.requests += other.requests;
        self.failed += other.failed;
        self.refused += other.refused;
        self.cancelled += other.cancelled;
        self.tokens += other.tokens;
        self.ttft.merge(&other.ttft);
        self.rate.merge(&other.rate);
        self.canaries += other.canaries;
        self.canaries_passed += other.canaries_passed;
        let Finishes { stop, length, tools, filter, other } = other.finishes;
        self.finishes.stop += stop;
        self.finishes.length += length;
        self.finishes.tools += tools;
        self.finishes.filter += filter;
        self.finishes.other += other;
    }

    pub(super) const fn errors(&self) -> Share {
        Share { of: self.requests, hits: self.failed }
    }

    /// Answers too short, or ended too early, to have a rate.
    pub(super) fn unrated(&self) -> Share {
        let of = self.ttft.len();
        Share { of, hits: of.saturating_sub(self.rate.len()) }
    }

    pub(super) const fn canaries_failed(&self) -> Share {
        Share { of: self.canaries, hits: self.canaries - self.canaries_passed }
    }

    /// Every reason why a request ended that the revision did not fail, the engine's refusals of
    /// the request itself included: a revision that takes less than the one before shows here.
    pub(super) fn reasons(&self) -> [u64; 6] {
        let [stop, length, tools, filter, other] = self.finishes.all();
        [stop, length, tools, filter, other, self.refused]
    }
}

fn bin(value: f64) -> u16 {
    let place = (value.max(LEAST) / LEAST).ln() / RATIO.ln();
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "bounded and positive"
    )]
    let place = place.min(f64::from(BIN_MAX)).floor() as u16;
    place
}

fn middle(bin: u16) -> f64 {
    LEAST * RATIO.powf(f64::from(bin) + 0.5)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(ttft_ms: u64, tokens: u64) -> SampleEnd {
        SampleEnd::Answered {
            finish: Some(Finish::Stop),
            ttft: Duration::from_millis(ttft_ms),
            generating: Duration::from_secs(1),
            tokens,
        }
    }

    #[test]
    fn quantiles_are_known_to_a_few_percent() {
        let mut sums = Sums::default();
        for ms in 1..=1_000 {
            sums.add(answered(ms, ms));
        }
        for (permille, expected) in [(500, 500.0), (950, 950.0), (10, 10.0)] {
            let found = sums.ttft.quantile(permille).unwrap();
            assert!((found / expected - 1.0).abs() < 0.04, "{found} is not {expected}");
        }
        assert_eq!(Bins::default().quantile(500), None);
        assert_eq!((sums.requests, sums.rate.len(), sums.tokens), (1_000, 997, 500_500));
        let above = sums.ttft.above(900.0);
        assert!(above.of == 1_000 && (60..=100).contains(&above.hits), "{above:?}");
        sums.add(answered(u64::MAX / 2_000, 0));
        sums.add(answered(0, 0));
        assert_eq!(sums.ttft.len(), 1_002);
    }

    #[test]
    fn sums_add_up_and_read_back() {
        let (mut one, mut other) = (Sums::default(), Sums::default());
        for end in [answered(10, 5), SampleEnd::Failed, SampleEnd::Refused, SampleEnd::Cancelled] {
            one.add(end);
            other.add(end);
            other.add(end);
        }
        other.add_canary(true);
        other.add_canary(false);
        one.merge(&other);
        assert_eq!((one.requests, one.failed, one.refused, one.cancelled), (9, 3, 3, 3));
        assert_eq!((one.ttft.len(), one.rate.len(), one.finishes.stop), (3, 3, 3));
        assert_eq!(one.reasons(), [3, 0, 0, 0, 0, 3]);
        assert_eq!((one.canaries, one.canaries_passed), (2, 1));
        let json = serde_json::to_string(&one).unwrap();
        assert_eq!(serde_json::from_str::<Sums>(&json).unwrap(), one);
        assert_eq!(serde_json::from_str::<Sums>("{}").unwrap(), Sums::default());
    }
}
