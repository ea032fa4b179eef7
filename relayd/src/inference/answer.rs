//! Whole answers: read once they are complete, handed out once they are paid for.

use std::time::Duration;

use bytes::Bytes;

use super::count::Read;
use super::dispatch::engine_error;
use super::driver::Task;
use crate::engines::EngineError;
use crate::wire::{self, Dialect, Finish};

/// A whole answer in the client's format.
pub(super) struct Whole {
    /// What the client gets.
    pub(super) body: Bytes,
    /// What was read of it.
    pub(super) read: Read,
    /// Why it ended.
    pub(super) finish: Finish,
}

/// Turns an engine's whole answer into the client's.
///
/// # Errors
/// When it reports an error or is not in shape.
pub(super) fn read(task: &Task, dialect: Dialect, body: &Bytes) -> Result<Whole, EngineError> {
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
    Ok(Whole { body: answer.body, read, finish: answer.finish })
}
