//! Which revision of a model serves a request, and how traffic moves from one to the next.
//!
//! [`Rollouts::assign`] gives a request its revision out of an immutable picture that is swapped
//! whole; [`Rollouts::observed`] takes what became of it. A task looks at the rows and the sums of
//! all replicas twice a second, judges every running step and moves it on, back, or to a person.
//! This room must not know bodies, customers or prices, and it asks no engine anything.
//!
//! Invariants: one open rollout a model; a decision is written against the version it was made on,
//! so that of many replicas one makes it; a request counts for the round in which it began; what
//! the new revision fails counts against it also when the old one served the request after all.

mod assign;
mod book;
mod control;
mod judge;
mod operate;
mod statistics;
mod sums;
#[cfg(test)]
mod tests;
mod windows;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::Mutex as AsyncMutex;

pub use assign::{Assignment, Revision, Serving, Split};
pub use book::{Book, Current};
pub use control::GATES;
pub use judge::{GateResult, Verdict};
pub use operate::{Act, Start};
pub use sums::{Bins, Finishes, SampleEnd, Sums};
pub use windows::Traffic;

use crate::domain::{ModelName, RolloutId};
use crate::events::Events;
use crate::store::{Side, Store, StoreError};
use windows::{Round, Windows};

/// Canary prompts of a rollout that are to be asked again and again.
#[derive(Clone, Debug)]
pub struct Canaries {
    /// The model.
    pub model: ModelName,
    /// The rollout.
    pub rollout: RolloutId,
    /// Both revisions.
    pub sides: [Assignment; 2],
    /// What to ask, and what the answers must hold.
    pub prompts: Vec<crate::domain::CanaryPrompt>,
    /// Time between two rounds of asking.
    pub every: Duration,
}

/// The rollouts of this relayd. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Rollouts(Arc<Inner>);

struct Inner {
    store: Store,
    events: Events,
    serving: ArcSwap<HashMap<ModelName, Arc<Serving>>>,
    book: ArcSwap<Book>,
    windows: Windows,
    /// The early look that each round had last; one a running rollout.
    looks: Mutex<HashMap<RolloutId, (u32, u32)>>,
    /// Held while the rows are read, so that an older reading never replaces a newer one.
    reading: AsyncMutex<()>,
}

impl Rollouts {
    /// Reads what is stored.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn load(store: Store, events: Events) -> Result<Self, StoreError> {
        let rollouts = Self(Arc::new(Inner {
            store,
            events,
            serving: ArcSwap::default(),
            book: ArcSwap::default(),
            windows: Windows::new(),
            looks: Mutex::default(),
            reading: AsyncMutex::default(),
        }));
        rollouts.reload().await?;
        Ok(rollouts)
    }

    /// The revision for a request of a model. Requests with one key stay on one revision as long
    /// as its share does not fall.
    #[must_use]
    pub fn assign(&self, model: &ModelName, key: &[u8]) -> Assignment {
        match self.0.serving.load().get(model) {
            Some(serving) => serving.assign(key),
            None => Assignment::anybody(),
        }
    }

    /// Takes what became of a request on the revision that it was assigned to.
    pub fn observed(&self, model: &ModelName, assignment: &Assignment, end: SampleEnd) {
        let told = assignment.told();
        if !matches!(told, Some((_, Side::Shadow))) {
            self.0.windows.add_traffic(model, assignment.number(), end);
        }
        if let Some(round) = told.and_then(|(serving, side)| round(serving, side)) {
            self.0.windows.add(&round, assignment.session(), end);
        }
    }

    /// Takes whether a canary prompt was answered as expected.
    pub fn canary(&self, assignment: &Assignment, passed: bool) {
        let told = assignment.told();
        if let Some(round) = told.and_then(|(serving, side)| round(serving, side)) {
            self.0.windows.add_canary(&round, passed);
        }
    }

    /// The canary prompts of the running rollouts.
    #[must_use]
    pub fn canaries(&self) -> Vec<Canaries> {
        let (book, serving) = (self.0.book.load(), self.0.serving.load());
        let running = book.current.values().filter(|current| {
            let row = &current.row;
            row.state == crate::domain::RolloutState::Running && !row.plan.canary_prompts.is_empty()
        });
        running
            .filter_map(|current| {
                let (row, serving) = (&current.row, serving.get(&current.row.model)?);
                Some(Canaries {
                    model: row.model.clone(),
                    rollout: row.id.clone(),
                    sides: [Side::Live, Side::Next].map(|side| Assignment::of(serving, side)),
                    prompts: row.plan.canary_prompts.clone(),
                    every: canary_interval(row.plan.window_ms, row.plan.canary_prompts.len()),
                })
            })
            .collect()
    }

    /// Everything there is to show.
    #[must_use]
    pub fn book(&self) -> Arc<Book> {
        self.0.book.load_full()
    }

    /// What a model's revisions did in the last minute on this replica.
    #[must_use]
    pub fn traffic(&self, model: &ModelName) -> Vec<Traffic> {
        self.0.windows.traffic(model)
    }
}

/// Prompts that a window shall see of each revision: twice what the gate asks for.
const CANARIES_A_WINDOW: u64 = 40;

/// Shortest time between two rounds of canary prompts, in milliseconds.
const CANARY_EVERY_MIN_MS: u64 = 250;

/// Longest.
const CANARY_EVERY_MAX_MS: u64 = 60_000;

fn canary_interval(window_ms: u64, prompts: usize) -> Duration {
    let rounds = CANARIES_A_WINDOW.div_ceil(u64::try_from(prompts).unwrap_or(1).max(1));
    let every = window_ms / rounds.max(1);
    Duration::from_millis(every.clamp(CANARY_EVERY_MIN_MS, CANARY_EVERY_MAX_MS))
}

/// Where a sample of one side is kept; none without an open rollout.
fn round(serving: &Arc<Serving>, side: Side) -> Option<Round> {
    let split = serving.split.as_ref()?;
    Some(Round { rollout: split.rollout.clone(), number: split.round, side })
}

impl std::fmt::Debug for Rollouts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rollouts").finish_non_exhaustive()
    }
}
