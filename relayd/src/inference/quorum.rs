//! One request on several backends, and an answer only when enough of them agree.
//!
//! Every copy is read to its end before anything is handed out, so a stream comes at once and late.
//! Copies go to different providers. Of those that agree one is drawn by lot to be handed out and
//! paid for: who takes part in many is paid for his share of them. Whoever answers otherwise is told
//! to those who score providers. Where too few agree the caller gets an error and pays nothing.
//!
//! Only answers that leave nothing to chance are compared. Two agree when their texts are the same,
//! or the same JSON, or begin alike for long: the same weights on other hardware differ after some
//! hundred tokens, other weights within a few.

use std::sync::Arc;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use rand::RngExt as _;

use super::dispatch::{self, Begun, Body, Failure};
use super::task::Task;
use super::{Inner, conduct};
use crate::domain::{Code, Fault};
use crate::engines::{Blame, EngineError};
use crate::fleet::{Backend, Outcome};
use crate::observe::LiveRequest;
use crate::rollouts::Assignment;
use crate::routing::Permit;
use crate::telemetry::names;

/// Bytes that two answers must begin with alike to count as one: some 32 tokens.
const ALIKE_BYTES: usize = 128;

/// A copy that was answered to its end.
struct Voice {
    begun: Begun,
    /// What it says: the texts of its choices and its tool calls.
    said: Vec<String>,
}

/// Asks until `agree` of at most `of` copies agree. Where those of a new revision do not, which
/// counts against it, those of the one that serves are asked.
pub(super) async fn ask(
    inner: &Inner,
    task: &Task,
    live: &LiveRequest,
    (permit, assignment): (Permit, Assignment),
    rule: (u8, u8),
) -> Result<Begun, Failure> {
    let fallback = assignment.fallback();
    let failure = match round(inner, task, live, (permit, assignment), rule).await {
        Err(failure) if failure.blame == Some(Blame::Backend) => failure,
        ended => return ended,
    };
    let Some(running) = fallback else { return Err(failure) };
    let asked = task.ask(running.backends(), &[], task.queue_until(inner));
    match inner.router.admit(&asked).await {
        Ok(permit) => round(inner, task, live, (permit, running), rule).await,
        Err(_) => Err(failure),
    }
}

/// Asks the copies of one revision.
async fn round(
    inner: &Inner,
    task: &Task,
    live: &LiveRequest,
    (permit, assignment): (Permit, Assignment),
    (of, agree): (u8, u8),
) -> Result<Begun, Failure> {
    let (of, agree) = (usize::from(of), usize::from(agree));
    task.copies.begin_wait(&assignment);
    let answer = hear_all(inner, task, live, (permit, assignment), (of, agree)).await;
    task.copies.end_wait();
    answer
}

async fn hear_all(
    inner: &Inner,
    task: &Task,
    live: &LiveRequest,
    (permit, assignment): (Permit, Assignment),
    (mut of, agree): (usize, usize),
) -> Result<Begun, Failure> {
    let until = task.queue_until(inner);
    let mut taken: Vec<Arc<Backend>> = vec![Arc::clone(permit.backend())];
    live.dispatched(permit.backend().id());
    let mut running = FuturesUnordered::new();
    running.push(hear(inner, task, (permit, assignment.clone()), 1));
    let (mut voices, mut failed): (Vec<Voice>, Option<Failure>) = (Vec::new(), None);
    // One after another: each has to keep apart from those before it.
    let next = |taken: &[Arc<Backend>]| {
        let beside = inner.router.beside(&task.offer.scope, taken);
        let assignment = &assignment;
        Box::pin(async move {
            let ask = task.ask(assignment.backends(), &beside, until);
            inner.router.admit(&ask).await
        })
    };
    let mut more = Some(next(&taken));
    loop {
        tokio::select! {
            biased;
            Some(heard) = running.next(), if !running.is_empty() => match heard {
                Ok(voice) => {
                    voices.push(voice);
                    if let Some(agreed) = agreed(&voices, agree) {
                        return Ok(chosen(inner, live, voices, &agreed));
                    }
                }
                Err(failure) => {
                    // Taken away by us: another one speaks for it.
                    if failure.blame == Some(Blame::Relay) && of < usize::from(u8::MAX) {
                        of += 1;
                        more = more.or_else(|| Some(next(&taken)));
                    }
                    failed = Some(failure);
                }
            },
            place = place(&mut more), if more.is_some() => match place {
                Ok(permit) => {
                    metrics::counter!(names::COPIES, "execution" => "quorum").increment(1);
                    let number = u32::try_from(taken.len() + 1).unwrap_or(u32::MAX);
                    taken.push(Arc::clone(permit.backend()));
                    running.push(hear(inner, task, (permit, assignment.clone()), number));
                    more = (taken.len() < of).then(|| next(&taken));
                }
                // There are no more to ask; those who were may suffice.
                Err(_) => more = None,
            },
            else => break,
        }
        let open = running.len() + more.as_ref().map_or(0, |_| of - taken.len());
        if voices.len() + open < agree {
            break;
        }
    }
    metrics::counter!(names::DISAGREED).increment(1);
    if voices.is_empty()
        && let Some(failure) = failed
    {
        return Err(failure);
    }
    tracing::warn!(
        request_id = %task.request_id,
        model = %task.offer.scope.model,
        answered = voices.len(),
        asked = taken.len(),
        agree,
        "too few providers agree about an answer"
    );
    let backend = voices.first().map(|voice| voice.begun.permit.backend().id().clone());
    let text = if taken.len() < agree {
        "there are too few providers of this model to compare its answers".to_owned()
    } else {
        format!("fewer than {agree} providers of this model gave the same answer")
    };
    Err(Failure {
        fault: Fault::new(Code::ProviderUnavailable, text),
        blame: Some(Blame::Backend),
        backend,
        attempt: u32::try_from(taken.len()).unwrap_or(u32::MAX),
    })
}

/// The place that is waited for; never, when none is.
async fn place<T>(more: &mut Option<impl Future<Output = T> + Unpin>) -> T {
    match more {
        Some(place) => place.await,
        None => std::future::pending().await,
    }
}

/// The places of the first so many that agree with one another.
fn agreed(voices: &[Voice], agree: usize) -> Option<Vec<usize>> {
    let said: Vec<&[String]> = voices.iter().map(|voice| voice.said.as_slice()).collect();
    camp(&said, agree)
}

fn camp(said: &[&[String]], agree: usize) -> Option<Vec<usize>> {
    // Whoever came last may complete any camp. A camp is counted around one answer, as beginning
    // alike is no relation that carries on.
    (0..said.len()).find_map(|centre| {
        let like: Vec<usize> =
            (0..said.len()).filter(|other| same(said[centre], said[*other])).collect();
        (like.len() >= agree).then_some(like)
    })
}

/// One of those that agree, by lot; the others are let go, and whoever differed is told of.
fn chosen(inner: &Inner, live: &LiveRequest, mut voices: Vec<Voice>, agreed: &[usize]) -> Begun {
    let lot = agreed[rand::rng().random_range(0..agreed.len())];
    for (place, voice) in voices.iter().enumerate() {
        if !agreed.contains(&place) {
            conduct::differed(&inner.conduct, voice.begun.permit.backend());
        }
    }
    let begun = voices.swap_remove(lot).begun;
    live.dispatched(begun.permit.backend().id());
    begun
}

/// One copy, read to its end. Its place is given back as soon as it is there.
async fn hear(
    inner: &Inner,
    task: &Task,
    place: (Permit, Assignment),
    attempt: u32,
) -> Result<Voice, Failure> {
    let mut begun = dispatch::once(inner, task, place, attempt).await?;
    let ttft = begun.sent.elapsed();
    begun.permit.first_byte(ttft);
    let runtime = &begun.permit.backend().runtime;
    let read = async {
        tokio::select! {
            biased;
            said = read(&mut begun.body) => said,
            () = runtime.ended() => Err(EngineError::taken_away()),
        }
    };
    let said = match read.await {
        Ok(said) => said,
        Err(error) => {
            return Err(dispatch::missed(inner, task, &begun.permit, attempt, &error));
        }
    };
    begun.measured = Some((ttft, begun.sent.elapsed().saturating_sub(ttft)));
    begun.permit.end(Outcome::Ok { ttft });
    Ok(Voice { begun, said })
}

/// Reads the rest of an answer. What it says.
async fn read(body: &mut Body) -> Result<Vec<String>, EngineError> {
    match body {
        Body::Whole(whole) => Ok(whole
            .transcript()
            .map(|said| said.texts().map(str::to_owned).collect())
            .unwrap_or_default()),
        Body::Stream { translator, upstream, frames } => {
            while !translator.seen().finished {
                match upstream.next().await {
                    Some(chunk) => {
                        translator.push(&chunk?, frames).map_err(dispatch::engine_error)?
                    }
                    None => {
                        translator.end_of_input().map_err(dispatch::engine_error)?;
                        break;
                    }
                }
            }
            let said = translator.transcript();
            Ok(said.map(|said| said.texts().map(str::to_owned).collect()).unwrap_or_default())
        }
    }
}

/// Whether two answers say the same.
fn same(one: &[String], other: &[String]) -> bool {
    one.len() == other.len() && one.iter().zip(other).all(|(one, other)| alike(one, other))
}

fn alike(one: &str, other: &str) -> bool {
    let (one, other) = (one.trim(), other.trim());
    if one == other {
        return true;
    }
    let json = |text: &str| {
        text.starts_with(['{', '['])
            .then(|| serde_json::from_str::<serde_json::Value>(text).ok())?
    };
    match (json(one), json(other)) {
        (Some(one), Some(other)) => one == other,
        (None, None) => {
            let head = one.bytes().zip(other.bytes()).take_while(|(one, other)| one == other);
            head.count() >= ALIKE_BYTES
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    #[test]
    fn texts_agree_by_their_beginning_and_json_by_its_meaning() {
        let long = "the same words ".repeat(20);
        let cases = [
            ("Paris", " Paris\n", true),
            ("Paris", "Lyon", false),
            ("Paris", "Paris, of course", false),
            (r#"{"a":1,"b":[2]}"#, r#"{ "b": [2], "a": 1 }"#, true),
            (r#"{"a":1}"#, r#"{"a":2}"#, false),
            (r#"{"a":1}"#, "a is 1", false),
            ("{broken", "{broken", true),
        ];
        for (one, other, agree) in cases {
            assert_eq!(same(&said(&[one]), &said(&[other])), agree, "{one} {other}");
            assert_eq!(same(&said(&[other]), &said(&[one])), agree, "{other} {one}");
        }
        assert!(alike(&format!("{long}one end"), &format!("{long}and another")));
        assert!(!alike(&long[..100], &format!("{}x", &long[..100])));
        assert!(!same(&said(&["a"]), &said(&["a", "b"])), "one of them called a tool");
    }

    #[test]
    fn a_camp_is_found_among_those_who_differ() {
        let (a, b, c) = (said(&["a"]), said(&["b"]), said(&["c"]));
        let find = |of: &[&Vec<String>], agree| {
            camp(&of.iter().map(|one| one.as_slice()).collect::<Vec<_>>(), agree)
        };
        assert_eq!(find(&[&a], 2), None);
        assert_eq!(find(&[&a, &b], 2), None);
        assert_eq!(find(&[&a, &b, &a], 2), Some(vec![0, 2]));
        assert_eq!(find(&[&b, &a, &a], 2), Some(vec![1, 2]));
        assert_eq!(find(&[&a, &b, &c], 2), None);
        assert_eq!(find(&[&a, &b, &a], 3), None);
    }
}
