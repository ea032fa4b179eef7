//! How often a key may greet: each greeting is looked up, begins a session and may change the
//! provider's row.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::domain::ProviderId;

/// Greetings of one key on this replica in [`WITHIN`]. An agent that loses its connection all the
/// time waits longer between two than that makes.
pub(super) const GREETINGS: usize = 20;
const WITHIN: Duration = Duration::from_mins(1);

/// When known keys greeted lately.
#[derive(Debug, Default)]
pub(super) struct Callers(Mutex<HashMap<ProviderId, VecDeque<Instant>>>);

impl Callers {
    /// Notes a greeting of a known key, and whether it is let in. One that is not is not noted.
    pub(super) fn may(&self, id: &ProviderId, now: Instant) -> bool {
        // Every section leaves the map whole, so a panic elsewhere spoils nothing.
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let late = |then: &Instant| now.saturating_duration_since(*then) >= WITHIN;
        // There are as many as there are providers at most.
        all.retain(|_, greeted| greeted.back().is_some_and(|last| !late(last)));
        let greeted = all.entry(id.clone()).or_default();
        while greeted.front().is_some_and(late) {
            greeted.pop_front();
        }
        let may = greeted.len() < GREETINGS;
        if may {
            greeted.push_back(now);
        }
        may
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_greets_so_often_in_any_minute_and_no_other_pays_for_it() {
        let callers = Callers::default();
        let id = |number| format!("prov_{number:016x}").parse().unwrap();
        let (one, other): (ProviderId, ProviderId) = (id(1), id(2));
        let begin = Instant::now();
        let at = |seconds| begin + Duration::from_secs(seconds);
        for second in 0..GREETINGS as u64 {
            assert!(callers.may(&one, at(second)));
        }
        assert!(!callers.may(&one, at(30)));
        assert!(callers.may(&other, at(30)));
        assert!(callers.may(&one, at(60)), "the first is a minute ago");
        assert!(!callers.may(&one, at(60)));
        assert!(callers.may(&other, at(200)));
        assert_eq!(callers.0.lock().unwrap().len(), 1, "who is long gone is forgotten");
    }
}
