//! Whether a provider's models are what they would be sold as: at its examination, and who is asked
//! hidden questions while it serves.

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};
use uuid::Uuid;

use super::canary::{Answer, Likeness, Question, Sending, Unanswered, Verdict, ask, is_comparable};
use super::{IdentityEvidence, IdentityState, Providers};
use crate::domain::ModelName;
use crate::engines::{Blame, Dialect, Engine};
use crate::fleet::{Backend, Health, Members, Trust};

/// Answers to each model that must tell it from others, and questions that may be asked for them.
const QUESTIONS: u32 = 3;
const QUESTIONS_MAX: u32 = 5;

/// Most models of an engine that are asked: each takes some requests.
const MODELS_MAX: usize = 4;

/// Longest wait for an answer of an examination: as long as for a request that it is measured by.
const PATIENCE: Duration = Duration::from_secs(10);

/// How far the comparison of one model has come. What was found out stays when the time for it is
/// over, and the next look goes on from there.
#[derive(Clone, Debug, Default)]
pub(super) struct Comparison {
    /// Model and upstream, and what the answers showed so far.
    found: IdentityEvidence,
    /// How much of the words agreed, over all answers, in thousandths.
    agreed: u32,
    /// Questions that the operator's own engine was no witness for.
    unwitnessed: u32,
    /// Why it was none, the last time.
    witness: &'static str,
    /// Why it cannot be compared at all.
    never: Option<&'static str>,
}

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

    /// Goes on to hold the models of an engine against the operator's own, for its examination:
    /// until then, with no more questions at once than the engine has places. The operator's own
    /// engines are asked only about what it has answered, and in turns with the other engines of
    /// this examination.
    pub(super) async fn identify(
        &self,
        (engine, places): (&Engine, u32),
        compared: &mut [Comparison],
        turn: &Semaphore,
        until: Instant,
    ) {
        let at_once = usize::try_from(places).unwrap_or(MODELS_MAX).clamp(1, MODELS_MAX);
        let places = Semaphore::new(at_once);
        let mut each = Vec::new();
        for (number, one) in compared.iter_mut().enumerate() {
            one.found.unanswered = 0;
            one.never = None;
            if !is_comparable(engine.kind()) {
                one.never = Some("only answers of llama.cpp and vLLM can be compared");
            } else if number >= MODELS_MAX {
                one.never = Some("of each engine four models are compared");
            } else {
                each.push(self.compare((engine, &places), one, turn, until));
            }
        }
        join_all(each).await;
    }

    async fn compare(
        &self,
        (engine, places): (&Engine, &Semaphore),
        one: &mut Comparison,
        turn: &Semaphore,
        until: Instant,
    ) {
        let _place = places.acquire().await;
        let Some((own, model)) = one.model().and_then(|model| {
            let own = self.reference(&model, None)?;
            Some((own, model))
        }) else {
            one.never = Some("no llama.cpp or vLLM of the operator's own serves the model");
            return;
        };
        let upstream = one.found.upstream.clone();
        let own_name = own.upstream(&model).unwrap_or(&upstream);
        for _ in 0..QUESTIONS_MAX {
            if !one.is_open() {
                return;
            }
            let question = Question::short();
            // Whoever does not answer has the operator's own engine asked nothing.
            let told = answer(engine, &model, &upstream, &question);
            let told = match timeout_at(until, told).await {
                Ok(Ok(told)) => told,
                Ok(Err(Unanswered::Inexpressible)) => {
                    one.never = Some("its dialect has no words for the questions");
                    return;
                }
                Ok(Err(_)) => {
                    one.found.unanswered += 1;
                    continue;
                }
                Err(_) => return,
            };
            let known = async {
                let _turn = turn.acquire().await;
                let _witness = self.0.references.acquire().await;
                answer(&own.engine, &model, own_name, &question).await
            };
            match timeout_at(until, known).await {
                Ok(Ok(known)) => one.note(&known, &told),
                Ok(Err(_)) => one.unwitnessed("the operator's own engine did not answer"),
                Err(_) => return,
            }
        }
    }
}

impl Comparison {
    pub(super) fn new(model: &ModelName, upstream: &str) -> Self {
        let found = IdentityEvidence {
            model: model.to_string(),
            upstream: upstream.to_owned(),
            ..IdentityEvidence::default()
        };
        Self { found, ..Self::default() }
    }

    /// Whether it is the comparison of that model under that name.
    pub(super) fn is_of(&self, model: &ModelName, upstream: &str) -> bool {
        self.found.model == model.as_str() && self.found.upstream == upstream
    }

    fn model(&self) -> Option<ModelName> {
        self.found.model.parse().ok()
    }

    /// Answers that told the model from others, either way.
    const fn said(&self) -> u32 {
        self.found.asked - self.found.unsure
    }

    /// Whether there is something left to ask.
    pub(super) const fn is_open(&self) -> bool {
        self.never.is_none()
            && self.said() < QUESTIONS
            && self.found.asked + self.unwitnessed < QUESTIONS_MAX
    }

    fn unwitnessed(&mut self, why: &'static str) {
        self.unwitnessed += 1;
        self.witness = why;
    }

    /// Takes an answer to a question that the operator's own engine answered so.
    fn note(&mut self, known: &Answer, told: &Answer) {
        if known.tokens.is_empty() {
            // Nobody knows then where it was undecided, and each departure would look like a lie.
            return self.unwitnessed("the operator's own engine tells no likelihoods");
        }
        let likeness = Likeness::of(known, told);
        let found = &mut self.found;
        found.asked += 1;
        self.agreed += likeness.agreement_milli;
        found.difference_milli = found.difference_milli.max(likeness.difference_milli);
        match likeness.verdict() {
            Verdict::Same => found.passed += 1,
            Verdict::Other => {}
            Verdict::Unsure => found.unsure += 1,
        }
    }

    /// What was found out so far. More of the answers that say anything must be the same model's
    /// than another's. While something is left to ask there is no result: the provider is looked at
    /// again before anybody decides, so that time that runs out is nobody's advantage.
    pub(super) fn evidence(&self) -> IdentityEvidence {
        use IdentityState::{Failed, NotOffered, Passed};
        let (said, passed) = (self.said(), self.found.passed);
        let witnessed = said >= QUESTIONS || self.unwitnessed == 0;
        let (state, reason) = if let Some(why) = self.never {
            (NotOffered, why)
        } else if self.is_open() {
            match self.found.unanswered {
                0 => (NotOffered, "the time was over before all was asked"),
                _ => (NotOffered, "it left questions unanswered"),
            }
        } else if said > 0 && passed * 2 <= said {
            (Failed, "")
        } else if !witnessed {
            (NotOffered, self.witness)
        } else if said == 0 {
            (NotOffered, "no answer told the model from another")
        } else {
            (Passed, "")
        };
        let open = self.is_open();
        IdentityEvidence {
            state,
            reason: reason.to_owned(),
            unanswered: if open { self.found.unanswered } else { 0 },
            open: if open { QUESTIONS - said } else { 0 },
            agreement_milli: self.agreed.checked_div(self.found.asked).unwrap_or_default(),
            ..self.found.clone()
        }
    }
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
#[path = "identity_tests.rs"]
mod over_connections;

#[cfg(test)]
mod tests {
    use super::*;

    fn comparison(asked: u32, passed: u32, unsure: u32) -> Comparison {
        let found = IdentityEvidence { asked, passed, unsure, ..IdentityEvidence::default() };
        Comparison { found, witness: "ours was silent", ..Comparison::default() }
    }

    #[test]
    fn an_examination_goes_by_the_answers_that_say_something() {
        let state = |asked, passed, unsure| comparison(asked, passed, unsure).evidence().state;
        assert_eq!(state(3, 3, 0), IdentityState::Passed);
        assert_eq!(state(3, 2, 0), IdentityState::Passed);
        assert_eq!(state(5, 2, 2), IdentityState::Passed);
        assert_eq!(state(3, 1, 0), IdentityState::Failed);
        assert_eq!(state(5, 0, 4), IdentityState::Failed);
        let nothing = comparison(5, 0, 5).evidence();
        assert_eq!(nothing.state, IdentityState::NotOffered);
        assert!(!nothing.reason.is_empty());
    }

    #[test]
    fn nobody_passes_by_questions_that_were_not_asked() {
        // The time was over, whoever used it up.
        let cut = comparison(1, 1, 0).evidence();
        assert_eq!((cut.state, cut.open), (IdentityState::NotOffered, 2));
        let mut silent = comparison(2, 2, 0);
        silent.found.unanswered = 3;
        let silent = silent.evidence();
        assert_eq!((silent.state, silent.unanswered), (IdentityState::NotOffered, 3));
        // Enough answers in spite of some that did not come.
        let mut enough = comparison(3, 3, 0);
        enough.found.unanswered = 2;
        let enough = enough.evidence();
        assert_eq!((enough.state, enough.unanswered, enough.open), (IdentityState::Passed, 0, 0));
        // Ours was no witness for the rest: nobody's fault, and no proof.
        let unwitnessed = |asked, passed| {
            let one = comparison(asked, passed, 0);
            let one = Comparison { unwitnessed: QUESTIONS_MAX - asked, ..one }.evidence();
            (one.state, one.reason)
        };
        let ours = (IdentityState::NotOffered, "ours was silent".to_owned());
        assert_eq!(unwitnessed(0, 0), ours);
        assert_eq!(unwitnessed(1, 1), ours);
        assert_eq!(unwitnessed(2, 2), ours);
        assert_eq!(unwitnessed(3, 3).0, IdentityState::Passed);
        assert_eq!(unwitnessed(2, 1).0, IdentityState::Failed, "in doubt a person looks");
    }

    #[test]
    fn an_own_engine_without_likelihoods_is_no_witness() {
        let words = |text: &str| Answer { text: text.to_owned(), ..Answer::default() };
        let mut one = comparison(0, 0, 0);
        for _ in 0..QUESTIONS_MAX {
            assert!(one.is_open());
            one.note(&words("a river runs"), &words("another thing altogether"));
        }
        let found = one.evidence();
        assert_eq!((found.state, found.asked), (IdentityState::NotOffered, 0));
        assert!(found.reason.ends_with("tells no likelihoods"), "{}", found.reason);
    }
}
