//! From what a host says to the protocol's message.

use relay_proto::admin::v1 as proto;

use crate::domain::{Aged, Card, CardProcess, CardState, Gpus, HostFacts, HostReport, Throttle};

/// The message that operators are shown. `provider` is empty for the operator's own host. What was
/// said too long ago is called stale, and ages are whole seconds: one that is computed anew must
/// not look like a change.
#[must_use]
pub fn shown(id: &str, provider: &str, name: &str, report: HostReport) -> proto::Host {
    let stale = (report.facts.is_stale(), report.gpus.is_stale());
    let mut host = told(report);
    host.host_id = id.to_owned();
    host.provider_id = provider.to_owned();
    host.name = name.to_owned();
    host.age_ms = whole_seconds(host.age_ms);
    if stale.0 {
        host.set_state(proto::HostState::Stale);
    }
    if let Some(gpus) = &mut host.gpus {
        gpus.age_ms = whole_seconds(gpus.age_ms);
        if stale.1 {
            gpus.set_state(proto::GpusState::Stale);
        }
    }
    host
}

/// The message that an agent sends: exact ages, and no judgement of them.
#[must_use]
pub fn told(HostReport { facts, gpus }: HostReport) -> proto::Host {
    let state =
        if facts.observed_at_ms == 0 { proto::HostState::Starting } else { proto::HostState::Live };
    let HostFacts {
        cores,
        cpu_pct,
        load_1m_milli,
        load_5m_milli,
        load_15m_milli,
        memory_total_mib,
        memory_available_mib,
        disk_total_mib,
        disk_available_mib,
    } = facts.value;
    proto::Host {
        state: state.into(),
        observed_at_ms: facts.observed_at_ms,
        age_ms: facts.age_ms,
        cores,
        cpu_pct,
        load_1m_milli,
        load_5m_milli,
        load_15m_milli,
        memory_total_mib,
        memory_available_mib,
        disk_total_mib,
        disk_available_mib,
        gpus: Some(self::gpus(gpus)),
        ..proto::Host::default()
    }
}

const fn whole_seconds(ms: u64) -> u64 {
    ms / 1_000 * 1_000
}

fn gpus(gpus: Aged<Gpus>) -> proto::Gpus {
    use proto::GpusState::{Cards, NoCards, NoDriver, Off, Starting};
    let mut told = proto::Gpus {
        observed_at_ms: gpus.observed_at_ms,
        age_ms: gpus.age_ms,
        cards: gpus.value.cards().iter().map(card).collect(),
        ..proto::Gpus::default()
    };
    if let Some(driver) = gpus.value.driver() {
        told.driver_version.clone_from(&driver.version);
        told.cuda_version = driver.cuda.map(|version| version.to_string());
    }
    let state = match gpus.value {
        Gpus::Off => Off,
        Gpus::Unknown => Starting,
        Gpus::NoDriver { reason, since_ms, .. } => {
            told.state_reason = reason;
            told.state_since_ms = since_ms;
            NoDriver
        }
        Gpus::NoCards { .. } => NoCards,
        Gpus::Cards { .. } => Cards,
    };
    told.set_state(state);
    told
}

fn card(card: &Card) -> proto::Card {
    let (state, state_since_ms, state_reason) = match &card.state {
        CardState::Ok => (proto::CardState::Ok, 0, String::new()),
        CardState::Failing { since_ms, reason } => {
            (proto::CardState::Failing, *since_ms, reason.clone())
        }
        CardState::Lost { since_ms, reason } => (proto::CardState::Lost, *since_ms, reason.clone()),
    };
    let reading = &card.reading;
    let words = |reasons: &Vec<Throttle>| {
        reasons.iter().map(|reason| reason.as_str()).collect::<Vec<_>>().join(", ")
    };
    proto::Card {
        index: card.index,
        uuid: card.uuid.clone(),
        pci_id: card.pci_id.clone(),
        name: card.name.clone(),
        state: state.into(),
        state_reason,
        state_since_ms,
        gpu_pct: reading.gpu_pct,
        memory_pct: reading.memory_pct,
        memory_total_mib: reading.memory_total_mib,
        memory_used_mib: reading.memory_used_mib,
        temperature_celsius: reading.temperature_celsius,
        power_draw_mw: reading.power_draw_mw,
        power_limit_mw: reading.power_limit_mw,
        sm_clock_mhz: reading.sm_clock_mhz,
        memory_clock_mhz: reading.memory_clock_mhz,
        throttle: reading.throttle.as_ref().map(words),
        ecc_corrected: reading.ecc_corrected,
        ecc_uncorrected: reading.ecc_uncorrected,
        fan_pct: reading.fan_pct,
        pcie_rx_kib_s: reading.pcie_rx_kib_s,
        pcie_tx_kib_s: reading.pcie_tx_kib_s,
        mig: reading.mig,
        processes_total: reading.processes_total,
        processes: reading.processes.iter().map(process).collect(),
    }
}

fn process(process: &CardProcess) -> proto::CardProcess {
    proto::CardProcess {
        pid: process.pid,
        memory_used_mib: process.memory_used_mib,
        name: process.name.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{CardReading, Driver, STALE_AFTER_MS};

    fn shown(value: Gpus, age_ms: u64) -> proto::Gpus {
        let facts = Aged { value: HostFacts::default(), observed_at_ms: 7, age_ms: 0 };
        let gpus = Aged { value, observed_at_ms: 7, age_ms };
        super::shown("local", "", "here", HostReport { facts, gpus }).gpus.unwrap()
    }

    #[test]
    fn every_state_has_its_word_and_age_outweighs_them() {
        let driver = Driver { version: Some("1.2".to_owned()), cuda: None };
        let reason = "not loaded".to_owned();
        let gone = Gpus::NoDriver { reason, since_ms: 5, lost: Vec::new() };
        let all = [
            (Gpus::Off, proto::GpusState::Off),
            (Gpus::Unknown, proto::GpusState::Starting),
            (gone.clone(), proto::GpusState::NoDriver),
            (Gpus::NoCards { driver: driver.clone() }, proto::GpusState::NoCards),
            (Gpus::Cards { driver, cards: Vec::new() }, proto::GpusState::Cards),
        ];
        for (value, state) in all {
            assert_eq!(shown(value.clone(), STALE_AFTER_MS).state(), state, "{value:?}");
            let stale = shown(value, STALE_AFTER_MS + 1);
            assert_eq!((stale.state(), stale.age_ms), (proto::GpusState::Stale, 5_000));
        }
        let gone = shown(gone, 1_999);
        assert_eq!((gone.state_reason.as_str(), gone.state_since_ms), ("not loaded", 5));
        assert_eq!((gone.age_ms, gone.driver_version), (1_000, None));
    }

    #[test]
    fn what_is_absent_stays_absent() {
        let state = CardState::Lost { since_ms: 3, reason: "off the bus".to_owned() };
        let reading = CardReading::default();
        let mut told =
            Card { index: 1, uuid: "u".to_owned(), pci_id: None, name: None, state, reading };
        let lost = card(&told);
        assert_eq!((lost.state(), lost.state_since_ms), (proto::CardState::Lost, 3));
        assert_eq!((lost.gpu_pct, lost.throttle.as_deref(), lost.mig), (None, None, None));
        told.reading.throttle = Some(Vec::new());
        assert_eq!(card(&told).throttle.as_deref(), Some(""), "nothing holds it back");
        told.reading.throttle = Some(vec![Throttle::PowerCap, Throttle::SyncBoost]);
        assert_eq!(card(&told).throttle.as_deref(), Some("power cap, sync boost"));
    }
}
