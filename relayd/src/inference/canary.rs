//! Hidden questions to providers that serve: whether the model is still the one that was approved.
//!
//! A question takes the way of a customer's request: a place from the router, the same body, the
//! same headers, the same bounds. It holds no credit, leaves no usage row, earns nobody anything and
//! is in no list of requests; what it showed is noted where requests are noted. The operator's own
//! answer, with its likelihoods, comes first: what that engine cannot answer is not asked.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use rand::RngExt as _;
use rand::seq::{IndexedRandom as _, SliceRandom as _};
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::Inner;
use super::conduct;
use super::dispatch::{engine_error, outcome_of};
use super::stages;
use crate::domain::{Mode, ProviderId, Scope};
use crate::engines::{Blame, EngineError};
use crate::fleet::{
    Answer, Backend, Canary, Likeness, Members, Outcome, Providers, Question, Sending, ServedModel,
    Unanswered, ask,
};
use crate::rollouts::Assignment;
use crate::routing::{Ask, Permit};
use crate::telemetry::trace::TraceContext;

/// Questions that run at once, and no more than one of them a provider: a slow one must not keep
/// the others from being asked.
const ASKED_MAX: usize = 16;

/// How often it is drawn who is asked.
const TICK: Duration = Duration::from_millis(500);

/// Longest wait for the operator's own answer.
const OWN_PATIENCE: Duration = Duration::from_secs(30);

/// Least characters of an answer that tells models apart.
const LEAST_CHARS: usize = 24;

/// Asks every provider's backend that can be compared, each about once `every`, until stopped. One
/// such task a process.
///
/// Each tick is drawn by itself and nothing is kept between two of them: whoever knows when the
/// last question came knows nothing of the next, and a backend that goes, comes back or gets
/// another name is asked as often as one that stays.
pub(super) async fn run(
    inner: &Inner,
    providers: &Providers,
    every: Duration,
    stop: &CancellationToken,
) {
    let chance = chance(every);
    let asking = async {
        let mut running = FuturesUnordered::new();
        let mut asked: HashSet<ProviderId> = HashSet::new();
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                Some(done) = running.next(), if !running.is_empty() => {
                    asked.remove(&done);
                    continue;
                }
            }
            let mut drawn = providers.questioned();
            drawn.retain(|_| rand::rng().random_bool(chance));
            // The bounds are nobody's in particular.
            drawn.shuffle(&mut rand::rng());
            for backend in drawn {
                let Some(provider) = backend.provider() else { continue };
                if running.len() < ASKED_MAX && asked.insert(provider.clone()) {
                    running.push(async move {
                        question(inner, providers, &backend, &provider).await;
                        provider
                    });
                }
            }
        }
    };
    tokio::select! {
        () = stop.cancelled() => {}
        () = asking => {}
    }
}

/// How likely a backend is asked in one tick.
fn chance(every: Duration) -> f64 {
    1.0 - (-TICK.as_secs_f64() / every.as_secs_f64().max(f64::EPSILON)).exp()
}

async fn question(
    inner: &Inner,
    providers: &Providers,
    backend: &Arc<Backend>,
    provider: &ProviderId,
) {
    let sold: Vec<_> =
        backend.spec.models.iter().filter(|served| !served.sources.is_empty()).collect();
    let Some(served) = sold.choose(&mut rand::rng()) else { return };
    let model = &served.model;
    // Of a model that moves to new weights both sides must be asked for the same ones.
    let assignment = inner.rollouts.assign(model, Uuid::new_v4().as_bytes());
    let among = assignment.backends();
    if among.is_some_and(|among| !among.holds(backend)) {
        return;
    }
    let own = providers.reference(model, among.map(|among| &**among));
    let Some(own) = own else { return };
    let question = Question::new();
    let known = reference(&own, served, &assignment, &question).await;
    let Some(known) = known.filter(is_witness) else { return };
    let Some(permit) = place(inner, backend, served).await else { return };
    let told = asked(inner, &permit, served, &assignment, &question).await;
    match told {
        Ok(answer) => {
            let ttft = answer.first;
            permit.first_byte(ttft);
            permit.report(Outcome::Ok { ttft });
            let likeness = Likeness::of(&known, &answer);
            tracing::debug!(backend = %backend.id(), %model, %likeness, "a hidden question");
            inner.conduct.canary(provider.clone(), Canary { model: model.clone(), likeness });
        }
        Err(None) => {}
        // It counts like any request that it fails. One that it calls wrong is no fault of the
        // question's: the operator's own engine has answered it.
        Err(Some(error)) => {
            permit.report(outcome_of(&error));
            let blame = match error.blame {
                Blame::Client => Blame::Backend,
                other => other,
            };
            conduct::failed(&inner.conduct, backend, &EngineError { blame, ..error });
        }
    }
}

/// Whether an answer of the operator's own engine tells another model's from it. Without its
/// likelihoods nobody knows where it was undecided.
fn is_witness(known: &Answer) -> bool {
    !known.tokens.is_empty() && known.text.chars().count() >= LEAST_CHARS
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
    fn questions_come_as_often_as_was_asked_for_and_without_a_rhythm() {
        for every in [600, 60, 5] {
            let every = Duration::from_secs(every);
            let chance = chance(every);
            let mut pauses = Vec::new();
            let mut ticks = 0_u32;
            while pauses.len() < 4_000 {
                ticks += 1;
                if rand::rng().random_bool(chance) {
                    pauses.push((TICK * std::mem::take(&mut ticks)).as_secs_f64());
                }
            }
            let mean = pauses.iter().sum::<f64>() / 4_000.0;
            let relative = mean / every.as_secs_f64();
            assert!((0.9..1.15).contains(&relative), "{every:?}: {relative}");
            // Of exponential pauses 39 of 100 are shorter than half the mean, 13 longer than twice.
            let of = |is: &dyn Fn(f64) -> bool| pauses.iter().filter(|&&one| is(one)).count();
            let short = of(&|pause| pause < mean / 2.0);
            let long = of(&|pause| pause > mean * 2.0);
            assert!(short > 1_200 && long > 400, "{every:?}: {short} {long}");
        }
        let whatever = [Duration::ZERO, Duration::from_millis(1), Duration::MAX].map(chance);
        assert!(whatever.iter().all(|one| (0.0..=1.0).contains(one)), "{whatever:?}");
    }
}
