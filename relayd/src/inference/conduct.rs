//! What a provider did with a request, noted for whoever scores providers.

use std::time::Duration;

use super::Inner;
use super::stream::Ended;
use super::task::Task;
use crate::domain::ProviderId;
use crate::engines::{Blame, EngineError};
use crate::fleet::{Backend, Conduct, Ending, Note, mark};
use crate::ledger::UsageStatus;
use crate::rollouts::Assignment;

/// An attempt brought no answer.
pub(super) fn failed(conduct: &Conduct, backend: &Backend, error: &EngineError) {
    if error.blame == Blame::Backend
        && let Some(provider) = backend.provider()
    {
        conduct.note(provider, failure());
    }
}

/// It answered otherwise than enough others did who were asked the same.
pub(super) fn differed(conduct: &Conduct, backend: &Backend) {
    if let Some(provider) = backend.provider() {
        conduct.note(provider, Note { ending: Ending::Differed, ..failure() });
    }
}

/// An answer has ended, `first` after it was asked for. One that the caller or relayd gave up says
/// nothing about the provider.
pub(super) fn ended(
    inner: &Inner,
    task: &Task,
    assignment: &Assignment,
    provider: &ProviderId,
    ended: &Ended,
    first: Duration,
) {
    let note = match (ended.status, ended.blame) {
        (UsageStatus::Completed, _) => answer(task, assignment, ended, first),
        (_, Some(Blame::Backend)) => failure(),
        _ => return,
    };
    inner.conduct.note(provider.clone(), note);
}

fn answer(task: &Task, assignment: &Assignment, ended: &Ended, first: Duration) -> Note {
    let meters = &ended.count.meters;
    let room = match task.offer.model.context_tokens {
        0 => u64::MAX,
        context => context.saturating_sub(meters.input()),
    };
    let usual = assignment.parameters().max_tokens.map_or(u64::MAX, u64::from);
    let streamed = task.request.stream();
    let answer = ended.heard.as_ref().map_or(0, |heard| mark(heard.transcript.texts()));
    let prompt = task.request.prompt_texts();
    Note {
        ending: Ending::Answered,
        first: streamed.then_some(first),
        // A reader who is slow is no provider's fault: only waiting for it counts.
        generating: if streamed { ended.waited } else { first },
        counted: meters.output(),
        claimed: ended.count.claimed.map(|claimed| claimed.output),
        // Each of several answers has an end of its own.
        finish: ended.finish.filter(|_| task.ceiling.choices == 1),
        allowed: task.ceiling.output_cap.min(room).min(usual),
        marks: (mark(prompt.iter().map(String::as_str)), answer),
    }
}

const fn failure() -> Note {
    Note {
        ending: Ending::Failed,
        first: None,
        generating: Duration::ZERO,
        counted: 0,
        claimed: None,
        finish: None,
        allowed: 0,
        marks: (0, 0),
    }
}
