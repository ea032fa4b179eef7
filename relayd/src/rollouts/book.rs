//! What is stored, as it was read last, and the picture that requests are assigned by.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::Rollouts;
use super::assign::{Revision, Serving, Split};
use super::judge::GateResult;
use super::sums::Sums;
use super::windows::Round;
use crate::domain::{ALL_PERMILLE, ModelName, RolloutState};
use crate::store::{LiveRow, RevisionRow, RolloutNoteRow, RolloutRow, Side, Store, StoreError};

/// Everything that is known of revisions and rollouts. Never changes; a change makes a new one.
#[derive(Clone, Debug, Default)]
pub struct Book {
    /// The revisions of each model, newest first.
    pub revisions: Arc<BTreeMap<ModelName, Vec<RevisionRow>>>,
    /// What is live.
    pub live: BTreeMap<ModelName, LiveRow>,
    /// The open rollout of each model, else its last one.
    pub current: BTreeMap<ModelName, Arc<Current>>,
    /// The counter of changes that it was read at.
    pub(super) read_at: i64,
}

/// A rollout, and what its newest step came to over all replicas.
#[derive(Clone, Debug)]
pub struct Current {
    /// Its row.
    pub row: RolloutRow,
    /// Its history, oldest first.
    pub notes: Vec<RolloutNoteRow>,
    /// What its gates say.
    pub gates: Vec<GateResult>,
    /// What the old revision did.
    pub live: Sums,
    /// What the new one did.
    pub next: Sums,
    /// What copies came to.
    pub shadow: Sums,
}

impl Current {
    /// The new revision's share now, in thousandths.
    #[must_use]
    pub fn share_permille(&self) -> u16 {
        match self.row.state {
            RolloutState::Running | RolloutState::Paused => {
                self.row.plan.share_permille(self.row.step)
            }
            RolloutState::Completed => ALL_PERMILLE,
            RolloutState::RolledBack => 0,
        }
    }

    /// The sums that the new revision is judged by: copies, while it gets nothing else but canary
    /// prompts.
    pub(super) fn judged(&self) -> Cow<'_, Sums> {
        if self.row.plan.share_permille(self.row.step) > 0 {
            return Cow::Borrowed(&self.next);
        }
        let Sums { canaries, canaries_passed, .. } = self.next;
        Cow::Owned(Sums { canaries, canaries_passed, ..self.shadow.clone() })
    }
}

impl Book {
    /// A revision by its number.
    #[must_use]
    pub fn revision(&self, model: &ModelName, number: u32) -> Option<&RevisionRow> {
        self.revisions.get(model)?.iter().find(|revision| revision.number == number)
    }
}

impl Rollouts {
    /// Everything there is to show, with what other replicas changed up to now. For whoever decides
    /// by it; [`Rollouts::book`] is half a second behind at most.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn fresh(&self) -> Result<Arc<Book>, StoreError> {
        let changes = self.0.store.counter(crate::store::Counter::Rollouts).await?;
        if changes != self.0.book.load().read_at {
            self.reload().await?;
        }
        Ok(self.book())
    }

    /// Reads the rows anew and assigns by them from here on.
    ///
    /// # Errors
    /// When the store cannot be read; everything stays as it was.
    pub(super) async fn reload(&self) -> Result<(), StoreError> {
        let _reading = self.0.reading.lock().await;
        let store = &self.0.store;
        // The counter first: a change while the rows are read is read once more.
        let read_at = store.counter(crate::store::Counter::Rollouts).await?;
        let mut revisions: BTreeMap<ModelName, Vec<RevisionRow>> = BTreeMap::new();
        for row in store.revisions().await? {
            revisions.entry(row.model.clone()).or_default().push(row);
        }
        let live = store.live_revisions().await?;
        let live = live.into_iter().map(|row| (row.model.clone(), row)).collect();
        let mut current = BTreeMap::new();
        for row in store.current_rollouts().await? {
            let notes = store.rollout_notes(&row.id).await?;
            let found = read_current(store, row, notes).await?;
            current.insert(found.row.model.clone(), Arc::new(found));
        }
        let book = Book { revisions: Arc::new(revisions), live, current, read_at };
        let serving = serving(&book);
        self.0.windows.keep(open_rounds(&serving));
        self.0.serving.store(Arc::new(serving));
        self.0.book.store(Arc::new(book));
        Ok(())
    }
}

/// A rollout with what all replicas wrote of its newest step.
pub(super) async fn read_current(
    store: &Store,
    row: RolloutRow,
    notes: Vec<RolloutNoteRow>,
) -> Result<Current, StoreError> {
    let gates = serde_json::from_str(&row.gates).unwrap_or_default();
    let mut found = Current {
        gates,
        notes,
        live: Sums::default(),
        next: Sums::default(),
        shadow: Sums::default(),
        row,
    };
    let row = &found.row;
    let mut samples = store.rollout_samples(&row.id, row.round).await?;
    if row.plan.share_permille(row.step) >= ALL_PERMILLE && row.baseline != row.round {
        // The old revision gets nothing any more: what it did at the step before stands.
        let before = store.rollout_samples(&row.id, row.baseline).await?;
        samples.retain(|sample| sample.side != Side::Live);
        samples.extend(before.into_iter().filter(|sample| sample.side == Side::Live));
    }
    for sample in samples {
        let Ok(sums) = serde_json::from_str::<Sums>(&sample.sums) else {
            tracing::error!(rollout = %sample.rollout, boot = %sample.boot, "a sample does not read");
            continue;
        };
        let side = match sample.side {
            Side::Live => &mut found.live,
            Side::Next => &mut found.next,
            Side::Shadow => &mut found.shadow,
        };
        side.merge(&sums);
    }
    Ok(found)
}

/// Who serves each model that has revisions.
fn serving(book: &Book) -> HashMap<ModelName, Arc<Serving>> {
    let revision = |model: &ModelName, number: u32| {
        let row = book.revision(model, number)?;
        Some(Arc::new(Revision::new(row)))
    };
    let mut serving = HashMap::new();
    for (model, row) in &book.live {
        let Some(live) = revision(model, row.number) else {
            tracing::error!(%model, number = row.number, "the live revision is not there");
            continue;
        };
        let open = book.current.get(model).filter(|current| current.row.state.is_open());
        let split = open.and_then(|current| {
            Some(Arc::new(Split {
                rollout: current.row.id.clone(),
                round: current.row.round,
                next: revision(model, current.row.to)?,
                share_permille: current.share_permille(),
                shadow_permille: current.row.plan.shadow_permille,
            }))
        });
        let of_model = Serving { model: model.clone(), live, split };
        serving.insert(model.clone(), Arc::new(of_model));
    }
    serving
}

fn open_rounds(serving: &HashMap<ModelName, Arc<Serving>>) -> Vec<Round> {
    let splits = serving.values().filter_map(|serving| serving.split.as_ref());
    splits
        .flat_map(|split| {
            [Side::Live, Side::Next, Side::Shadow].map(|side| Round {
                rollout: split.rollout.clone(),
                number: split.round,
                side,
            })
        })
        .collect()
}
