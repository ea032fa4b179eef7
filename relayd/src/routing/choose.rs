//! Who of a pool may be asked, and who of those is.

use std::sync::Arc;

use tokio::time::Instant;

use super::ask::Wanted;
use crate::fleet::{Backend, Fitness, Snapshot};

/// The members of a pool by what can be expected of them now.
pub(super) struct Survey<'a> {
    /// They can take a request, load aside.
    pub(super) fit: Vec<&'a Arc<Backend>>,
    /// They serve but are busy, or are about to be probed for the first time.
    later: Vec<&'a Arc<Backend>>,
    /// Their breakers keep requests away.
    ejected: Vec<&'a Arc<Backend>>,
}

impl<'a> Survey<'a> {
    /// Whom a request may wait for; empty where waiting makes no sense. A breaker alone is not
    /// waited for (that may take minutes), but who waits for others takes it if it closes first.
    pub(super) fn wait_for(&self) -> Vec<&'a Arc<Backend>> {
        if self.fit.is_empty() && self.later.is_empty() {
            return Vec::new();
        }
        self.fit.iter().chain(&self.later).chain(&self.ejected).copied().collect()
    }
}

/// Looks over a pool. Of the members that serve, breakers keep away at most half: beyond that the
/// ones that would be tried again first are taken in spite of their breakers, because a breaker
/// that ejects everybody turns a blip into an outage. A pool of one therefore never ejects.
pub(super) fn survey<'a>(snapshot: &'a Snapshot, wanted: Wanted<'_>, now: Instant) -> Survey<'a> {
    let mut found = Survey { fit: Vec::new(), later: Vec::new(), ejected: Vec::new() };
    let mut ejected: Vec<(Instant, &Arc<Backend>)> = Vec::new();
    for backend in wanted.pool(snapshot).filter(|backend| backend.is_open()) {
        match backend.runtime.fitness(now) {
            Fitness::Fit => found.fit.push(backend),
            Fitness::Ejected(until) => ejected.push((until, backend)),
            Fitness::NotNow => found.later.push(backend),
            Fitness::Unfit => {}
        }
    }
    let serving = found.fit.len() + ejected.len() + found.later.len();
    let allowed = serving / 2;
    if ejected.len() > allowed {
        ejected.sort_by_key(|(until, _)| *until);
        let readmitted = ejected.len() - allowed;
        found.fit.extend(ejected.drain(..readmitted).map(|(_, backend)| backend));
    }
    found.ejected.extend(ejected.into_iter().map(|(_, backend)| backend));
    if !wanted.exclude.is_empty() {
        for members in [&mut found.fit, &mut found.later, &mut found.ejected] {
            members.retain(|backend| !wanted.exclude.contains(backend.id()));
        }
    }
    found
}

/// Whether a backend has room for one more request.
pub(super) fn has_room(backend: &Backend) -> bool {
    backend.runtime.running() < backend.spec.max_concurrency
}
