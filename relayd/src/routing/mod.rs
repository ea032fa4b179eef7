//! Admitting a request to a backend: choose, or wait in a bounded queue, or refuse.
//!
//! [`Router::admit`] gives a [`Permit`], which is the right to run one request on one backend and
//! releases that place exactly once, when it is reported or dropped. Routing knows nothing of what
//! a request is: no body, no customer, no price. Whether a failed request may be sent elsewhere is
//! its caller's decision, within a budget of retries ([`Router::may_retry`]).
//!
//! Who takes a request is chosen by the model's policy, from what each backend carries and how fast
//! it is; who waits is served by class, and within it by the work that its customer asked for. A
//! wait that would be longer than the request has is refused at once, and whoever is refused is told
//! when it makes sense to come again.
//!
//! Invariants: a backend never runs more than its bound; a newcomer never gets a place before
//! somebody who waits for the same backend; as long as somebody waits, no backend that could take him idles
//! (after a change of health or of a breaker's clock: for at most [`TICK`]).

mod ask;
mod budget;
mod choose;
mod gauges;
mod hedge;
mod queue;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use metrics::histogram;
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::balance::{Demand, Policy, Rank, Taken, is_in_vain};
use crate::domain::{BackendId, Code, Fault, ModelName, Scope};
use crate::fleet::{Backend, Fleet, Health, Outcome, Snapshot, Ticket};
use crate::telemetry::names;

pub use ask::Ask;
use ask::{Claim, Wants};
use budget::Budgets;
use choose::{has_room, survey};
use gauges::{Gauges, micros};
use queue::{Full, Grant, Queue};

/// How often waiting requests are looked over while there are any: what only time changes (a
/// breaker that half-opens, a busy backend that is free again) gives no notice.
pub const TICK: Duration = Duration::from_millis(100);

/// What the stored keys of models' policies begin with; the model's name follows.
pub const POLICY_SETTING: &str = "routing.policy.";

/// Why a request was not admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No backend that serves this is up, or all of them were excluded.
    #[error("no provider of this model can take the request")]
    NoBackend,
    /// All are busy and the queue is full, or somebody came who goes first and it was full.
    #[error("every provider of this model is busy and the queue is full")]
    QueueFull {
        /// When to come again, in seconds.
        retry_after_s: u32,
    },
    /// All are busy, and would be for longer than the request may wait.
    #[error("every provider of this model is busy for longer than the request may wait")]
    Hopeless {
        /// When to come again, in seconds.
        retry_after_s: u32,
    },
    /// All were busy until the deadline.
    #[error("every provider of this model stayed busy for too long")]
    Deadline {
        /// When to come again, in seconds.
        retry_after_s: u32,
    },
}

/// Admits requests to the backends of a fleet. Cheap to clone.
#[derive(Clone)]
pub struct Router {
    shared: Arc<Shared>,
}

struct Shared {
    fleet: Fleet,
    desk: Mutex<Desk>,
    joined: Notify,
}

/// Everything that changes, under one lock that is held for microseconds and never over an await.
struct Desk {
    gauges: Gauges,
    queue: Queue,
    /// One for each scope that was asked for and is still served.
    budgets: HashMap<Scope, Budgets>,
}

/// The right to run one request on one backend.
pub struct Permit {
    shared: Arc<Shared>,
    backend: Arc<Backend>,
    waited: Duration,
    state: Mutex<Running>,
}

/// What is known of a running request.
struct Running {
    ticket: Ticket,
    taken: Taken,
    claim: Claim,
    /// The time to the first byte was counted.
    first_byte: bool,
    outcome: Outcome,
    /// The place was given back already.
    over: bool,
}

/// One place in the queue, given up when dropped.
struct Place<'a> {
    shared: &'a Arc<Shared>,
    rank: Rank,
    answer: oneshot::Receiver<Result<Grant, Refusal>>,
}

enum Attempt {
    Granted(Grant),
    /// Nobody has room: the place in the queue.
    Waits(Rank, oneshot::Receiver<Result<Grant, Refusal>>),
}

impl Refusal {
    /// What the caller is told.
    #[must_use]
    pub fn fault(self) -> Fault {
        match self {
            Self::NoBackend => Fault::new(Code::ProviderUnavailable, self.to_string()),
            Self::QueueFull { retry_after_s }
            | Self::Hopeless { retry_after_s }
            | Self::Deadline { retry_after_s } => {
                Fault::new(Code::CapacityExhausted, self.to_string()).retry_after(retry_after_s)
            }
        }
    }
}

impl Router {
    /// A router over a fleet. Its choices follow from `seed`.
    #[must_use]
    pub fn new(fleet: Fleet, seed: u64) -> Self {
        let mut gauges = Gauges::new(seed);
        gauges.follow(&fleet.snapshot(), Instant::now());
        let desk = Desk { gauges, queue: Queue::default(), budgets: HashMap::new() };
        let shared = Shared { fleet, desk: Mutex::new(desk), joined: Notify::new() };
        Self { shared: Arc::new(shared) }
    }

    /// Gives a place on a backend that the request may run on; waits for one at most until its
    /// deadline, behind those who came before. Dropping the future gives the place up.
    ///
    /// # Errors
    /// [`Refusal`]: at once where nobody could serve it or too many wait already.
    pub async fn admit(&self, ask: &Ask<'_>) -> Result<Permit, Refusal> {
        let begun = Instant::now();
        let grant = self.admit_or_wait(ask).await?;
        let waited = begun.elapsed();
        histogram!(names::QUEUE_WAIT).record(waited.as_secs_f64());
        Ok(self.permit(grant, waited))
    }

    /// Chooses by these policies from now on, and by the default one for every other model.
    pub fn set_policies(&self, policies: HashMap<ModelName, Policy>) {
        self.shared.desk().gauges.set_policies(policies);
    }

    /// Takes one retry out of the scope's budget, if there is one. Ask before each attempt after
    /// the first.
    #[must_use]
    pub fn may_retry(&self, scope: &Scope) -> bool {
        self.shared.desk().budgets.get_mut(scope).is_some_and(|budgets| budgets.retries.may_spend())
    }

    /// A request that was admitted has used so much in the end. Its customer's place among others
    /// follows that, and no longer what was expected. Told once a request, however many copies of it
    /// ran; of one that brought no answer nothing is told, and its prompts count.
    pub fn used(&self, ask: &Ask<'_>, used: &Demand) {
        self.shared.desk().queue.used(&ask.claim(), used);
    }

    /// Serves those who wait when health, breakers or the set of backends change. One such task a
    /// router; without it they are served only when a running request ends.
    pub async fn run(&self, stop: CancellationToken) {
        let mut versions = self.shared.fleet.watch();
        versions.mark_changed();
        loop {
            let waiting = self.shared.serve_all();
            tokio::select! {
                changed = versions.changed() => match changed {
                    Ok(()) => self.shared.register_anew(),
                    Err(_) => return,
                },
                () = tokio::time::sleep(TICK), if waiting => {}
                () = self.shared.joined.notified(), if !waiting => {}
                () = stop.cancelled() => return,
            }
        }
    }

    async fn admit_or_wait(&self, ask: &Ask<'_>) -> Result<Grant, Refusal> {
        let (rank, answer) = match self.attempt(ask, true)? {
            Attempt::Granted(grant) => return Ok(grant),
            Attempt::Waits(rank, answer) => (rank, answer),
        };
        self.shared.joined.notify_one();
        let mut place = Place { shared: &self.shared, rank, answer };
        match tokio::time::timeout_at(ask.deadline, &mut place.answer).await {
            Ok(Ok(granted)) => granted,
            // The sender is gone only with the queue itself.
            Ok(Err(_)) => Err(Refusal::NoBackend),
            Err(_) => Err(Refusal::Deadline { retry_after_s: self.shared.retry_after_s(ask) }),
        }
    }

    /// Takes a place, or one in the queue if it may wait.
    fn attempt(&self, ask: &Ask<'_>, may_wait: bool) -> Result<Attempt, Refusal> {
        let snapshot = self.shared.fleet.snapshot();
        let (wanted, claim) = (ask.wanted(), ask.claim());
        if wanted.pool(&snapshot).next().is_none() {
            return Err(Refusal::NoBackend);
        }
        let now = Instant::now();
        let mut desk = self.shared.desk();
        if ask.exclude.is_empty() {
            desk.count_request(ask.scope);
        }
        loop {
            let found = survey(&snapshot, wanted, now);
            let free: Vec<_> = found.fit.iter().copied().filter(|one| has_room(one)).collect();
            let Some(backend) = desk.gauges.choose(&free, &ask.scope.model, &claim, now) else {
                let on = found.wait_for();
                if on.is_empty() || !may_wait {
                    return Err(Refusal::NoBackend);
                }
                let (sender, receiver) = oneshot::channel();
                let left = micros(ask.deadline.saturating_duration_since(now));
                let rank = desk.wait((ask.wants(), claim), &on, (now, left), sender)?;
                return Ok(Attempt::Waits(rank, receiver));
            };
            // Whoever waits for this backend came before; afterwards it may have no room left.
            desk.serve(&snapshot, backend.id(), now);
            if has_room(backend) {
                let rank = desk.queue.rank(&claim);
                desk.queue.pass(&rank);
                return Ok(Attempt::Granted(desk.grant(backend, claim, now)));
            }
        }
    }

    fn permit(&self, grant: Grant, waited: Duration) -> Permit {
        let Grant { backend, ticket, taken, claim } = grant;
        let outcome = Outcome::Cancelled;
        Permit {
            shared: Arc::clone(&self.shared),
            backend,
            waited,
            state: Mutex::new(Running {
                ticket,
                taken,
                claim,
                first_byte: false,
                outcome,
                over: false,
            }),
        }
    }
}

impl Shared {
    fn desk(&self) -> MutexGuard<'_, Desk> {
        // No section panics halfway through a change, so what is found is whole.
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// After the fleet changed: registers those who wait anew and refuses those for whom nobody is
    /// left.
    fn register_anew(&self) {
        let snapshot = self.fleet.snapshot();
        let now = Instant::now();
        let mut desk = self.desk();
        desk.gauges.follow(&snapshot, now);
        desk.budgets.retain(|scope, _| !snapshot.serving(scope).is_empty());
        for rank in desk.queue.ranks() {
            let Some(waiter) = desk.queue.get(rank) else { continue };
            let found = survey(&snapshot, waiter.wants.wanted(), now);
            let on = found.wait_for();
            if on.is_empty() {
                if let Some(waiter) = desk.queue.remove(rank) {
                    // A waiter that left meanwhile needs no answer.
                    let _ = waiter.answer.send(Err(Refusal::NoBackend));
                }
            } else {
                desk.queue.move_to(rank, &on);
            }
        }
    }

    /// Serves those who wait. Whether anybody waits on.
    fn serve_all(&self) -> bool {
        let mut desk = self.desk();
        if desk.queue.is_empty() {
            return false;
        }
        let (snapshot, now) = (self.fleet.snapshot(), Instant::now());
        for id in desk.queue.wanted() {
            desk.serve(&snapshot, &id, now);
        }
        !desk.queue.is_empty()
    }

    /// When it makes sense for such a request to come again, in seconds.
    fn retry_after_s(&self, ask: &Ask<'_>) -> u32 {
        let (snapshot, now) = (self.fleet.snapshot(), Instant::now());
        let on = survey(&snapshot, ask.wanted(), now).wait_for();
        let desk = self.desk();
        let ahead = desk.queue.ahead(&on, None);
        desk.gauges.retry_after_s(&on, ahead, now)
    }

    /// Gives a place back and serves who waits for it.
    fn release(&self, backend: &Backend, running: &Running) {
        let mut desk = self.desk();
        let Running { ticket, taken, claim, first_byte, outcome, .. } = running;
        backend.runtime.leave(*ticket, outcome, *first_byte);
        desk.gauges.leave(backend.id(), *taken, claim, outcome, Instant::now());
        desk.queue.over(claim);
        if desk.queue.is_wanted(backend.id()) {
            desk.serve(&self.fleet.snapshot(), backend.id(), Instant::now());
        }
    }
}

impl Desk {
    fn count_request(&mut self, scope: &Scope) {
        match self.budgets.get_mut(scope) {
            Some(budgets) => budgets.request(),
            None => self.budgets.entry(scope.clone()).or_default().request(),
        }
    }

    /// Puts a request in line, where the wait is not in vain: `left` microseconds from `now`.
    fn wait(
        &mut self,
        who: (Wants, Claim),
        on: &[&Arc<Backend>],
        (now, left): (Instant, u64),
        answer: oneshot::Sender<Result<Grant, Refusal>>,
    ) -> Result<Rank, Refusal> {
        let claim = who.1;
        let rank = self.queue.rank(&claim);
        let ahead = self.queue.ahead(on, Some(&rank));
        if self.gauges.wait_us(on, ahead, now).is_some_and(|wait| is_in_vain(wait, left)) {
            self.queue.forgo(&rank, &claim);
            let retry_after_s = self.gauges.retry_after_s(on, ahead, now);
            return Err(Refusal::Hopeless { retry_after_s });
        }
        let all = self.queue.ahead(on, None);
        let full = Refusal::QueueFull { retry_after_s: self.gauges.retry_after_s(on, all, now) };
        match self.queue.join(rank, who, on, answer) {
            Ok(None) => Ok(rank),
            Ok(Some(gone)) => {
                // One that left meanwhile needs no answer.
                let _ = gone.answer.send(Err(full));
                Ok(rank)
            }
            Err(Full) => {
                self.queue.forgo(&rank, &claim);
                Err(full)
            }
        }
    }

    /// A place on a backend that has room.
    fn grant(&mut self, backend: &Arc<Backend>, claim: Claim, now: Instant) -> Grant {
        debug_assert!(backend.is_open() && backend.runtime.health() == Health::Up);
        let ticket = backend.runtime.enter(now);
        let taken = self.gauges.enter(backend.id(), &claim, now);
        Grant { backend: Arc::clone(backend), ticket, taken, claim }
    }

    /// Hands the free places of one backend to those who wait for it, in order.
    fn serve(&mut self, snapshot: &Snapshot, id: &BackendId, now: Instant) {
        let Some(backend) = snapshot.backend(id) else { return };
        let mut passed = None;
        let mut hopeless: Option<Wants> = None;
        while has_room(backend) {
            let Some((rank, waiter)) = self.queue.next_for(id, passed) else { return };
            passed = Some(rank);
            // Those who want the same meet the same answer.
            if hopeless.as_ref() == Some(&waiter.wants) {
                continue;
            }
            let found = survey(snapshot, waiter.wants.wanted(), now);
            if !found.fit.iter().any(|fit| fit.id() == id) {
                hopeless = Some(waiter.wants.clone());
                continue;
            }
            let Some(waiter) = self.queue.take(rank) else { continue };
            let grant = self.grant(backend, waiter.claim, now);
            if let Err(Ok(unwanted)) = waiter.answer.send(Ok(grant)) {
                let Grant { backend, ticket, taken, claim } = unwanted;
                backend.runtime.leave(ticket, &Outcome::Cancelled, false);
                self.gauges.leave(backend.id(), taken, &claim, &Outcome::Cancelled, now);
                self.queue.over(&claim);
            }
        }
    }
}

impl Permit {
    /// Where the request may run.
    #[must_use]
    pub const fn backend(&self) -> &Arc<Backend> {
        &self.backend
    }

    /// How long it waited in the queue.
    #[must_use]
    pub const fn waited(&self) -> Duration {
        self.waited
    }

    /// The answer has begun, `ttft` after the request was sent. Counts the time at once, and lets
    /// an open breaker close without waiting for the end of the answer.
    pub fn first_byte(&self, ttft: Duration) {
        let mut state = self.state();
        if !state.first_byte {
            state.first_byte = true;
            self.backend.runtime.first_byte(&mut state.ticket, ttft);
            let mut desk = self.shared.desk();
            desk.gauges.begun(self.backend.id(), &mut state.taken, micros(ttft), Instant::now());
        }
    }

    /// How the request has ended. The last report counts, when the permit is dropped, which gives
    /// the place back; without one it was [`Outcome::Cancelled`].
    pub fn report(&self, outcome: Outcome) {
        self.state().outcome = outcome;
    }

    /// The request has ended so, and its place is given back before the permit is dropped. What is
    /// reported from here on says nothing any more.
    pub fn end(&self, outcome: Outcome) {
        let mut state = self.state();
        if !std::mem::replace(&mut state.over, true) {
            state.outcome = outcome;
            self.shared.release(&self.backend, &state);
        }
    }

    fn state(&self) -> MutexGuard<'_, Running> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        if !state.over {
            self.shared.release(&self.backend, state);
        }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let removed = self.shared.desk().queue.remove(self.rank);
        if removed.is_none()
            // Served while leaving: the place was handed over and never taken.
            && let Ok(Ok(grant)) = self.answer.try_recv()
        {
            let Grant { backend, ticket, taken, claim } = grant;
            let outcome = Outcome::Cancelled;
            let unused = Running { ticket, taken, claim, first_byte: false, outcome, over: false };
            self.shared.release(&backend, &unused);
        }
    }
}

impl fmt::Debug for Router {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Router").finish_non_exhaustive()
    }
}

impl fmt::Debug for Permit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permit").field("backend", self.backend.id()).finish_non_exhaustive()
    }
}
