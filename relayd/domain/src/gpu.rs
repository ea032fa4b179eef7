//! GPUs as a host's driver tells of them.
//!
//! A value that a card does not support is absent: that is ordinary and no fault. No driver, no
//! card, and a card that fails or is gone are states like any other, so that whoever shows a host
//! has to say them. Numbers carry their unit in their name; all of them are whole.

use std::fmt;

/// Most cards of one host that are kept, lost ones included: four times the largest machine sold.
pub const CARDS_MAX: usize = 64;
/// Most processes of one card that are kept, the largest first.
pub const PROCESSES_MAX: usize = 32;

/// A host's GPUs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Gpus {
    /// Nobody looks: switched off by the configuration.
    Off,
    /// Nobody has looked yet.
    Unknown,
    /// There is no driver to ask, or it does not answer.
    NoDriver {
        /// Why, in one line.
        reason: String,
        /// Since when, in milliseconds since the Unix epoch.
        since_ms: i64,
        /// The cards that it had told of before it went.
        lost: Vec<Card>,
    },
    /// The driver answers and has no card.
    NoCards {
        /// The driver.
        driver: Driver,
    },
    /// Cards, ordered by index; the lost ones are among them.
    Cards {
        /// The driver.
        driver: Driver,
        /// At most [`CARDS_MAX`].
        cards: Vec<Card>,
    },
}

impl Gpus {
    /// Every card that is known, whatever its state.
    #[must_use]
    pub fn cards(&self) -> &[Card] {
        match self {
            Self::Off | Self::Unknown | Self::NoCards { .. } => &[],
            Self::NoDriver { lost, .. } => lost,
            Self::Cards { cards, .. } => cards,
        }
    }

    /// The driver, where it answers.
    #[must_use]
    pub const fn driver(&self) -> Option<&Driver> {
        match self {
            Self::NoCards { driver } | Self::Cards { driver, .. } => Some(driver),
            Self::Off | Self::Unknown | Self::NoDriver { .. } => None,
        }
    }
}

/// The driver of a host's GPUs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Driver {
    /// Its version, such as `550.54.15`.
    pub version: Option<String>,
    /// The newest CUDA that it runs.
    pub cuda: Option<CudaVersion>,
}

/// A version of CUDA.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CudaVersion {
    /// `12` of `12.4`.
    pub major: u32,
    /// `4` of `12.4`.
    pub minor: u32,
}

impl fmt::Display for CudaVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// One card.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Card {
    /// Its place in the driver's order, which may change when a card goes.
    pub index: u32,
    /// Its identity, `GPU-...`; empty while the driver has not said it.
    pub uuid: String,
    /// Where it sits, `00000000:17:00.0`.
    pub pci_id: Option<String>,
    /// What it is, such as `NVIDIA H100 80GB HBM3`.
    pub name: Option<String>,
    /// How it is.
    pub state: CardState,
    /// What it last said; all absent once it is lost.
    pub reading: CardReading,
}

/// How a card is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CardState {
    /// It answers.
    Ok,
    /// It answers, and the driver says that something is wrong with it.
    Failing {
        /// Since when, in milliseconds since the Unix epoch.
        since_ms: i64,
        /// What the driver said.
        reason: String,
    },
    /// It fell off the bus, or the driver no longer tells of it.
    Lost {
        /// Since when, in milliseconds since the Unix epoch.
        since_ms: i64,
        /// What the driver said.
        reason: String,
    },
}

/// What a card says about itself at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CardReading {
    /// Share of the last second in which something ran, 0 to 100.
    pub gpu_pct: Option<u32>,
    /// Share of the last second in which memory was read or written, 0 to 100.
    pub memory_pct: Option<u32>,
    /// All of its memory.
    pub memory_total_mib: Option<u64>,
    /// What is taken of it.
    pub memory_used_mib: Option<u64>,
    /// Of the chip.
    pub temperature_celsius: Option<u32>,
    /// What it draws.
    pub power_draw_mw: Option<u32>,
    /// The most that it may draw.
    pub power_limit_mw: Option<u32>,
    /// Clock of its processors.
    pub sm_clock_mhz: Option<u32>,
    /// Clock of its memory.
    pub memory_clock_mhz: Option<u32>,
    /// What holds its clocks back now; empty when nothing does.
    pub throttle: Option<Vec<Throttle>>,
    /// Memory errors that were corrected since the driver was loaded.
    pub ecc_corrected: Option<u64>,
    /// Memory errors that could not be corrected since the driver was loaded.
    pub ecc_uncorrected: Option<u64>,
    /// Speed of its first fan; some fans turn faster than their nominal 100.
    pub fan_pct: Option<u32>,
    /// What it receives over its bus, in KiB a second. Measured on one card of a host at a time.
    pub pcie_rx_kib_s: Option<u32>,
    /// What it sends over its bus, in KiB a second. Measured on one card of a host at a time.
    pub pcie_tx_kib_s: Option<u32>,
    /// Whether it is divided into instances.
    pub mig: Option<bool>,
    /// How many processes use it, those left out of `processes` included.
    pub processes_total: Option<u32>,
    /// The largest of them, at most [`PROCESSES_MAX`].
    pub processes: Vec<CardProcess>,
}

/// A process that uses a card.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CardProcess {
    /// As the host counts processes.
    pub pid: u32,
    /// What it holds of the card's memory, where the driver says so.
    pub memory_used_mib: Option<u64>,
    /// Its name, where it may be read.
    pub name: Option<String>,
}

/// What holds a card's clocks back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Throttle {
    /// Nothing runs.
    Idle,
    /// Clocks that somebody set.
    ApplicationClocks,
    /// The power limit.
    PowerCap,
    /// Half the clocks or less: heat, power or an outer signal.
    HardwareSlowdown,
    /// Another card of its group.
    SyncBoost,
    /// Heat, by the driver.
    SoftwareThermal,
    /// Heat, by the card itself.
    HardwareThermal,
    /// The power supply asked for it.
    PowerBrake,
    /// Clocks of a display.
    DisplayClocks,
}

impl Throttle {
    /// Every reason.
    pub const ALL: [Self; 9] = [
        Self::Idle,
        Self::ApplicationClocks,
        Self::PowerCap,
        Self::HardwareSlowdown,
        Self::SyncBoost,
        Self::SoftwareThermal,
        Self::HardwareThermal,
        Self::PowerBrake,
        Self::DisplayClocks,
    ];

    /// In plain words.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::ApplicationClocks => "application clocks",
            Self::PowerCap => "power cap",
            Self::HardwareSlowdown => "hardware slowdown",
            Self::SyncBoost => "sync boost",
            Self::SoftwareThermal => "software thermal",
            Self::HardwareThermal => "hardware thermal",
            Self::PowerBrake => "power brake",
            Self::DisplayClocks => "display clocks",
        }
    }

    /// Whether the card is slower than its owner wants: heat or power, not a setting and not idle.
    #[must_use]
    pub const fn slows(self) -> bool {
        match self {
            Self::PowerCap
            | Self::HardwareSlowdown
            | Self::SoftwareThermal
            | Self::HardwareThermal
            | Self::PowerBrake => true,
            Self::Idle | Self::ApplicationClocks | Self::SyncBoost | Self::DisplayClocks => false,
        }
    }
}

impl fmt::Display for Throttle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
