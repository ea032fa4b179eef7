//! One request on several backends at once; whoever has content first is heard.
//!
//! The others are dropped, which cancels their engines' work and gives their places back. They cost
//! the caller nothing: there is one hold, one answer and one settlement, whoever gives the answer.

use std::sync::Arc;

use futures::StreamExt as _;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use tokio::time::{Instant, sleep};

use super::Inner;
use super::dispatch::{self, Begun, Failure};
use super::quorum;
use super::task::Task;
use crate::domain::Execution;
use crate::fleet::Backend;
use crate::observe::LiveRequest;
use crate::rollouts::Assignment;
use crate::routing::Permit;
use crate::telemetry::names;

/// One copy of a request, until its first content.
type Leg<'a> = BoxFuture<'a, Result<Begun, Failure>>;

/// Finds the request's answer as its model's requests are run.
pub(super) async fn run(
    inner: &Inner,
    task: &Task,
    live: &LiveRequest,
    place: (Permit, Assignment),
) -> Result<Begun, Failure> {
    match task.execution {
        Execution::Single => dispatch::dispatch(inner, task, live, place).await,
        Execution::Hedge => hedge(inner, task, live, place).await,
        Execution::Race { of } => race(inner, task, live, place, of).await,
        Execution::Quorum { of, agree } if task.comparable => {
            quorum::ask(inner, task, live, place, (of, agree)).await
        }
        Execution::Quorum { .. } => hedge(inner, task, live, place).await,
    }
}

/// A second copy when the first one is late.
async fn hedge(
    inner: &Inner,
    task: &Task,
    live: &LiveRequest,
    place: (Permit, Assignment),
) -> Result<Begun, Failure> {
    let (taken, assignment) = (Arc::clone(place.0.backend()), place.1.clone());
    let first = dispatch::dispatch(inner, task, live, place);
    // Nothing tells before its end whether an answer that comes whole is late.
    let late = task.request.stream().then(|| inner.router.late_after(&task.offer.scope)).flatten();
    let Some(late) = late else { return first.await };
    let mut first = Box::pin(first);
    tokio::select! {
        biased;
        answer = &mut first => return answer,
        () = sleep(late) => {}
    }
    // The first may have failed over by now: neither where it was nor where it is.
    let taken = [task.copies.on().as_slice(), &[taken]].concat();
    let beside = inner.router.beside(&task.offer.scope, &taken);
    let ask = task.ask(assignment.backends(), &beside, Instant::now());
    let Some(permit) = inner.router.hedge(&ask) else { return first.await };
    metrics::counter!(names::COPIES, "execution" => "hedge").increment(1);
    let second = dispatch::once(inner, task, (permit, assignment), 2);
    first_of(live, vec![first, Box::pin(second)]).await
}

/// As many copies as there are free places, at most `of`.
async fn race(
    inner: &Inner,
    task: &Task,
    live: &LiveRequest,
    place: (Permit, Assignment),
    of: u8,
) -> Result<Begun, Failure> {
    let assignment = place.1.clone();
    let mut taken: Vec<Arc<Backend>> = vec![Arc::clone(place.0.backend())];
    let mut legs: Vec<Leg<'_>> = vec![Box::pin(dispatch::dispatch(inner, task, live, place))];
    for copy in 2..=of {
        let beside = inner.router.beside(&task.offer.scope, &taken);
        let ask = task.ask(assignment.backends(), &beside, Instant::now());
        let Some(permit) = inner.router.admit_now(&ask) else { break };
        metrics::counter!(names::COPIES, "execution" => "race").increment(1);
        taken.push(Arc::clone(permit.backend()));
        let place = (permit, assignment.clone());
        legs.push(Box::pin(dispatch::once(inner, task, place, copy.into())));
    }
    first_of(live, legs).await
}

/// The first that begins; where none does, what became of the first one asked.
async fn first_of(live: &LiveRequest, legs: Vec<Leg<'_>>) -> Result<Begun, Failure> {
    let numbered = legs.into_iter().enumerate();
    let mut running: FuturesUnordered<_> =
        numbered.map(|(number, leg)| async move { (number, leg.await) }).collect();
    let mut failed: Option<(usize, Failure)> = None;
    while let Some((number, ended)) = running.next().await {
        match ended {
            Ok(begun) => {
                live.dispatched(begun.permit.backend().id());
                return Ok(begun);
            }
            Err(failure) => {
                if failed.as_ref().is_none_or(|(known, _)| number < *known) {
                    failed = Some((number, failure));
                }
            }
        }
    }
    Err(failed.map_or_else(Failure::internal, |(_, failure)| failure))
}
