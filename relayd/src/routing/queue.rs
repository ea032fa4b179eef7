//! Requests that wait for a backend, in the order they came.
//!
//! A waiter is registered with every backend that could take it, and the first of them that has
//! room takes it; it is charged to one of them, whose bound it counts against. The queue knows
//! order and bounds only: who may take whom is decided by its owner.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;
use std::sync::Arc;

use tokio::sync::oneshot;

use super::Refusal;
use super::ask::Wants;
use crate::domain::BackendId;
use crate::fleet::{Backend, Ticket};

/// A place on a backend, taken and not yet handed over. Plain data: whoever holds it must give it
/// back.
#[derive(Debug)]
pub(super) struct Grant {
    pub(super) backend: Arc<Backend>,
    pub(super) ticket: Ticket,
}

/// One request that waits.
#[derive(Debug)]
pub(super) struct Waiter {
    pub(super) wants: Wants,
    pub(super) answer: oneshot::Sender<Result<Grant, Refusal>>,
    on: Vec<BackendId>,
    charged: Arc<Backend>,
}

/// All that wait. Bounded by the sum of the backends' queue limits.
#[derive(Debug, Default)]
pub(super) struct Queue {
    next: u64,
    waiters: BTreeMap<u64, Waiter>,
    by_backend: HashMap<BackendId, BTreeSet<u64>>,
}

impl Queue {
    /// Appends a waiter; `on` are the backends that may take it. Gives its number, or refuses it
    /// when none of them may be waited for any more.
    pub(super) fn join(
        &mut self,
        wants: Wants,
        on: &[&Arc<Backend>],
        answer: oneshot::Sender<Result<Grant, Refusal>>,
    ) -> Result<u64, Refusal> {
        let charged = Arc::clone(roomiest(on).ok_or(Refusal::QueueFull)?);
        let number = self.next;
        self.next += 1;
        let mut waiter = Waiter { wants, answer, on: Vec::with_capacity(on.len()), charged };
        self.register(number, &mut waiter, on);
        self.waiters.insert(number, waiter);
        Ok(number)
    }

    /// Takes a waiter out.
    pub(super) fn remove(&mut self, number: u64) -> Option<Waiter> {
        let mut waiter = self.waiters.remove(&number)?;
        self.unregister(number, &mut waiter);
        Some(waiter)
    }

    /// Registers a waiter anew after the fleet changed, at its old place. It is not refused for
    /// lack of room: it was let in once.
    pub(super) fn move_to(&mut self, number: u64, on: &[&Arc<Backend>]) {
        let Some(mut waiter) = self.waiters.remove(&number) else { return };
        self.unregister(number, &mut waiter);
        if let Some(charged) = roomiest(on).or_else(|| on.first().copied()) {
            waiter.charged = Arc::clone(charged);
        }
        self.register(number, &mut waiter, on);
        self.waiters.insert(number, waiter);
    }

    /// The first waiter after number `after` that this backend may take.
    pub(super) fn next_for(
        &self,
        backend: &BackendId,
        after: Option<u64>,
    ) -> Option<(u64, &Waiter)> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let numbers = self.by_backend.get(backend)?;
        let number = numbers.range((from, Bound::Unbounded)).next()?;
        self.waiters.get(number).map(|waiter| (*number, waiter))
    }

    /// Whether anybody waits for this backend.
    pub(super) fn is_wanted(&self, backend: &BackendId) -> bool {
        self.by_backend.contains_key(backend)
    }

    /// The backends that somebody waits for.
    pub(super) fn wanted(&self) -> Vec<BackendId> {
        self.by_backend.keys().cloned().collect()
    }

    /// All that wait, in order.
    pub(super) fn numbers(&self) -> Vec<u64> {
        self.waiters.keys().copied().collect()
    }

    pub(super) fn get(&self, number: u64) -> Option<&Waiter> {
        self.waiters.get(&number)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiters.is_empty()
    }

    fn register(&mut self, number: u64, waiter: &mut Waiter, on: &[&Arc<Backend>]) {
        waiter.charged.runtime.queue_changed(true);
        for backend in on {
            waiter.on.push(backend.id().clone());
            self.by_backend.entry(backend.id().clone()).or_default().insert(number);
        }
    }

    fn unregister(&mut self, number: u64, waiter: &mut Waiter) {
        waiter.charged.runtime.queue_changed(false);
        for id in waiter.on.drain(..) {
            let Some(numbers) = self.by_backend.get_mut(&id) else { continue };
            numbers.remove(&number);
            if numbers.is_empty() {
                self.by_backend.remove(&id);
            }
        }
    }
}

/// The backend with the most room in its queue; `None` when all are full.
fn roomiest<'a>(on: &[&'a Arc<Backend>]) -> Option<&'a Arc<Backend>> {
    let room =
        |backend: &Backend| backend.spec.queue_limit.saturating_sub(backend.runtime.queued());
    on.iter().copied().filter(|backend| room(backend) > 0).max_by_key(|backend| room(backend))
}
