//! The record of how each provider has done, and the steps that follow from it by themselves.
//!
//! A record is stored with its provider and survives restarts; replicas add to the same one. Each
//! step (probation, suspension, the way out of probation) is written with its reason, told as an
//! event and kept in the record; a suspension is a decision like a person's, in relayd's name.

use std::collections::{HashMap, HashSet};

use serde::{Deserialize, Serialize};

use super::conduct::{Finding, Noted, Pace, judge_noted};
use super::reputation::{Dimension, Reputation, Standing, Step};
use super::{Decision, Evidence, Providers, now_ms};
use crate::domain::{ProviderId, ProviderState, Role};
use crate::events::{EventKind, Severity};
use crate::store::{Change, ProviderRow, StoreError, Trail};

/// Steps that are kept of a provider, newest first.
const STEPS_MAX: usize = 16;

/// What went wrong lately, newest first, that is kept of a provider.
const MISHAPS_MAX: usize = 16;

/// How often findings are added anew when another replica wrote meanwhile.
const TRIES: u32 = 5;

/// Who takes a step.
const ACTOR: &str = "relayd";

/// How a provider has done.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Record {
    /// Where it stands by the policy.
    pub standing: Standing,
    /// Its scores.
    pub reputation: Reputation,
    /// Steps that were taken, newest first.
    pub steps: Vec<TakenStep>,
    /// What went wrong lately, newest first.
    pub mishaps: Vec<Mishap>,
}

/// A step that was taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TakenStep {
    /// When, milliseconds since the epoch.
    pub at_ms: i64,
    /// Where it led.
    pub to: Standing,
    /// By which score.
    pub dimension: Dimension,
    /// Why, for people.
    pub reason: String,
}

/// Something that went wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mishap {
    /// When, milliseconds since the epoch.
    pub at_ms: i64,
    /// On which side.
    pub dimension: Dimension,
    /// What, for people.
    pub text: String,
}

impl Record {
    /// From the store's text; an empty one, or one of another build, begins anew.
    #[must_use]
    pub fn read(text: &str) -> Self {
        serde_json::from_str(text).unwrap_or_default()
    }

    /// The same as of now, without what a person's approval forgives.
    pub(super) fn forgiven(self) -> Self {
        Self { steps: self.steps, ..Self::default() }
    }

    pub(super) fn text(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Adds findings of one moment. Of a moment's failures and slow answers only one counts: a
    /// host that goes down with many requests on it had one outage.
    fn add(&mut self, findings: &[Finding], now_ms: i64, half_life_ms: i64) {
        let mut counted = HashSet::new();
        for Finding { dimension, wrong } in findings {
            let Some(text) = wrong else {
                self.reputation.note(*dimension, (1.0, 0.0), now_ms, half_life_ms);
                continue;
            };
            let outage = matches!(dimension, Dimension::Availability | Dimension::Latency);
            if outage && !counted.insert(*dimension) {
                continue;
            }
            self.reputation.note(*dimension, (0.0, 1.0), now_ms, half_life_ms);
            let mishap = Mishap { at_ms: now_ms, dimension: *dimension, text: text.clone() };
            self.mishaps.insert(0, mishap);
            self.mishaps.truncate(MISHAPS_MAX);
        }
    }

    fn step(&mut self, step: &Step, now_ms: i64) {
        self.standing = step.to;
        let Step { to, dimension, reason } = step.clone();
        self.steps.insert(0, TakenStep { at_ms: now_ms, to, dimension, reason });
        self.steps.truncate(STEPS_MAX);
    }
}

impl Providers {
    /// Judges what was noted of providers' requests since the last time.
    ///
    /// # Errors
    /// When the store cannot be read or written; what was noted is then lost.
    pub(super) async fn judge(&self) -> Result<(), StoreError> {
        let mut notes: HashMap<ProviderId, Vec<Noted>> = HashMap::new();
        for (id, note) in self.0.watching.conduct.take() {
            notes.entry(id).or_default().push(note);
        }
        for (id, notes) in notes {
            let row = match self.0.store.provider(&id).await {
                Err(StoreError::NotFound(_)) => continue,
                row => row?,
            };
            let pace = Pace::of(&Evidence::read(&row.evidence));
            let findings: Vec<_> = {
                let mut all = self.remembered();
                let remembered = all.entry(id.clone()).or_default();
                notes.iter().flat_map(|note| judge_noted(note, pace, remembered)).collect()
            };
            if !findings.is_empty() {
                self.found(&id, &findings).await?;
            }
        }
        Ok(())
    }

    /// Adds findings to a provider's record and takes the step that follows.
    ///
    /// # Errors
    /// When the store cannot be read or written.
    pub(super) async fn found(
        &self,
        id: &ProviderId,
        findings: &[Finding],
    ) -> Result<(), StoreError> {
        let policy = self.0.watching.policy;
        for _ in 0..TRIES {
            let row = self.0.store.provider(id).await?;
            let (mut record, now) = (Record::read(&row.standing), now_ms());
            record.add(findings, now, policy.half_life_ms);
            let step = match row.state {
                ProviderState::Approved => policy.decide(record.standing, &record.reputation, now),
                _ => None,
            };
            if let Some(step) = &step {
                record.step(step, now);
            }
            let (before, after) = (Some(row.standing.clone()), record.text());
            // Every replica takes a new standing into its fleet.
            let steps = step.is_some();
            let note = Change::NoteStanding { id: id.clone(), before, after, steps };
            let (changes, trail) = match &step {
                Some(Step { to: Standing::Suspended, reason, .. }) => {
                    let reason = by_policy(reason);
                    let mut changes = self.decision(&row, Decision::Suspend, &reason).await?;
                    // After the state: everybody locks in that order.
                    changes.insert(1, note);
                    (changes, Some(suspension(&row, &reason)))
                }
                _ => (vec![note], None),
            };
            match self.0.store.write(changes, trail).await {
                // Another replica added something, or somebody decided: both shall count.
                Err(StoreError::Precondition(_) | StoreError::Version { .. }) => {}
                Err(error) => return Err(error),
                Ok(_) => {
                    if let Some(step) = step {
                        self.stepped(&row, &step).await;
                    }
                    self.changed();
                    return Ok(());
                }
            }
        }
        tracing::warn!(provider = %id, "what was seen of a provider could not be added to its record");
        Ok(())
    }

    /// Tells a step that is written, and has everything here follow it.
    async fn stepped(&self, row: &ProviderRow, step: &Step) {
        let Step { to, reason, .. } = step;
        let followed = match to {
            Standing::Suspended => self.decided(row, Decision::Suspend, &by_policy(reason)).await,
            Standing::Probation => {
                let text = format!("is on probation: {reason}");
                self.tell(EventKind::ProviderProbation, Severity::Warning, row, &text);
                self.0.catalogue.reload().await
            }
            Standing::Good => {
                let text = format!("is not on probation any more: {reason}");
                self.tell(EventKind::ProviderRestored, Severity::Info, row, &text);
                self.0.catalogue.reload().await
            }
        };
        if let Err(error) = followed {
            tracing::warn!(%error, "a provider's standing is taken in later");
        }
    }
}

fn by_policy(reason: &str) -> String {
    format!("by policy: {reason}")
}

/// The record of a suspension that nobody asked for.
fn suspension(row: &ProviderRow, reason: &str) -> Trail {
    let state = |state: ProviderState| serde_json::json!({ "state": state.as_str() }).to_string();
    Trail {
        at_ms: now_ms(),
        actor: ACTOR.to_owned(),
        role: Role::Operator,
        action: "ProvidersService/SuspendProvider".to_owned(),
        object: row.id.to_string(),
        before: state(row.state),
        after: state(ProviderState::Suspended),
        request_id: uuid::Uuid::now_v7().to_string(),
        reason: reason.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(dimension: Dimension) -> Finding {
        Finding { dimension, wrong: Some("wrong".to_owned()) }
    }

    #[test]
    fn an_outage_with_many_requests_is_one_mishap() {
        let mut record = Record::default();
        record.add(&vec![wrong(Dimension::Availability); 64], 1, 1_000_000);
        assert!((record.reputation.availability.bad - 1.0).abs() < 1e-9);
        assert_eq!(record.mishaps.len(), 1);
        record.add(&vec![wrong(Dimension::Honesty); 3], 1, 1_000_000);
        assert!(record.reputation.honesty.bad > 2.9, "each false claim is one");
        record.add(&vec![wrong(Dimension::Honesty); 90], 1, 1_000_000);
        assert_eq!(record.mishaps.len(), MISHAPS_MAX);
    }

    #[test]
    fn a_record_is_read_as_it_was_written_and_forgiven_but_not_forgotten() {
        let mut record = Record::default();
        record.add(&[wrong(Dimension::Identity)], 5, 1_000_000);
        let step = Step {
            to: Standing::Suspended,
            dimension: Dimension::Identity,
            reason: "so".to_owned(),
        };
        record.step(&step, 6);
        assert_eq!(Record::read(&record.text()), record);
        assert_eq!(Record::read(""), Record::default());
        let forgiven = record.forgiven();
        assert_eq!((forgiven.standing, forgiven.steps.len()), (Standing::Good, 1));
        assert_eq!(forgiven.reputation, Reputation::default());
    }
}
