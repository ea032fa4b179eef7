//! The one file that calls the driver: opens its library and asks every card everything.
//!
//! A value that a card does not support is absent. An error that concerns the card or the driver
//! as a whole is told apart from that, because most errors of single values mean nothing.

use std::ffi::OsStr;

use nvml_wrapper::bitmasks::device::ThrottleReasons;
use nvml_wrapper::enum_wrappers::device::{
    Clock, EccCounter, MemoryError, PcieUtilCounter, TemperatureSensor,
};
use nvml_wrapper::enums::device::UsedGpuMemory;
use nvml_wrapper::error::NvmlError;
use nvml_wrapper::struct_wrappers::device::ProcessInfo;
use nvml_wrapper::{Device, Nvml, cuda_driver_version_major, cuda_driver_version_minor};

use super::host::{MIB, text};
use crate::domain::{
    CARDS_MAX, CardProcess, CardReading, CudaVersion, Driver, PROCESSES_MAX, Throttle,
};

/// What the driver says for a number that it does not have.
const NOT_AVAILABLE: u32 = u32::MAX;

/// The driver does not answer; its library has to be opened again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct DriverGone(pub(super) String);

/// What the driver said about one card.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// The card answered.
    Answered {
        index: u32,
        identity: Identity,
        reading: Box<CardReading>,
        /// What is wrong with it, where something is.
        failing: Option<String>,
    },
    /// The card did not answer.
    Silent { index: u32, uuid: Option<String>, trouble: Trouble },
}

/// What a card is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) uuid: String,
    pub(super) pci_id: Option<String>,
    pub(super) name: Option<String>,
}

/// Why a card did not answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    Lost(String),
    Failing(String),
}

/// An open library.
#[derive(Debug)]
pub(super) struct Session {
    nvml: Nvml,
    driver: Driver,
}

impl Session {
    /// Opens the driver's library.
    pub(super) fn open(library: &OsStr) -> Result<Self, DriverGone> {
        let gone = |error: NvmlError| {
            DriverGone(match error {
                NvmlError::LibloadingError(_) => {
                    format!("{} could not be loaded", library.to_string_lossy())
                }
                other => other.to_string(),
            })
        };
        let nvml = Nvml::builder().lib_path(library).init().map_err(gone)?;
        let version = nvml.sys_driver_version().ok().map(|version| text(&version));
        let cuda = nvml.sys_cuda_driver_version().ok().and_then(cuda_version);
        Ok(Self { nvml, driver: Driver { version, cuda } })
    }

    pub(super) fn driver(&self) -> Driver {
        self.driver.clone()
    }

    /// Asks every card. `turn` counts the looks: what takes long is asked of one card a turn.
    pub(super) fn look(&self, turn: u64) -> Result<Vec<Said>, DriverGone> {
        let count = self.nvml.device_count().map_err(|error| DriverGone(error.to_string()))?;
        let count = count.min(u32::try_from(CARDS_MAX).unwrap_or(u32::MAX));
        (0..count)
            .map(|index| self.card(index, turn % u64::from(count) == u64::from(index)))
            .collect()
    }

    fn card(&self, index: u32, slow_too: bool) -> Result<Said, DriverGone> {
        let mut uuid = None;
        match self.ask(index, slow_too, &mut uuid) {
            Ok(said) => Ok(said),
            Err(Broken::Driver(reason)) => Err(DriverGone(reason)),
            Err(Broken::Card(trouble)) => Ok(Said::Silent { index, uuid, trouble }),
        }
    }

    fn ask(&self, index: u32, slow_too: bool, uuid: &mut Option<String>) -> Result<Said, Broken> {
        let device = self.nvml.device_by_index(index).map_err(whole)?;
        let mut asked = Asked::default();
        let identity = Identity {
            uuid: text(&device.uuid().map_err(whole)?),
            pci_id: asked.value(device.pci_info())?.map(|pci| text(&pci.bus_id)),
            name: asked.value(device.name())?.map(|name| text(&name)),
        };
        *uuid = Some(identity.uuid.clone());
        let reading = asked.reading(&device, slow_too)?;
        Ok(Said::Answered { index, identity, reading: Box::new(reading), failing: asked.failing })
    }
}

/// A card or a driver that cannot be asked on.
enum Broken {
    Card(Trouble),
    Driver(String),
}

/// An error of a call without which a card is not known at all.
fn whole(error: NvmlError) -> Broken {
    match error {
        NvmlError::DriverNotLoaded | NvmlError::LibRmVersionMismatch | NvmlError::Uninitialized => {
            Broken::Driver(error.to_string())
        }
        NvmlError::GpuLost => Broken::Card(Trouble::Lost(error.to_string())),
        other => Broken::Card(Trouble::Failing(other.to_string())),
    }
}

/// Collects one card's values, and the first error that says something about the card itself.
#[derive(Default)]
struct Asked {
    failing: Option<String>,
}

impl Asked {
    fn value<T>(&mut self, answer: Result<T, NvmlError>) -> Result<Option<T>, Broken> {
        match answer {
            Ok(value) => Ok(Some(value)),
            Err(
                error @ (NvmlError::GpuLost
                | NvmlError::DriverNotLoaded
                | NvmlError::LibRmVersionMismatch
                | NvmlError::Uninitialized),
            ) => Err(whole(error)),
            Err(
                error @ (NvmlError::ResetRequired
                | NvmlError::IrqIssue
                | NvmlError::InsufficientPower
                | NvmlError::CorruptedInfoROM
                | NvmlError::OperatingSystem
                | NvmlError::Timeout),
            ) => {
                self.failing.get_or_insert_with(|| error.to_string());
                Ok(None)
            }
            // Not supported, not permitted, unknown to this driver: no fault of the card.
            Err(_) => Ok(None),
        }
    }

    fn number(&mut self, answer: Result<u32, NvmlError>) -> Result<Option<u32>, Broken> {
        Ok(self.value(answer)?.filter(|number| *number != NOT_AVAILABLE))
    }

    fn reading(&mut self, device: &Device<'_>, slow_too: bool) -> Result<CardReading, Broken> {
        let memory = device.memory_info();
        if let Err(NvmlError::Unknown) = &memory {
            // Every card has memory: an unknown error here is not a want of support.
            self.failing.get_or_insert_with(|| NvmlError::Unknown.to_string());
        }
        let memory = self.value(memory)?;
        let used = self.value(device.utilization_rates())?;
        let ecc = |kind| device.total_ecc_errors(kind, EccCounter::Volatile);
        let (pcie_rx_kib_s, pcie_tx_kib_s) = if slow_too {
            // The driver counts for 20 ms on each of these.
            (
                self.number(device.pcie_throughput(PcieUtilCounter::Receive))?,
                self.number(device.pcie_throughput(PcieUtilCounter::Send))?,
            )
        } else {
            (None, None)
        };
        let (processes_total, processes) = self.processes(device)?;
        Ok(CardReading {
            gpu_pct: used.as_ref().and_then(|used| share(used.gpu)),
            memory_pct: used.as_ref().and_then(|used| share(used.memory)),
            memory_total_mib: memory.as_ref().map(|memory| memory.total / MIB),
            memory_used_mib: memory.as_ref().map(|memory| memory.used / MIB),
            temperature_celsius: self.number(device.temperature(TemperatureSensor::Gpu))?,
            power_draw_mw: self.number(device.power_usage())?,
            power_limit_mw: self.number(device.enforced_power_limit())?,
            sm_clock_mhz: self.number(device.clock_info(Clock::SM))?,
            memory_clock_mhz: self.number(device.clock_info(Clock::Memory))?,
            throttle: self.value(device.current_throttle_reasons())?.map(reasons),
            ecc_corrected: self.value(ecc(MemoryError::Corrected))?,
            ecc_uncorrected: self.value(ecc(MemoryError::Uncorrected))?,
            fan_pct: self.number(device.fan_speed(0))?,
            pcie_rx_kib_s,
            pcie_tx_kib_s,
            mig: self.value(device.mig_mode())?.map(|mig| mig.current == 1),
            processes_total,
            processes,
        })
    }

    /// How many processes there are, and the largest of them.
    fn processes(
        &mut self,
        device: &Device<'_>,
    ) -> Result<(Option<u32>, Vec<CardProcess>), Broken> {
        let compute = self.value(device.running_compute_processes())?;
        let graphics = self.value(device.running_graphics_processes())?;
        if compute.is_none() && graphics.is_none() {
            return Ok((None, Vec::new()));
        }
        let mut all: Vec<_> = compute
            .into_iter()
            .chain(graphics)
            .flatten()
            .map(|process| process_of(&process))
            .collect();
        // A process that computes and draws stands in both lists.
        all.sort_unstable_by_key(|process| process.pid);
        all.dedup_by_key(|process| process.pid);
        let total = u32::try_from(all.len()).unwrap_or(u32::MAX);
        all.sort_by_key(|process| std::cmp::Reverse(process.memory_used_mib));
        all.truncate(PROCESSES_MAX);
        for process in &mut all {
            process.name = name_of(process.pid);
        }
        Ok((Some(total), all))
    }
}

fn process_of(process: &ProcessInfo) -> CardProcess {
    let memory_used_mib = match process.used_gpu_memory {
        UsedGpuMemory::Used(bytes) => Some(bytes / MIB),
        UsedGpuMemory::Unavailable => None,
    };
    CardProcess { pid: process.pid, memory_used_mib, name: None }
}

/// The name of a process, as far as the system lets us know it.
fn name_of(pid: u32) -> Option<String> {
    let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
    Some(text(name.trim_end())).filter(|name| !name.is_empty())
}

/// A share above the whole is no share.
fn share(pct: u32) -> Option<u32> {
    (pct <= 100).then_some(pct)
}

/// `12040` is 12.4; nothing and less are no versions.
fn cuda_version(number: i32) -> Option<CudaVersion> {
    if number <= 0 {
        return None;
    }
    let major = u32::try_from(cuda_driver_version_major(number)).ok()?;
    let minor = u32::try_from(cuda_driver_version_minor(number)).ok()?;
    Some(CudaVersion { major, minor })
}

/// The driver's bits in our words.
fn reasons(bits: ThrottleReasons) -> Vec<Throttle> {
    let bit = |reason| match reason {
        Throttle::Idle => ThrottleReasons::GPU_IDLE,
        Throttle::ApplicationClocks => ThrottleReasons::APPLICATIONS_CLOCKS_SETTING,
        Throttle::PowerCap => ThrottleReasons::SW_POWER_CAP,
        Throttle::HardwareSlowdown => ThrottleReasons::HW_SLOWDOWN,
        Throttle::SyncBoost => ThrottleReasons::SYNC_BOOST,
        Throttle::SoftwareThermal => ThrottleReasons::SW_THERMAL_SLOWDOWN,
        Throttle::HardwareThermal => ThrottleReasons::HW_THERMAL_SLOWDOWN,
        Throttle::PowerBrake => ThrottleReasons::HW_POWER_BRAKE_SLOWDOWN,
        Throttle::DisplayClocks => ThrottleReasons::DISPLAY_CLOCK_SETTING,
    };
    Throttle::ALL.into_iter().filter(|reason| bits.contains(bit(*reason))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn throttle_bits_become_words() {
        let words = |bits: u64| {
            let bits = ThrottleReasons::from_bits_truncate(bits);
            reasons(bits).into_iter().map(Throttle::as_str).collect::<Vec<_>>().join(", ")
        };
        assert_eq!(words(0), "");
        // The numbers of nvml.h.
        for (bit, word) in [
            (0x1, "idle"),
            (0x2, "application clocks"),
            (0x4, "power cap"),
            (0x8, "hardware slowdown"),
            (0x10, "sync boost"),
            (0x20, "software thermal"),
            (0x40, "hardware thermal"),
            (0x80, "power brake"),
            (0x100, "display clocks"),
        ] {
            assert_eq!(words(bit), word);
        }
        assert_eq!(words(0x4 | 0x40), "power cap, hardware thermal");
        assert_eq!(words(1 << 40), "", "a reason of a later driver");
        assert_eq!(reasons(ThrottleReasons::all()), Throttle::ALL);
    }

    #[test]
    fn versions_of_cuda_are_read() {
        let read = |number| cuda_version(number).map(|version| version.to_string());
        assert_eq!(read(12_040).as_deref(), Some("12.4"));
        assert_eq!(read(13_000).as_deref(), Some("13.0"));
        assert_eq!((read(0), read(-1)), (None, None));
    }
}
