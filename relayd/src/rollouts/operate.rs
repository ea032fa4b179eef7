//! What people do to revisions and rollouts.

use super::Rollouts;
use super::control::now_ms;
use crate::domain::{
    Code, Fault, FieldError, ModelName, RolloutId, RolloutPlan, RolloutState, check_revision,
};
use crate::events::{EventKind, Severity};
use crate::store::{Change, NewRevision, NewRollout, RolloutEdit, RolloutRow, StoreError, Trail};

/// What a person does to a rollout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// To the next step; past the last one it is complete.
    Advance,
    /// The split stays.
    Pause,
    /// The step begins anew.
    Resume,
    /// The old revision serves all.
    RollBack,
}

/// A rollout to begin.
#[derive(Clone, Debug)]
pub struct Start {
    /// Its id.
    pub id: RolloutId,
    /// Of which model.
    pub model: ModelName,
    /// To which revision.
    pub to: u32,
    /// How.
    pub plan: RolloutPlan,
    /// Why.
    pub reason: String,
    /// By whom.
    pub actor: String,
    /// The version of what is live that was read.
    pub expected: Option<u64>,
}

impl Rollouts {
    /// Makes a revision. `present` is how the model is served now; it becomes revision 1 and live
    /// where the model has none yet, and the wanted one then is number 2. Gives its number.
    ///
    /// # Errors
    /// What is wrong with it; a version that moved on.
    pub async fn create_revision(
        &self,
        wanted: NewRevision,
        present: Option<NewRevision>,
        trail: Option<Trail>,
    ) -> Result<u32, Fault> {
        let mut wrong =
            check_revision(&wanted.targets, !wanted.deployment.is_empty(), &wanted.note);
        wrong.extend(wanted.parameters.check());
        if !wrong.is_empty() {
            return Err(Fault::validation(wrong));
        }
        let known = self.0.book.load().revisions.get(&wanted.model).cloned().unwrap_or_default();
        let mut changes = Vec::new();
        let mut number = known.first().map_or(0, |newest| newest.number) + 1;
        if let (1, Some(present)) = (number, present) {
            changes.push(Change::NewRevision(NewRevision { number, ..present }));
            number += 1;
        }
        let (model, actor) = (wanted.model.clone(), wanted.created_by.clone());
        changes.push(Change::NewRevision(NewRevision { number, ..wanted }));
        self.0.store.write(changes, trail).await?;
        let text = format!("revision {number} of {model} was made by {actor}");
        self.0.events.emit(EventKind::RevisionCreated, Severity::Info, model.as_str(), &text);
        self.read_again().await;
        Ok(number)
    }

    /// Begins a rollout.
    ///
    /// # Errors
    /// What is wrong with it; a rollout that is open already; a version that moved on.
    pub async fn start(&self, start: Start, trail: Option<Trail>) -> Result<RolloutRow, Fault> {
        let wrong = start.plan.check();
        if !wrong.is_empty() {
            return Err(Fault::validation(wrong));
        }
        let book = self.book();
        let Some(live) = book.live.get(&start.model) else {
            let text = format!("{} has no revision yet: make one first", start.model);
            return Err(Fault::new(Code::FailedPrecondition, text));
        };
        if live.number == start.to {
            let text = format!("revision {} of {} is live already", start.to, start.model);
            return Err(Fault::new(Code::FailedPrecondition, text));
        }
        if book.revision(&start.model, start.to).is_none() {
            let text = format!("{} has no revision {}", start.model, start.to);
            let field = FieldError::body("revision", "not_found", text);
            return Err(Fault::validation(vec![field]));
        }
        let rollout = NewRollout {
            id: start.id.clone(),
            model: start.model.clone(),
            from: live.number,
            to: start.to,
            plan: start.plan,
            reason: start.reason.clone(),
            actor: start.actor.clone(),
            at_ms: now_ms(),
        };
        let share = percent(rollout.plan.share_permille(0));
        let text = format!(
            "rollout of {} from revision {} to {} began at {share} by {}: {}",
            start.model, live.number, start.to, start.actor, start.reason
        );
        let change = Change::NewRollout { rollout, expected: start.expected };
        self.0.store.write(vec![change], trail).await.map_err(|error| match error {
            StoreError::Taken(crate::store::Unique::Other) => {
                let text = format!("a rollout of {} is open already", start.model);
                Fault::new(Code::FailedPrecondition, text)
            }
            error => error.into(),
        })?;
        let model = start.model.as_str();
        self.0.events.emit(EventKind::RolloutStarted, Severity::Info, model, &text);
        self.read_again().await;
        Ok(self.0.store.rollout(&start.id).await?)
    }

    /// Does something to a rollout, for a person.
    ///
    /// # Errors
    /// A state that does not allow it; a version that moved on.
    pub async fn act(
        &self,
        id: &RolloutId,
        act: Act,
        actor: &str,
        reason: &str,
        expected: Option<u64>,
        trail: Option<Trail>,
    ) -> Result<RolloutRow, Fault> {
        let row = self.0.store.rollout(id).await?;
        let (to, step, begins) = act.leads_to(&row)?;
        let edit = RolloutEdit {
            to,
            step,
            begins,
            gates: if begins { "[]".to_owned() } else { self.gates_of(&row) },
            actor: actor.to_owned(),
            reason: reason.to_owned(),
            at_ms: now_ms(),
        };
        let change = Change::EditRollout { id: id.clone(), expected, edit: edit.clone() };
        self.0.store.write(vec![change], trail).await?;
        self.tell(&row, &edit);
        self.read_again().await;
        Ok(self.0.store.rollout(id).await?)
    }

    /// After a change that is written: at once here, elsewhere with the next look.
    async fn read_again(&self) {
        if let Err(error) = self.reload().await {
            tracing::warn!(%error, "a change of rollouts is seen with the next look");
        }
    }

    fn gates_of(&self, row: &RolloutRow) -> String {
        let book = self.0.book.load();
        let known = book.current.get(&row.model).filter(|current| current.row.id == row.id);
        let gates = known.and_then(|current| serde_json::to_string(&current.gates).ok());
        gates.unwrap_or_else(|| row.gates.clone())
    }
}

impl Act {
    /// State, step, and whether that step begins.
    ///
    /// # Errors
    /// When the rollout's state does not allow it.
    pub fn leads_to(self, row: &RolloutRow) -> Result<(RolloutState, u32, bool), Fault> {
        let (to, step, begins) = match self {
            Self::Advance if row.plan.is_last(row.step) => {
                (RolloutState::Completed, row.step, false)
            }
            Self::Advance => (RolloutState::Running, row.step + 1, true),
            Self::Pause => (RolloutState::Paused, row.step, false),
            Self::Resume => (RolloutState::Running, row.step, true),
            Self::RollBack => (RolloutState::RolledBack, row.step, false),
        };
        let resumes = self != Self::Resume || row.state == RolloutState::Paused;
        if row.state.may_become(to) && resumes {
            return Ok((to, step, begins));
        }
        let text = format!("the rollout is {} and cannot {}", row.state, self.word());
        Err(Fault::new(Code::FailedPrecondition, text))
    }

    const fn word(self) -> &'static str {
        match self {
            Self::Advance => "advance",
            Self::Pause => "be paused",
            Self::Resume => "be resumed",
            Self::RollBack => "be rolled back",
        }
    }
}

/// A share as people write it.
pub(super) fn percent(permille: u16) -> String {
    match permille % 10 {
        0 => format!("{} %", permille / 10),
        tenth => format!("{}.{tenth} %", permille / 10),
    }
}
