//! Whole answers: read once they are complete, handed out once they are paid for.

use std::time::Duration;

use bytes::Bytes;

use super::count::Read;
use super::dispatch::engine_error;
use super::driver::Task;
use super::own::Heard;
use crate::domain::Meters;
use crate::engines::EngineError;
use crate::fleet::Trust;
use crate::wire::{self, Dialect, Finish};

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
    let provided = match trust {
        Trust::Own | Trust::Commercial => None,
        Trust::Provider => {
            let transcript = wire::transcript(dialect, body).map_err(engine_error)?;
            let heard = Heard { transcript, claim: answer.usage };
            Some(Provided { heard, dialect, raw: body.clone() })
        }
    };
    Ok(Whole { body: answer.body, read, finish: answer.finish, provided })
}
