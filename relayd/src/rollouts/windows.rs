//! What this replica saw: of each open rollout round by round, and of each model's last minute.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::sums::{SampleEnd, Sums};
use crate::domain::{ModelName, RolloutId};
use crate::store::Side;

/// How long one slot of a model's traffic is.
const SLOT: Duration = Duration::from_secs(10);

/// Slots of the figures that are shown: a minute.
const SHOWN_SLOTS: u64 = 6;

/// Slots whose 95th percentile is remembered: ten minutes, one sparkline.
const HISTORY_SLOTS: usize = 60;

/// Requests of one session that count on one side of a round: sessions are given to a side as a
/// whole, and the tests suppose that requests are.
const OF_A_SESSION: u8 = 4;

/// Sessions of one side of a round that are told apart; requests of more than these do not count.
const SESSIONS_MAX: usize = 65_536;

/// What samples of a rollout are kept under.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Round {
    pub(super) rollout: RolloutId,
    pub(super) number: u32,
    pub(super) side: Side,
}

/// What a revision did in the last minute on this replica.
#[derive(Clone, Debug, PartialEq)]
pub struct Traffic {
    /// Its number; 0 for a model without revisions.
    pub revision: u32,
    /// What came of its requests.
    pub sums: Sums,
    /// Over how long.
    pub span: Duration,
    /// The 95th percentile of the first content for each ten seconds, milliseconds, oldest first;
    /// 0 where nothing was asked.
    pub ttft_p95_ms: Vec<u32>,
}

#[derive(Debug)]
pub(super) struct Windows {
    began: Instant,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Only of open rollouts: at most three a round.
    rounds: HashMap<Round, Seen>,
    /// One a model and revision that was asked within the last ten minutes.
    traffic: BTreeMap<(ModelName, u32), VecDeque<(u64, Sums)>>,
}

#[derive(Debug, Default)]
struct Seen {
    sums: Sums,
    unwritten: bool,
    /// How many of each session were counted.
    sessions: HashMap<u64, u8>,
}

impl Seen {
    /// Whether one more request of a session counts.
    fn counts(&mut self, session: u64) -> bool {
        let known = self.sessions.len();
        match self.sessions.entry(session) {
            Entry::Occupied(mut of) if *of.get() < OF_A_SESSION => *of.get_mut() += 1,
            Entry::Vacant(place) if known < SESSIONS_MAX => {
                place.insert(1);
            }
            Entry::Occupied(_) | Entry::Vacant(_) => return false,
        }
        true
    }
}

impl Windows {
    pub(super) fn new() -> Self {
        Self { began: Instant::now(), state: Mutex::default() }
    }

    /// Takes a request of a rollout in, of a session where it is of one. Ignored where the rollout is
    /// not open any more, and where enough of that session were taken in.
    pub(super) fn add(&self, round: &Round, session: Option<u64>, end: SampleEnd) {
        if let Some(seen) = self.state().rounds.get_mut(round)
            && session.is_none_or(|session| seen.counts(session))
        {
            seen.sums.add(end);
            seen.unwritten = true;
        }
    }

    /// Takes a canary prompt in.
    pub(super) fn add_canary(&self, round: &Round, passed: bool) {
        if let Some(seen) = self.state().rounds.get_mut(round) {
            seen.sums.add_canary(passed);
            seen.unwritten = true;
        }
    }

    /// Takes a request of a model in.
    pub(super) fn add_traffic(&self, model: &ModelName, revision: u32, end: SampleEnd) {
        let mut state = self.state();
        // Under the lock: nobody has written a later one.
        let slot = self.slot();
        let slots = state.traffic.entry((model.clone(), revision)).or_default();
        if slots.back().is_none_or(|(last, _)| *last != slot) {
            slots.push_back((slot, Sums::default()));
            if slots.len() > HISTORY_SLOTS {
                slots.pop_front();
            }
        }
        if let Some((_, sums)) = slots.back_mut() {
            sums.add(end);
        }
    }

    /// Begins the rounds that are open and forgets the others, and models not asked for long.
    pub(super) fn keep(&self, open: Vec<Round>) {
        let mut state = self.state();
        let now = self.slot();
        let mut before = std::mem::take(&mut state.rounds);
        for round in open {
            let seen = before.remove(&round).unwrap_or_default();
            state.rounds.insert(round, seen);
        }
        state.traffic.retain(|_, slots| {
            slots.back().is_some_and(|(last, _)| now - last < HISTORY_SLOTS as u64)
        });
    }

    /// What is not written yet; from here on it counts as written.
    pub(super) fn take_unwritten(&self) -> Vec<(Round, Sums)> {
        let mut state = self.state();
        let unwritten = state.rounds.iter_mut().filter(|(_, seen)| seen.unwritten);
        unwritten
            .map(|(round, seen)| {
                seen.unwritten = false;
                (round.clone(), seen.sums.clone())
            })
            .collect()
    }

    /// What could not be written is to be written again.
    pub(super) fn not_written(&self, rounds: &[Round]) {
        let mut state = self.state();
        for round in rounds {
            if let Some(seen) = state.rounds.get_mut(round) {
                seen.unwritten = true;
            }
        }
    }

    /// A model's last minute, by revision.
    pub(super) fn traffic(&self, model: &ModelName) -> Vec<Traffic> {
        let state = self.state();
        let now = self.slot();
        let into = self.began.elapsed().saturating_sub(SLOT * u32::try_from(now).unwrap_or(0));
        let span = SLOT * u32::try_from(now.min(SHOWN_SLOTS - 1)).unwrap_or(0) + into;
        let of_model = state.traffic.range((model.clone(), 0)..=(model.clone(), u32::MAX));
        of_model
            .map(|((_, revision), slots)| {
                let mut sums = Sums::default();
                for (slot, of_slot) in slots {
                    if now - slot < SHOWN_SLOTS {
                        sums.merge(of_slot);
                    }
                }
                let first = slots.front().map_or(now, |(first, _)| *first);
                let first = first.max((now + 1).saturating_sub(HISTORY_SLOTS as u64));
                let p95 = |slot: u64| {
                    let found = slots.iter().find(|(of, _)| *of == slot)?;
                    found.1.ttft.quantile(950)
                };
                let ttft_p95_ms =
                    (first..=now).map(|slot| millis(p95(slot).unwrap_or_default())).collect();
                Traffic { revision: *revision, sums, span, ttft_p95_ms }
            })
            .collect()
    }

    fn slot(&self) -> u64 {
        self.began.elapsed().as_secs() / SLOT.as_secs()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // No section panics halfway through a change, so what is found is whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Milliseconds as they are shown.
pub(super) fn millis(value: f64) -> u32 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a time that was measured; saturates beyond"
    )]
    let whole = value.round() as u32;
    whole
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered() -> SampleEnd {
        let ttft = Duration::from_millis(20);
        SampleEnd::Answered { finish: None, ttft, generating: ttft, tokens: 3 }
    }

    #[tokio::test(start_paused = true)]
    async fn a_minute_is_shown_and_ten_are_drawn() {
        let windows = Windows::new();
        let model: ModelName = "m".parse().unwrap();
        windows.add_traffic(&model, 1, answered());
        windows.add_traffic(&"n".parse().unwrap(), 1, answered());
        tokio::time::advance(Duration::from_secs(25)).await;
        windows.add_traffic(&model, 1, SampleEnd::Failed);
        windows.add_traffic(&model, 2, answered());
        let shown = windows.traffic(&model);
        assert_eq!((shown.len(), shown[0].revision, shown[0].sums.requests), (2, 1, 2));
        assert_eq!((shown[0].ttft_p95_ms.len(), shown[0].span), (3, Duration::from_secs(25)));
        assert!((19..=21).contains(&shown[0].ttft_p95_ms[0]) && shown[0].ttft_p95_ms[1] == 0);
        tokio::time::advance(Duration::from_secs(60)).await;
        let shown = windows.traffic(&model);
        assert_eq!((shown[0].sums.requests, shown[0].span), (0, Duration::from_secs(55)));
        assert_eq!(shown[0].ttft_p95_ms.len(), 9);
        tokio::time::advance(Duration::from_secs(600)).await;
        windows.keep(Vec::new());
        assert!(windows.traffic(&model).is_empty());
    }

    #[test]
    fn only_open_rounds_count_and_each_change_is_written_once() {
        let windows = Windows::new();
        let rollout: RolloutId = "ro_0000000000000001".parse().unwrap();
        let round = |number| Round { rollout: rollout.clone(), number, side: Side::Next };
        windows.add(&round(1), None, SampleEnd::Failed);
        assert!(windows.take_unwritten().is_empty(), "nobody began it");
        windows.keep(vec![round(1)]);
        windows.add(&round(1), None, SampleEnd::Failed);
        windows.add_canary(&round(1), true);
        let unwritten = windows.take_unwritten();
        assert_eq!((unwritten.len(), unwritten[0].1.failed, unwritten[0].1.canaries), (1, 1, 1));
        assert!(windows.take_unwritten().is_empty());
        windows.not_written(&[round(1)]);
        windows.keep(vec![round(1), round(2)]);
        assert_eq!(windows.take_unwritten()[0].1.failed, 1, "sums go on");
        windows.keep(vec![round(2)]);
        windows.add(&round(1), None, SampleEnd::Failed);
        assert!(windows.take_unwritten().is_empty());
    }

    #[test]
    fn a_session_counts_a_few_times_on_its_side_and_no_more() {
        let windows = Windows::new();
        let rollout: RolloutId = "ro_0000000000000001".parse().unwrap();
        let round = |side| Round { rollout: rollout.clone(), number: 1, side };
        windows.keep(vec![round(Side::Live), round(Side::Next)]);
        for _ in 0..100 {
            windows.add(&round(Side::Live), Some(7), answered());
            windows.add(&round(Side::Live), Some(8), answered());
            windows.add(&round(Side::Live), None, answered());
            windows.add(&round(Side::Next), Some(7), answered());
        }
        let mut seen: Vec<_> = windows
            .take_unwritten()
            .into_iter()
            .map(|(round, sums)| (round.side == Side::Next, sums.requests))
            .collect();
        seen.sort_unstable();
        assert_eq!(seen, [(false, 108), (true, 4)]);
    }
}
