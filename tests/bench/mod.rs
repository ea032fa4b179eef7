//! Routing's policies, compared in virtual time.

#[path = "traces.rs"]
mod made;
#[path = "sim.rs"]
mod sim;

pub use made::all as traces;
pub use sim::{Outcome, Trace, play};

#[cfg(test)]
mod tests {
    use relay_balance::Policy;

    use super::{play, traces};

    /// Customers share by the line, whatever the policy. What is left between two policies is which
    /// answers a dying machine cut: chance, and not more than this, in thousandths of Jain's index.
    const FAIR_CHANCE_MILLI: u64 = 5;

    /// What relayd does unless told otherwise is better than what anybody would write first, on
    /// each trace: earlier first tokens in the tail, no fewer good answers, and as fair.
    #[test]
    fn the_default_beats_round_robin_and_two_choices_on_each_trace() {
        for seed in 1..=3 {
            for trace in traces(seed) {
                let ours = play(&trace, Policy::default(), seed);
                for other in [Policy::RoundRobin, Policy::TwoChoices] {
                    let theirs = play(&trace, other, seed);
                    let named = format!("{} {other} {seed}: {ours:?} {theirs:?}", trace.name);
                    assert!(ours.ttft_ms[1] < theirs.ttft_ms[1], "p95 of {named}");
                    assert!(ours.ttft_ms[2] < theirs.ttft_ms[2], "p99 of {named}");
                    assert!(ours.good_per_ks >= theirs.good_per_ks, "goodput of {named}");
                    let fair = ours.fair_milli + FAIR_CHANCE_MILLI;
                    assert!(fair >= theirs.fair_milli, "fairness of {named}");
                }
            }
        }
    }

    #[test]
    fn nobody_is_lost_and_a_seed_replays() {
        for trace in traces(7) {
            for policy in Policy::ALL {
                let (one, other) = (play(&trace, policy, 7), play(&trace, policy, 7));
                assert_eq!(format!("{one:?}"), format!("{other:?}"));
                // Whoever never got a first token would stand at the end of time.
                assert!(one.ttft_ms[2] < 1_000_000_000, "{} {policy}: {one:?}", trace.name);
            }
        }
    }
}
