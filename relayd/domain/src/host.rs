//! A host as it tells of itself: its processors, memory and disk, and how old that word is.

use crate::Gpus;

/// Age above which a word is no longer taken for the present: five looks were missed.
pub const STALE_AFTER_MS: u64 = 5_000;

/// What a host says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostReport {
    /// Its processors, memory and disk.
    pub facts: Aged<HostFacts>,
    /// Its GPUs.
    pub gpus: Aged<Gpus>,
}

/// A word, and how old it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Aged<T> {
    /// What was said.
    pub value: T,
    /// When, in milliseconds since the Unix epoch; 0 before the first word.
    pub observed_at_ms: i64,
    /// How long ago, in milliseconds; before the first word, how long it has been waited for.
    pub age_ms: u64,
}

impl<T> Aged<T> {
    /// Whether nothing new was heard for too long: whoever looks hangs or is gone, and what stands
    /// here is what was, not what is.
    #[must_use]
    pub const fn is_stale(&self) -> bool {
        self.age_ms > STALE_AFTER_MS
    }
}

/// Processors, memory and disk. What the system does not tell is absent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostFacts {
    /// Logical processors.
    pub cores: Option<u32>,
    /// Share of all processors' time that was used since the look before, 0 to 100.
    pub cpu_pct: Option<u32>,
    /// Load of the last minute, in thousandths.
    pub load_1m_milli: Option<u64>,
    /// Load of the last five minutes, in thousandths.
    pub load_5m_milli: Option<u64>,
    /// Load of the last fifteen minutes, in thousandths.
    pub load_15m_milli: Option<u64>,
    /// All memory.
    pub memory_total_mib: Option<u64>,
    /// What a new process could have of it.
    pub memory_available_mib: Option<u64>,
    /// The file system of the data directory.
    pub disk_total_mib: Option<u64>,
    /// What is free of it for relayd.
    pub disk_available_mib: Option<u64>,
}
