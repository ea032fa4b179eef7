//! A streamed answer on its way from the engine to the client.
//!
//! One [`Translator`] per response, synchronous, without clock. Invariants: nothing comes out
//! before the first content; the bytes that come out do not depend on how the upstream's bytes
//! were cut; usage and end marker come out of [`Translator::tail`] only; after an error nothing
//! more comes out of [`Translator::push`].

mod anthropic;
mod failure;
mod flow;
mod ollama;
mod openai;
mod outlet;
mod pass;
#[cfg(test)]
mod tests;

use bytes::Bytes;
use relay_domain::Meters;

pub use failure::{stream_error_body, stream_error_frame, stream_error_kind};

use crate::dialect::Dialect;
use crate::error::WireError;
use crate::finish::Finish;
use crate::frame::Framer;
use crate::stamp::{Stamp, Timing};
use crate::surface::Surface;
use crate::transcript::Transcript;

use flow::Flow;

/// What was seen of a stream so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// What the upstream's reports of usage say: the largest value of each of its counters, never
    /// a sum. `None`: nothing reported; an explicit zero is `Some`. Of a stream that is cut it is
    /// what the engine had counted by then, and `None` where an engine counts at the end only.
    pub usage: Option<Meters>,
    /// The same with running counts taken in (llama.cpp's `timings`).
    pub running: Option<Meters>,
    /// The prompt's meters, where the engine reports them before the answer (Anthropic's format);
    /// the answer's meters are zero.
    pub prompt: Option<Meters>,
    /// Pieces of content: text, reasoning, tool names and arguments. Not tokens: an engine may
    /// put several tokens into one piece and hold parts of a character back.
    pub deltas: u64,
    /// Bytes of UTF-8 in those pieces.
    pub out_bytes: u64,
    /// The answer is complete and nothing more is to come: the format's end marker was seen
    /// (`[DONE]`, `message_stop`, `done: true`), or the upstream closed after a finish reason. A
    /// finish reason alone is not the end: the usage follows it.
    pub finished: bool,
    /// Content, a tool call or the finish was seen: from here on there is no retry.
    pub first_content: bool,
    /// Why the first choice ended, as far as it has.
    pub finish: Option<Finish>,
    /// Some count was negative, broken, absurd or contradicts another and was left out.
    pub suspect: bool,
}

/// Why a stream ends in good order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TailReason {
    /// The engine finished.
    Finished,
    /// The hold could not be extended: the answer ends here.
    InsufficientCredits,
}

/// Turns the engine's stream into the client's.
#[derive(Debug)]
pub struct Translator {
    dialect: Dialect,
    framer: Framer,
    flow: Flow,
    failed: Option<WireError>,
}

impl Translator {
    /// For one response. `include_usage` is the caller's `stream_options.include_usage`; the other
    /// formats always end with usage.
    #[must_use]
    pub fn new(surface: Surface, dialect: Dialect, stamp: Stamp, include_usage: bool) -> Self {
        let flow = Flow::new(surface, dialect, stamp, include_usage);
        Self { dialect, framer: Framer::new(dialect), flow, failed: None }
    }

    /// Takes in bytes of the upstream's body and puts out what the client may see at once.
    ///
    /// # Errors
    /// The upstream's failure or that the bytes are not in shape. What came before in the same
    /// chunk is in `out`. The translator then answers every further call with the same error.
    pub fn push(&mut self, chunk: &Bytes, out: &mut Vec<Bytes>) -> Result<(), WireError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        let pushed = self.frames(chunk, out);
        let flushed = self.flow.flush(chunk, out);
        pushed.and(flushed).inspect_err(|error| self.failed = Some(error.clone()))
    }

    fn frames(&mut self, chunk: &Bytes, out: &mut Vec<Bytes>) -> Result<(), WireError> {
        let mut at = 0;
        while let Some(frame) = self.framer.next(chunk, &mut at)? {
            self.flow.frame(&frame, chunk, out)?;
        }
        Ok(())
    }

    /// The upstream closed its body. Content of a last frame without line end is put out by
    /// [`Translator::tail`].
    ///
    /// # Errors
    /// [`WireError::Truncated`] when no finish marker was seen; the upstream's failure when the
    /// body was an error instead of a stream.
    pub fn end_of_input(&mut self) -> Result<(), WireError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        let mut late = Vec::new();
        let last = match self.framer.last() {
            Ok(Some(frame)) => self.flow.frame(&frame, &Bytes::new(), &mut late),
            Ok(None) => Ok(()),
            Err(error) => Err(error),
        };
        let last = last.and(self.flow.flush(&Bytes::new(), &mut late));
        self.flow.late = late;
        let ended = match last {
            // A document that is cut off cannot be told from one that is broken.
            Err(WireError::Garbage(_)) if self.flow.seen.first_content => Err(WireError::Truncated),
            Err(error) => Err(error),
            Ok(()) if self.flow.seen.finished || self.flow.is_complete() => Ok(()),
            Ok(()) => Err(WireError::Truncated),
        };
        self.flow.seen.finished |= ended.is_ok();
        ended.inspect_err(|error| self.failed = Some(error.clone()))
    }

    /// What was seen so far.
    #[must_use]
    pub const fn seen(&self) -> &Seen {
        &self.flow.seen
    }

    /// Puts out the end of the stream: usage as it was billed, and the end marker. Only Ollama's
    /// format shows `timing`, and only where the engine did not report its own. A second call
    /// puts out nothing.
    pub fn tail(
        &mut self,
        end: TailReason,
        billed: &Meters,
        timing: &Timing,
        out: &mut Vec<Bytes>,
    ) {
        if !std::mem::replace(&mut self.flow.has_tail, true) {
            self.flow.tail(end, billed, timing, out);
        }
    }

    /// Keeps the text of the answer from here on, for [`Translator::take_transcript`].
    #[must_use]
    pub fn transcribed(mut self) -> Self {
        self.flow.transcript = Some(Transcript::default());
        self
    }

    /// The text that is kept, if any was asked for.
    #[must_use]
    pub const fn transcript(&self) -> Option<&Transcript> {
        self.flow.transcript.as_ref()
    }

    /// The text that was kept, if any was asked for.
    pub fn take_transcript(&mut self) -> Option<Transcript> {
        self.flow.transcript.take()
    }

    /// The engine's dialect.
    #[must_use]
    pub const fn dialect(&self) -> Dialect {
        self.dialect
    }
}
