//! Requests that nobody asked for: copies for a new revision, and canary prompts.
//!
//! Their answers are read, measured and thrown away. They hold no credit, leave no usage row, are
//! sent once, and end at once when relayd ends or the backend's drain is over. Copies wait in no
//! queue, prompts for a moment. They never go to a provider's backend: a provider is paid for what
//! it runs, and nobody would pay for these.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use futures::future::join_all;
use futures::stream::FuturesUnordered;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::Span;
use uuid::Uuid;

use super::Inner;
use super::count::{self, Read};
use super::dispatch::{self, Body, Miss, outcome_of};
use super::task::Task;
use crate::balance::Class;
use crate::domain::{CanaryPrompt, Mode, ModelName, RequestId, RolloutId, Scope, Source};
use crate::engines::{ChatCall, Reply};
use crate::fleet::{Outcome, Trust};
use crate::rollouts::{Assignment, Canaries, SampleEnd};
use crate::routing::{Ask, Permit};
use crate::wire::{self, ChatRequest, Defaults, Stamp, Surface, Timing, Upstream};

/// Copies that run at once: a slow new revision must not gather requests without end. What comes
/// beyond is not copied.
pub(super) const SHADOWS_MAX: usize = 64;

/// How often it is looked whether canary prompts are due.
const CANARY_TICK: Duration = Duration::from_millis(250);

/// Longest wait of a canary prompt for a place: a busy revision has to be asked too.
const CANARY_WAIT: Duration = Duration::from_secs(5);

/// Longest answer of a canary prompt, in tokens.
const CANARY_TOKENS: u64 = 256;

/// Longest wait for it.
const CANARY_TIMEOUT: Duration = Duration::from_secs(60);

/// Sends a copy to the new revision, where the request's key is one of those that are copied.
pub(super) fn copy(inner: &Arc<Inner>, task: &Task) {
    let Some(assignment) = task.assignment.shadow(&task.key) else { return };
    let Ok(place) = Arc::clone(&inner.shadow_places).try_acquire_owned() else { return };
    let (inner, task) = (Arc::clone(inner), task.copied());
    let tracker = inner.shadows.clone();
    tracker.spawn(async move {
        let _place = place;
        let stop = inner.closing.clone();
        stop.run_until_cancelled(run(&inner, &task, &assignment)).await;
    });
}

/// The places for copies.
pub(super) fn places() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(SHADOWS_MAX))
}

async fn run(inner: &Inner, task: &Task, assignment: &Assignment) {
    let scope = &task.offer.scope;
    let now = Instant::now();
    let copied = Ask { class: Class::Batch, ..Ask::new(scope, &[], now) };
    let Some(permit) = place(inner, copied, assignment).await else { return };
    let sent = Instant::now();
    let tried = dispatch::attempt_on(inner, task, assignment, &permit, &Span::none(), false).await;
    let end = match tried {
        Err(Miss::Inexpressible(_)) => return,
        Err(Miss::Engine(error)) => {
            permit.report(outcome_of(&error));
            dispatch::sample_of(error.blame)
        }
        Ok(body) => {
            let ttft = sent.elapsed();
            permit.first_byte(ttft);
            permit.report(Outcome::Ok { ttft });
            tokio::select! {
                biased;
                end = read(task, &permit, body, sent, ttft) => end,
                // The backend is to be empty now, and nobody waits for this.
                () = permit.backend().runtime.ended() => return,
            }
        }
    };
    inner.rollouts.observed(&scope.model, assignment, end);
}

/// Reads a copy's answer to its end.
async fn read(
    task: &Task,
    permit: &Permit,
    body: Body,
    sent: Instant,
    ttft: Duration,
) -> SampleEnd {
    let prompt = task.request.prompt_bytes();
    match body {
        Body::Whole(whole) => SampleEnd::Answered {
            finish: Some(whole.finish),
            ttft,
            generating: ttft,
            tokens: count::count(&whole.read, prompt, true).meters.output(),
        },
        Body::Stream { mut translator, mut upstream, mut frames } => {
            while !translator.seen().finished {
                frames.clear();
                let failed = match upstream.next().await {
                    Some(Ok(chunk)) => {
                        translator.push(&chunk, &mut frames).err().map(dispatch::engine_error)
                    }
                    Some(Err(error)) => Some(error),
                    None => match translator.end_of_input() {
                        Ok(()) => break,
                        Err(error) => Some(dispatch::engine_error(error)),
                    },
                };
                if let Some(error) = failed {
                    permit.report(outcome_of(&error));
                    return dispatch::sample_of(error.blame);
                }
            }
            let seen = translator.seen();
            let read = Read {
                usage: seen.usage,
                running: seen.running,
                prompt: seen.prompt,
                estimated: false,
                deltas: seen.deltas,
                out_bytes: seen.out_bytes,
            };
            SampleEnd::Answered {
                finish: seen.finish,
                ttft,
                generating: sent.elapsed().saturating_sub(ttft),
                tokens: count::count(&read, prompt, true).meters.output(),
            }
        }
    }
}

/// A place on a backend of the operator's.
async fn place(inner: &Inner, ask: Ask<'_>, assignment: &Assignment) -> Option<Permit> {
    let ask = Ask { only: assignment.backends(), ..ask };
    let permit = inner.router.admit(&ask).await.ok()?;
    (permit.backend().spec.trust != Trust::Provider).then_some(permit)
}

/// Asks the canary prompts of running rollouts until stopped. One such task a process.
pub(super) async fn canaries(inner: &Inner, stop: &CancellationToken) {
    let mut due: HashMap<RolloutId, Instant> = HashMap::new();
    let asking = async {
        // A revision that hangs keeps the others from nothing, and is asked again after it answered.
        let mut asked = FuturesUnordered::new();
        let mut busy: HashSet<RolloutId> = HashSet::new();
        loop {
            tokio::select! {
                () = tokio::time::sleep(CANARY_TICK) => {}
                Some(rollout) = asked.next(), if !asked.is_empty() => {
                    busy.remove(&rollout);
                    continue;
                }
            }
            let running = inner.rollouts.canaries();
            due.retain(|rollout, _| running.iter().any(|canaries| canaries.rollout == *rollout));
            for canaries in running {
                let (rollout, now) = (canaries.rollout.clone(), Instant::now());
                let early = due.get(&rollout).is_some_and(|at| *at > now);
                if early || !busy.insert(rollout.clone()) {
                    continue;
                }
                due.insert(rollout.clone(), now + canaries.every);
                asked.push(async move {
                    ask_all(inner, canaries).await;
                    rollout
                });
            }
        }
    };
    tokio::select! {
        () = stop.cancelled() => {}
        () = asking => {}
    }
}

/// Asks every prompt of both revisions.
async fn ask_all(inner: &Inner, canaries: Canaries) {
    let canaries = &canaries;
    let asked = canaries.sides.iter().flat_map(|side| {
        canaries.prompts.iter().map(move |prompt| async move {
            let answer = ask(inner, &canaries.model, side, prompt);
            match tokio::time::timeout(CANARY_TIMEOUT, answer).await {
                Ok(None) => {}
                Ok(Some(passed)) => inner.rollouts.canary(side, passed),
                Err(_) => inner.rollouts.canary(side, false),
            }
        })
    });
    join_all(asked).await;
}

/// Asks one prompt of one revision. Whether it was answered as expected; none where it could not
/// be asked.
async fn ask(
    inner: &Inner,
    model: &ModelName,
    side: &Assignment,
    canary: &CanaryPrompt,
) -> Option<bool> {
    let (mut permit, until) = (None, Instant::now() + CANARY_WAIT);
    for source in Source::ALL {
        let scope = Scope { mode: Mode::Direct, source, model: model.clone() };
        // They are few, and where everybody is busy a rollout is judged by them all the same.
        let prompt = Ask { class: Class::Priority, ..Ask::new(&scope, &[], until) };
        permit = place(inner, prompt, side).await;
        if permit.is_some() {
            break;
        }
    }
    let permit = permit?;
    let backend = permit.backend();
    let body = serde_json::json!({
        "model": model.as_str(),
        "messages": [{"role": "user", "content": canary.prompt}],
        "temperature": 0,
    });
    let request = ChatRequest::scan(Surface::Openai, Bytes::from(body.to_string())).ok()?;
    let parameters = side.parameters();
    let target = Upstream {
        model: side.upstream(backend.id()).or_else(|| backend.upstream(model))?,
        output_cap: CANARY_TOKENS,
        engine: backend.engine.kind(),
        defaults: Defaults { temperature_milli: None, top_p_milli: parameters.top_p_milli },
    };
    let dialect = backend.engine.dialect();
    let request_id = RequestId::new(Uuid::now_v7());
    let call = ChatCall {
        body: request.upstream(dialect, &target).ok()?,
        stream: false,
        traceparent: None,
        tracestate: None,
        request_id: request_id.to_string(),
        first_byte_timeout: CANARY_TIMEOUT,
        fresh: false,
    };
    let sent = Instant::now();
    let reply = tokio::select! {
        biased;
        reply = backend.engine.chat(call) => reply,
        () = backend.runtime.ended() => return None,
    };
    let reply = match reply {
        Ok(Reply::Whole(body)) => body,
        Ok(Reply::Stream(_)) => return Some(false),
        Err(error) => {
            permit.report(outcome_of(&error));
            return Some(false);
        }
    };
    permit.report(Outcome::Ok { ttft: sent.elapsed() });
    let stamp = Stamp {
        model: model.to_string(),
        task_id: String::new(),
        mode: Mode::Direct,
        request_id: request_id.to_string(),
        created: 0,
    };
    let timing = Timing { total_ns: 0, load_ns: 0, prompt_ns: 0, eval_ns: 0 };
    let answer = wire::answer(Surface::Openai, dialect, &reply, &stamp, &timing).ok()?;
    let answer: serde_json::Value = serde_json::from_slice(&answer.body).ok()?;
    let said = answer["choices"][0]["message"]["content"].as_str().unwrap_or_default();
    Some(said.to_lowercase().contains(&canary.expect.to_lowercase()))
}
