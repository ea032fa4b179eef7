//! Keeps the driver's library open, opens it again when that may help, and says what changed.

use std::ffi::OsString;
use std::time::{Duration, Instant};

use super::nvml::{DriverGone, Session};
use super::pace::Moment;
use super::roster::Roster;
use crate::domain::{Card, CardState, Gpus};

/// Time until the library is opened again, the first time and at most. A driver that is being
/// replaced is back within seconds; one that was never there costs a look at a folder a minute.
const RETRY_MIN: Duration = Duration::from_secs(5);
const RETRY_MAX: Duration = Duration::from_secs(60);

/// The driver as it was found at the last look.
#[derive(Debug)]
enum Link {
    /// Boxed: an open library is a table of more than a thousand symbols.
    Open(Box<Session>),
    Closed(DriverGone),
}

/// Asks the driver, through everything that may befall it.
#[derive(Debug)]
pub(super) struct Watcher {
    named: OsString,
    link: Link,
    roster: Roster,
    retry: Retry,
    /// Counts looks.
    turn: u64,
    /// What was told last.
    told: Gpus,
}

impl Watcher {
    pub(super) fn new(named: OsString) -> Self {
        Self {
            named,
            link: Link::Closed(DriverGone(String::new())),
            roster: Roster::default(),
            retry: Retry::default(),
            turn: 0,
            told: Gpus::Unknown,
        }
    }

    /// How the GPUs are now. Blocks for as long as the driver does.
    pub(super) fn look(&mut self, Moment { now, unix_ms }: Moment) -> Gpus {
        let wants_opening = match &self.link {
            Link::Closed(_) => true,
            // A card that fell off the bus is only found again by a driver that starts anew.
            Link::Open(_) => self.roster.misses_any(),
        };
        if wants_opening && self.retry.due(now) {
            self.retry.taken(now);
            self.open();
        }
        self.turn = self.turn.wrapping_add(1);
        let said = match &self.link {
            Link::Closed(gone) => Err(gone.clone()),
            Link::Open(session) => session.look(self.turn).map(|said| (session.driver(), said)),
        };
        let gpus = match said {
            Ok((driver, said)) => self.roster.seen(driver, said, unix_ms),
            Err(gone) => {
                let gpus = self.roster.driver_gone(&gone.0, unix_ms);
                if matches!(self.link, Link::Open(_)) {
                    self.link = Link::Closed(gone);
                    self.retry.begin(now);
                }
                gpus
            }
        };
        if gpus.driver().is_some() {
            if !self.roster.misses_any() {
                self.retry = Retry::default();
            } else if self.retry.next.is_none() {
                self.retry.begin(now);
            }
        }
        tell(&self.told, &gpus);
        self.told.clone_from(&gpus);
        gpus
    }

    /// Opens the library, after whatever was open is closed: a library that is open twice is one.
    fn open(&mut self) {
        self.link = Link::Closed(DriverGone("the driver is being opened".to_owned()));
        self.link = match Session::open(&self.named) {
            Ok(session) => Link::Open(Box::new(session)),
            Err(gone) => Link::Closed(gone),
        };
    }
}

/// When something may be tried again: at once, then after longer and longer.
#[derive(Debug, Default)]
struct Retry {
    next: Option<(Instant, Duration)>,
}

impl Retry {
    fn due(&self, now: Instant) -> bool {
        self.next.is_none_or(|(at, _)| now >= at)
    }

    /// Something just broke: the first try is not at once.
    fn begin(&mut self, now: Instant) {
        self.next = Some((now + RETRY_MIN, RETRY_MIN));
    }

    fn taken(&mut self, now: Instant) {
        let wait = self.next.map_or(RETRY_MIN, |(_, wait)| (wait * 2).min(RETRY_MAX));
        self.next = Some((now + wait, wait));
    }
}

/// Logs what changed, once.
fn tell(before: &Gpus, now: &Gpus) {
    match (before, now) {
        (Gpus::Unknown, Gpus::NoDriver { reason, .. }) => {
            tracing::info!(%reason, "no gpu driver: no card is shown");
        }
        (Gpus::NoDriver { .. }, Gpus::NoDriver { .. }) => {}
        (_, Gpus::NoDriver { reason, .. }) => {
            tracing::warn!(%reason, "the gpu driver does not answer any more");
        }
        (
            Gpus::Unknown | Gpus::NoDriver { .. },
            Gpus::NoCards { driver } | Gpus::Cards { driver, .. },
        ) => {
            let version = driver.version.as_deref().unwrap_or("unknown");
            tracing::info!(version, cards = now.cards().len(), "the gpu driver answers");
        }
        _ => {}
    }
    if now.driver().is_none() {
        return;
    }
    for card in now.cards() {
        let known = before.cards().iter().find(|known| known.uuid == card.uuid);
        tell_card(known, card);
    }
}

fn tell_card(before: Option<&Card>, card: &Card) {
    let (index, uuid) = (card.index, card.uuid.as_str());
    match (before.map(|before| &before.state), &card.state) {
        (None | Some(CardState::Ok), CardState::Ok)
        | (Some(CardState::Lost { .. }), CardState::Lost { .. })
        | (Some(CardState::Failing { .. }), CardState::Failing { .. }) => {}
        (_, CardState::Ok) => tracing::info!(index, uuid, "a gpu answers again"),
        (_, CardState::Lost { reason, .. }) => {
            tracing::warn!(index, uuid, %reason, "a gpu is lost")
        }
        (_, CardState::Failing { reason, .. }) => {
            tracing::warn!(index, uuid, %reason, "a gpu is failing");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tries_come_at_once_and_then_after_longer_and_longer() {
        let start = Instant::now();
        let mut retry = Retry::default();
        let mut now = start;
        let mut waits = Vec::new();
        for _ in 0..7 {
            assert!(retry.due(now));
            retry.taken(now);
            let (at, wait) = retry.next.unwrap();
            assert!(!retry.due(at - Duration::from_millis(1)));
            waits.push(wait.as_secs());
            now = at;
        }
        assert_eq!(waits, [5, 10, 20, 40, 60, 60, 60]);
        retry.begin(now);
        assert!(!retry.due(now) && retry.due(now + RETRY_MIN));
    }
}
