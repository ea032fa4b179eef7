//! Whole answers: read once they are complete, handed out once they are paid for.

use std::time::Duration;

use bytes::Bytes;

use super::count::Read;
use super::dispatch::engine_error;
use super::own::Heard;
use super::task::Task;
use crate::domain::Meters;
use crate::engines::EngineError;
use crate::fleet::Trust;
use crate::wire::{self, Dialect, Finish, Transcript};

/// A whole answer in the client's format.
pub(super) struct Whole {
    /// What the client gets.
    pub(super) body: Bytes,
    /// What was read of it.
    pub(super) read: Read,
    /// Why it ended.
    pub(super) finish: Finish,
    /// What came from a provider, whose own counts are not billed.
    pub(super) provided: Option<Provided>,
    /// Its words, where it is to be compared and did not come from a provider.
    words: Option<Transcript>,
}

impl Whole {
    /// What it says, where that was kept.
    pub(super) fn transcript(&self) -> Option<&Transcript> {
        let provided = self.provided.as_ref().map(|provided| &provided.heard.transcript);
        provided.or(self.words.as_ref())
    }
}

/// A provider's answer as it came.
pub(super) struct Provided {
    /// Its words.
    pub(super) heard: Heard,
    dialect: Dialect,
    raw: Bytes,
}

impl Provided {
    /// The client's body with the counts that are billed in place of the provider's.
    ///
    /// # Errors
    /// Never for what was read before.
    pub(super) fn billed(&self, task: &Task, meters: &Meters) -> Result<Bytes, EngineError> {
        let timing = task.timing(Duration::ZERO);
        let surface = task.request.surface();
        let (stamp, billed) = (task.stamp(), Some(meters));
        let answer = wire::billed_answer(surface, self.dialect, &self.raw, &stamp, &timing, billed);
        answer.map(|answer| answer.body).map_err(engine_error)
    }
}

/// Turns an engine's whole answer into the client's.
///
/// # Errors
/// When it reports an error or is not in shape.
pub(super) fn read(
    task: &Task,
    dialect: Dialect,
    body: &Bytes,
    trust: Trust,
) -> Result<Whole, EngineError> {
    // Nothing tells prompt from answer in a body that came whole.
    let timing = task.timing(Duration::ZERO);
    let answer = wire::answer(task.request.surface(), dialect, body, &task.stamp(), &timing)
        .map_err(engine_error)?;
    let read = Read {
        usage: answer.usage,
        estimated: answer.estimated,
        out_bytes: answer.out_bytes,
        ..Read::default()
    };
    let words = || wire::transcript(dialect, body).map_err(engine_error);
    let (provided, words) = match trust {
        Trust::Own | Trust::Commercial if task.compares() => (None, Some(words()?)),
        Trust::Own | Trust::Commercial => (None, None),
        Trust::Provider => {
            let transcript = words()?;
            let heard = Heard { transcript, claim: answer.usage };
            (Some(Provided { heard, dialect, raw: body.clone() }), None)
        }
    };
    Ok(Whole { body: answer.body, read, finish: answer.finish, provided, words })
}
