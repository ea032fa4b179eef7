//! Counters of the last minute, one set a second.

/// One more than a minute, and a power of two.
const SECONDS: u64 = 64;

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Count {
    Requests,
    TokensIn,
    TokensOut,
    Ended,
    Errors,
    Shed,
}

const COUNTS: usize = 6;

/// The counters of one shard.
#[derive(Clone, Debug)]
pub(super) struct Window {
    seconds: [Second; SECONDS as usize],
}

#[derive(Clone, Copy, Debug, Default)]
struct Second {
    at: u64,
    counts: [u64; COUNTS],
}

impl Default for Window {
    fn default() -> Self {
        Self { seconds: [Second::default(); SECONDS as usize] }
    }
}

impl Window {
    pub(super) fn add(&mut self, second: u64, count: Count, by: u64) {
        let slot = &mut self.seconds[(second % SECONDS) as usize];
        if slot.at != second {
            *slot = Second { at: second, ..Second::default() };
        }
        let value = &mut slot.counts[count as usize];
        *value = value.saturating_add(by);
    }

    /// The sum over the seconds `from..=to`, at most the last minute.
    pub(super) fn sum(&self, from: u64, to: u64, count: Count) -> u64 {
        self.seconds
            .iter()
            .filter(|slot| slot.at >= from && slot.at <= to)
            .map(|slot| slot.counts[count as usize])
            .fold(0, u64::saturating_add)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_is_forgotten_when_its_slot_is_taken_again() {
        let mut window = Window::default();
        window.add(10, Count::Requests, 2);
        window.add(11, Count::Requests, 3);
        window.add(11, Count::Errors, 1);
        assert_eq!(window.sum(10, 11, Count::Requests), 5);
        assert_eq!(window.sum(11, 11, Count::Requests), 3);
        assert_eq!(window.sum(10, 11, Count::Errors), 1);
        window.add(10 + SECONDS, Count::Requests, 7);
        assert_eq!(window.sum(0, 11, Count::Requests), 3);
        assert_eq!(window.sum(12, 100, Count::Requests), 7);
    }
}
