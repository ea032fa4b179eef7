//! Against a shared object with NVML's symbols, loaded by path as the real library is. Time is
//! handed in, but where the threads themselves are looked at.

use std::path::Path;
use std::time::{Duration, Instant};

use super::pace::Moment;
use super::watcher::Watcher;
use super::{LocalHost, Sampler};
use crate::config::GpuConfig;
use crate::domain::{
    CARDS_MAX, Card, CardReading, CardState, Gpus, PROCESSES_MAX, STALE_AFTER_MS, Throttle,
};
use stand_in::FakeNvml;

#[expect(unreachable_pub, reason = "the same file is public in the harness of the whole")]
#[path = "../../../tests/engines/nvml/stand_in.rs"]
mod stand_in;

/// A watcher over a library, and a clock that only the test moves.
struct World {
    nvml: FakeNvml,
    watcher: Watcher,
    start: Instant,
    passed_ms: u64,
}

impl World {
    fn new(says: &str) -> Self {
        let nvml = FakeNvml::build(says).unwrap();
        let watcher = Watcher::new(nvml.shared_object().into_os_string());
        Self { nvml, watcher, start: Instant::now(), passed_ms: 0 }
    }

    /// A second passes, and the watcher looks.
    fn look(&mut self) -> Gpus {
        self.passed_ms += 1_000;
        self.watcher.look(Moment {
            now: self.start + Duration::from_millis(self.passed_ms),
            unix_ms: i64::try_from(self.passed_ms).unwrap(),
        })
    }

    fn then(&mut self, says: &str) -> Gpus {
        self.nvml.say(says).unwrap();
        self.look()
    }

    /// Looks until it is so, for at most two minutes of its own time.
    fn until(&mut self, is: impl Fn(&Gpus) -> bool) -> Gpus {
        let found = (0..120).map(|_| self.look()).find(is);
        found.expect("it is not so within two minutes")
    }
}

fn states(gpus: &Gpus) -> Vec<&'static str> {
    let word = |card: &Card| match card.state {
        CardState::Ok => "ok",
        CardState::Failing { .. } => "failing",
        CardState::Lost { .. } => "lost",
    };
    gpus.cards().iter().map(word).collect()
}

#[test]
fn no_library_is_a_state_and_is_looked_for_again() {
    let nvml = FakeNvml::build("").unwrap();
    let (library, hidden) = (nvml.shared_object(), nvml.shared_object().with_extension("hidden"));
    std::fs::rename(&library, &hidden).unwrap();
    let watcher = Watcher::new(library.clone().into_os_string());
    let mut world = World { nvml, watcher, start: Instant::now(), passed_ms: 0 };
    let Gpus::NoDriver { reason, since_ms, lost } = world.look() else { panic!("there is one") };
    assert!(reason.ends_with("libnvidia-ml.so.1 could not be loaded"), "{reason}");
    assert_eq!((since_ms, lost.len()), (1_000, 0));
    world.look();
    std::fs::rename(&hidden, &library).unwrap();
    let found = world.until(|gpus| gpus.driver().is_some());
    assert_eq!(states(&found), ["ok"]);
    assert_eq!(world.passed_ms, 6_000, "five seconds after the first try");
}

#[test]
fn a_driver_that_is_not_loaded_is_a_state() {
    let mut world = World::new("init = 9\n");
    let Gpus::NoDriver { reason, .. } = world.look() else { panic!("there is one") };
    assert_eq!(reason, "NVIDIA driver is not loaded");
}

#[test]
fn no_card_is_a_state() {
    let mut world = World::new("cards = 0\ncuda = 13000\n");
    let Gpus::NoCards { driver } = world.look() else { panic!("there is one") };
    assert_eq!(driver.version.as_deref(), Some("550.54.15"));
    assert_eq!(driver.cuda.unwrap().to_string(), "13.0");
    assert_eq!(states(&world.then("cards = 1\n")), ["ok"]);
}

#[test]
fn eight_cards_are_told_with_every_value() {
    let mut world = World::new(
        "cards = 8\ncard.7.gpu = 99\ncard.7.memory = 71\ncard.7.used = 84718649344\n\
         card.7.celsius = 83\ncard.7.power = 690000\ncard.7.throttle = 68\ncard.7.fan = 40\n\
         card.7.corrected = 12\ncard.7.uncorrected = 1\ncard.7.mig = 1\n",
    );
    let gpus = world.look();
    let cards = gpus.cards();
    assert_eq!(cards.len(), 8);
    let uuids: std::collections::BTreeSet<_> = cards.iter().map(|card| &card.uuid).collect();
    assert_eq!(uuids.len(), 8);
    assert!(cards.iter().enumerate().all(|(n, card)| card.index as usize == n));
    let last = &cards[7];
    assert_eq!(last.uuid, "GPU-00000007-0000-4000-8000-000000000000");
    assert_eq!(last.name.as_deref(), Some("NVIDIA H100 80GB HBM3"));
    assert_eq!(last.pci_id.as_deref(), Some("00000000:1E:00.0"));
    // What takes long is asked of one card a look: this is the second one's turn.
    assert_eq!(last.reading.pcie_rx_kib_s, None);
    assert_eq!(cards[1].reading.pcie_rx_kib_s, Some(3_100));
    let gpus = world.until(|gpus| gpus.cards()[7].reading.pcie_rx_kib_s.is_some());
    assert_eq!(world.passed_ms, 7_000);
    let expected = CardReading {
        gpu_pct: Some(99),
        memory_pct: Some(71),
        memory_total_mib: Some(80 * 1024),
        memory_used_mib: Some(80_794),
        temperature_celsius: Some(83),
        power_draw_mw: Some(690_000),
        power_limit_mw: Some(700_000),
        sm_clock_mhz: Some(1_980),
        memory_clock_mhz: Some(2_619),
        throttle: Some(vec![Throttle::PowerCap, Throttle::HardwareThermal]),
        ecc_corrected: Some(12),
        ecc_uncorrected: Some(1),
        fan_pct: Some(40),
        pcie_rx_kib_s: Some(3_100),
        pcie_tx_kib_s: Some(400),
        mig: Some(true),
        processes_total: Some(0),
        processes: Vec::new(),
    };
    assert_eq!(gpus.cards()[7].reading, expected);
    let kept = world.look();
    assert_eq!(kept.cards()[7].reading.pcie_tx_kib_s, Some(400), "until its next turn");
}

#[test]
fn what_a_card_does_not_support_is_absent_and_no_fault() {
    let calls = [
        "PciInfo_v3",
        "Name",
        "MemoryInfo_v2",
        "UtilizationRates",
        "Temperature",
        "PowerUsage",
        "EnforcedPowerLimit",
        "ClockInfo",
        "CurrentClocksThrottleReasons",
        "TotalEccErrors",
        "PcieThroughput",
        "MigMode",
        "ComputeRunningProcesses_v3",
        "GraphicsRunningProcesses_v3",
    ];
    // Not supported, no permission, no such function: each of them is ordinary.
    for error in [3, 4, 13] {
        let says: String =
            calls.iter().map(|call| format!("error.nvmlDeviceGet{call} = {error}\n")).collect();
        let gpus = World::new(&says).look();
        let card = &gpus.cards()[0];
        assert_eq!((&card.state, &card.name, &card.pci_id), (&CardState::Ok, &None, &None));
        assert_eq!(card.reading, CardReading::default());
    }
    let gpus = World::new("error.nvmlDeviceGetPowerUsage = 999\n").look();
    assert_eq!(gpus.cards()[0].state, CardState::Ok, "an unknown error of one value");
    assert_eq!(gpus.cards()[0].reading.power_draw_mw, None);
}

#[test]
fn numbers_at_their_limits_are_told_or_left_out() {
    let most = u64::MAX;
    let mut world = World::new(&format!(
        "card.0.total = {most}\ncard.0.used = {most}\ncard.0.corrected = {most}\n\
         card.0.throttle = {most}\ncard.0.power = 4294967295\ncard.0.celsius = 4294967295\n\
         card.0.gpu = 101\ncard.0.memory = 100\ncard.0.sm = 4294967294\n\
         card.0.processes = 4294967295:{most},1:{}\n",
        most - 1
    ));
    let gpus = world.look();
    let reading = &gpus.cards()[0].reading;
    assert_eq!(reading.memory_total_mib, Some(most >> 20));
    assert_eq!(reading.ecc_corrected, Some(most));
    assert_eq!(reading.throttle.as_deref(), Some(&Throttle::ALL[..]));
    assert_eq!((reading.power_draw_mw, reading.temperature_celsius), (None, None));
    assert_eq!((reading.gpu_pct, reading.memory_pct), (None, Some(100)));
    assert_eq!(reading.sm_clock_mhz, Some(u32::MAX - 1));
    let memory: Vec<_> = reading.processes.iter().map(|p| (p.pid, p.memory_used_mib)).collect();
    assert_eq!(memory, [(1, Some((most - 1) >> 20)), (u32::MAX, None)]);
}

#[test]
fn a_card_that_falls_off_the_bus_is_lost_and_found() {
    let mut world = World::new("cards = 2\n");
    assert_eq!(states(&world.look()), ["ok", "ok"]);
    let lost = world.then("cards = 2\ncard.1.error = 15\n");
    assert_eq!(states(&lost), ["ok", "lost"]);
    let card = &lost.cards()[1];
    assert_eq!(card.uuid, "GPU-00000001-0000-4000-8000-000000000000");
    assert_eq!((card.reading.clone(), card.name.is_some()), (CardReading::default(), true));
    let CardState::Lost { since_ms, reason } = &card.state else { panic!("it is lost") };
    assert_eq!(*since_ms, 2_000);
    assert!(reason.starts_with("device fell off the bus"), "{reason}");
    // It stays, since when it was, while the driver is opened again and again.
    for _ in 0..30 {
        assert_eq!(world.look().cards()[1].state, card.state);
    }
    assert_eq!(states(&world.then("cards = 2\n")), ["ok", "ok"]);
}

#[test]
fn a_card_that_a_new_driver_does_not_count_is_lost_and_the_others_keep_their_names() {
    let mut world = World::new("cards = 3\n");
    world.look();
    // The first is gone, and the others moved up.
    let moved = "cards = 2\ncard.0.uuid = GPU-00000001-0000-4000-8000-000000000000\n\
                 card.1.uuid = GPU-00000002-0000-4000-8000-000000000000\ncard.1.gpu = 77\n";
    let gpus = world.then(moved);
    let by_uuid = |gpus: &Gpus, digit: char| {
        let found = gpus.cards().iter().find(|card| card.uuid.chars().nth(11) == Some(digit));
        found.unwrap().clone()
    };
    assert_eq!(gpus.cards().len(), 3);
    assert!(matches!(by_uuid(&gpus, '0').state, CardState::Lost { .. }));
    assert_eq!((by_uuid(&gpus, '1').index, by_uuid(&gpus, '2').index), (0, 1));
    assert_eq!(by_uuid(&gpus, '2').reading.gpu_pct, Some(77));
    let back = world.then("cards = 3\n");
    assert_eq!(states(&back), ["ok", "ok", "ok"]);
    // Taken out for good, it is forgotten after a day.
    world.then(moved);
    world.passed_ms += 25 * 60 * 60 * 1_000;
    assert_eq!(states(&world.look()), ["ok", "ok"]);
}

#[test]
fn a_card_that_never_said_its_name_is_shown_and_named_once_it_can() {
    let mut world = World::new("cards = 2\ncard.0.error = 15\n");
    let gpus = world.look();
    assert_eq!(states(&gpus), ["lost", "ok"]);
    assert_eq!((gpus.cards()[0].uuid.as_str(), gpus.cards()[0].index), ("", 0));
    let gpus = world.then("cards = 2\n");
    assert_eq!(states(&gpus), ["ok", "ok"]);
    assert!(gpus.cards().iter().all(|card| card.uuid.starts_with("GPU-0000000")));
}

#[test]
fn a_card_that_needs_a_reset_is_failing() {
    let mut world = World::new("");
    world.look();
    let gpus = world.then("card.0.error.nvmlDeviceGetClockInfo = 16\n");
    let CardState::Failing { since_ms, reason } = &gpus.cards()[0].state else { panic!("it is") };
    assert_eq!(
        (*since_ms, reason.as_str()),
        (2_000, "device requires a reset before it can be used again")
    );
    assert_eq!(gpus.cards()[0].reading.temperature_celsius, Some(55), "what it still says");
    // Since when stays; a card that says nothing at all any more is failing too.
    let gpus = world.then("card.0.error = 999\n");
    let CardState::Failing { since_ms, .. } = &gpus.cards()[0].state else { panic!("it is") };
    assert_eq!((*since_ms, &gpus.cards()[0].reading), (2_000, &CardReading::default()));
    let unknown = World::new("error.nvmlDeviceGetMemoryInfo_v2 = 999\n").look();
    assert_eq!(states(&unknown), ["failing"], "every card has memory");
    assert_eq!(states(&world.then("")), ["ok"]);
}

#[test]
fn a_driver_replaced_under_us_is_a_state_and_is_opened_again() {
    let mut world = World::new("cards = 2\n");
    world.look();
    // 18: the library and the kernel's part are of two versions.
    let mismatch = "cards = 2\ninit = 18\nerror.nvmlDeviceGetCount_v2 = 18\n";
    let Gpus::NoDriver { reason, since_ms, lost } = world.then(mismatch) else { panic!("it is") };
    assert_eq!(reason, "RM detects a driver/library version mismatch");
    assert_eq!(since_ms, 2_000);
    assert_eq!(states(&Gpus::NoDriver { reason, since_ms, lost }), ["lost", "lost"]);
    for _ in 0..20 {
        let gpus = world.look();
        assert!(matches!(gpus, Gpus::NoDriver { since_ms: 2_000, .. }), "{gpus:?}");
    }
    world.nvml.say("cards = 2\ndriver = 560.28.03\n").unwrap();
    let gpus = world.until(|gpus| gpus.driver().is_some());
    assert_eq!(gpus.driver().unwrap().version.as_deref(), Some("560.28.03"));
    assert_eq!(states(&gpus), ["ok", "ok"]);
}

#[test]
fn a_driver_that_goes_in_the_middle_of_a_look_takes_all_cards_with_it() {
    let mut world = World::new("cards = 2\n");
    world.look();
    let gpus = world.then("cards = 2\ncard.1.error.nvmlDeviceGetPowerUsage = 9\ninit = 9\n");
    assert!(
        matches!(&gpus, Gpus::NoDriver { reason, .. } if reason == "NVIDIA driver is not loaded")
    );
    assert_eq!(states(&gpus), ["lost", "lost"]);
}

#[test]
fn processes_are_bounded_and_the_largest_are_kept() {
    let own = std::process::id();
    let many: Vec<_> = (1..=100).map(|n| format!("{}:{}", 1_000_000 + n, n << 20)).collect();
    // This process computes and draws: it is one.
    let says = format!(
        "card.0.processes = {},{own}:1073741824\ncard.0.drawing = {own}:1073741824\n",
        many.join(",")
    );
    let gpus = World::new(&says).look();
    let reading = &gpus.cards()[0].reading;
    assert_eq!((reading.processes_total, reading.processes.len()), (Some(101), PROCESSES_MAX));
    let (first, second) = (&reading.processes[0], &reading.processes[1]);
    assert_eq!((first.pid, first.memory_used_mib), (own, Some(1_024)));
    assert!(first.name.is_some(), "its own name may be read");
    assert_eq!((second.pid, second.memory_used_mib), (1_000_100, Some(100)));
    assert_eq!(second.name, None, "there is no such process");
}

#[test]
fn cards_are_bounded() {
    assert_eq!(World::new("cards = 4000000000\n").look().cards().len(), CARDS_MAX);
}

/// Waits for what a thread does, without a bound: the test runner has one.
fn wait_for(is: impl Fn() -> bool) {
    while !is() {
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn sampler(library: &Path) -> (Sampler, LocalHost) {
    let config = GpuConfig { enabled: true, nvml_library: Some(library.to_path_buf()) };
    let sampler = Sampler::start(&config, Path::new("/")).unwrap();
    let host = sampler.host();
    (sampler, host)
}

#[test]
fn a_call_that_hangs_makes_the_word_stale_until_it_returns() {
    let nvml = FakeNvml::build("").unwrap();
    let (sampler, host) = sampler(&nvml.shared_object());
    wait_for(|| !host.report().gpus.value.cards().is_empty());
    nvml.say("hang.nvmlDeviceGetTemperature = 3600000\n").unwrap();
    wait_for(|| nvml.hangs());
    let before = host.report();
    assert!(!before.gpus.is_stale());
    let later = Instant::now() + Duration::from_millis(STALE_AFTER_MS + 1);
    let hung = host.report_at(later).gpus;
    assert!(hung.is_stale(), "{} ms", hung.age_ms);
    assert_eq!(
        hung.value, before.gpus.value,
        "the last word stays, and its age says what it is worth"
    );
    assert_eq!(hung.observed_at_ms, before.gpus.observed_at_ms);
    // The host's own numbers go on.
    wait_for(|| host.report().facts.observed_at_ms > before.facts.observed_at_ms);
    assert_eq!(host.report().gpus.observed_at_ms, before.gpus.observed_at_ms);
    nvml.say("card.0.gpu = 78\n").unwrap();
    wait_for(|| host.report().gpus.value.cards()[0].reading.gpu_pct == Some(78));
    assert!(!host.report().gpus.is_stale());
    drop(sampler);
}

#[test]
fn nobody_waits_for_a_thread_that_hangs() {
    let nvml = FakeNvml::build("hang.nvmlInit_v2 = 3600000\n").unwrap();
    let (sampler, host) = sampler(&nvml.shared_object());
    wait_for(|| nvml.hangs());
    let word = host.report_at(Instant::now() + Duration::from_secs(6)).gpus;
    assert!(word.is_stale() && word.value == Gpus::Unknown && word.observed_at_ms == 0);
    drop(sampler);
    assert!(nvml.hangs(), "its end was not waited for");
    nvml.say("").unwrap();
    wait_for(|| !nvml.hangs());
}

#[test]
fn switched_off_nobody_asks_the_driver() {
    let config = GpuConfig { enabled: false, nvml_library: None };
    let sampler = Sampler::start(&config, Path::new("/")).unwrap();
    let host = sampler.host();
    wait_for(|| host.report().facts.observed_at_ms > 0);
    let report = host.report_at(Instant::now() + Duration::from_secs(60));
    assert_eq!((report.gpus.value.clone(), report.gpus.is_stale()), (Gpus::Off, false));
    assert!(report.facts.is_stale(), "but the host's word ages");
    assert!(report.facts.value.memory_total_mib > Some(0));
}
