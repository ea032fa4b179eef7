//! Whether a new revision is worse than the one that serves. Pure: sums in, verdicts out.
//!
//! A gate fails when the new revision is worse by more than the plan tolerates *and* the test of
//! that gate gives a chance below the plan's `alpha`:
//!
//! | Gate | Test, one-sided but for the reasons |
//! |---|---|
//! | errors | Fisher's exact test on failed requests; half of alpha at the end of the window, half spent on early looks |
//! | ttft | half of alpha: Mann and Whitney on all times, with the growth of the median; half: Fisher on the share of requests slower than the old 95th percentile and its tolerance, with the growth of that percentile |
//! | tokens a second | half of alpha: Mann and Whitney on the requests' own rates, with the loss of the median; half: Fisher on the share of answers too short to have a rate |
//! | finish reasons | Pearson's chi-square of homogeneity, with the total variation distance |
//! | canary | Fisher's exact test on prompts not answered as expected |
//!
//! Early looks: each time the new revision's requests have doubled, from [`EARLY_MIN`] on, errors
//! are tested with a share of alpha that falls with the square of the look's number, so that all
//! looks together spend no more than their half, however many there are. Only errors stop early; the
//! other gates, and the other half for errors, are tested once a step.

use super::statistics::{chi_square, distance, fisher_larger, float, mann_whitney_larger};
use super::sums::{Bins, Sums};
use crate::domain::{Gate, RolloutPlan};
use serde::{Deserialize, Serialize};

/// Requests of the new revision before the first early look.
pub(super) const EARLY_MIN: u64 = 10;

/// Least values of a measure that is not there for every request (times, rates, reasons) before
/// its gate says anything.
const VALUES_MIN: u64 = 20;

/// What a gate says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The plan switched it off, or there is nothing to judge by.
    Off,
    /// Not enough requests yet.
    Waiting,
    /// Not worse, as far as one can say.
    Passed,
    /// Worse.
    Failed,
}

/// What a gate found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GateResult {
    /// Which.
    pub gate: Gate,
    /// What it says.
    pub verdict: Verdict,
    /// In words, for people.
    pub words: String,
    /// How much worse it may be, millionths in the gate's measure.
    pub tolerance_ppm: u32,
    /// How much worse it is; negative is better.
    pub worse_ppm: i64,
    /// The chance of this between equal revisions, millionths.
    pub p_ppm: u32,
}

/// What to compare.
#[derive(Clone, Copy, Debug)]
pub(super) struct Evidence<'a> {
    /// The revision that served before.
    pub live: &'a Sums,
    /// The new one.
    pub next: &'a Sums,
}

/// What to do now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// Nothing yet.
    Wait,
    /// The step is passed.
    Advance,
    /// A gate failed.
    RollBack {
        /// Which and why, for people.
        reason: String,
    },
    /// There are too few requests to say anything.
    Pause {
        /// How few, for people.
        reason: String,
    },
}

/// How far a step is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Progress {
    /// Since its beginning, milliseconds.
    pub elapsed_ms: u64,
    /// Whether the old revision gets no requests any more.
    pub last: bool,
}

/// What was measured and found, before it is judged.
struct Found {
    worse: f64,
    p: f64,
    fails: bool,
    words: String,
}

/// The number of the early look that is due at so many requests of the new revision; none before
/// the first.
#[must_use]
pub(super) fn look_due(requests: u64) -> Option<u32> {
    (requests / EARLY_MIN).checked_ilog2()
}

/// One early look at the errors: the reason to stop now, if there is one.
#[must_use]
pub(super) fn early_stop(plan: &RolloutPlan, evidence: Evidence<'_>, look: u32) -> Option<String> {
    let tolerance = plan.gates.errors_ppm?;
    let number = f64::from(look) + 1.0;
    // The squares' inverses add up to pi squared over six.
    let share = 6.0 / (std::f64::consts::PI * std::f64::consts::PI) / (number * number);
    let found = errors(evidence, tolerance, alpha(plan) / 2.0 * share);
    found.fails.then(|| format!("{}, before the end of the window", found.words))
}

/// What every gate says of a step so far.
#[must_use]
pub(super) fn gates(plan: &RolloutPlan, evidence: Evidence<'_>) -> Vec<GateResult> {
    Gate::ALL.into_iter().map(|gate| judge(plan, evidence, gate)).collect()
}

/// What follows from the gates' results.
#[must_use]
pub(super) fn decide(
    plan: &RolloutPlan,
    evidence: Evidence<'_>,
    progress: Progress,
    results: &[GateResult],
) -> Decision {
    if progress.elapsed_ms < plan.window_ms {
        return Decision::Wait;
    }
    // Each gate is tested once a step: when every one can say something, or when nobody waits any
    // longer for those that cannot. Looking again and again until one fails would find a chance
    // below alpha sooner or later, however good the revision is.
    let whole = enough(plan, evidence, progress)
        && results.iter().all(|result| result.verdict != Verdict::Waiting);
    if !whole && progress.elapsed_ms < plan.patience_ms() {
        return Decision::Wait;
    }
    let failed: Vec<_> =
        results.iter().filter(|result| result.verdict == Verdict::Failed).collect();
    if !failed.is_empty() && enough(plan, evidence, progress) {
        let words: Vec<_> = failed.iter().map(|result| result.words.as_str()).collect();
        return Decision::RollBack { reason: words.join("; ") };
    }
    if whole {
        return Decision::Advance;
    }
    let mut reason = format!(
        "too few requests to judge by in {} windows: {} on the new revision and {} on the old one, {} are needed of each",
        plan.patience_windows,
        grouped(evidence.next.requests),
        grouped(evidence.live.requests),
        grouped(u64::from(plan.min_samples))
    );
    if !plan.canary_prompts.is_empty() {
        let (one, other) = (evidence.next.canaries, evidence.live.canaries);
        reason.push_str(&format!("; {one} and {other} canary prompts of {VALUES_MIN}"));
    }
    Decision::Pause { reason }
}

/// Whether there are enough requests to judge a step by. On the last one the old revision gets no
/// more, so what it got at the step before is taken as it is.
fn enough(plan: &RolloutPlan, evidence: Evidence<'_>, progress: Progress) -> bool {
    let least = u64::from(plan.min_samples);
    evidence.next.requests >= least && (progress.last || evidence.live.requests >= least)
}

fn judge(plan: &RolloutPlan, evidence: Evidence<'_>, gate: Gate) -> GateResult {
    let Some(tolerance_ppm) = plan.gates.tolerance_ppm(gate) else {
        return off(gate, 0, "switched off by the plan");
    };
    let (next, live) = (evidence.next, evidence.live);
    let counts = |of: &Sums| match gate {
        Gate::Errors => of.requests,
        Gate::Ttft => of.ttft.len(),
        // Answers without a rate are judged as well, where others have one.
        Gate::TokensPerSecond if live.rate.len() >= VALUES_MIN => of.ttft.len(),
        Gate::TokensPerSecond => of.rate.len(),
        Gate::FinishReasons => of.reasons().iter().sum(),
        Gate::Canary => of.canaries,
    };
    let values = counts(next).min(counts(live));
    if gate == Gate::Canary && plan.canary_prompts.is_empty() {
        return off(gate, tolerance_ppm, "the plan has no canary prompts");
    }
    // There are always requests and prompts to come: that there are too few says nothing good.
    let waits = next.requests < u64::from(plan.min_samples)
        || (matches!(gate, Gate::Errors | Gate::Canary) && values < VALUES_MIN);
    if values < VALUES_MIN && !waits {
        return off(gate, tolerance_ppm, "too few values to compare");
    }
    let alpha = alpha(plan);
    let found = match gate {
        Gate::Errors => errors(evidence, tolerance_ppm, alpha / 2.0),
        Gate::Ttft => ttft(evidence, tolerance_ppm, alpha),
        Gate::TokensPerSecond => rate(evidence, tolerance_ppm, alpha),
        Gate::FinishReasons => reasons(evidence, tolerance_ppm, alpha),
        Gate::Canary => canary(evidence, tolerance_ppm, alpha),
    };
    let verdict = match (waits, found.fails) {
        (true, _) => Verdict::Waiting,
        (false, true) => Verdict::Failed,
        (false, false) => Verdict::Passed,
    };
    GateResult {
        gate,
        verdict,
        words: found.words,
        tolerance_ppm,
        worse_ppm: ppm(found.worse),
        p_ppm: u32::try_from(ppm(found.p.clamp(0.0, 1.0))).unwrap_or_default(),
    }
}

fn off(gate: Gate, tolerance_ppm: u32, words: &str) -> GateResult {
    let words = words.to_owned();
    GateResult { gate, verdict: Verdict::Off, words, tolerance_ppm, worse_ppm: 0, p_ppm: 1_000_000 }
}

fn errors(Evidence { live, next }: Evidence<'_>, tolerance_ppm: u32, alpha: f64) -> Found {
    let (one, other) = (next.errors(), live.errors());
    let p = fisher_larger(one, other);
    let worse = one.value() - other.value();
    let words = format!(
        "errors {} against {}, {} and {} requests, {}",
        percent(one.value()),
        percent(other.value()),
        grouped(one.of),
        grouped(other.of),
        chance(p)
    );
    Found { worse, p, fails: worse > tolerated(tolerance_ppm) && p < alpha, words }
}

fn ttft(Evidence { live, next }: Evidence<'_>, tolerance_ppm: u32, alpha: f64) -> Found {
    let tolerated = tolerated(tolerance_ppm);
    let middle = growth(&next.ttft, &live.ttft, 500);
    let tail = growth(&next.ttft, &live.ttft, 950);
    let p_middle = mann_whitney_larger(next.ttft.beside(&live.ttft));
    let bound = live.ttft.quantile(950).unwrap_or_default() * (1.0 + tolerated);
    let p_tail = fisher_larger(next.ttft.above(bound), live.ttft.above(bound));
    let middle_fails = middle > tolerated && p_middle < alpha / 2.0;
    let tail_fails = tail > tolerated && p_tail < alpha / 2.0;
    let by_tail = tail_fails || (!middle_fails && tail >= middle);
    let (permille, name, worse, p) = if by_tail {
        (950, "95th percentile of the first content", tail, p_tail)
    } else {
        (500, "median of the first content", middle, p_middle)
    };
    let ms = |of: &Bins| of.quantile(permille).unwrap_or_default();
    let words = format!(
        "{name} {:.0} ms against {:.0} ms ({}), {} and {} answers, {}",
        ms(&next.ttft),
        ms(&live.ttft),
        signed_percent(worse),
        grouped(next.ttft.len()),
        grouped(live.ttft.len()),
        chance(p)
    );
    Found { worse, p, fails: middle_fails || tail_fails, words }
}

fn rate(Evidence { live, next }: Evidence<'_>, tolerance_ppm: u32, alpha: f64) -> Found {
    let tolerated = tolerated(tolerance_ppm);
    // A loss of the new one is a surplus of the old one.
    let p_rate = mann_whitney_larger(live.rate.beside(&next.rate));
    let slower = -growth(&next.rate, &live.rate, 500);
    let (one, other) = (next.unrated(), live.unrated());
    let p_short = fisher_larger(one, other);
    let shorter = one.value() - other.value();
    let rate_fails = next.rate.len() >= VALUES_MIN && slower > tolerated && p_rate < alpha / 2.0;
    let short_fails = shorter > tolerated && p_short < alpha / 2.0;
    if short_fails && !rate_fails {
        let words = format!(
            "answers of hardly a token {} against {}, {} and {} answers, {}",
            percent(one.value()),
            percent(other.value()),
            grouped(one.of),
            grouped(other.of),
            chance(p_short)
        );
        return Found { worse: shorter, p: p_short, fails: true, words };
    }
    let median = |of: &Bins| of.quantile(500).unwrap_or_default();
    let words = format!(
        "median of tokens a second {:.1} against {:.1} ({}), {} and {} answers, {}",
        median(&next.rate),
        median(&live.rate),
        signed_percent(-slower),
        grouped(next.rate.len()),
        grouped(live.rate.len()),
        chance(p_rate)
    );
    Found { worse: slower, p: p_rate, fails: rate_fails, words }
}

fn reasons(Evidence { live, next }: Evidence<'_>, tolerance_ppm: u32, alpha: f64) -> Found {
    const NAMES: [&str; 6] = ["stop", "length", "tools", "filter", "other", "refused"];
    let (ours, theirs) = (next.reasons(), live.reasons());
    let columns: Vec<(u64, u64)> = ours.into_iter().zip(theirs).collect();
    let (p, worse) = (chi_square(&columns), distance(&columns));
    let (all_next, all_live): (u64, u64) = (ours.iter().sum(), theirs.iter().sum());
    let part = |hits: u64, of: u64| if of == 0 { 0.0 } else { float(hits) / float(of) };
    let shift = |column: &(u64, u64)| (part(column.0, all_next) - part(column.1, all_live)).abs();
    let widest = (0..columns.len())
        .max_by(|one, other| shift(&columns[*one]).total_cmp(&shift(&columns[*other])))
        .unwrap_or_default();
    let words = format!(
        "{} of answers end for another reason, most by '{}' ({} against {}), {} and {} answers, {}",
        percent(worse),
        NAMES[widest],
        percent(part(columns[widest].0, all_next)),
        percent(part(columns[widest].1, all_live)),
        grouped(all_next),
        grouped(all_live),
        chance(p)
    );
    Found { worse, p, fails: worse > tolerated(tolerance_ppm) && p < alpha, words }
}

fn canary(Evidence { live, next }: Evidence<'_>, tolerance_ppm: u32, alpha: f64) -> Found {
    let (one, other) = (next.canaries_failed(), live.canaries_failed());
    let p = fisher_larger(one, other);
    let worse = one.value() - other.value();
    let words = format!(
        "canary prompts answered as expected {} against {}, {} and {} asked, {}",
        percent(1.0 - one.value()),
        percent(1.0 - other.value()),
        grouped(one.of),
        grouped(other.of),
        chance(p)
    );
    Found { worse, p, fails: worse > tolerated(tolerance_ppm) && p < alpha, words }
}

/// How much larger a quantile is, as a share of the old one.
fn growth(next: &Bins, live: &Bins, permille: u64) -> f64 {
    match (next.quantile(permille), live.quantile(permille)) {
        (Some(next), Some(live)) if live > 0.0 => next / live - 1.0,
        _ => 0.0,
    }
}

fn alpha(plan: &RolloutPlan) -> f64 {
    f64::from(plan.alpha_ppm) / 1e6
}

fn tolerated(tolerance_ppm: u32) -> f64 {
    f64::from(tolerance_ppm) / 1e6
}

fn ppm(share: f64) -> i64 {
    #[expect(clippy::cast_possible_truncation, reason = "clamped; saturates beyond")]
    let ppm = (share * 1e6).round() as i64;
    ppm
}

fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

fn signed_percent(share: f64) -> String {
    format!("{:+.0} %", share * 100.0)
}

fn chance(p: f64) -> String {
    if p < 0.0001 { "p < 0.0001".to_owned() } else { format!("p = {p:.4}") }
}

/// A count with its thousands apart.
fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
