//! Compares the policies of routing over made traces, in virtual time.
//!
//! `cargo run -p relay-tests --bin balance`, with a seed as its argument where another one is
//! wanted. The same seed prints the same table on every machine.

#![expect(clippy::print_stdout, reason = "a table is what it is for")]

use relay_balance::Policy;
use relay_tests::bench::{play, traces};

fn main() {
    let seed = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(1);
    println!(
        "ttft in ms, good answers a second (first token within 2 s), Jain's index; seed {seed}"
    );
    for trace in traces(seed) {
        println!(
            "\n{}: {} requests, {} machines\n{:<12} {:>8} {:>8} {:>8} {:>8} {:>6} {:>5}",
            trace.name,
            trace.requests.len(),
            trace.machines.len(),
            "policy",
            "p50",
            "p95",
            "p99",
            "good/s",
            "fair",
            "cut"
        );
        for policy in Policy::ALL {
            let outcome = play(&trace, policy, seed);
            let [p50, p95, p99] = outcome.ttft_ms;
            println!(
                "{:<12} {p50:>8} {p95:>8} {p99:>8} {:>8.2} {:>6.3} {:>5}",
                policy.as_str(),
                outcome.good_per_ks as f64 / 1e3,
                outcome.fair_milli as f64 / 1e3,
                outcome.cut
            );
        }
    }
}
