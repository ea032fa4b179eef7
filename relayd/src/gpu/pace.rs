//! Looks once a second, on a thread of its own, and keeps the newest word.

use std::convert::Infallible;
use std::io;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::watch;

use crate::domain::Aged;

/// Time between the beginnings of two looks.
pub(super) const PERIOD: Duration = Duration::from_secs(1);
/// Least time between the end of a look and the next one: a driver that needs most of a second for
/// its answers is not asked all the time.
const REST: Duration = Duration::from_millis(500);

/// When a look began.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    /// For waiting.
    pub(super) now: Instant,
    /// For people.
    pub(super) unix_ms: i64,
}

impl Moment {
    fn now() -> Self {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Self { now: Instant::now(), unix_ms: i64::try_from(since.as_millis()).unwrap_or(i64::MAX) }
    }
}

/// When the next look is due.
#[derive(Debug)]
pub(super) struct Pace {
    due: Instant,
}

impl Pace {
    /// The first look is due at once.
    pub(super) const fn new(now: Instant) -> Self {
        Self { due: now }
    }

    /// How long to wait.
    pub(super) fn wait(&self, now: Instant) -> Duration {
        self.due.saturating_duration_since(now)
    }

    /// A look ended. Looks that were missed meanwhile are not made up for.
    pub(super) fn looked(&mut self, ended: Instant) {
        self.due = (self.due + PERIOD).max(ended + REST);
    }
}

/// What a look saw.
#[derive(Clone, Debug)]
pub(super) struct Seen<T> {
    /// When it began; for the value before the first look, when the thread began.
    at: Instant,
    /// The same for people; 0 before the first look.
    at_ms: i64,
    value: T,
}

impl<T: Clone> Seen<T> {
    /// The word, as old as it is at `now`.
    pub(super) fn aged(&self, now: Instant) -> Aged<T> {
        let age = now.saturating_duration_since(self.at).as_millis();
        Aged {
            value: self.value.clone(),
            observed_at_ms: self.at_ms,
            age_ms: u64::try_from(age).unwrap_or(u64::MAX),
        }
    }
}

/// A thread that looks, and what it saw last.
#[derive(Debug)]
pub(super) struct Looks<T> {
    newest: watch::Receiver<Seen<T>>,
    /// Never sent on: its end tells the thread to end.
    _lasting: mpsc::Sender<Infallible>,
}

impl<T: Send + Sync + 'static> Looks<T> {
    /// Starts the thread; `first` is the word until the first look has ended. The thread ends when
    /// this is dropped and its look has ended; whoever cannot wait for a look lets its handle go.
    pub(super) fn begin(
        name: &str,
        first: T,
        mut look: impl FnMut(Moment) -> T + Send + 'static,
    ) -> io::Result<(Self, JoinHandle<()>)> {
        let began = Seen { at: Instant::now(), at_ms: 0, value: first };
        let (publish, newest) = watch::channel(began);
        let (lasting, ended) = mpsc::channel::<Infallible>();
        let thread = thread::Builder::new().name(name.to_owned()).spawn(move || {
            let mut pace = Pace::new(Instant::now());
            loop {
                match ended.recv_timeout(pace.wait(Instant::now())) {
                    Err(RecvTimeoutError::Timeout) => {}
                    Ok(never) => match never {},
                    Err(RecvTimeoutError::Disconnected) => return,
                }
                let moment = Moment::now();
                let value = look(moment);
                pace.looked(Instant::now());
                publish.send_replace(Seen { at: moment.now, at_ms: moment.unix_ms, value });
            }
        })?;
        Ok((Self { newest, _lasting: lasting }, thread))
    }

    /// What readers hold.
    pub(super) fn newest(&self) -> watch::Receiver<Seen<T>> {
        self.newest.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_begin_a_second_apart_and_missed_ones_are_left_out() {
        let start = Instant::now();
        let at = |ms: u64| start + Duration::from_millis(ms);
        let mut pace = Pace::new(start);
        assert_eq!(pace.wait(start), Duration::ZERO);
        // Quick looks keep the beat whatever they take.
        pace.looked(at(40));
        assert_eq!(pace.wait(at(40)), Duration::from_millis(960));
        pace.looked(at(1_490));
        assert_eq!(pace.wait(at(1_490)), Duration::from_millis(510));
        // A slow one rests before the next.
        pace.looked(at(2_900));
        assert_eq!(pace.wait(at(2_900)), Duration::from_millis(500));
        // One that hung for ten minutes is followed by one, not by six hundred.
        pace.looked(at(600_000));
        assert_eq!(pace.wait(at(600_000)), Duration::from_millis(500));
        pace.looked(at(600_510));
        assert_eq!(pace.wait(at(600_510)), Duration::from_millis(990));
    }

    #[test]
    fn a_thread_ends_when_its_owner_does() {
        let (looks, thread) = Looks::begin("test", 0_u32, |_| 1).unwrap();
        let mut newest = looks.newest();
        while newest.borrow_and_update().value == 0 {
            std::thread::yield_now();
        }
        // Between two looks it waits for nearly a second, and does not wait for that to pass.
        drop(looks);
        thread.join().unwrap();
        assert!(newest.has_changed().is_err(), "nobody publishes any more");
    }

    #[test]
    fn a_word_ages() {
        let at = Instant::now();
        let seen = Seen { at, at_ms: 7, value: "x" };
        let aged = |ms| seen.aged(at + Duration::from_millis(ms));
        assert_eq!(aged(5_000).age_ms, 5_000);
        assert!(!aged(5_000).is_stale() && aged(5_001).is_stale());
        // A reader that looked at its clock a moment before the thread did.
        assert_eq!(seen.aged(at - Duration::from_millis(1)).age_ms, 0);
    }
}
