//! Hidden questions to providers that serve: whether the model is still the one that was approved.
//!
//! A question takes the way of a customer's request: a place from the router, the same body, the
//! same headers, the same bounds. It holds no credit, leaves no usage row, earns nobody anything and
//! is in no list of requests; what it showed is noted where requests are noted. The operator's own
//! answer, with its likelihoods, comes first: what that engine cannot answer is not asked.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use rand::RngExt as _;
use rand::seq::IndexedRandom as _;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::Inner;
use super::conduct;
use super::dispatch::{engine_error, outcome_of};
use super::stages;
use crate::domain::{BackendId, Mode, Scope};
use crate::engines::EngineError;
use crate::fleet::{
    Answer, Backend, Canary, Likeness, Members, Outcome, Providers, Question, Sending, ServedModel,
    Unanswered, ask,
};
use crate::rollouts::Assignment;
use crate::routing::{Ask, Permit};
use crate::telemetry::trace::TraceContext;

/// Questions that run at once: a slow provider must not keep the others from being asked.
const ASKED_MAX: usize = 8;

/// How often it is looked who is due.
const TICK: Duration = Duration::from_millis(500);

/// Longest wait for the operator's own answer.
const OWN_PATIENCE: Duration = Duration::from_secs(30);

/// Least characters of an answer that tells models apart.
const LEAST_CHARS: usize = 24;

/// Shortest and longest pause, in parts of the mean.
const PAUSE: (f64, f64) = (0.1, 4.0);

/// Asks every provider's backend that can be compared, each about once `every`, until stopped. One
/// such task a process.
pub(super) async fn run(
    inner: &Inner,
    providers: &Providers,
    every: Duration,
    stop: &CancellationToken,
) {
    let mut due: HashMap<BackendId, Instant> = HashMap::new();
    let asking = async {
        let mut running = FuturesUnordered::new();
        loop {
            tokio::select! {
                () = tokio::time::sleep(TICK) => {}
                Some(()) = running.next(), if !running.is_empty() => continue,
            }
            let theirs = providers.questioned();
            due.retain(|id, _| theirs.iter().any(|backend| backend.id() == id));
            for backend in theirs {
                let now = Instant::now();
                let at = due.entry(backend.id().clone()).or_insert_with(|| now + pause(every));
                if *at > now || running.len() >= ASKED_MAX {
                    continue;
                }
                *at = now + pause(every);
                running.push(question(inner, providers, backend));
            }
        }
    };
    tokio::select! {
        () = stop.cancelled() => {}
        () = asking => {}
    }
}

/// Until the next question: whoever knows when the last one came knows nothing of the next, which
/// only an exponential pause gives.
fn pause(every: Duration) -> Duration {
    let chance: f64 = rand::rng().random_range(f64::EPSILON..1.0);
    every.mul_f64((-chance.ln()).clamp(PAUSE.0, PAUSE.1))
}

async fn question(inner: &Inner, providers: &Providers, backend: Arc<Backend>) {
    let Some(provider) = backend.provider() else { return };
    let sold: Vec<_> =
        backend.spec.models.iter().filter(|served| !served.sources.is_empty()).collect();
    let Some(served) = sold.choose(&mut rand::rng()) else { return };
    let model = &served.model;
    // Of a model that moves to new weights both sides must be asked for the same ones.
    let assignment = inner.rollouts.assign(model, Uuid::new_v4().as_bytes());
    let among = assignment.backends();
    if among.is_some_and(|among| !among.holds(&backend)) {
        return;
    }
    let own = providers.reference(model, among.map(|among| &**among));
    let Some(own) = own else { return };
    let question = Question::new();
    let known = reference(&own, served, &assignment, &question).await;
    let Some(known) = known.filter(|known| known.text.chars().count() >= LEAST_CHARS) else {
        return;
    };
    let Some(permit) = place(inner, &backend, served).await else { return };
    let told = asked(inner, &permit, served, &assignment, &question).await;
    match told {
        Ok(answer) => {
            let ttft = answer.first;
            permit.first_byte(ttft);
            permit.report(Outcome::Ok { ttft });
            let likeness = Likeness::of(&known, &answer);
            tracing::debug!(backend = %backend.id(), %model, %likeness, "a hidden question");
            inner.conduct.canary(provider, Canary { model: model.clone(), likeness });
        }
        Err(None) => {}
        // It counts like any request that it fails.
        Err(Some(error)) => {
            permit.report(outcome_of(&error));
            conduct::failed(&inner.conduct, &backend, &error);
        }
    }
}

/// The operator's own answer, with likelihoods. It takes no place: a reference may be closed to
/// customers.
async fn reference(
    own: &Backend,
    served: &ServedModel,
    assignment: &Assignment,
    question: &Question,
) -> Option<Answer> {
    let upstream = upstream(own, served, assignment)?;
    let sending = Sending {
        request_id: Uuid::now_v7().to_string(),
        traceparent: None,
        patience: OWN_PATIENCE,
        told: true,
    };
    ask(&own.engine, &served.model, upstream, &question.whole(), sending).await.ok()
}

/// The provider's answer; no error where it is nobody's fault.
async fn asked(
    inner: &Inner,
    permit: &Permit,
    served: &ServedModel,
    assignment: &Assignment,
    question: &Question,
) -> Result<Answer, Option<EngineError>> {
    let backend = permit.backend();
    let upstream = upstream(backend, served, assignment).ok_or(None)?;
    let request_id = Uuid::now_v7().to_string();
    let scope = scope(served).map(|scope| scope.to_string()).unwrap_or_default();
    let span = stages::chat(&request_id, &scope, served.model.as_str(), question.streams());
    let sending = Sending {
        request_id,
        traceparent: TraceContext::default().traceparent(&span),
        patience: inner.bounds.first_byte,
        told: false,
    };
    let answer = tokio::select! {
        biased;
        answer = ask(&backend.engine, &served.model, upstream, question, sending) => answer,
        () = backend.runtime.ended() => return Err(None),
    };
    answer.map_err(|why| match why {
        Unanswered::Engine(error) => Some(error),
        Unanswered::Wire(error) => Some(engine_error(error)),
        Unanswered::Late => Some(EngineError::first_byte_timeout()),
        Unanswered::Inexpressible => None,
    })
}

fn upstream<'a>(
    backend: &'a Backend,
    served: &ServedModel,
    assignment: &'a Assignment,
) -> Option<&'a str> {
    assignment.upstream(backend.id()).or_else(|| backend.upstream(&served.model))
}

/// One of the scopes that the backend serves the model in.
fn scope(served: &ServedModel) -> Option<Scope> {
    let source = *served.sources.first()?;
    Some(Scope { mode: Mode::Direct, source, model: served.model.clone() })
}

/// A place on that backend, as any request waits for one.
async fn place(inner: &Inner, backend: &Backend, served: &ServedModel) -> Option<Permit> {
    let scope = scope(served)?;
    let only = Arc::new(Members { backends: vec![backend.id().clone()], deployment: None });
    let until = Instant::now() + inner.bounds.queue;
    let wanted = Ask { only: Some(&only), ..Ask::new(&scope, &[], until) };
    inner.router.admit(&wanted).await.ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_have_the_mean_that_was_asked_for_and_no_rhythm() {
        let every = Duration::from_secs(600);
        let all: Vec<f64> = (0..20_000).map(|_| pause(every).as_secs_f64()).collect();
        #[expect(clippy::cast_precision_loss, reason = "a count of some thousands")]
        let mean = all.iter().sum::<f64>() / all.len() as f64;
        assert!((550.0..650.0).contains(&mean), "{mean}");
        assert!(all.iter().all(|pause| (60.0..=2_400.0).contains(pause)));
        let short = all.iter().filter(|pause| **pause < 300.0).count();
        let long = all.iter().filter(|pause| **pause > 1_200.0).count();
        assert!(short > 6_000 && long > 2_000, "{short} {long}");
    }
}
