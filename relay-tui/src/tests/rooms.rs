//! Hosts and providers of the daemon's story.

use super::world::NOON;
use crate::model::gpus::{Card, GpuState, Host, Process};
use crate::model::providers::{
    Benchmark, Context, Declared, Engine, Likeness, Mishap, Offer, Provider, ProviderState,
    Reputation, Score, Standing, Step,
};

fn card(index: u32, used: u32, memory_mib: u64, celsius: u32, watts: u32) -> Card {
    Card {
        index,
        uuid: format!("GPU-{index}a4f0000-0000-4000-8000-000000000000"),
        pci: Some(format!("00000000:0{index}:00.0")),
        name: Some("NVIDIA H100 80GB HBM3".into()),
        gpu_pct: Some(used),
        memory_pct: Some(used * 7 / 10),
        memory_total_mib: Some(81_920),
        memory_used_mib: Some(memory_mib),
        celsius: Some(celsius),
        power_mw: Some(watts * 1_000),
        power_limit_mw: Some(700_000),
        sm_mhz: Some(1_980),
        memory_mhz: Some(2_619),
        throttle: Some(if watts > 680 { "power cap".into() } else { String::new() }),
        ecc_corrected: Some(0),
        ecc_uncorrected: Some(0),
        rx_kib_s: Some(3_250_585),
        tx_kib_s: Some(419_430),
        mig: Some(false),
        processes_total: Some(1),
        processes: vec![Process {
            pid: 40_112 + index,
            memory_mib: Some(memory_mib - 600),
            name: Some("/usr/bin/vllm".into()),
        }],
        ..Card::default()
    }
}

fn host(id: &str, name: &str, provider: &str, cards: Vec<Card>) -> Host {
    Host {
        id: id.into(),
        name: name.into(),
        provider: provider.into(),
        cores: Some(64),
        cpu_pct: Some(12),
        load_milli: Some(7_410),
        memory_total_mib: Some(524_288),
        memory_available_mib: Some(311_296),
        disk_total_mib: Some(3_670_016),
        disk_available_mib: Some(2_306_867),
        driver: Some("570.86.15".into()),
        cuda: Some("12.8".into()),
        cards,
        ..Host::default()
    }
}

/// One host with four cards, one sick and one lost; a provider's, silent; one without a driver.
pub(super) fn hosts() -> Vec<Host> {
    let mut sick = card(2, 34, 22_937, 91, 240);
    sick.state = GpuState::Failing;
    sick.reason = "ECC: 3 uncorrected errors".into();
    sick.since_ms = NOON - 600_000;
    sick.ecc_uncorrected = Some(3);
    let lost = Card {
        index: 3,
        uuid: "GPU-3a4f0000-0000-4000-8000-000000000000".into(),
        name: Some("NVIDIA H100 80GB HBM3".into()),
        state: GpuState::Lost,
        reason: "device fell off the bus (Xid 79)".into(),
        since_ms: NOON - 42_000,
        ..Card::default()
    };
    let own = vec![card(0, 99, 80_793, 83, 690), card(1, 0, 614, 38, 71), sick, lost];
    let mut theirs = card(0, 56, 20_480, 61, 310);
    theirs.uuid = "GPU-77e00000-0000-4000-8000-000000000000".into();
    theirs.name = Some("NVIDIA GeForce RTX 4090".into());
    theirs.memory_total_mib = Some(24_564);
    theirs.power_limit_mw = Some(450_000);
    let mut silent =
        host("prov_a019b2c3d4e5f607", "gpu-farm", "prov_a019b2c3d4e5f607", vec![theirs]);
    silent.stale = true;
    silent.age_ms = 44_000;
    let mut bare = host("prov_91a407e200000000", "attic", "prov_91a407e200000000", Vec::new());
    bare.state = GpuState::NoDriver;
    bare.reason = "libnvidia-ml.so.1 could not be loaded".into();
    bare.since_ms = NOON - 3_600_000;
    (bare.driver, bare.cuda) = (None, None);
    vec![host("local", "relay-eu-1", "", own), silent, bare]
}

fn run(concurrency: u32, failed: u32, tokens_per_ks: u64) -> Benchmark {
    Benchmark {
        upstream: "qwen3-32b".into(),
        concurrency,
        requests: 8 * concurrency,
        failed,
        ttft_p50_ms: 181 + 60 * concurrency,
        ttft_max_ms: 410 + 90 * concurrency,
        tokens_per_ks,
    }
}

fn provider(id: &str, name: &str, state: ProviderState) -> Provider {
    Provider {
        id: id.into(),
        name: name.into(),
        state,
        since_ms: NOON - 540_000,
        payout: "0x52908400098527886e0f7030069857d2e4169ee7".into(),
        agent_version: "0.1.0".into(),
        address: "203.0.113.7:51022".into(),
        connected: true,
        connected_at_ms: NOON - 700_000,
        heard_at_ms: NOON - 1_000,
        engines: vec![Engine {
            examined: true,
            name: "vllm".into(),
            kind: "vllm".into(),
            dialect: "openai".into(),
            state: "up".into(),
            max_concurrency: 8,
            running: 0,
            models: vec![
                Offer { upstream: "Qwen/Qwen3-32B".into(), model: "qwen3-32b".into() },
                Offer { upstream: "lora-7".into(), model: String::new() },
            ],
            benchmarks: vec![run(1, 0, 58_000), run(2, 0, 109_400), run(4, 0, 198_200)],
            identity: vec![Likeness {
                upstream: "Qwen/Qwen3-32B".into(),
                model: "qwen3-32b".into(),
                state: "passed".into(),
                asked: 8,
                passed: 7,
                unsure: 1,
                agreement_milli: 981,
                difference_milli: Some(12),
                ..Likeness::default()
            }],
            context: Some(Context {
                upstream: "Qwen/Qwen3-32B".into(),
                declared: 32_768,
                sold: 32_768,
                verified: 32_512,
                ..Context::default()
            }),
            ..Engine::default()
        }],
        examined_at_ms: NOON - 540_000,
        joined_at_ms: NOON - 900_000,
        version: 4,
        public_key: "9f".repeat(32),
        reputation: reputation(Standing::Good, [996, 958, 971, 990, 934]),
        ..Provider::default()
    }
}

/// The bounds of its five sides; the lowest is what it is ranked by.
fn reputation(standing: Standing, bounds: [u32; 5]) -> Reputation {
    let names = ["identity", "honesty", "quality", "availability", "latency"];
    let score = |(name, bound_milli): (&str, u32)| Score {
        name: name.into(),
        bound_milli,
        good_milli: 38_412,
        bad_milli: u64::from(1_000 - bound_milli) * 9,
    };
    Reputation {
        standing,
        rank_milli: bounds.into_iter().min().unwrap_or(0),
        scores: names.into_iter().zip(bounds).map(score).collect(),
        ..Reputation::default()
    }
}

/// What the policy made of a provider whose answers differ.
fn fallen(standing: Standing, bounds: [u32; 5]) -> Reputation {
    let step = |age_s: i64, to: Standing, reason: &str| Step {
        at_ms: NOON - age_s * 1_000,
        to,
        score: "honesty".into(),
        reason: reason.into(),
    };
    let steps = [
        step(540, Standing::Suspended, "honesty at least 0.412, below 0.5"),
        step(3_600, Standing::Probation, "honesty at least 0.688, below 0.7"),
    ];
    let skip = usize::from(standing != Standing::Suspended);
    Reputation {
        steps: steps.into_iter().skip(skip).collect(),
        mishaps: vec![Mishap {
            at_ms: NOON - 545_000,
            score: "honesty".into(),
            text: "it counted 812 tokens where 400 came".into(),
        }],
        ..reputation(standing, bounds)
    }
}

/// One of each state.
pub(super) fn providers() -> Vec<Provider> {
    use ProviderState::{Approved, Joining, Left, Pending, Probing, Rejected, Suspended};
    let mut lacking = provider("prov_91a407e200000000", "attic", Probing);
    lacking.missing =
        vec!["no engine serves a model of the catalogue".into(), "1 of 8 requests failed".into()];
    lacking.engines[0].benchmarks = vec![run(1, 1, 4_100)];
    lacking.declared =
        vec![Declared { name: "NVIDIA GeForce RTX 3060".into(), count: 1, memory_mib: 12_288 }];
    lacking.engines[0].own_running = Some(2);
    let likeness = &mut lacking.engines[0].identity[0];
    (likeness.state, likeness.passed, likeness.unsure) = ("failed".into(), 1, 0);
    likeness.reason = "7 of 8 answers are another model's".into();
    (likeness.agreement_milli, likeness.difference_milli) = (204, Some(2_410));
    lacking.engines[0].kv_cache_milli = Some(413);
    lacking.reputation = Reputation::default();
    let mut gone = provider("prov_a019b2c3d4e5f607", "gpu-farm", Approved);
    gone.connected = false;
    gone.heard_at_ms = NOON - 44_000;
    gone.reason = "approved by jo".into();
    gone.reputation = fallen(Standing::Probation, [996, 688, 971, 702, 934]);
    let mut busy = provider("prov_77e0d04b00000000", "nl-rack-2", Approved);
    busy.engines[0].running = 5;
    busy.earned_ncr = 612_900_000_000;
    busy.max_concurrency = 4;
    busy.models_allowed = vec!["qwen3-32b".into()];
    busy.price_floor_ncr = 280_000_000;
    let mut bad = provider("prov_5e0a779a00000000", "cheap-cards", Suspended);
    bad.reason = "honesty at least 0.412, below 0.5".into();
    bad.reputation = fallen(Standing::Suspended, [996, 412, 800, 990, 934]);
    let mut no = provider("prov_3c719f0700000000", "nobody", Rejected);
    no.connected = false;
    no.reason = "runs behind a proxy".into();
    let mut new = provider("prov_0000000000000001", "fresh", Joining);
    (new.examined_at_ms, new.engines) = (0, Vec::new());
    new.reputation = reputation(Standing::Good, [132; 5]);
    for score in &mut new.reputation.scores {
        (score.good_milli, score.bad_milli) = (0, 0);
    }
    let mut left = provider("prov_0000000000000002", "former", Left);
    left.connected = false;
    vec![
        provider("prov_ee410c1d00000000", "ann-4090", Pending),
        lacking,
        gone,
        busy,
        bad,
        no,
        new,
        left,
    ]
}
