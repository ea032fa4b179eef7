//! What a request asks of routing, and which backends that leaves.

use std::sync::Arc;

use tokio::time::Instant;

use crate::balance::{Class, Customer, Demand};
use crate::domain::{BackendId, Scope};
use crate::fleet::{Backend, Members, Snapshot};

/// One request, as far as routing has to know it.
#[derive(Clone, Copy, Debug)]
pub struct Ask<'a> {
    /// What is asked for.
    pub scope: &'a Scope,
    /// The backends that may take it, those of one revision of the model; none is no bound. Which
    /// breakers are heeded is decided among them alone.
    pub only: Option<&'a Arc<Members>>,
    /// Backends that it was tried on already. Empty on the first attempt.
    pub exclude: &'a [BackendId],
    /// Until when it may wait.
    pub deadline: Instant,
    /// What it is expected to use.
    pub demand: Demand,
    /// Whom it is counted to where customers share.
    pub customer: Customer,
    /// When it gives way.
    pub class: Class,
    /// A hash of the model and the head of the prompt, the same on every replica: who served it
    /// before has it cached. `None` where there is nothing worth caching.
    pub prefix: Option<u64>,
    /// A hash of the session that the client named; its requests stay together.
    pub session: Option<u64>,
}

/// What decides which backends may take a request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted<'a> {
    pub(super) scope: &'a Scope,
    pub(super) only: Option<&'a Members>,
    pub(super) exclude: &'a [BackendId],
}

/// The same, kept while it waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wants {
    pub(super) scope: Scope,
    pub(super) only: Option<Arc<Members>>,
    pub(super) exclude: Vec<BackendId>,
}

/// What a request counts for; kept while it waits and runs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Claim {
    pub(super) demand: Demand,
    pub(super) customer: Customer,
    pub(super) class: Class,
    pub(super) prefix: Option<u64>,
    pub(super) session: Option<u64>,
}

impl<'a> Ask<'a> {
    /// A request of which nothing more is known: of standard class, of no customer.
    #[must_use]
    pub fn new(scope: &'a Scope, exclude: &'a [BackendId], deadline: Instant) -> Self {
        Self {
            scope,
            only: None,
            exclude,
            deadline,
            demand: Demand::default(),
            customer: 0.into(),
            class: Class::Standard,
            prefix: None,
            session: None,
        }
    }

    /// What it counts for.
    pub(super) const fn claim(&self) -> Claim {
        let Self { demand, customer, class, prefix, session, .. } = *self;
        Claim { demand, customer, class, prefix, session }
    }

    /// What its pool is found by.
    pub(super) fn wanted(&self) -> Wanted<'a> {
        let Self { scope, only, exclude, .. } = *self;
        Wanted { scope, only: only.map(|only| &**only), exclude }
    }

    /// What has to be kept of it to find its pool again.
    pub(super) fn wants(&self) -> Wants {
        Wants {
            scope: self.scope.clone(),
            only: self.only.cloned(),
            exclude: self.exclude.to_vec(),
        }
    }
}

impl Wants {
    pub(super) fn wanted(&self) -> Wanted<'_> {
        Wanted { scope: &self.scope, only: self.only.as_deref(), exclude: &self.exclude }
    }
}

impl<'w> Wanted<'w> {
    /// The pool of a request: the backends that are set up to serve it, in whatever state they
    /// are. The only place where a pool is formed; whatever narrows it belongs here.
    pub(super) fn pool<'s>(
        self,
        snapshot: &'s Snapshot,
    ) -> impl Iterator<Item = &'s Arc<Backend>> + use<'w, 's> {
        let only = self.only;
        snapshot
            .serving(self.scope)
            .iter()
            .filter(move |backend| only.is_none_or(|only| only.holds(backend)))
    }
}
