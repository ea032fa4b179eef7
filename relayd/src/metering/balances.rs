//! Balances as last heard of. They may be stale in both directions and decide nothing about
//! admission.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::domain::{CustomerId, KeyId, Ncr};

/// How long a balance is believed: an operator may take credit back, and other replicas spend.
const BELIEVED: Duration = Duration::from_secs(10);
/// Customers, and keys, remembered: as many as keys are cached. About 100 bytes each.
const REMEMBERED_MAX: usize = 100_000;

/// What was last heard of customers and keys.
#[derive(Debug, Default)]
pub(super) struct Balances(Mutex<Maps>);

#[derive(Debug, Default)]
struct Maps {
    credit: HashMap<CustomerId, Entry>,
    budget: HashMap<KeyId, Entry>,
}

/// One balance.
#[derive(Debug)]
struct Entry {
    /// What could be reserved; none is unlimited.
    available: Option<Ncr>,
    heard: Instant,
    /// Ceilings of holds that are on their way to the ledger.
    on_the_way: Ncr,
}

impl Balances {
    /// A hold goes to the ledger.
    pub(super) fn depart(&self, customer: &CustomerId, key: Option<&KeyId>, amount: Ncr) {
        let mut maps = self.lock();
        let add = |entry: &mut Entry| {
            entry.on_the_way = entry.on_the_way.checked_add(amount).unwrap_or(Ncr::MAX);
        };
        if let Some(entry) = maps.credit.get_mut(customer) {
            add(entry);
        }
        if let Some(entry) = key.and_then(|key| maps.budget.get_mut(key)) {
            add(entry);
        }
    }

    /// It arrived, whatever the answer.
    pub(super) fn arrive(&self, customer: &CustomerId, key: Option<&KeyId>, amount: Ncr) {
        let mut maps = self.lock();
        let subtract = |entry: &mut Entry| {
            let rest = entry.on_the_way.checked_sub(amount).unwrap_or(Ncr::ZERO);
            // An entry made after the departure never counted it.
            entry.on_the_way = rest.max(Ncr::ZERO);
        };
        if let Some(entry) = maps.credit.get_mut(customer) {
            subtract(entry);
        }
        if let Some(entry) = key.and_then(|key| maps.budget.get_mut(key)) {
            subtract(entry);
        }
    }

    /// The ledger said what is left.
    pub(super) fn hear(
        &self,
        customer: &CustomerId,
        key: Option<&KeyId>,
        credit: Ncr,
        budget: Option<Ncr>,
    ) {
        let mut maps = self.lock();
        remember(&mut maps.credit, customer, Some(credit));
        if let Some(key) = key {
            remember(&mut maps.budget, key, budget);
        }
    }

    /// Whether what is left, less what is on its way, covers `wanted`.
    pub(super) fn cover(&self, customer: &CustomerId, key: Option<&KeyId>, wanted: Ncr) -> bool {
        let maps = self.lock();
        let covers = |entry: Option<&Entry>| {
            entry.is_some_and(|entry| {
                entry.heard.elapsed() < BELIEVED
                    && entry.available.is_none_or(|available| {
                        available.checked_sub(entry.on_the_way).is_some_and(|left| left >= wanted)
                    })
            })
        };
        covers(maps.credit.get(customer)) && key.is_none_or(|key| covers(maps.budget.get(key)))
    }

    /// What a customer could reserve, if that was heard lately.
    pub(super) fn credit(&self, customer: &CustomerId) -> Option<Ncr> {
        let maps = self.lock();
        let entry = maps.credit.get(customer)?;
        if entry.heard.elapsed() < BELIEVED { entry.available } else { None }
    }

    fn lock(&self) -> MutexGuard<'_, Maps> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn remember<K: Clone + Eq + Hash>(map: &mut HashMap<K, Entry>, key: &K, available: Option<Ncr>) {
    if let Some(entry) = map.get_mut(key) {
        entry.available = available;
        entry.heard = Instant::now();
        return;
    }
    if map.len() >= REMEMBERED_MAX {
        map.retain(|_, entry| entry.heard.elapsed() < BELIEVED);
        if map.len() >= REMEMBERED_MAX {
            // Forgetting costs the overlap of the next requests and nothing else.
            map.clear();
        }
    }
    let entry = Entry { available, heard: Instant::now(), on_the_way: Ncr::ZERO };
    map.insert(key.clone(), entry);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn covers_only_what_it_heard_and_what_is_not_on_its_way() {
        let balances = Balances::default();
        let customer: CustomerId = "cus_0000000000000001".parse().unwrap();
        let key: KeyId = "key_0000000000000001".parse().unwrap();
        let ncr = Ncr::new;
        assert!(!balances.cover(&customer, None, Ncr::ZERO));
        balances.hear(&customer, Some(&key), ncr(100), None);
        assert!(balances.cover(&customer, Some(&key), ncr(100)));
        balances.depart(&customer, Some(&key), ncr(30));
        assert!(!balances.cover(&customer, Some(&key), ncr(71)));
        assert!(balances.cover(&customer, Some(&key), ncr(70)));
        balances.arrive(&customer, Some(&key), ncr(30));
        assert!(balances.cover(&customer, Some(&key), ncr(100)));
        balances.hear(&customer, Some(&key), ncr(100), Some(ncr(5)));
        assert!(!balances.cover(&customer, Some(&key), ncr(6)));
        assert!(balances.cover(&customer, None, ncr(6)));
    }

    #[test]
    fn forgets_rather_than_grows() {
        let mut map = HashMap::new();
        for n in 0..=REMEMBERED_MAX {
            remember(&mut map, &n, Some(Ncr::ZERO));
        }
        assert!(map.len() <= REMEMBERED_MAX);
        assert!(map.contains_key(&REMEMBERED_MAX));
    }
}
