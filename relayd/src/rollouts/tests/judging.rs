//! What the gates say of revisions that are worse, and how seldom of those that are not.

use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{Rng as _, RngExt as _, SeedableRng as _};

use crate::domain::{CanaryPrompt, Gate, Gates, RolloutPlan};
use crate::rollouts::judge::{
    Decision, EARLY_MIN, Evidence, Progress, Verdict, decide, early_stop, gates, look_due,
};
use crate::rollouts::{SampleEnd, Sums};
use crate::wire::Finish;

/// How a revision behaves.
#[derive(Clone, Copy)]
struct Kind {
    errors: f64,
    ttft_ms: f64,
    tokens_a_second: f64,
    cut: f64,
    canary: f64,
}

const GOOD: Kind =
    Kind { errors: 0.01, ttft_ms: 100.0, tokens_a_second: 50.0, cut: 0.1, canary: 0.95 };

impl Kind {
    fn request(self, dice: &mut SmallRng) -> SampleEnd {
        if dice.random_bool(self.errors) {
            return SampleEnd::Failed;
        }
        let spread = |dice: &mut SmallRng, middle: f64| middle * (0.5 + dice.random::<f64>());
        let finish = if dice.random_bool(self.cut) { Finish::Length } else { Finish::Stop };
        SampleEnd::Answered {
            finish: Some(finish),
            ttft: Duration::from_secs_f64(spread(dice, self.ttft_ms) / 1e3),
            generating: Duration::from_secs_f64(100.0 / spread(dice, self.tokens_a_second)),
            tokens: 100,
        }
    }

    fn sums(self, requests: u32, dice: &mut SmallRng) -> Sums {
        let mut sums = Sums::default();
        for _ in 0..requests {
            sums.add(self.request(dice));
        }
        for _ in 0..requests / 10 {
            sums.add_canary(dice.random_bool(self.canary));
        }
        sums
    }
}

fn plan() -> RolloutPlan {
    let prompt = CanaryPrompt { prompt: "?".into(), expect: "!".into() };
    RolloutPlan { canary_prompts: vec![prompt], ..RolloutPlan::default() }
}

fn after_a_window(plan: &RolloutPlan) -> Progress {
    Progress { elapsed_ms: plan.window_ms, last: false }
}

fn judged(plan: &RolloutPlan, live: Kind, next: Kind, seed: u64) -> (Vec<Verdict>, Decision) {
    let mut dice = SmallRng::seed_from_u64(seed);
    let (live, next) = (live.sums(2_000, &mut dice), next.sums(1_000, &mut dice));
    let evidence = Evidence { live: &live, next: &next };
    let found = gates(plan, evidence);
    let verdicts = found.iter().map(|result| result.verdict).collect();
    (verdicts, decide(plan, evidence, after_a_window(plan), &found))
}

#[test]
fn each_gate_stops_what_is_worse_in_its_own_measure() {
    let worse = [
        (Gate::Errors, Kind { errors: 0.05, ..GOOD }),
        (Gate::Ttft, Kind { ttft_ms: 140.0, ..GOOD }),
        (Gate::TokensPerSecond, Kind { tokens_a_second: 30.0, ..GOOD }),
        (Gate::FinishReasons, Kind { cut: 0.4, ..GOOD }),
        (Gate::Canary, Kind { canary: 0.6, ..GOOD }),
    ];
    for (gate, next) in worse {
        let (verdicts, decision) = judged(&plan(), GOOD, next, 7);
        for (of, verdict) in Gate::ALL.into_iter().zip(verdicts) {
            let expected = if of == gate { Verdict::Failed } else { Verdict::Passed };
            assert_eq!(verdict, expected, "{of} while {gate} is worse");
        }
        let Decision::RollBack { reason } = decision else { panic!("{gate}: {decision:?}") };
        assert!(reason.contains("p <") || reason.contains("p ="), "{reason}");
    }
}

#[test]
fn what_is_better_or_worse_within_the_tolerance_goes_on() {
    let (_, better) = judged(&plan(), Kind { errors: 0.2, ttft_ms: 300.0, ..GOOD }, GOOD, 3);
    assert_eq!(better, Decision::Advance);
    // A tenth slower is seen for sure, and borne.
    let slower = Kind { ttft_ms: 110.0, tokens_a_second: 45.0, ..GOOD };
    assert_eq!(judged(&plan(), GOOD, slower, 4).1, Decision::Advance);
}

#[test]
fn a_gate_that_is_off_or_has_nothing_to_see_stops_nobody() {
    let off = Gates { errors_ppm: None, ..Gates::default() };
    let plan = RolloutPlan { gates: off, ..RolloutPlan::default() };
    let (verdicts, decision) = judged(&plan, GOOD, Kind { errors: 0.3, ..GOOD }, 5);
    assert_eq!(
        (verdicts[0], verdicts[4], decision),
        (Verdict::Off, Verdict::Off, Decision::Advance)
    );
}

#[test]
fn a_step_waits_for_its_samples_and_then_for_a_person() {
    let plan = RolloutPlan::default();
    let mut dice = SmallRng::seed_from_u64(1);
    let (live, next) = (GOOD.sums(5_000, &mut dice), GOOD.sums(199, &mut dice));
    let evidence = Evidence { live: &live, next: &next };
    let found = gates(&plan, evidence);
    assert!(found.iter().any(|result| result.verdict == Verdict::Waiting));
    let at = |elapsed_ms| decide(&plan, evidence, Progress { elapsed_ms, last: false }, &found);
    assert_eq!(at(plan.window_ms - 1), Decision::Wait);
    assert_eq!(at(plan.window_ms), Decision::Wait);
    assert_eq!(at(plan.patience_ms() - 1), Decision::Wait);
    let Decision::Pause { reason } = at(plan.patience_ms()) else { panic!("it went on") };
    assert!(reason.contains("199 on the new revision and 5,000 on the old one"), "{reason}");
    // On the last step the old revision gets nothing any more: what it did before it stands.
    let next = GOOD.sums(200, &mut dice);
    let last = Progress { elapsed_ms: plan.window_ms, last: true };
    let decided = |live: &Sums| {
        let evidence = Evidence { live, next: &next };
        decide(&plan, evidence, last, &gates(&plan, evidence))
    };
    assert_eq!(decided(&live), Decision::Advance);
    assert_eq!(decided(&Sums::default()), Decision::Wait, "there is nothing to compare with");
}

#[test]
fn too_few_canary_prompts_let_nobody_pass() {
    let plan = plan();
    let mut dice = SmallRng::seed_from_u64(2);
    let (mut live, next) = (GOOD.sums(2_000, &mut dice), GOOD.sums(1_000, &mut dice));
    live.canaries = 12;
    live.canaries_passed = 12;
    let evidence = Evidence { live: &live, next: &next };
    let found = gates(&plan, evidence);
    assert_eq!(found[4].verdict, Verdict::Waiting, "{}", found[4].words);
    assert_eq!(decide(&plan, evidence, after_a_window(&plan), &found), Decision::Wait);
    let late = Progress { elapsed_ms: plan.patience_ms(), last: false };
    assert!(matches!(decide(&plan, evidence, late, &found), Decision::Pause { .. }));
}

#[test]
fn a_gate_is_tested_once_a_step_and_not_until_it_fails() {
    let plan = plan();
    let mut dice = SmallRng::seed_from_u64(8);
    let slow = Kind { ttft_ms: 140.0, ..GOOD };
    let (live, mut next) = (GOOD.sums(2_000, &mut dice), slow.sums(1_000, &mut dice));
    let (asked, passed) = (next.canaries, next.canaries_passed);
    (next.canaries, next.canaries_passed) = (3, 3);
    let at = |next: &Sums, elapsed_ms| {
        let evidence = Evidence { live: &live, next };
        let found = gates(&plan, evidence);
        assert_eq!(found[1].verdict, Verdict::Failed, "{}", found[1].words);
        decide(&plan, evidence, Progress { elapsed_ms, last: false }, &found)
    };
    // The prompts are waited for, and then every gate has its one say.
    assert_eq!(at(&next, plan.window_ms), Decision::Wait);
    assert_eq!(at(&next, plan.patience_ms() - 1), Decision::Wait);
    let late = at(&next, plan.patience_ms());
    assert!(matches!(late, Decision::RollBack { .. }), "nobody waits any longer: {late:?}");
    (next.canaries, next.canaries_passed) = (asked, passed);
    assert!(matches!(at(&next, plan.window_ms), Decision::RollBack { .. }));
}

#[test]
fn callers_who_leave_because_nothing_comes_are_heard() {
    let plan = RolloutPlan::default();
    let mut dice = SmallRng::seed_from_u64(9);
    let live = GOOD.sums(2_000, &mut dice);
    let mut next = Sums::default();
    for _ in 0..300 {
        let ttft = std::time::Duration::from_secs(2);
        next.add(SampleEnd::GivenUp { ttft, generating: std::time::Duration::ZERO, tokens: 0 });
    }
    assert_eq!((next.requests, next.failed, next.cancelled), (300, 0, 300));
    let evidence = Evidence { live: &live, next: &next };
    let found = gates(&plan, evidence);
    assert_eq!((found[0].verdict, found[1].verdict), (Verdict::Passed, Verdict::Failed));
    let decision = decide(&plan, evidence, after_a_window(&plan), &found);
    assert!(matches!(decision, Decision::RollBack { .. }), "{decision:?}");
}

#[test]
fn a_revision_that_says_hardly_anything_is_worse() {
    let mut dice = SmallRng::seed_from_u64(10);
    let live = GOOD.sums(2_000, &mut dice);
    let mut next = Sums::default();
    for _ in 0..300 {
        next.add(SampleEnd::Answered {
            finish: Some(crate::wire::Finish::Stop),
            ttft: std::time::Duration::from_millis(20),
            generating: std::time::Duration::ZERO,
            tokens: 1,
        });
    }
    let plan = RolloutPlan::default();
    let evidence = Evidence { live: &live, next: &next };
    let found = gates(&plan, evidence);
    assert_eq!(found[2].verdict, Verdict::Failed, "{}", found[2].words);
    assert!(found[2].words.starts_with("answers of hardly a token 100.0 % against 0.0 %"));
}

/// One step, request by request at even shares: the requests of the new revision after which an
/// early look stopped it, if one did.
fn stopped_after(
    plan: &RolloutPlan,
    next: Kind,
    requests: u64,
    dice: &mut SmallRng,
) -> Option<u64> {
    let (mut old, mut new, mut looked) = (Sums::default(), Sums::default(), None);
    while new.requests < requests {
        old.add(GOOD.request(dice));
        new.add(next.request(dice));
        let due = look_due(new.requests);
        if due.is_some() && due != looked {
            looked = due;
            let evidence = Evidence { live: &old, next: &new };
            if early_stop(plan, evidence, due.unwrap_or_default()).is_some() {
                return Some(new.requests);
            }
        }
    }
    None
}

#[test]
fn one_failure_in_five_is_stopped_long_before_the_window_is_over() {
    let plan = RolloutPlan::default();
    let mut dice = SmallRng::seed_from_u64(9);
    let bad = Kind { errors: 0.2, ..GOOD };
    let mut after: Vec<u64> =
        (0..200).map(|_| stopped_after(&plan, bad, 1_000, &mut dice).unwrap()).collect();
    after.sort_unstable();
    assert!(after[0] >= EARLY_MIN);
    // Twice the requests of one look are those of the next.
    assert!((after[100], after[199]) <= (160, 320), "{} and {}", after[100], after[199]);
}

#[test]
fn equal_revisions_are_seldom_stopped_however_often_one_looks() {
    // The largest alpha that a plan may have, so that seldom can be counted.
    let plan = RolloutPlan { alpha_ppm: 50_000, ..plan() };
    const RUNS: u32 = 1_000;
    let mut dice = SmallRng::seed_from_u64(11);
    let same = Kind { errors: 0.05, ..GOOD };
    let old = Gates { errors_ppm: Some(0), ..Gates::default() };
    let plan = RolloutPlan { gates: old, ..plan };
    let early = (0..RUNS)
        .filter(|_| {
            let (mut live, mut next, mut looked) = (Sums::default(), Sums::default(), None);
            (0..640).any(|_| {
                live.add(same.request(&mut dice));
                next.add(same.request(&mut dice));
                let due = look_due(next.requests).filter(|due| Some(*due) != looked);
                looked = look_due(next.requests);
                let evidence = Evidence { live: &live, next: &next };
                due.is_some_and(|due| early_stop(&plan, evidence, due).is_some())
            })
        })
        .count();
    // All looks together may spend half of alpha, 25 of a thousand.
    assert!(early <= 25, "{early} of {RUNS} by early looks");
    let mut failed = [0_u32; 5];
    for seed in 0..300 {
        let (verdicts, _) = judged(&plan, same, same, seed);
        for (count, verdict) in failed.iter_mut().zip(verdicts) {
            *count += u32::from(verdict == Verdict::Failed);
        }
    }
    // 15 are expected at most, 25 is three standard deviations more.
    assert!(failed.iter().all(|count| *count <= 25), "{failed:?} of 300 at the window's end");
}

#[test]
fn any_sums_are_judged() {
    let mut dice = SmallRng::seed_from_u64(13);
    let plan = plan();
    for _ in 0..300 {
        let wild = |dice: &mut SmallRng| Kind {
            errors: dice.random(),
            ttft_ms: dice.random::<f64>() * 1e4,
            tokens_a_second: 0.1 + dice.random::<f64>() * 1e4,
            cut: dice.random(),
            canary: dice.random(),
        };
        let of = |dice: &mut SmallRng| {
            let (kind, requests) = (wild(dice), dice.next_u32() % 300);
            kind.sums(requests, dice)
        };
        let (live, next) = (of(&mut dice), of(&mut dice));
        let evidence = Evidence { live: &live, next: &next };
        for result in gates(&plan, evidence) {
            assert!(result.p_ppm <= 1_000_000 && !result.words.is_empty(), "{result:?}");
        }
    }
}
