//! Where the copies of one request are at this moment, so that no two meet on one backend; since
//! when its caller waits, so that his leaving says how slow it was; and whether its revision was told
//! what became of it, which is told once: a request is one sample, on the side that it was given to,
//! however many attempts and copies it took. Else what is retried would count twice on one side and
//! once on the other.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::fleet::Backend;
use crate::rollouts::Assignment;

/// The copies of one request.
#[derive(Default)]
pub(super) struct Copies(Mutex<State>);

#[derive(Default)]
struct State {
    on: Vec<Arc<Backend>>,
    waits: Option<(Assignment, Instant)>,
    first: Option<Assignment>,
    told: bool,
}

/// A copy is on a backend for as long as this stands.
pub(super) struct On<'a> {
    copies: &'a Copies,
    backend: Arc<Backend>,
}

impl Copies {
    /// A copy is asked of a backend.
    pub(super) fn enter(&self, backend: &Arc<Backend>) -> On<'_> {
        self.state().on.push(Arc::clone(backend));
        On { copies: self, backend: Arc::clone(backend) }
    }

    /// The backends that are being asked.
    pub(super) fn on(&self) -> Vec<Arc<Backend>> {
        self.state().on.clone()
    }

    /// The caller waits from here on for a revision's first content.
    pub(super) fn begin_wait(&self, of: &Assignment) {
        let mut state = self.state();
        state.waits = Some((of.clone(), Instant::now()));
        state.first.get_or_insert_with(|| of.clone());
    }

    /// The revision that was asked first; none where nobody was asked.
    pub(super) fn first(&self) -> Option<Assignment> {
        self.state().first.clone()
    }

    /// Whether the revision is yet to be told what became of the request; from here on it is not.
    pub(super) fn tell(&self) -> bool {
        !std::mem::replace(&mut self.state().told, true)
    }

    /// What he waited for came, or failed.
    pub(super) fn end_wait(&self) {
        self.state().waits = None;
    }

    /// For what he waits and how long already; none where nobody is asked.
    pub(super) fn wait(&self) -> Option<(Assignment, Duration)> {
        let state = self.state();
        state.waits.as_ref().map(|(of, since)| (of.clone(), since.elapsed()))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every section leaves both whole, so a panic elsewhere spoils nothing.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for On<'_> {
    fn drop(&mut self) {
        let mut state = self.copies.state();
        let place = state.on.iter().position(|on| Arc::ptr_eq(on, &self.backend));
        if let Some(place) = place {
            state.on.swap_remove(place);
        }
    }
}
