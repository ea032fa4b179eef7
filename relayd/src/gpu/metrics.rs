//! This host as metrics.

use std::collections::BTreeSet;
use std::time::Duration;

use metrics::gauge;
use tokio_util::sync::CancellationToken;

use super::{LOCAL, LocalHost};
use crate::domain::{Card, CardState, HostFacts, HostReport};
use crate::telemetry::names;

/// How old a gauge may be: well below any scrape interval.
const INTERVAL: Duration = Duration::from_secs(1);
/// Characters of a card's uuid in a label: `GPU-` and its first eight digits.
const UUID_CHARS: usize = 12;
const MIB: f64 = 1024.0 * 1024.0;
const KIB: f64 = 1024.0;
const MHZ: f64 = 1e6;

/// How a gauge's value is read from a card.
type Read = fn(&Card) -> Option<f64>;

/// The gauges of a card, and how each is read; what a card does not say, or says no more, reads as 0.
const CARD: &[(&str, Read)] = &[
    (names::GPU_UP, |card| Some(if card.state == CardState::Ok { 1.0 } else { 0.0 })),
    (names::GPU_UTILIZATION, |card| card.reading.gpu_pct.map(ratio)),
    (names::GPU_MEMORY_UTILIZATION, |card| card.reading.memory_pct.map(ratio)),
    (names::GPU_MEMORY_TOTAL, |card| card.reading.memory_total_mib.map(bytes)),
    (names::GPU_MEMORY_USED, |card| card.reading.memory_used_mib.map(bytes)),
    (names::GPU_TEMPERATURE, |card| card.reading.temperature_celsius.map(f64::from)),
    (names::GPU_POWER, |card| card.reading.power_draw_mw.map(watts)),
    (names::GPU_POWER_LIMIT, |card| card.reading.power_limit_mw.map(watts)),
    (names::GPU_SM_CLOCK, |card| card.reading.sm_clock_mhz.map(|mhz| f64::from(mhz) * MHZ)),
    (names::GPU_MEMORY_CLOCK, |card| card.reading.memory_clock_mhz.map(|mhz| f64::from(mhz) * MHZ)),
    (names::GPU_THROTTLED, |card| {
        let slowed = card.reading.throttle.as_ref()?.iter().any(|reason| reason.slows());
        Some(if slowed { 1.0 } else { 0.0 })
    }),
    (names::GPU_ECC_CORRECTED, |card| card.reading.ecc_corrected.map(count)),
    (names::GPU_ECC_UNCORRECTED, |card| card.reading.ecc_uncorrected.map(count)),
    (names::GPU_FAN, |card| card.reading.fan_pct.map(ratio)),
    (names::GPU_PCIE_RX, |card| card.reading.pcie_rx_kib_s.map(|kib| f64::from(kib) * KIB)),
    (names::GPU_PCIE_TX, |card| card.reading.pcie_tx_kib_s.map(|kib| f64::from(kib) * KIB)),
    (names::GPU_PROCESSES, |card| card.reading.processes_total.map(f64::from)),
];

/// The labels of a card. Their number is bounded by the cards that were ever seen.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Labels {
    gpu: String,
    uuid: String,
}

/// The gauges that were written, so that those of cards which are gone can be put to 0: a recorder
/// forgets nothing.
#[derive(Debug, Default)]
struct Written(BTreeSet<(Labels, usize)>);

/// Writes the gauges until stopped.
pub(super) async fn run(host: &LocalHost, stop: &CancellationToken) {
    let mut written = Written::default();
    loop {
        write(&host.report(), &mut written);
        if stop.run_until_cancelled(tokio::time::sleep(INTERVAL)).await.is_none() {
            return;
        }
    }
}

fn write(report: &HostReport, written: &mut Written) {
    facts(&report.facts.value);
    let gpus = &report.gpus;
    let up = gpus.value.driver().is_some() && !gpus.is_stale();
    gauge!(names::GPU_DRIVER_UP, "host" => LOCAL).set(if up { 1.0 } else { 0.0 });
    gauge!(names::GPU_SAMPLE_AGE, "host" => LOCAL).set(count(gpus.age_ms) / 1_000.0);
    let mut now = BTreeSet::new();
    // What was said too long ago is not how the cards are.
    let cards = if gpus.is_stale() { &[] } else { gpus.value.cards() };
    for card in cards {
        let labels = labels(card);
        for (at, (name, read)) in CARD.iter().enumerate() {
            if let Some(value) = read(card) {
                set(name, &labels, value);
                now.insert((labels.clone(), at));
            }
        }
    }
    for (labels, at) in written.0.difference(&now) {
        if let Some((name, _)) = CARD.get(*at) {
            set(name, labels, 0.0);
        }
    }
    written.0 = now;
}

fn facts(facts: &HostFacts) {
    let all = [
        (names::HOST_CPU, facts.cpu_pct.map(ratio)),
        (names::HOST_LOAD, facts.load_1m_milli.map(|milli| count(milli) / 1_000.0)),
        (names::HOST_MEMORY_TOTAL, facts.memory_total_mib.map(bytes)),
        (names::HOST_MEMORY_AVAILABLE, facts.memory_available_mib.map(bytes)),
        (names::HOST_DISK_TOTAL, facts.disk_total_mib.map(bytes)),
        (names::HOST_DISK_AVAILABLE, facts.disk_available_mib.map(bytes)),
    ];
    for (name, value) in all {
        if let Some(value) = value {
            gauge!(name, "host" => LOCAL).set(value);
        }
    }
}

fn set(name: &'static str, labels: &Labels, value: f64) {
    let Labels { gpu, uuid } = labels.clone();
    gauge!(name, "host" => LOCAL, "gpu" => gpu, "uuid" => uuid).set(value);
}

fn labels(card: &Card) -> Labels {
    Labels { gpu: card.index.to_string(), uuid: card.uuid.chars().take(UUID_CHARS).collect() }
}

fn ratio(pct: u32) -> f64 {
    f64::from(pct) / 100.0
}

fn watts(milliwatts: u32) -> f64 {
    f64::from(milliwatts) / 1_000.0
}

fn bytes(mib: u64) -> f64 {
    count(mib) * MIB
}

#[expect(clippy::cast_precision_loss, reason = "a gauge is a float; above 2^53 it is rounded")]
const fn count(number: u64) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests {
    use metrics_exporter_prometheus::PrometheusBuilder;

    use super::*;
    use crate::domain::{Aged, CardReading, Driver, Gpus, STALE_AFTER_MS, Throttle};

    fn report(card: Card, age_ms: u64) -> HostReport {
        let gpus = Gpus::Cards { driver: Driver::default(), cards: vec![card] };
        HostReport {
            facts: Aged { value: HostFacts::default(), observed_at_ms: 0, age_ms: 0 },
            gpus: Aged { value: gpus, observed_at_ms: 0, age_ms },
        }
    }

    fn card() -> Card {
        let reading = CardReading {
            gpu_pct: Some(37),
            memory_total_mib: Some(80 * 1024),
            memory_used_mib: Some(u64::MAX),
            power_draw_mw: Some(212_500),
            sm_clock_mhz: Some(1_980),
            throttle: Some(vec![Throttle::Idle, Throttle::HardwareThermal]),
            ..CardReading::default()
        };
        let uuid = "GPU-0123abcd-1111-2222-3333-444455556666".to_owned();
        Card { index: 3, uuid, pci_id: None, name: None, state: CardState::Ok, reading }
    }

    #[test]
    fn units_are_standard_and_what_is_gone_reads_as_nothing() {
        let recorder = PrometheusBuilder::new().build_recorder();
        let handle = recorder.handle();
        let labels = r#"host="local",gpu="3",uuid="GPU-0123abcd""#;
        let value = |name: &str| {
            let text = handle.render();
            let line = format!("{name}{{{labels}}} ");
            text.lines().find_map(|row| row.strip_prefix(&line)?.parse::<f64>().ok())
        };
        metrics::with_local_recorder(&recorder, || {
            let mut written = Written::default();
            write(&report(card(), 0), &mut written);
            for (name, expected) in [
                (names::GPU_UP, 1.0),
                (names::GPU_UTILIZATION, 0.37),
                (names::GPU_MEMORY_TOTAL, 85_899_345_920.0),
                (names::GPU_POWER, 212.5),
                (names::GPU_SM_CLOCK, 1.98e9),
                (names::GPU_THROTTLED, 1.0),
            ] {
                assert_eq!(value(name), Some(expected), "{name}");
            }
            assert!(value(names::GPU_MEMORY_USED).is_some_and(f64::is_finite));
            assert_eq!(value(names::GPU_TEMPERATURE), None, "what was never said is not written");

            let lost = CardState::Lost { since_ms: 1, reason: "off the bus".to_owned() };
            let gone = Card { state: lost, reading: CardReading::default(), ..card() };
            write(&report(gone, 0), &mut written);
            assert_eq!((value(names::GPU_UP), value(names::GPU_POWER)), (Some(0.0), Some(0.0)));

            write(&report(card(), 0), &mut written);
            assert_eq!(value(names::GPU_POWER), Some(212.5));
            write(&report(card(), STALE_AFTER_MS + 1), &mut written);
            assert_eq!((value(names::GPU_UP), value(names::GPU_POWER)), (Some(0.0), Some(0.0)));
            let text = handle.render();
            assert!(text.contains("relay_gpu_driver_up{host=\"local\"} 0\n"), "{text}");
            assert!(
                text.contains("relay_gpu_sample_age_seconds{host=\"local\"} 5.001\n"),
                "{text}"
            );
        });
    }
}
