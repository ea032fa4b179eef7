//! Requests that wait for a backend: classes in order, customers by the work they asked for.
//!
//! A waiter is registered with every backend that could take it, and the first of them that has
//! room takes it; it is charged to one of them, whose bound it counts against. Where there is no
//! room, whoever would be served last gives way to a newcomer who would be served before him. The queue knows order and bounds only: who
//! may take whom is decided by its owner.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::ops::Bound;
use std::sync::Arc;

use tokio::sync::oneshot;

use super::Refusal;
use super::ask::{Claim, Wants};
use crate::balance::{Class, Demand, Rank, Shares, Taken};
use crate::domain::BackendId;
use crate::fleet::{Backend, Ticket};

/// A place on a backend, taken and not yet handed over. Plain data: whoever holds it must give it
/// back.
#[derive(Debug)]
pub(super) struct Grant {
    pub(super) backend: Arc<Backend>,
    pub(super) ticket: Ticket,
    pub(super) taken: Taken,
    pub(super) claim: Claim,
}

/// One request that waits.
#[derive(Debug)]
pub(super) struct Waiter {
    pub(super) wants: Wants,
    pub(super) claim: Claim,
    pub(super) answer: oneshot::Sender<Result<Grant, Refusal>>,
    on: Vec<BackendId>,
    charged: Arc<Backend>,
}

/// All that wait. Bounded by the sum of the backends' queue limits.
#[derive(Debug, Default)]
pub(super) struct Queue {
    shares: Shares,
    waiters: BTreeMap<Rank, Waiter>,
    by_backend: HashMap<BackendId, BTreeSet<Rank>>,
    /// Waiters of a class that are charged to a backend.
    by_class: HashMap<BackendId, BTreeMap<Class, u32>>,
}

/// There is no room in the queue, and nobody who would have to give way.
#[derive(Debug)]
pub(super) struct Full;

impl Queue {
    /// The place in line of a request that comes now. Its customer is charged for it: it has to
    /// [join](Self::join), [pass](Self::pass) or be [forgone](Self::forgo).
    pub(super) fn rank(&mut self, claim: &Claim) -> Rank {
        self.shares.join(claim.class, claim.customer, &claim.demand)
    }

    /// It goes without waiting.
    pub(super) fn pass(&mut self, rank: &Rank) {
        self.serve(rank);
    }

    /// It does not go.
    pub(super) fn forgo(&mut self, rank: &Rank, claim: &Claim) {
        self.shares.left(rank, claim.customer, &claim.demand);
    }

    /// One that went is over, and its answer nobody's until it is [used](Self::used): of several
    /// copies one is, and of what failed none.
    pub(super) fn over(&mut self, claim: &Claim) {
        let Claim { class, customer, demand, .. } = claim;
        self.shares.corrected(*class, *customer, demand, &demand.unanswered());
    }

    /// The answer of one that is [over](Self::over), or will be, has used so much.
    pub(super) fn used(&mut self, claim: &Claim, used: &Demand) {
        let Claim { class, customer, demand, .. } = claim;
        self.shares.corrected(*class, *customer, &demand.unanswered(), used);
    }

    /// Puts a waiter at its place; `on` are the backends that may take it. Gives whoever has to
    /// leave for it.
    pub(super) fn join(
        &mut self,
        rank: Rank,
        (wants, claim): (Wants, Claim),
        on: &[&Arc<Backend>],
        answer: oneshot::Sender<Result<Grant, Refusal>>,
    ) -> Result<Option<Waiter>, Full> {
        let (charged, gone) = match self.roomiest(on, claim.class) {
            Some(charged) => (Arc::clone(charged), None),
            None => {
                let last = self.last_after(on, &rank).ok_or(Full)?;
                let gone = self.remove(last).ok_or(Full)?;
                (Arc::clone(&gone.charged), Some(gone))
            }
        };
        let waiting = Vec::with_capacity(on.len());
        let mut waiter = Waiter { wants, claim, answer, on: waiting, charged };
        self.register(rank, &mut waiter, on);
        self.waiters.insert(rank, waiter);
        Ok(gone)
    }

    /// Takes out a waiter who is served.
    pub(super) fn take(&mut self, rank: Rank) -> Option<Waiter> {
        let mut waiter = self.waiters.remove(&rank)?;
        self.unregister(rank, &mut waiter);
        self.serve(&rank);
        Some(waiter)
    }

    /// Takes out a waiter who is not served.
    pub(super) fn remove(&mut self, rank: Rank) -> Option<Waiter> {
        let mut waiter = self.waiters.remove(&rank)?;
        self.unregister(rank, &mut waiter);
        self.shares.left(&rank, waiter.claim.customer, &waiter.claim.demand);
        Some(waiter)
    }

    /// Registers a waiter anew after the fleet changed, at its old place. It is not refused for
    /// lack of room: it was let in once.
    pub(super) fn move_to(&mut self, rank: Rank, on: &[&Arc<Backend>]) {
        let Some(mut waiter) = self.waiters.remove(&rank) else { return };
        self.unregister(rank, &mut waiter);
        let charged = self.roomiest(on, rank.class()).or_else(|| on.first().copied());
        if let Some(charged) = charged {
            waiter.charged = Arc::clone(charged);
        }
        self.register(rank, &mut waiter, on);
        self.waiters.insert(rank, waiter);
    }

    /// The first waiter after `after` that this backend may take.
    pub(super) fn next_for(
        &self,
        backend: &BackendId,
        after: Option<Rank>,
    ) -> Option<(Rank, &Waiter)> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let ranks = self.by_backend.get(backend)?;
        let rank = ranks.range((from, Bound::Unbounded)).next()?;
        self.waiters.get(rank).map(|waiter| (*rank, waiter))
    }

    /// Work of those who wait for these backends before a place in line; of all of them without one.
    /// Each counts where it is charged: whoever may go elsewhere as well is not in the way of two.
    /// Looks at each: at most the sum of the queues' bounds.
    pub(super) fn ahead(&self, on: &[&Arc<Backend>], before: Option<&Rank>) -> u64 {
        let on: HashSet<&BackendId> = on.iter().map(|backend| backend.id()).collect();
        let until = before.map_or(Bound::Unbounded, Bound::Excluded);
        let waiters = self.waiters.range((Bound::Unbounded, until)).map(|(_, waiter)| waiter);
        waiters
            .filter(|waiter| on.contains(waiter.charged.id()))
            .map(|waiter| waiter.claim.demand.work())
            .fold(0, u64::saturating_add)
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
    pub(super) fn ranks(&self) -> Vec<Rank> {
        self.waiters.keys().copied().collect()
    }

    pub(super) fn get(&self, rank: Rank) -> Option<&Waiter> {
        self.waiters.get(&rank)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiters.is_empty()
    }

    fn serve(&mut self, rank: &Rank) {
        let (after, class) = (Rank::first_of(rank.class()), rank.class());
        let first = self.waiters.range(after..).next().map(|(first, _)| first);
        self.shares.served(rank, first.filter(|first| first.class() == class));
    }

    fn register(&mut self, rank: Rank, waiter: &mut Waiter, on: &[&Arc<Backend>]) {
        waiter.charged.runtime.queue_changed(true);
        let classes = self.by_class.entry(waiter.charged.id().clone()).or_default();
        *classes.entry(rank.class()).or_default() += 1;
        for backend in on {
            waiter.on.push(backend.id().clone());
            self.by_backend.entry(backend.id().clone()).or_default().insert(rank);
        }
    }

    fn unregister(&mut self, rank: Rank, waiter: &mut Waiter) {
        waiter.charged.runtime.queue_changed(false);
        if let Some(classes) = self.by_class.get_mut(waiter.charged.id()) {
            if let Some(count) = classes.get_mut(&rank.class()) {
                *count -= 1;
            }
            classes.retain(|_, count| *count > 0);
            if classes.is_empty() {
                self.by_class.remove(waiter.charged.id());
            }
        }
        for id in waiter.on.drain(..) {
            let Some(ranks) = self.by_backend.get_mut(&id) else { continue };
            ranks.remove(&rank);
            if ranks.is_empty() {
                self.by_backend.remove(&id);
            }
        }
    }

    /// The backend with the most room in its queue, for a class; `None` when all are full.
    fn roomiest<'a>(&self, on: &[&'a Arc<Backend>], class: Class) -> Option<&'a Arc<Backend>> {
        let room = |backend: &Backend| {
            let free = backend.spec.queue_limit.saturating_sub(backend.runtime.queued());
            free.min(self.left_of_share(backend, class))
        };
        on.iter().copied().filter(|backend| room(backend) > 0).max_by_key(|backend| room(backend))
    }

    /// What a class may still add to a backend's queue, whatever the others hold of it.
    fn left_of_share(&self, backend: &Backend, class: Class) -> u32 {
        let held = self.by_class.get(backend.id()).and_then(|held| held.get(&class));
        let held = held.copied().unwrap_or(0);
        share(backend.spec.queue_limit, class).saturating_sub(held)
    }

    /// Whoever would be served last, after a newcomer, and whose going makes room for it: of a lower
    /// class, or of its own where somebody asked for more than it did.
    fn last_after(&self, on: &[&Arc<Backend>], newcomer: &Rank) -> Option<Rank> {
        let class = newcomer.class();
        let makes_room = |rank: &Rank| {
            let charged = self.waiters.get(rank).map(|waiter| &waiter.charged);
            charged.is_some_and(|charged| {
                let asked = on.iter().any(|backend| backend.id() == charged.id());
                asked && (rank.class() == class || self.left_of_share(charged, class) > 0)
            })
        };
        let last = |backend: &&Arc<Backend>| {
            let after = self.by_backend.get(backend.id())?.iter().rev();
            after.take_while(|rank| *rank > newcomer).find(|rank| makes_room(rank)).copied()
        };
        on.iter().filter_map(last).max()
    }
}

/// The part of a queue that a class may fill.
fn share(limit: u32, class: Class) -> u32 {
    match class {
        Class::Batch => limit.div_ceil(4),
        Class::Free => limit.div_ceil(2),
        Class::Standard | Class::Priority => limit,
    }
}
