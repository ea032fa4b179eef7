//! The task that moves rollouts: reads, writes what was seen, judges, decides.

use std::collections::HashMap;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio_util::sync::CancellationToken;

use super::Rollouts;
use super::book::{Current, read_current};
use super::judge::{self, Decision, Evidence, Progress};
use super::operate::percent;
use crate::domain::{RolloutId, RolloutState};
use crate::events::{EventKind, Severity};
use crate::store::{Change, RolloutEdit, SampleRow, StoreError};

/// Time between two looks: how fast a bad revision can be stopped, and how old other replicas'
/// changes are seen.
const TICK: Duration = Duration::from_millis(500);

/// Who is said to have decided what no person did.
pub const GATES: &str = "gates";

impl Rollouts {
    /// Looks after every rollout until stopped. One such task a process.
    pub async fn run(&self, stop: CancellationToken) {
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut reaches = true;
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = ticks.tick() => {}
            }
            match self.look().await {
                Ok(()) => reaches = true,
                Err(error) => {
                    if reaches {
                        tracing::warn!(%error, "rollouts stand still: the store cannot be used");
                    }
                    reaches = false;
                }
            }
        }
    }

    /// One look at everything.
    pub(super) async fn look(&self) -> Result<(), StoreError> {
        self.fresh().await?;
        self.write_samples().await?;
        let open: Vec<Arc<Current>> = {
            let book = self.0.book.load();
            book.current.values().filter(|current| current.row.state.is_open()).cloned().collect()
        };
        self.looks().retain(|id, _| open.iter().any(|current| current.row.id == *id));
        let mut failed = Ok(());
        for current in open {
            // One that cannot be read keeps no other from being judged.
            failed = failed.and(self.consider(&current).await);
        }
        failed
    }

    async fn write_samples(&self) -> Result<(), StoreError> {
        let unwritten = self.0.windows.take_unwritten();
        if unwritten.is_empty() {
            return Ok(());
        }
        let boot = self.0.store.boot();
        let rows = unwritten.iter().map(|(round, sums)| SampleRow {
            rollout: round.rollout.clone(),
            round: round.number,
            side: round.side,
            boot,
            // Made of numbers, which cannot fail.
            sums: serde_json::to_string(sums).unwrap_or_default(),
        });
        let written = self.0.store.put_rollout_samples(rows.collect()).await;
        if written.is_err() {
            let rounds: Vec<_> = unwritten.into_iter().map(|(round, _)| round).collect();
            self.0.windows.not_written(&rounds);
        }
        written
    }

    /// Judges one rollout and does what follows.
    async fn consider(&self, known: &Current) -> Result<(), StoreError> {
        let (row, notes) = (known.row.clone(), known.notes.clone());
        let mut current = read_current(&self.0.store, row, notes).await?;
        let plan = &current.row.plan;
        let judged = current.judged();
        let evidence = Evidence { live: &current.live, next: &judged };
        let gates = judge::gates(plan, evidence);
        let decision = match current.row.state {
            RolloutState::Running => match self.early_stop(&current, evidence) {
                Some(reason) => Decision::RollBack { reason },
                None => {
                    let since = now_ms().saturating_sub(current.row.step_since_ms);
                    let progress = Progress {
                        elapsed_ms: u64::try_from(since).unwrap_or_default(),
                        last: plan.is_last(current.row.step),
                    };
                    judge::decide(plan, evidence, progress, &gates)
                }
            },
            // A person decides.
            _ => Decision::Wait,
        };
        drop(judged);
        current.gates = gates;
        self.show(current.clone());
        self.follow(&current, decision).await
    }

    /// The early look at the errors, when one is due.
    fn early_stop(&self, current: &Current, evidence: Evidence<'_>) -> Option<String> {
        let due = judge::look_due(evidence.next.requests)?;
        let this = (current.row.round, due);
        let mut looks = self.looks();
        if looks.get(&current.row.id).is_some_and(|last| *last >= this) {
            return None;
        }
        looks.insert(current.row.id.clone(), this);
        judge::early_stop(&current.row.plan, evidence, due)
    }

    fn looks(&self) -> MutexGuard<'_, HashMap<RolloutId, (u32, u32)>> {
        // One insertion or one sweep at a time leaves it whole.
        self.0.looks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts newer figures in place, unless the rows were read again meanwhile.
    fn show(&self, current: Current) {
        let current = Arc::new(current);
        self.0.book.rcu(|book| {
            let mut book = (**book).clone();
            if let Some(shown) = book.current.get_mut(&current.row.model)
                && shown.row == current.row
            {
                *shown = Arc::clone(&current);
            }
            book
        });
    }

    async fn follow(&self, current: &Current, decision: Decision) -> Result<(), StoreError> {
        let row = &current.row;
        let (to, step, begins, reason) = match decision {
            Decision::Wait => return Ok(()),
            Decision::Advance if row.plan.is_last(row.step) => {
                let reason = format!("every gate passed at {}", percent(current.share_permille()));
                (RolloutState::Completed, row.step, false, reason)
            }
            Decision::Advance => {
                let reason = format!("every gate passed at {}", percent(current.share_permille()));
                (RolloutState::Running, row.step + 1, true, reason)
            }
            Decision::RollBack { reason } => (RolloutState::RolledBack, row.step, false, reason),
            Decision::Pause { reason } => (RolloutState::Paused, row.step, false, reason),
        };
        let edit = RolloutEdit {
            to,
            step,
            begins,
            gates: serde_json::to_string(&current.gates).unwrap_or_default(),
            actor: GATES.to_owned(),
            reason,
            at_ms: now_ms(),
        };
        let change = Change::EditRollout {
            id: row.id.clone(),
            expected: Some(row.version),
            edit: edit.clone(),
        };
        match self.0.store.write(vec![change], None).await {
            Ok(()) => {
                self.tell(row, &edit);
                self.reload().await
            }
            // Another replica or a person was faster; what they wrote is what counts.
            Err(StoreError::Version { .. } | StoreError::Precondition(_)) => self.reload().await,
            Err(error) => Err(error),
        }
    }

    /// Tells what became of a rollout.
    pub(super) fn tell(&self, row: &crate::store::RolloutRow, edit: &RolloutEdit) {
        let (model, to) = (&row.model, row.to);
        let share = percent(row.plan.share_permille(edit.step));
        let why = |text: String| {
            let by =
                if edit.actor == GATES { String::new() } else { format!(" by {}", edit.actor) };
            if edit.reason.is_empty() {
                format!("{text}{by}")
            } else {
                format!("{text}{by}: {}", edit.reason)
            }
        };
        let (kind, severity, text) = match edit.to {
            RolloutState::Running if edit.step == row.step => (
                EventKind::RolloutResumed,
                Severity::Info,
                format!("rollout of {model} to revision {to} goes on at {share}"),
            ),
            RolloutState::Running => (
                EventKind::RolloutAdvanced,
                Severity::Info,
                format!("revision {to} of {model} gets {share}"),
            ),
            RolloutState::Paused => (
                EventKind::RolloutPaused,
                Severity::Warning,
                format!("rollout of {model} to revision {to} is paused at {share}"),
            ),
            RolloutState::Completed => (
                EventKind::RolloutCompleted,
                Severity::Info,
                format!("revision {to} of {model} serves all"),
            ),
            RolloutState::RolledBack => (
                EventKind::RolloutRolledBack,
                Severity::Warning,
                format!("revision {to} of {model} was rolled back to {} at {share}", row.from),
            ),
        };
        self.0.events.emit(kind, severity, model.as_str(), &why(text));
    }
}

pub(super) fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
