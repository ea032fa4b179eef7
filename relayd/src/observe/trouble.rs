//! What went wrong since it was last told, added up: one event for many refusals.

use std::collections::{BTreeMap, HashMap};

use crate::domain::{Code, KeyId};

/// Keys told apart between two tellings; refusals of more keys are added up. An operator reads
/// a few names, not a hundred.
const KEYS_MAX: usize = 32;

/// Refusals and failures since they were last taken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trouble {
    /// Requests refused with 429, by key.
    pub limited: BTreeMap<KeyId, u64>,
    /// Those of keys beyond the first 32.
    pub limited_others: u64,
    /// Requests refused for want of capacity.
    pub shed: u64,
    /// Requests that failed by our fault, by their code.
    pub failed: HashMap<Code, u64>,
}

impl Trouble {
    pub(super) fn limited(&mut self, key: &KeyId) {
        let room = self.limited.len() < KEYS_MAX;
        match self.limited.get_mut(key) {
            Some(count) => *count += 1,
            None if room => {
                self.limited.insert(key.clone(), 1);
            }
            None => self.limited_others += 1,
        }
    }

    pub(super) fn failed(&mut self, code: Code) {
        *self.failed.entry(code).or_default() += 1;
    }

    /// Whether there is anything to tell.
    #[must_use]
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

/// Whether a request that failed so failed by our fault: neither its client's nor a provider's.
pub(super) const fn is_ours(code: Code) -> bool {
    matches!(code, Code::InternalError | Code::ServiceUnavailable)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(n: usize) -> KeyId {
        format!("key_{n:016x}").parse().unwrap()
    }

    #[test]
    fn refusals_are_added_up_within_a_bound() {
        let mut trouble = Trouble::default();
        assert!(trouble.is_none());
        for n in 0..100 {
            trouble.limited(&key(n % 40));
        }
        assert_eq!(trouble.limited.len(), KEYS_MAX);
        let told: u64 = trouble.limited.values().sum();
        assert_eq!(told + trouble.limited_others, 100);
        assert_eq!(trouble.limited[&key(0)], 3);
    }

    #[test]
    fn only_our_own_failures_count() {
        for code in [Code::UpstreamError, Code::ValidationError, Code::CapacityExhausted] {
            assert!(!is_ours(code), "{code:?}");
        }
        assert!(is_ours(Code::InternalError));
    }
}
