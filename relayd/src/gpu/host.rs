//! Processors, memory and disk of this host.

use std::path::PathBuf;

use super::LOCAL;
use crate::domain::HostFacts;

/// Bytes in a MiB.
pub(super) const MIB: u64 = 1024 * 1024;

/// Longest text of a system or driver that is kept, in characters: names and versions are half as
/// long.
const TEXT_MAX: usize = 128;

/// What the system calls this host; our own word for it where it has none.
pub(super) fn name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    match name.trim() {
        "" => LOCAL.to_owned(),
        name => text(name),
    }
}

/// A foreign text, bounded and without anything that could steer a terminal or a log.
pub(super) fn text(raw: &str) -> String {
    raw.chars().take(TEXT_MAX).map(|c| if c.is_control() { '?' } else { c }).collect()
}

/// Looks at this host; remembers the processors' times, because their use is a difference.
#[derive(Debug)]
pub(super) struct HostWatcher {
    data_dir: PathBuf,
    before: Option<Times>,
}

/// Time of all processors since the host started, in the kernel's ticks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Times {
    busy: u64,
    all: u64,
}

impl HostWatcher {
    pub(super) const fn new(data_dir: PathBuf) -> Self {
        Self { data_dir, before: None }
    }

    /// What can be read now; what cannot is absent.
    pub(super) fn look(&mut self) -> HostFacts {
        let mut facts = HostFacts { cores: cores(), ..HostFacts::default() };
        if let Some(now) = times() {
            facts.cpu_pct = self.before.and_then(|before| used_pct(before, now));
            self.before = Some(now);
        }
        if let Some([one, five, fifteen]) = load_milli() {
            facts.load_1m_milli = Some(one);
            facts.load_5m_milli = Some(five);
            facts.load_15m_milli = Some(fifteen);
        }
        if let Some((total, available)) = memory_mib() {
            facts.memory_total_mib = Some(total);
            facts.memory_available_mib = available;
        }
        if let Ok(disk) = rustix::fs::statvfs(&self.data_dir) {
            let mib = |blocks: u64| blocks.saturating_mul(disk.f_frsize) / MIB;
            facts.disk_total_mib = Some(mib(disk.f_blocks));
            facts.disk_available_mib = Some(mib(disk.f_bavail));
        }
        facts
    }
}

fn cores() -> Option<u32> {
    std::thread::available_parallelism().ok().and_then(|n| u32::try_from(n.get()).ok())
}

/// Share of the processors' time between two looks in which they did something.
fn used_pct(before: Times, now: Times) -> Option<u32> {
    let all = now.all.checked_sub(before.all).filter(|all| *all > 0)?;
    // The kernel's idle time may go back by a tick.
    let busy = now.busy.saturating_sub(before.busy).min(all);
    u32::try_from(u128::from(busy) * 100 / u128::from(all)).ok()
}

#[cfg(target_os = "linux")]
mod system {
    use procfs::{Current as _, CurrentSI as _, KernelStats, LoadAverage, Meminfo};

    use super::{MIB, Times};

    pub(super) fn times() -> Option<Times> {
        let cpu = KernelStats::current().ok()?.total;
        let idle = cpu.idle.saturating_add(cpu.iowait.unwrap_or(0));
        // Time of guests is counted in `user` and `nice` already.
        let busy = [
            cpu.user,
            cpu.nice,
            cpu.system,
            cpu.irq.unwrap_or(0),
            cpu.softirq.unwrap_or(0),
            cpu.steal.unwrap_or(0),
        ];
        let busy = busy.into_iter().fold(0, u64::saturating_add);
        Some(Times { busy, all: busy.saturating_add(idle) })
    }

    pub(super) fn load_milli() -> Option<[u64; 3]> {
        let load = LoadAverage::current().ok()?;
        Some([load.one, load.five, load.fifteen].map(milli))
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a float that is out of range becomes the nearest number, and NaN becomes 0"
    )]
    pub(super) fn milli(load: f32) -> u64 {
        (f64::from(load) * 1_000.0).round() as u64
    }

    pub(super) fn memory_mib() -> Option<(u64, Option<u64>)> {
        let memory = Meminfo::current().ok()?;
        Some((memory.mem_total / MIB, memory.mem_available.map(|bytes| bytes / MIB)))
    }
}

/// Systems without /proc tell nothing of the kind.
#[cfg(not(target_os = "linux"))]
mod system {
    use super::Times;

    pub(super) const fn times() -> Option<Times> {
        None
    }

    pub(super) const fn load_milli() -> Option<[u64; 3]> {
        None
    }

    pub(super) const fn memory_mib() -> Option<(u64, Option<u64>)> {
        None
    }
}

use system::{load_milli, memory_mib, times};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_texts_are_bounded_and_harmless() {
        assert_eq!(text("H100\u{1b}[2J\n"), "H100?[2J?");
        assert_eq!(text(&"x".repeat(1_000)).len(), TEXT_MAX);
        assert!(!name().is_empty());
    }

    #[test]
    fn the_processors_use_is_a_difference() {
        let times = |busy, all| Times { busy, all };
        assert_eq!(used_pct(times(100, 1_000), times(150, 1_200)), Some(25));
        assert_eq!(used_pct(times(100, 1_000), times(100, 1_000)), None, "no time passed");
        assert_eq!(used_pct(times(100, 1_000), times(99, 1_001)), Some(0), "idle went back");
        assert_eq!(used_pct(times(0, 0), times(u64::MAX, u64::MAX)), Some(100));
        assert_eq!(used_pct(times(5, 10), times(1, 2)), None, "counters began anew");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn loads_that_are_no_numbers_do_not_spread() {
        assert_eq!(
            [1.25, 0.0, -1.0, f32::NAN, f32::INFINITY].map(system::milli),
            [1_250, 0, 0, 0, u64::MAX]
        );
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_host_has_processors_memory_and_a_disk() {
        let mut host = HostWatcher::new(std::env::temp_dir());
        let first = host.look();
        assert_eq!(first.cpu_pct, None, "there is nothing to compare with yet");
        assert!(first.cores.unwrap() >= 1);
        let (total, free) = (first.memory_total_mib.unwrap(), first.memory_available_mib.unwrap());
        // The kernel itself needs some; nobody has a PiB yet: the unit is right.
        assert!((16..1 << 30).contains(&total) && free <= total, "{free} of {total} MiB");
        assert!(first.disk_available_mib.unwrap() <= first.disk_total_mib.unwrap());
        assert!(first.load_1m_milli.is_some());
        let missing = HostWatcher::new("/nowhere/at/all".into()).look();
        assert_eq!((missing.disk_total_mib, missing.cores), (None, first.cores));
    }
}
