//! How the link stands, and what of the model's data it keeps fresh.

use std::collections::{BTreeMap, VecDeque};

use super::Now;

/// Silence on a watched stream that is called lag.
pub(crate) const LAG_AFTER_MS: u64 = 3_000;
/// Silence after which the link is given up and made again.
pub(crate) const STALE_AFTER_MS: u64 = 10_000;
/// A round trip that is called slow.
pub(crate) const SLOW_ROUND_TRIP_MS: u64 = 250;
/// Lines of the link's own log.
const LOG_MAX: usize = 100;
/// Failures in a row after which the reason is told; at once where there never was a link.
const TELL_AFTER: u32 = 3;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum LinkState {
    #[default]
    Connecting,
    Live,
    /// A watched stream has been silent for [`LAG_AFTER_MS`].
    Lagging,
    /// Silent for [`STALE_AFTER_MS`]: the link is given up.
    Stale,
    /// Waits until this moment (the console's own clock) before it tries again.
    Backoff {
        failures: u32,
        until_ms: u64,
    },
}

/// What can be watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Stream {
    Overview,
    Hosts,
    Backends,
    Models,
    Keys,
    Providers,
    Requests,
    Events,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LogLine {
    pub(crate) at_ms: i64,
    pub(crate) text: String,
}

/// The link as the screens show it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Link {
    pub(crate) state: LinkState,
    /// When each stream last said anything, on the console's own clock.
    pub(crate) heard: BTreeMap<Stream, u64>,
    /// Streams that this daemon does not have, or not for this role, and why.
    pub(crate) missing: BTreeMap<Stream, String>,
    /// Why the last attempt failed, in one sentence.
    pub(crate) problem: Option<String>,
    pub(crate) log: VecDeque<LogLine>,
    /// Bytes of messages since the start.
    pub(crate) bytes_in: u64,
    /// Bytes of messages in the second before the last tick.
    pub(crate) bytes_per_s: u64,
    bytes_at_tick: u64,
    /// It has been live at all.
    pub(crate) was_live: bool,
    /// Milliseconds to the daemon and back, at the last connection.
    pub(crate) round_trip_ms: Option<u64>,
    /// When it was last live.
    pub(crate) live_until: Option<Now>,
}

impl LinkState {
    /// Numbers on the screen are true now.
    pub(crate) const fn is_live(self) -> bool {
        matches!(self, Self::Live | Self::Lagging)
    }
}

impl Stream {
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Overview => "overview",
            Self::Hosts => "hosts",
            Self::Backends => "backends",
            Self::Models => "models",
            Self::Keys => "keys",
            Self::Providers => "providers",
            Self::Requests => "requests",
            Self::Events => "events",
        }
    }
}

impl Link {
    /// Milliseconds since the stalest of these streams spoke; `None` when one never did.
    pub(crate) fn age_ms(&self, streams: &[Stream], now: Now) -> Option<u64> {
        streams
            .iter()
            .filter(|stream| !self.missing.contains_key(stream))
            .map(|stream| self.heard.get(stream).map(|at| now.mono_ms.saturating_sub(*at)))
            .try_fold(0, |oldest, age| age.map(|age| oldest.max(age)))
    }

    pub(crate) fn note(&mut self, at_ms: i64, text: String) {
        if self.log.len() == LOG_MAX {
            self.log.pop_front();
        }
        self.log.push_back(LogLine { at_ms, text });
    }

    /// The reason of the trouble, once it has lasted.
    pub(crate) fn told(&self) -> Option<&str> {
        match self.state {
            LinkState::Backoff { failures, .. } if failures >= TELL_AFTER => {
                self.problem.as_deref()
            }
            LinkState::Backoff { .. } | LinkState::Connecting if !self.was_live => {
                self.problem.as_deref()
            }
            _ => None,
        }
    }

    /// The line is slow: data comes every other second.
    pub(crate) fn is_slow(&self) -> bool {
        self.round_trip_ms.is_some_and(|ms| ms > SLOW_ROUND_TRIP_MS)
    }

    /// Once a second.
    pub(crate) fn tick(&mut self) {
        self.bytes_per_s = self.bytes_in.saturating_sub(self.bytes_at_tick);
        self.bytes_at_tick = self.bytes_in;
    }
}
