//! What each key does now and did today.

use std::collections::HashMap;

use super::histogram::Histogram;
use super::view::KeyActivity;
use crate::domain::KeyId;

/// Most keys followed at once; when more are used, those idle for longest are forgotten first.
/// 10,000 keys of about 800 bytes are 8 MB.
const KEYS_MAX: usize = 10_000;
/// Rates are over this many whole seconds.
const RATE_SECONDS: u64 = 10;
/// The rate's seconds, the running one, and some to spare.
const RING: usize = 16;
const DAY_MS: i64 = 86_400_000;

#[derive(Debug, Default)]
pub(super) struct Keys {
    by_id: HashMap<KeyId, KeyLive>,
}

#[derive(Debug)]
struct KeyLive {
    in_flight: u32,
    seen_ms: u64,
    seconds: [(u64, u32); RING],
    day: i64,
    limited: u64,
    ttft: Histogram,
}

impl Keys {
    pub(super) fn begin(&mut self, key: &KeyId, now_ms: u64) {
        let Some(live) = self.entry(key, now_ms) else { return };
        live.in_flight += 1;
        let second = now_ms / 1_000;
        let slot = &mut live.seconds[(second % RING as u64) as usize];
        if slot.0 != second {
            *slot = (second, 0);
        }
        slot.1 = slot.1.saturating_add(1);
    }

    pub(super) fn end(&mut self, key: &KeyId, now_ms: u64) {
        if let Some(live) = self.by_id.get_mut(key) {
            live.in_flight = live.in_flight.saturating_sub(1);
            live.seen_ms = now_ms;
        }
    }

    pub(super) fn limited(&mut self, key: &KeyId, now_ms: u64, wall_ms: i64) {
        if let Some(live) = self.entry(key, now_ms) {
            live.today(wall_ms);
            live.limited += 1;
        }
    }

    pub(super) fn first_token(&mut self, key: &KeyId, ttft_ms: u32, wall_ms: i64) {
        if let Some(live) = self.by_id.get_mut(key) {
            live.today(wall_ms);
            live.ttft.record(ttft_ms);
        }
    }

    pub(super) fn activity(&mut self, now_ms: u64, wall_ms: i64) -> HashMap<KeyId, KeyActivity> {
        let second = now_ms / 1_000;
        let past = second.saturating_sub(RATE_SECONDS)..second;
        self.by_id
            .iter_mut()
            .map(|(key, live)| {
                live.today(wall_ms);
                let recent: u64 = live
                    .seconds
                    .iter()
                    .filter(|(at, _)| past.contains(at))
                    .map(|(_, count)| u64::from(*count))
                    .sum();
                let activity = KeyActivity {
                    in_flight: live.in_flight,
                    requests_per_ks: recent * 1_000 / RATE_SECONDS,
                    limited_today: live.limited,
                    ttft_p50_ms: live.ttft.percentile(50),
                    ttft_p95_ms: live.ttft.percentile(95),
                };
                (key.clone(), activity)
            })
            .collect()
    }

    /// `None` when every followed key is busy and there is no room for another.
    fn entry(&mut self, key: &KeyId, now_ms: u64) -> Option<&mut KeyLive> {
        if !self.by_id.contains_key(key) {
            if self.by_id.len() >= KEYS_MAX {
                self.forget_idle();
            }
            if self.by_id.len() >= KEYS_MAX {
                return None;
            }
            self.by_id.insert(key.clone(), KeyLive::new());
        }
        let live = self.by_id.get_mut(key)?;
        live.seen_ms = now_ms;
        Some(live)
    }

    /// Drops the older half of the idle keys: one pass for thousands of newcomers.
    fn forget_idle(&mut self) {
        let mut seen: Vec<u64> =
            self.by_id.values().filter(|l| l.in_flight == 0).map(|l| l.seen_ms).collect();
        if seen.is_empty() {
            return;
        }
        let middle = seen.len() / 2;
        let cut = *seen.select_nth_unstable(middle).1;
        self.by_id.retain(|_, live| live.in_flight > 0 || live.seen_ms > cut);
    }
}

impl KeyLive {
    fn new() -> Self {
        Self {
            in_flight: 0,
            seen_ms: 0,
            seconds: [(0, 0); RING],
            day: 0,
            limited: 0,
            ttft: Histogram::default(),
        }
    }

    fn today(&mut self, wall_ms: i64) {
        let day = wall_ms.div_euclid(DAY_MS);
        if self.day != day {
            self.day = day;
            self.limited = 0;
            self.ttft = Histogram::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(n: usize) -> KeyId {
        format!("key_{n:016x}").parse().unwrap()
    }

    #[test]
    fn rates_and_counts_are_kept_by_key_and_day() {
        let mut keys = Keys::default();
        for _ in 0..3 {
            keys.begin(&key(1), 1_500);
        }
        keys.end(&key(1), 1_600);
        keys.limited(&key(1), 1_700, 5 * DAY_MS);
        keys.first_token(&key(1), 7, 5 * DAY_MS);
        let now = keys.activity(2_000, 5 * DAY_MS)[&key(1)];
        assert_eq!((now.in_flight, now.requests_per_ks, now.limited_today), (2, 300, 1));
        assert_eq!(now.ttft_p50_ms, 7);
        let later = keys.activity(12_000, 6 * DAY_MS)[&key(1)];
        assert_eq!((later.in_flight, later.requests_per_ks, later.limited_today), (2, 0, 0));
        assert_eq!(later.ttft_p95_ms, 0);
    }

    #[test]
    fn the_number_of_keys_is_bounded_and_busy_keys_stay() {
        let mut keys = Keys::default();
        keys.begin(&key(0), 1);
        for n in 1..=3 * KEYS_MAX {
            keys.begin(&key(n), n as u64);
            keys.end(&key(n), n as u64);
        }
        assert!(keys.by_id.len() <= KEYS_MAX);
        assert_eq!(keys.by_id[&key(0)].in_flight, 1);
        assert!(keys.by_id.contains_key(&key(3 * KEYS_MAX)));
    }
}
