//! The breaker of one backend: when to stop sending to it, when to try again.
//!
//! Pure: it is told the time. Opens after 5 failures in a row, or when 3 of the last 20 requests
//! failed; stays open 30 s times the number of openings in a row, at most 5 minutes; then lets one
//! request through at a time, and that one decides. A failure that may be the request's own fault
//! is a doubt: 15 of them in a row open it, or 10 of the last 20 requests.

use std::time::Duration;

use tokio::time::Instant;

/// Failures in a row that open it.
const CONSECUTIVE: u32 = 5;

/// Doubts that weigh in a row as much as one failure.
const DOUBTS_A_FAILURE: u32 = 3;

/// Requests over which the share of successes is taken.
const WINDOW: u32 = 20;

/// Failures among [`WINDOW`] requests that open it: less than 90 % succeeded.
const WINDOW_FAILURES: u32 = 3;

/// Failures and doubts among [`WINDOW`] requests that open it: half of them. Less is what one
/// caller's wrong requests among those of others may look like.
const WINDOW_DOUBTS: u32 = 10;

/// Time it stays open, for each opening in a row.
const OPEN: Duration = Duration::from_secs(30);

/// Longest time it stays open.
const OPEN_MAX: Duration = Duration::from_secs(300);

/// A breaker closed for this long starts over at [`OPEN`].
const FORGET: Duration = Duration::from_secs(300);

/// What a breaker does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BreakerState {
    /// Requests pass.
    Closed,
    /// Requests go elsewhere until then.
    Open {
        /// When it lets one request through.
        until: Instant,
    },
    /// One request may pass, or is passing, and decides.
    HalfOpen,
}

/// What a request ended as, for the breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The backend answered.
    Success,
    /// The backend failed.
    Failure,
    /// The backend failed, or the request was one that it cannot answer.
    Doubt,
    /// Nothing was learnt (the client left, say).
    Nothing,
}

/// Goes with each request that passed, and comes back with its verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ticket {
    epoch: u64,
    probe: bool,
}

/// A change of state, to be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Opened(Duration),
    Closed,
}

#[derive(Debug)]
pub(crate) struct Breaker {
    /// When it opens up again; `None` while closed.
    open_until: Option<Instant>,
    /// A request that decides is on its way.
    probing: bool,
    /// Counts changes, so that requests from before a change do not decide after it.
    epoch: u64,
    openings: u32,
    closed_since: Option<Instant>,
    /// Weight of the failures and doubts in a row; a doubt weighs 1.
    weight: u32,
    /// The last [`WINDOW`] verdicts, newest in the lowest bit; 1 is a failure.
    window: u32,
    /// The same, where 1 is a doubt.
    doubts: u32,
    seen: u32,
}

impl Breaker {
    pub(crate) const fn new() -> Self {
        Self {
            open_until: None,
            probing: false,
            epoch: 0,
            openings: 0,
            closed_since: None,
            weight: 0,
            window: 0,
            doubts: 0,
            seen: 0,
        }
    }

    /// Starts over, for another engine. Requests to the one before decide nothing any more.
    pub(crate) const fn reset(&mut self) {
        let epoch = self.epoch + 1;
        *self = Self::new();
        self.epoch = epoch;
    }

    pub(crate) fn state(&self, now: Instant) -> BreakerState {
        match self.open_until {
            None => BreakerState::Closed,
            Some(until) if now < until => BreakerState::Open { until },
            Some(_) => BreakerState::HalfOpen,
        }
    }

    /// Whether a request may pass now.
    pub(crate) fn allows(&self, now: Instant) -> bool {
        match self.state(now) {
            BreakerState::Closed => true,
            BreakerState::Open { .. } => false,
            BreakerState::HalfOpen => !self.probing,
        }
    }

    /// Lets a request pass, whether or not it [`Self::allows`] it: where too large a share of a
    /// pool is ejected, requests go to open breakers as well.
    pub(crate) fn enter(&mut self, now: Instant) -> Ticket {
        let probe = self.state(now) == BreakerState::HalfOpen && !self.probing;
        self.probing |= probe;
        Ticket { epoch: self.epoch, probe }
    }

    /// A request that passed has had its first byte. An open breaker closes on it without waiting
    /// for the end of what may be a long answer; `ticket` then counts for the closed breaker.
    pub(crate) fn first_byte(&mut self, ticket: &mut Ticket, now: Instant) -> Option<Change> {
        if ticket.epoch != self.epoch || self.open_until.is_none() {
            return None;
        }
        self.close(now);
        *ticket = Ticket { epoch: self.epoch, probe: false };
        Some(Change::Closed)
    }

    /// A request that passed has ended. Called exactly once for each ticket.
    pub(crate) fn leave(
        &mut self,
        ticket: Ticket,
        verdict: Verdict,
        now: Instant,
    ) -> Option<Change> {
        if ticket.epoch != self.epoch {
            return None;
        }
        if self.open_until.is_some() {
            if ticket.probe {
                self.probing = false;
            }
            return match verdict {
                Verdict::Success => {
                    self.close(now);
                    Some(Change::Closed)
                }
                Verdict::Failure | Verdict::Doubt if ticket.probe => Some(self.open(now)),
                Verdict::Failure | Verdict::Doubt | Verdict::Nothing => None,
            };
        }
        self.weight = match verdict {
            Verdict::Success => 0,
            Verdict::Failure => self.weight.saturating_add(DOUBTS_A_FAILURE),
            Verdict::Doubt => self.weight.saturating_add(1),
            Verdict::Nothing => return None,
        };
        let push = |bits: u32, bit| ((bits << 1) | u32::from(bit)) & ((1 << WINDOW) - 1);
        self.window = push(self.window, verdict == Verdict::Failure);
        self.doubts = push(self.doubts, verdict == Verdict::Doubt);
        self.seen = (self.seen + 1).min(WINDOW);
        let failures = self.window.count_ones();
        let share =
            failures >= WINDOW_FAILURES || failures + self.doubts.count_ones() >= WINDOW_DOUBTS;
        let in_a_row = self.weight >= CONSECUTIVE * DOUBTS_A_FAILURE;
        (in_a_row || (self.seen == WINDOW && share)).then(|| self.open(now))
    }

    fn open(&mut self, now: Instant) -> Change {
        let forgotten = self.closed_since.is_some_and(|since| now >= since + FORGET);
        self.openings = if forgotten { 1 } else { self.openings.saturating_add(1) };
        let time = OPEN.saturating_mul(self.openings).min(OPEN_MAX);
        self.open_until = Some(now + time);
        self.probing = false;
        self.closed_since = None;
        self.epoch += 1;
        Change::Opened(time)
    }

    const fn close(&mut self, now: Instant) {
        self.open_until = None;
        self.probing = false;
        self.closed_since = Some(now);
        self.weight = 0;
        self.window = 0;
        self.doubts = 0;
        self.seen = 0;
        self.epoch += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    /// Runs a word: `+` a success, `-` a failure, `?` a doubt, `.` nothing, one after another.
    fn run(breaker: &mut Breaker, word: &str, now: Instant) -> Option<Change> {
        let mut last = None;
        for c in word.chars() {
            let ticket = breaker.enter(now);
            let verdict = match c {
                '+' => Verdict::Success,
                '-' => Verdict::Failure,
                '?' => Verdict::Doubt,
                _ => Verdict::Nothing,
            };
            last = breaker.leave(ticket, verdict, now);
        }
        last
    }

    #[test]
    fn it_opens_at_five_in_a_row_or_below_nine_tenths_of_twenty() {
        let opened = Some(Change::Opened(30 * S));
        for (word, expected) in [
            ("----", None),
            ("-----", opened),
            ("----+-", None),
            ("--.--.-", opened),
            // Two of twenty: 90 %, not less.
            ("-+++++++++-+++++++++", None),
            // Three of the first nineteen, then the twentieth makes it a full window.
            ("-+++++-+++++-+++++++", opened),
            ("-+++++-+++++-++++++", None),
            // The oldest failure has left the window.
            ("-+++++++++-+++++++++-", None),
            ("+-++++++++-++++++++-", opened),
        ] {
            let mut breaker = Breaker::new();
            assert_eq!(run(&mut breaker, word, Instant::now()), expected, "{word}");
        }
    }

    #[test]
    fn doubts_open_it_only_where_they_are_many() {
        let opened = Some(Change::Opened(30 * S));
        for (word, expected) in [
            ("??????????????", None),
            ("???????????????", opened),
            ("----??", None),
            ("----???", opened),
            // Wrong requests among good ones: up to nine of twenty.
            ("?+?+?+?+?+?+?+?+?+++", None),
            ("?+?+?+?+?+?+?+?+?+?+", opened),
            ("-+-+?+?+?+?+?+?+?+++", None),
            ("-+-+?+?+?+?+?+?+?+?+", opened),
        ] {
            let mut breaker = Breaker::new();
            assert_eq!(run(&mut breaker, word, Instant::now()), expected, "{word}");
        }
    }

    #[test]
    fn it_stays_open_longer_each_time_and_forgets() {
        let mut breaker = Breaker::new();
        let mut now = Instant::now();
        assert_eq!(run(&mut breaker, "-----", now), Some(Change::Opened(30 * S)));
        for expected in [60, 90, 120, 150, 180, 210, 240, 270, 300, 300] {
            let BreakerState::Open { until } = breaker.state(now) else { panic!("{breaker:?}") };
            assert!(!breaker.allows(until - S / 1000));
            now = until;
            assert_eq!(breaker.state(now), BreakerState::HalfOpen);
            assert_eq!(run(&mut breaker, "-", now), Some(Change::Opened(expected * S)));
        }
        now += 300 * S;
        assert_eq!(run(&mut breaker, "+", now), Some(Change::Closed));
        // Not long enough closed: it goes on where it was.
        now += FORGET - S;
        assert_eq!(run(&mut breaker, "-----", now), Some(Change::Opened(300 * S)));
        now += 300 * S;
        assert_eq!(run(&mut breaker, "+", now), Some(Change::Closed));
        now += FORGET;
        assert_eq!(run(&mut breaker, "-----", now), Some(Change::Opened(30 * S)));
    }

    #[test]
    fn half_open_lets_one_through_and_only_that_one_decides() {
        let mut breaker = Breaker::new();
        let mut now = Instant::now();
        let early = breaker.enter(now);
        run(&mut breaker, "-----", now);
        now += 30 * S;
        assert!(breaker.allows(now));
        let probe = breaker.enter(now);
        assert!(!breaker.allows(now), "one at a time");
        assert_eq!(breaker.leave(early, Verdict::Success, now), None, "from before it opened");
        assert_eq!(breaker.state(now), BreakerState::HalfOpen);
        assert_eq!(breaker.leave(probe, Verdict::Nothing, now), None);
        assert!(breaker.allows(now), "a probe without a verdict frees its place");
        let mut probe = breaker.enter(now);
        assert_eq!(breaker.first_byte(&mut probe, now), Some(Change::Closed));
        assert_eq!(breaker.state(now), BreakerState::Closed);
        assert_eq!(
            breaker.leave(probe, Verdict::Failure, now),
            None,
            "one failure of a closed one"
        );
        assert_eq!(run(&mut breaker, "----", now), Some(Change::Opened(60 * S)));
    }

    #[test]
    fn requests_sent_in_spite_of_it_can_close_but_not_prolong_it() {
        let mut breaker = Breaker::new();
        let now = Instant::now();
        run(&mut breaker, "-----", now);
        assert_eq!(run(&mut breaker, "------", now + S), None);
        assert_eq!(breaker.state(now), BreakerState::Open { until: now + 30 * S });
        assert_eq!(run(&mut breaker, "+", now + S), Some(Change::Closed));
    }
}
