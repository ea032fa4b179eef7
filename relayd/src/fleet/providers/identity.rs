//! Whether a provider's models are what they would be sold as: at its examination, and who is asked
//! hidden questions while it serves.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use tokio::time::{Instant, timeout_at};
use uuid::Uuid;

use super::canary::{Answer, Likeness, Question, Sending, Unanswered, Verdict, ask, is_comparable};
use super::{IdentityEvidence, IdentityState, Providers};
use crate::domain::ModelName;
use crate::engines::{Blame, Dialect, Engine};
use crate::fleet::{Backend, Health, Members, Trust};

/// Questions of an examination to each model, and those that may be asked in place of ones that
/// said nothing.
const QUESTIONS: u32 = 3;
const QUESTIONS_MAX: u32 = 5;

/// Most models of an engine that are asked: each takes some requests.
const MODELS_MAX: usize = 4;

/// Longest wait for an answer of an examination.
const PATIENCE: Duration = Duration::from_secs(8);

impl Providers {
    /// The backends of providers that may be asked hidden questions.
    #[must_use]
    pub fn questioned(&self) -> Vec<Arc<Backend>> {
        let snapshot = self.0.fleet.snapshot();
        let theirs = snapshot.backends().filter(|one| {
            one.spec.trust == Trust::Provider
                && is_comparable(one.engine.kind())
                && one.is_open()
                && one.runtime.health() == Health::Up
        });
        theirs.map(Arc::clone).collect()
    }

    /// A backend of the operator's own, one of these where they are named, that serves the model and
    /// tells likelihoods. It may be closed to customers.
    #[must_use]
    pub fn reference(&self, model: &ModelName, among: Option<&Members>) -> Option<Arc<Backend>> {
        let snapshot = self.0.fleet.snapshot();
        let own = snapshot.backends().find(|one| {
            one.spec.trust == Trust::Own
                && is_comparable(one.engine.kind())
                && one.engine.dialect() == Dialect::Openai
                && one.upstream(model).is_some()
                && one.runtime.health() == Health::Up
                && among.is_none_or(|among| among.holds(one))
        });
        own.map(Arc::clone)
    }

    /// Holds the models of an engine against the operator's own, for its examination: some of them,
    /// until then, with no more questions at once than the engine has places.
    pub(super) async fn identify(
        &self,
        (engine, places): (&Engine, u32),
        models: Vec<(ModelName, String)>,
        until: Instant,
    ) -> Vec<IdentityEvidence> {
        let at_once = usize::try_from(places).unwrap_or(MODELS_MAX).clamp(1, MODELS_MAX);
        let each = models.into_iter().take(MODELS_MAX).enumerate();
        let each = each.map(|(number, (model, upstream))| async move {
            let found = IdentityEvidence {
                model: model.to_string(),
                upstream: upstream.clone(),
                ..IdentityEvidence::default()
            };
            if !is_comparable(engine.kind()) {
                let reason = "only answers of llama.cpp and vLLM can be compared";
                return IdentityEvidence { reason: reason.to_owned(), ..found };
            }
            match self.reference(&model, None) {
                // The first model must be compared, the others as far as there is time.
                Some(_) if number > 0 && Instant::now() >= until => {
                    let reason = "no time was left to compare it".to_owned();
                    IdentityEvidence { reason, ..found }
                }
                Some(own) => compare(engine, &model, &upstream, &own, found, until).await,
                None => {
                    let reason = "no llama.cpp or vLLM of the operator's own serves the model";
                    IdentityEvidence { reason: reason.to_owned(), ..found }
                }
            }
        });
        futures::stream::iter(each).buffered(at_once).collect().await
    }
}

async fn compare(
    engine: &Engine,
    model: &ModelName,
    upstream: &str,
    own: &Backend,
    mut found: IdentityEvidence,
    until: Instant,
) -> IdentityEvidence {
    let (mut agreed, own_name) = (0, own.upstream(model).unwrap_or(upstream));
    let mut tried = 0;
    while tried < QUESTIONS_MAX && found.asked - found.unsure < QUESTIONS {
        tried += 1;
        let question = Question::short();
        let (known, told) = tokio::join!(
            timeout_at(until, answer(&own.engine, model, own_name, &question)),
            timeout_at(until, answer(engine, model, upstream, &question))
        );
        let known = match known {
            Ok(Ok(known)) => known,
            // Ours is no witness then, which is not theirs to answer for.
            Ok(Err(_)) => continue,
            Err(_) => break,
        };
        let told = match told {
            Ok(Ok(told)) => told,
            Ok(Err(Unanswered::Inexpressible)) => {
                let reason = "its dialect has no words for the questions".to_owned();
                return IdentityEvidence { reason, ..found };
            }
            Ok(Err(_)) => {
                found.unanswered += 1;
                continue;
            }
            // One that is too slow for this is asked again with the next examination.
            Err(_) => {
                found.unanswered += 1;
                break;
            }
        };
        let likeness = Likeness::of(&known, &told);
        found.asked += 1;
        agreed += likeness.agreement_milli;
        found.difference_milli = found.difference_milli.max(likeness.difference_milli);
        match likeness.verdict() {
            Verdict::Same => found.passed += 1,
            Verdict::Other => {}
            Verdict::Unsure => found.unsure += 1,
        }
    }
    found.agreement_milli = agreed.checked_div(found.asked).unwrap_or_default();
    concluded(found)
}

/// More of the answers that say anything must be the same model's than another's. Whoever leaves
/// questions unanswered is neither: it is asked again before anybody decides.
fn concluded(found: IdentityEvidence) -> IdentityEvidence {
    let said = found.asked - found.unsure;
    let enough = said >= QUESTIONS || found.unanswered == 0;
    let (state, reason) = match found.passed * 2 {
        _ if !enough => (IdentityState::NotOffered, "it left questions unanswered"),
        _ if found.asked == 0 => {
            (IdentityState::NotOffered, "the operator's own engine did not answer")
        }
        _ if said == 0 => (IdentityState::NotOffered, "no answer told the model from another"),
        twice if twice > said => (IdentityState::Passed, ""),
        _ => (IdentityState::Failed, ""),
    };
    let unanswered = if enough { 0 } else { found.unanswered };
    IdentityEvidence { state, reason: reason.to_owned(), unanswered, ..found }
}

/// An answer, with likelihoods where the engine tells them: one that refuses to is asked for words
/// alone, as one is whose format has no word for them.
async fn answer(
    engine: &Engine,
    model: &ModelName,
    upstream: &str,
    question: &Question,
) -> Result<Answer, Unanswered> {
    let sent = async |told| {
        let request_id = Uuid::now_v7().to_string();
        let sending = Sending { request_id, traceparent: None, patience: PATIENCE, told };
        ask(engine, model, upstream, question, sending).await
    };
    let told = engine.dialect() == Dialect::Openai;
    match sent(told).await {
        Err(Unanswered::Engine(error)) if told && error.blame == Blame::Client => sent(false).await,
        answered => answered,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_examination_goes_by_the_answers_that_say_something() {
        let state = |asked, passed, unsure| {
            let found = IdentityEvidence { asked, passed, unsure, ..IdentityEvidence::default() };
            concluded(found).state
        };
        assert_eq!(state(3, 3, 0), IdentityState::Passed);
        assert_eq!(state(3, 2, 0), IdentityState::Passed);
        assert_eq!(state(5, 2, 2), IdentityState::Passed);
        assert_eq!(state(3, 1, 0), IdentityState::Failed);
        assert_eq!(state(5, 0, 4), IdentityState::Failed);
        assert_eq!(state(2, 1, 0), IdentityState::Failed, "in doubt a person looks");
        let nothing = IdentityEvidence { asked: 5, unsure: 5, ..IdentityEvidence::default() };
        let nothing = concluded(nothing);
        assert_eq!(nothing.state, IdentityState::NotOffered);
        assert!(!nothing.reason.is_empty());
        let silent = |asked, unanswered| {
            let found = IdentityEvidence {
                asked,
                passed: asked,
                unanswered,
                ..IdentityEvidence::default()
            };
            let found = concluded(found);
            (found.state, found.unanswered)
        };
        assert_eq!(silent(0, 5), (IdentityState::NotOffered, 5));
        assert_eq!(silent(2, 3), (IdentityState::NotOffered, 3), "too few answers");
        assert_eq!(silent(3, 2), (IdentityState::Passed, 0), "enough answers all the same");
    }
}
