//! Hosts and cards of the protocol as the console's own. Every text passes the sanitizer here.

use relay_proto::admin::v1 as proto;

use crate::model::gpus::{Card, GpuState, Host, Process};
use crate::text::clean;

fn said(text: Option<&String>) -> Option<String> {
    text.map(|text| clean(text))
}

pub(super) fn host(h: proto::Host) -> Host {
    let gpus = h.gpus.clone().unwrap_or_default();
    let state = match gpus.state() {
        proto::GpusState::Cards => GpuState::Ok,
        proto::GpusState::Stale => GpuState::Stale,
        proto::GpusState::NoDriver => GpuState::NoDriver,
        proto::GpusState::NoCards => GpuState::NoCards,
        proto::GpusState::Off => GpuState::Off,
        proto::GpusState::Starting | proto::GpusState::Unspecified => GpuState::Starting,
    };
    Host {
        id: clean(&h.host_id),
        name: clean(&h.name),
        provider: clean(&h.provider_id),
        stale: h.state() == proto::HostState::Stale,
        age_ms: h.age_ms,
        cores: h.cores,
        cpu_pct: h.cpu_pct,
        load_milli: h.load_1m_milli,
        memory_total_mib: h.memory_total_mib,
        memory_available_mib: h.memory_available_mib,
        disk_total_mib: h.disk_total_mib,
        disk_available_mib: h.disk_available_mib,
        state,
        reason: clean(&gpus.state_reason),
        since_ms: gpus.state_since_ms,
        gpus_age_ms: gpus.age_ms,
        driver: said(gpus.driver_version.as_ref()),
        cuda: said(gpus.cuda_version.as_ref()),
        cards: gpus.cards.iter().map(card).collect(),
    }
}

fn card(c: &proto::Card) -> Card {
    let state = match c.state() {
        proto::CardState::Failing => GpuState::Failing,
        proto::CardState::Lost => GpuState::Lost,
        proto::CardState::Ok | proto::CardState::Unspecified => GpuState::Ok,
    };
    let process = |p: &proto::CardProcess| Process {
        pid: p.pid,
        memory_mib: p.memory_used_mib,
        name: said(p.name.as_ref()),
    };
    Card {
        index: c.index,
        uuid: clean(&c.uuid),
        pci: said(c.pci_id.as_ref()),
        name: said(c.name.as_ref()),
        state,
        reason: clean(&c.state_reason),
        since_ms: c.state_since_ms,
        gpu_pct: c.gpu_pct,
        memory_pct: c.memory_pct,
        memory_total_mib: c.memory_total_mib,
        memory_used_mib: c.memory_used_mib,
        celsius: c.temperature_celsius,
        power_mw: c.power_draw_mw,
        power_limit_mw: c.power_limit_mw,
        sm_mhz: c.sm_clock_mhz,
        memory_mhz: c.memory_clock_mhz,
        throttle: said(c.throttle.as_ref()),
        ecc_corrected: c.ecc_corrected,
        ecc_uncorrected: c.ecc_uncorrected,
        fan_pct: c.fan_pct,
        rx_kib_s: c.pcie_rx_kib_s,
        tx_kib_s: c.pcie_tx_kib_s,
        mig: c.mig,
        processes_total: c.processes_total,
        processes: c.processes.iter().map(process).collect(),
    }
}
