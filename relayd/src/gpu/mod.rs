//! What this host says about itself: GPUs through NVML, processors, memory and disk through /proc.
//!
//! Calls into the driver block, and a card that dies may keep one for minutes or for good. So the
//! driver is asked on an OS thread of its own, once a second, and nobody ever waits for it: readers
//! take the newest word and its age, and a thread that hangs is seen by that age. The host's own
//! numbers are read on a second thread, so that they go on while the driver hangs.
//!
//! Invariants: no driver, no card, a lost card and a driver that went away or was replaced while
//! we ran are states, told once in the log and shown, and never a reason not to start or to stop.
//! Both threads end within a second when the [`Sampler`] is dropped, but for a call that the driver
//! does not return from, which no thread can end.

mod host;
mod metrics;
mod nvml;
mod pace;
mod roster;
mod watcher;

#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::config::GpuConfig;
use crate::domain::{Aged, Gpus, HostFacts, HostReport};
use host::HostWatcher;
use pace::{Looks, Seen};
use watcher::Watcher;

/// The name of the host that relayd runs on, in lists and in metrics.
pub const LOCAL: &str = "local";

/// The driver's library where the configuration names none: the name that its installer gives it.
const LIBRARY: &str = "libnvidia-ml.so.1";

/// Owner of the threads that look at this host.
#[derive(Debug)]
pub struct Sampler {
    name: Arc<str>,
    facts: Looks<HostFacts>,
    gpus: Option<Looks<Gpus>>,
}

/// The newest word of this host about itself; cheap to clone.
#[derive(Clone, Debug)]
pub struct LocalHost {
    name: Arc<str>,
    facts: watch::Receiver<Seen<HostFacts>>,
    gpus: Option<watch::Receiver<Seen<Gpus>>>,
}

impl Sampler {
    /// Begins to look at this host; `data_dir` is the folder whose file system is told of.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(config: &GpuConfig, data_dir: &Path) -> io::Result<Self> {
        let mut host = HostWatcher::new(data_dir.to_path_buf());
        let (facts, _) = Looks::begin("host-facts", HostFacts::default(), move |_| host.look())?;
        let gpus = if config.enabled {
            let library = config.nvml_library.as_ref().map(|path| path.as_os_str().to_owned());
            let mut gpus = Watcher::new(library.unwrap_or_else(|| OsString::from(LIBRARY)));
            let (looks, _) = Looks::begin("gpus", Gpus::Unknown, move |moment| gpus.look(moment))?;
            Some(looks)
        } else {
            None
        };
        Ok(Self { name: host::name().into(), facts, gpus })
    }

    /// What readers hold.
    #[must_use]
    pub fn host(&self) -> LocalHost {
        LocalHost {
            name: Arc::clone(&self.name),
            facts: self.facts.newest(),
            gpus: self.gpus.as_ref().map(Looks::newest),
        }
    }
}

impl LocalHost {
    /// What the system calls this host.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The newest word and its age. Never waits.
    #[must_use]
    pub fn report(&self) -> HostReport {
        self.report_at(Instant::now())
    }

    fn report_at(&self, now: Instant) -> HostReport {
        let facts = self.facts.borrow().aged(now);
        let gpus = match &self.gpus {
            Some(gpus) => gpus.borrow().aged(now),
            None => Aged { value: Gpus::Off, observed_at_ms: facts.observed_at_ms, age_ms: 0 },
        };
        HostReport { facts, gpus }
    }

    /// Writes this host's gauges once a second until stopped.
    pub async fn write_gauges(&self, stop: CancellationToken) {
        metrics::run(self, &stop).await;
    }
}
