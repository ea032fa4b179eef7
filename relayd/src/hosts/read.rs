//! From a message of somebody else's machine to what is kept of it.

use std::time::{Duration, Instant};

use relay_proto::admin::v1 as proto;

use crate::domain::{
    Aged, CARDS_MAX, Card, CardProcess, CardReading, CardState, CudaVersion, Driver, Gpus,
    HostFacts, HostReport, PROCESSES_MAX, Throttle,
};

/// Longest text of a foreign host that is kept, in characters: names and reasons are half as long.
pub const TEXT_MAX_CHARS: usize = 128;

/// Largest numbers that any machine of our days tells, times a good margin; what is above is no
/// reading. Processors of one host.
const CORES_MAX: u32 = 65_536;
/// A load, in thousandths.
const LOAD_MAX_MILLI: u64 = 1_000_000_000;
/// Memory or disk: 16 EiB.
const SIZE_MAX_MIB: u64 = 1 << 44;
/// Some fans turn faster than their nominal 100 percent.
const FAN_MAX_PCT: u32 = 1_000;
/// A chip melts before.
const CELSIUS_MAX: u32 = 1_000;
/// 100 kW: a rack.
const POWER_MAX_MW: u32 = 100_000_000;
/// 100 GHz.
const CLOCK_MAX_MHZ: u32 = 100_000;
/// Processes on one card.
const PROCESS_COUNT_MAX: u32 = 1_000_000;
/// Places in a driver's order.
const INDEX_MAX: u32 = 4_095;
/// An age of a year is as good as any above.
const AGE_MAX_MS: u64 = 365 * 24 * 3_600 * 1_000;
/// Throttle reasons that are looked at: there are nine.
const REASONS_MAX: usize = 16;

/// What a host told of itself, and when it was heard here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heard {
    report: HostReport,
    at: Instant,
}

impl Heard {
    /// Reads what came at `at`, which was `now_ms` since the epoch. Never fails: what makes no
    /// sense is left out.
    #[must_use]
    pub fn read(told: proto::Host, at: Instant, now_ms: i64) -> Self {
        let gpus = told.gpus.clone().unwrap_or_default();
        let report = HostReport {
            facts: aged(facts(&told), told.observed_at_ms, told.age_ms, now_ms),
            gpus: aged(self::gpus(&gpus, now_ms), gpus.observed_at_ms, gpus.age_ms, now_ms),
        };
        Self { report, at }
    }

    /// What it told, as old as it is now.
    #[must_use]
    pub fn report(&self, now: Instant) -> HostReport {
        let passed = now.saturating_duration_since(self.at);
        let mut report = self.report.clone();
        report.facts.age_ms = older(report.facts.age_ms, passed);
        report.gpus.age_ms = older(report.gpus.age_ms, passed);
        report
    }

    /// Its GPUs, whatever their age.
    #[must_use]
    pub const fn gpus(&self) -> &Gpus {
        &self.report.gpus.value
    }
}

/// A foreign text in one line: bounded, and nothing in it that steers a terminal or turns a line
/// around.
#[must_use]
pub fn plain(text: &str) -> String {
    let steers = |c: char| {
        c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
    };
    text.chars().take(TEXT_MAX_CHARS).map(|c| if steers(c) { '?' } else { c }).collect()
}

fn older(age_ms: u64, passed: Duration) -> u64 {
    age_ms.saturating_add(u64::try_from(passed.as_millis()).unwrap_or(u64::MAX))
}

/// A word with its age, on this side's clock: only how long ago it was is taken from the other.
fn aged<T>(value: T, observed_at_ms: i64, age_ms: u64, now_ms: i64) -> Aged<T> {
    let age_ms = age_ms.min(AGE_MAX_MS);
    let ago = i64::try_from(age_ms).unwrap_or(i64::MAX);
    let observed_at_ms = if observed_at_ms == 0 { 0 } else { now_ms.saturating_sub(ago).max(1) };
    Aged { value, observed_at_ms, age_ms }
}

fn below<T: PartialOrd>(value: Option<T>, most: T) -> Option<T> {
    value.filter(|value| *value <= most)
}

/// A part of a whole; absent where it is more than that.
fn part(part: Option<u64>, whole: Option<u64>) -> Option<u64> {
    below(part, whole.unwrap_or(SIZE_MAX_MIB))
}

fn words(text: Option<&String>) -> Option<String> {
    text.map(|text| plain(text)).filter(|text| !text.is_empty())
}

fn facts(told: &proto::Host) -> HostFacts {
    let memory_total_mib = below(told.memory_total_mib, SIZE_MAX_MIB);
    let disk_total_mib = below(told.disk_total_mib, SIZE_MAX_MIB);
    HostFacts {
        cores: below(told.cores, CORES_MAX),
        cpu_pct: below(told.cpu_pct, 100),
        load_1m_milli: below(told.load_1m_milli, LOAD_MAX_MILLI),
        load_5m_milli: below(told.load_5m_milli, LOAD_MAX_MILLI),
        load_15m_milli: below(told.load_15m_milli, LOAD_MAX_MILLI),
        memory_total_mib,
        memory_available_mib: part(told.memory_available_mib, memory_total_mib),
        disk_total_mib,
        disk_available_mib: part(told.disk_available_mib, disk_total_mib),
    }
}

fn gpus(told: &proto::Gpus, now_ms: i64) -> Gpus {
    use proto::GpusState::{Cards, NoCards, NoDriver, Off, Stale, Starting, Unspecified};
    let driver = Driver {
        version: words(told.driver_version.as_ref()),
        cuda: told.cuda_version.as_deref().and_then(cuda),
    };
    let mut cards: Vec<_> =
        told.cards.iter().take(CARDS_MAX).filter_map(|told| card(told, now_ms)).collect();
    cards.sort_by_key(|card| card.index);
    match told.state() {
        Off => Gpus::Off,
        Unspecified | Starting => Gpus::Unknown,
        NoDriver => {
            let since_ms = since(told.state_since_ms, now_ms);
            let reason = plain(&told.state_reason);
            for card in &mut cards {
                if !matches!(card.state, CardState::Lost { .. }) {
                    card.state = CardState::Lost { since_ms, reason: reason.clone() };
                }
                card.reading = CardReading::default();
            }
            Gpus::NoDriver { reason, since_ms, lost: cards }
        }
        NoCards => Gpus::NoCards { driver },
        Cards | Stale => Gpus::Cards { driver, cards },
    }
}

fn cuda(text: &str) -> Option<CudaVersion> {
    let (major, minor) = text.split_once('.')?;
    let number = |text: &str| text.parse().ok().filter(|number| *number < 1_000);
    Some(CudaVersion { major: number(major)?, minor: number(minor)? })
}

/// The one time that the other side's clock tells: never in the future.
fn since(told_ms: i64, now_ms: i64) -> i64 {
    told_ms.clamp(0, now_ms)
}

fn card(told: &proto::Card, now_ms: i64) -> Option<Card> {
    if told.index > INDEX_MAX {
        return None;
    }
    let (since_ms, reason) = (since(told.state_since_ms, now_ms), plain(&told.state_reason));
    let (state, reading) = match told.state() {
        proto::CardState::Lost => (CardState::Lost { since_ms, reason }, CardReading::default()),
        proto::CardState::Failing => (CardState::Failing { since_ms, reason }, reading(told)),
        proto::CardState::Ok | proto::CardState::Unspecified => (CardState::Ok, reading(told)),
    };
    Some(Card {
        index: told.index,
        uuid: plain(&told.uuid),
        pci_id: words(told.pci_id.as_ref()),
        name: words(told.name.as_ref()),
        state,
        reading,
    })
}

fn reading(told: &proto::Card) -> CardReading {
    let memory_total_mib = below(told.memory_total_mib, SIZE_MAX_MIB);
    let processes = told.processes.iter().take(PROCESSES_MAX).map(|told| CardProcess {
        pid: told.pid,
        memory_used_mib: part(told.memory_used_mib, memory_total_mib),
        name: words(told.name.as_ref()),
    });
    CardReading {
        gpu_pct: below(told.gpu_pct, 100),
        memory_pct: below(told.memory_pct, 100),
        memory_total_mib,
        memory_used_mib: part(told.memory_used_mib, memory_total_mib),
        temperature_celsius: below(told.temperature_celsius, CELSIUS_MAX),
        power_draw_mw: below(told.power_draw_mw, POWER_MAX_MW),
        power_limit_mw: below(told.power_limit_mw, POWER_MAX_MW),
        sm_clock_mhz: below(told.sm_clock_mhz, CLOCK_MAX_MHZ),
        memory_clock_mhz: below(told.memory_clock_mhz, CLOCK_MAX_MHZ),
        throttle: told.throttle.as_deref().map(throttle),
        ecc_corrected: told.ecc_corrected,
        ecc_uncorrected: told.ecc_uncorrected,
        fan_pct: below(told.fan_pct, FAN_MAX_PCT),
        pcie_rx_kib_s: told.pcie_rx_kib_s,
        pcie_tx_kib_s: told.pcie_tx_kib_s,
        mig: told.mig,
        processes_total: below(told.processes_total, PROCESS_COUNT_MAX),
        processes: processes.collect(),
    }
}

/// The reasons that are known, once each.
fn throttle(told: &str) -> Vec<Throttle> {
    let mut known: Vec<_> = told
        .split(", ")
        .take(REASONS_MAX)
        .filter_map(|word| Throttle::ALL.into_iter().find(|reason| reason.as_str() == word))
        .collect();
    known.sort_unstable();
    known.dedup();
    known
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::STALE_AFTER_MS;
    use crate::hosts::{shown, told};

    const NOW: i64 = 1_700_000_000_000;

    fn healthy() -> HostReport {
        let reading = CardReading {
            gpu_pct: Some(99),
            memory_total_mib: Some(81_920),
            memory_used_mib: Some(70_000),
            power_draw_mw: Some(690_000),
            throttle: Some(vec![Throttle::PowerCap, Throttle::SyncBoost]),
            mig: Some(false),
            processes_total: Some(1),
            processes: vec![CardProcess {
                pid: 12,
                memory_used_mib: Some(69_000),
                name: Some("vllm".to_owned()),
            }],
            ..CardReading::default()
        };
        let lost = CardState::Lost { since_ms: 5, reason: "fell off the bus".to_owned() };
        let card = |index, state, reading| Card {
            index,
            uuid: format!("GPU-{index}"),
            pci_id: Some("00000000:17:00.0".to_owned()),
            name: Some("NVIDIA H100 80GB HBM3".to_owned()),
            state,
            reading,
        };
        let driver = Driver {
            version: Some("550.54.15".to_owned()),
            cuda: Some(CudaVersion { major: 12, minor: 4 }),
        };
        let cards = vec![card(0, CardState::Ok, reading), card(1, lost, CardReading::default())];
        let facts = HostFacts {
            cores: Some(96),
            cpu_pct: Some(7),
            memory_total_mib: Some(1024),
            memory_available_mib: Some(1000),
            ..HostFacts::default()
        };
        HostReport {
            facts: Aged { value: facts, observed_at_ms: NOW, age_ms: 0 },
            gpus: Aged { value: Gpus::Cards { driver, cards }, observed_at_ms: NOW, age_ms: 0 },
        }
    }

    #[test]
    fn what_was_written_is_read_and_grows_old_here() {
        let at = Instant::now();
        let heard = Heard::read(told(healthy()), at, NOW);
        assert_eq!(heard.report(at), healthy());
        let late = heard.report(at + Duration::from_millis(STALE_AFTER_MS + 1));
        assert!(late.facts.is_stale() && late.gpus.is_stale());
        let late = shown("prov_1", "prov_1", "gpu-1", late);
        assert_eq!((late.state(), late.age_ms), (proto::HostState::Stale, 5_000));
        assert_eq!(late.gpus.unwrap().state(), proto::GpusState::Stale);
        // A driver that hangs over there is as old as it says, however often it is said.
        let mut hangs = healthy();
        hangs.gpus.age_ms = STALE_AFTER_MS + 1;
        let report = Heard::read(told(hangs), at, NOW).report(at);
        assert!(report.gpus.is_stale() && !report.facts.is_stale());
        assert_eq!(report.gpus.observed_at_ms, NOW - 5_001);
        for value in [
            Gpus::Off,
            Gpus::Unknown,
            Gpus::NoCards { driver: Driver::default() },
            Gpus::NoDriver { reason: "none".to_owned(), since_ms: 3, lost: Vec::new() },
        ] {
            let mut report = healthy();
            report.gpus.value = value;
            assert_eq!(Heard::read(told(report.clone()), at, NOW).report(at), report);
        }
    }

    #[test]
    fn a_hostile_host_is_cut_to_size() {
        let evil = "\u{1b}]0;x\u{7}\u{202e}\n".repeat(40);
        let process = proto::CardProcess {
            pid: u32::MAX,
            memory_used_mib: Some(u64::MAX),
            name: Some(evil.clone()),
        };
        let card = proto::Card {
            uuid: evil.clone(),
            pci_id: Some(evil.clone()),
            name: Some(evil.clone()),
            state: 77,
            state_reason: evil.clone(),
            state_since_ms: i64::MAX,
            gpu_pct: Some(u32::MAX),
            memory_pct: Some(101),
            memory_total_mib: Some(u64::MAX),
            memory_used_mib: Some(u64::MAX),
            temperature_celsius: Some(u32::MAX),
            power_draw_mw: Some(u32::MAX),
            power_limit_mw: Some(u32::MAX),
            sm_clock_mhz: Some(u32::MAX),
            memory_clock_mhz: Some(u32::MAX),
            throttle: Some(format!("power cap, power cap, {evil}")),
            fan_pct: Some(u32::MAX),
            processes_total: Some(u32::MAX),
            processes: vec![process; 50],
            ..proto::Card::default()
        };
        let mut cards = vec![card; 1_000];
        cards[0].index = u32::MAX;
        let gpus = proto::Gpus {
            state: proto::GpusState::Cards.into(),
            driver_version: Some(evil.clone()),
            cuda_version: Some("99999.4".to_owned()),
            observed_at_ms: i64::MIN,
            age_ms: u64::MAX,
            cards,
            ..proto::Gpus::default()
        };
        let host = proto::Host {
            host_id: "local".to_owned(),
            name: evil.repeat(1_000),
            observed_at_ms: i64::MAX,
            cores: Some(u32::MAX),
            cpu_pct: Some(u32::MAX),
            load_1m_milli: Some(u64::MAX),
            memory_total_mib: Some(1_000),
            memory_available_mib: Some(1_001),
            disk_total_mib: Some(u64::MAX),
            disk_available_mib: Some(u64::MAX),
            gpus: Some(gpus),
            ..proto::Host::default()
        };
        let at = Instant::now();
        let report = Heard::read(host, at, NOW).report(at + Duration::from_secs(1));
        assert_eq!(
            report.facts.value,
            HostFacts { memory_total_mib: Some(1_000), ..HostFacts::default() }
        );
        assert_eq!(report.facts.observed_at_ms, NOW, "its clock is not ours");
        assert!(report.gpus.observed_at_ms > 0 && report.gpus.is_stale());
        let Gpus::Cards { driver, cards } = report.gpus.value else { panic!("no cards") };
        let harmless = |text: &str| {
            text.chars().count() <= TEXT_MAX_CHARS && !text.contains(['\u{1b}', '\n', '\u{202e}'])
        };
        assert!(harmless(&driver.version.unwrap()) && driver.cuda.is_none());
        assert_eq!(cards.len(), CARDS_MAX - 1, "one had no place in any driver's order");
        for card in cards {
            assert!(harmless(&card.uuid) && harmless(&card.name.unwrap()));
            assert_eq!(card.state, CardState::Ok);
            assert_eq!(card.reading.throttle, Some(vec![Throttle::PowerCap]));
            assert_eq!(card.reading.processes.len(), PROCESSES_MAX);
            let process = card.reading.processes[0].clone();
            assert!(harmless(&process.name.unwrap()) && process.memory_used_mib.is_none());
            let blank = CardReading { throttle: None, processes: Vec::new(), ..card.reading };
            assert_eq!(blank, CardReading::default());
        }
        // Nothing at all is something, too.
        let nothing = Heard::read(proto::Host::default(), at, NOW).report(at);
        assert_eq!(nothing.gpus.value, Gpus::Unknown);
        let future = proto::Card { state: 3, state_since_ms: i64::MAX, ..proto::Card::default() };
        assert!(matches!(
            self::card(&future, NOW).unwrap().state,
            CardState::Lost { since_ms: NOW, .. }
        ));
    }
}
