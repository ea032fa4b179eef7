//! A streamed answer on its way from the engine to the client.
//!
//! One [`Translator`] per response, synchronous, without clock. Invariants: nothing comes out
//! before the first content; the bytes that come out do not depend on how the upstream's bytes
//! were cut; usage and end marker come out of [`Translator::tail`] only; after an error nothing
//! more comes out of [`Translator::push`].

mod anthropic;
mod failure;
mod ollama;
mod openai;
mod outlet;
mod pass;
#[cfg(test)]
mod tests;

use bytes::{Bytes, BytesMut};
use relay_domain::Meters;

pub use failure::{stream_error_body, stream_error_frame, stream_error_kind};

use crate::dialect::Dialect;
use crate::error::WireError;
use crate::frame::{Frame, Framer};
use crate::json::{Raw, Span, document, literal_len};
use crate::read::{self, Event, Heading, Piece};
use crate::stamp::{Stamp, Timing};
use crate::surface::Surface;
use crate::usage::{Meter, Tally};

use outlet::Outlet;

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
    core: Core,
    failed: Option<WireError>,
}

/// Everything but the framing.
#[derive(Debug)]
struct Core {
    surface: Surface,
    dialect: Dialect,
    stamp: Stamp,
    include_usage: bool,
    seen: Seen,
    meter: Meter,
    outlet: Outlet,
    writer: Writer,
    spans: Vec<Span>,
    /// Tool calls seen in Ollama's format.
    calls: u32,
    /// Choices begun and choices finished, a bit each.
    begun: u32,
    ended: u32,
    /// The closing frame that waits for the settlement, where the formats match.
    held: String,
    /// The first frame went through.
    is_stamped: bool,
    has_tail: bool,
    /// What a frame without its line end held, found when the upstream closed.
    late: Vec<Bytes>,
}

/// What writes the surface's format.
#[derive(Debug)]
enum Writer {
    Openai(openai::Writer),
    Anthropic(anthropic::Writer),
    Ollama(ollama::Writer),
}

/// What the tail is written from.
#[derive(Debug)]
struct Ending<'a> {
    end: TailReason,
    billed: &'a Meters,
    timing: &'a Timing,
    /// The engine's own closing frame; empty where there is none or it is of no use.
    held: &'a str,
    include_usage: bool,
    /// Choices that have not ended, a bit each.
    open_choices: u32,
}

impl Translator {
    /// For one response. `include_usage` is the caller's `stream_options.include_usage`; the other
    /// formats always end with usage.
    #[must_use]
    pub fn new(surface: Surface, dialect: Dialect, stamp: Stamp, include_usage: bool) -> Self {
        let writer = match surface.dialect() {
            Dialect::Openai => Writer::Openai(openai::Writer::new(&stamp)),
            Dialect::Anthropic => Writer::Anthropic(anthropic::Writer::default()),
            Dialect::Ollama => Writer::Ollama(ollama::Writer::new(&stamp)),
        };
        let core = Core {
            surface,
            dialect,
            stamp,
            include_usage,
            seen: Seen::default(),
            meter: Meter::default(),
            outlet: Outlet::default(),
            writer,
            spans: Vec::with_capacity(16),
            calls: 0,
            begun: 0,
            ended: 0,
            held: String::new(),
            is_stamped: false,
            has_tail: false,
            late: Vec::new(),
        };
        Self { dialect, framer: Framer::new(dialect), core, failed: None }
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
        let flushed = self.core.flush(chunk, out);
        pushed.and(flushed).inspect_err(|error| self.failed = Some(error.clone()))
    }

    fn frames(&mut self, chunk: &Bytes, out: &mut Vec<Bytes>) -> Result<(), WireError> {
        let mut at = 0;
        while let Some(frame) = self.framer.next(chunk, &mut at)? {
            self.core.frame(&frame, chunk, out)?;
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
            Ok(Some(frame)) => self.core.frame(&frame, &Bytes::new(), &mut late),
            Ok(None) => Ok(()),
            Err(error) => Err(error),
        };
        let last = last.and(self.core.flush(&Bytes::new(), &mut late));
        self.core.late = late;
        let ended = match last {
            // A document that is cut off cannot be told from one that is broken.
            Err(WireError::Garbage(_)) if self.core.seen.first_content => Err(WireError::Truncated),
            Err(error) => Err(error),
            Ok(()) if self.core.seen.finished || self.core.is_complete() => Ok(()),
            Ok(()) => Err(WireError::Truncated),
        };
        self.core.seen.finished |= ended.is_ok();
        ended.inspect_err(|error| self.failed = Some(error.clone()))
    }

    /// What was seen so far.
    #[must_use]
    pub const fn seen(&self) -> &Seen {
        &self.core.seen
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
        if !std::mem::replace(&mut self.core.has_tail, true) {
            self.core.tail(end, billed, timing, out);
        }
    }

    /// The engine's dialect.
    #[must_use]
    pub const fn dialect(&self) -> Dialect {
        self.dialect
    }
}

impl Core {
    /// Handles one frame.
    fn frame(
        &mut self,
        frame: &Frame<'_>,
        chunk: &Bytes,
        out: &mut Vec<Bytes>,
    ) -> Result<(), WireError> {
        if frame.data.trim_ascii() == b"[DONE]" {
            if !self.seen.first_content {
                // An end without anything before it is no answer.
                return Err(WireError::Truncated);
            }
            self.seen.finished = true;
            return Ok(());
        }
        if frame.data.is_empty() {
            return Ok(());
        }
        let object = match document(frame.data, &mut self.spans) {
            Ok((text, true)) => Raw::trusted(text.trim()),
            Ok((_, false)) | Err(_) if frame.name == b"error" => {
                return Err(failure::plain(frame.data));
            }
            // The answer is complete; what follows could only have been a report.
            Ok((_, false)) | Err(_) if self.is_complete() => return Ok(()),
            Ok((_, false)) => return Err(WireError::Garbage("a frame that is no object")),
            Err(_) => return Err(WireError::Garbage("a frame that is not JSON")),
        };
        if frame.name == b"error" {
            return Err(read::reported(object).unwrap_or_else(|| read::described(object)));
        }
        let heading = self.read(object, chunk, out)?;
        if self.surface.dialect() == self.dialect {
            self.pass(heading, object, frame, chunk, out);
        }
        Ok(())
    }

    /// Reads the frame's events: counts them and, where the formats differ, writes them.
    fn read(
        &mut self,
        object: Raw<'_>,
        chunk: &Bytes,
        out: &mut Vec<Bytes>,
    ) -> Result<Heading, WireError> {
        let is_pass = self.surface.dialect() == self.dialect;
        let Self { seen, meter, outlet, writer, stamp, begun, ended, calls, .. } = self;
        let is_parted = *ended != 0 && *begun & !*ended != 0;
        let mut written = Ok(());
        let known = meter.running;
        let sink = |event: Event<'_>| {
            note(seen, begun, ended, &event);
            if is_pass {
                writer.observe(&event);
            } else if written.is_ok() {
                written = writer.write(&event, stamp, &known, outlet.buffer(chunk, out));
            }
        };
        let heading = match self.dialect {
            Dialect::Openai => read::openai::chunk(object, is_parted, meter, sink),
            Dialect::Anthropic => read::anthropic::event(object, meter, sink),
            Dialect::Ollama => read::ollama::line(object, calls, meter, sink),
        }?;
        written?;
        self.seen.finished |= matches!(
            (self.dialect, heading),
            (Dialect::Anthropic, Heading::Mark) | (Dialect::Ollama, Heading::Closing)
        );
        if self.seen.first_content {
            self.outlet.open();
        }
        Ok(heading)
    }

    /// Whether every choice that began has ended.
    const fn is_complete(&self) -> bool {
        self.ended != 0 && self.begun & !self.ended == 0
    }

    fn flush(&mut self, chunk: &Bytes, out: &mut Vec<Bytes>) -> Result<(), WireError> {
        self.note_usage();
        self.outlet.flush(chunk, out)
    }

    fn note_usage(&mut self) {
        if self.meter.has_output {
            self.seen.usage = self.meter.usage.meters();
        }
        if self.meter.has_output || self.meter.has_timings {
            self.seen.running = self.meter.running.meters();
        }
        if self.dialect == Dialect::Anthropic {
            let prompt = self.meter.usage.meters();
            self.seen.prompt = prompt.map(|m| Meters { out_text: 0, out_reasoning: 0, ..m });
        }
        self.seen.suspect = self.meter.usage.is_suspect();
    }
}

impl Core {
    fn tail(&mut self, end: TailReason, billed: &Meters, timing: &Timing, out: &mut Vec<Bytes>) {
        out.append(&mut self.late);
        let is_billed = self.meter.usage.meters().as_ref() == Some(billed);
        let ending = Ending {
            end,
            billed,
            timing,
            held: &self.held,
            include_usage: self.include_usage,
            open_choices: if self.begun | self.ended == 0 { 1 } else { self.begun & !self.ended },
        };
        // Whatever waited for a first content that never came belongs to the answer after all.
        self.outlet.open();
        let buffer = self.outlet.buffer(&Bytes::new(), out);
        match &mut self.writer {
            Writer::Openai(writer) => writer.tail(&ending, &self.meter, buffer),
            Writer::Anthropic(writer) => writer.tail(&ending, &self.stamp, &self.meter, buffer),
            Writer::Ollama(writer) => writer.tail(&ending, &self.stamp, is_billed, buffer),
        }
        self.outlet.finish(out);
    }
}

impl Writer {
    /// Takes note of an event of a stream whose format is the client's.
    fn observe(&mut self, event: &Event<'_>) {
        if let Self::Openai(writer) = self {
            writer.observe(event);
        }
    }

    /// Writes an event of a stream in another format.
    fn write(
        &mut self,
        event: &Event<'_>,
        stamp: &Stamp,
        known: &Tally,
        out: &mut BytesMut,
    ) -> Result<(), WireError> {
        match self {
            Self::Openai(writer) => writer.write(event, stamp, out),
            // The other formats have one answer only.
            _ if event.choice() > 0 => {}
            Self::Anthropic(writer) => writer.write(event, stamp, known, out),
            Self::Ollama(writer) => return writer.write(event, stamp, out),
        }
        Ok(())
    }
}

/// Counts an event.
fn note(seen: &mut Seen, begun: &mut u32, ended: &mut u32, event: &Event<'_>) {
    let bit = |choice: u32| 1_u32.checked_shl(choice).unwrap_or(0);
    let (choice, bytes) = match *event {
        Event::Id(_) => return,
        Event::Foreign => {
            seen.first_content = true;
            return;
        }
        Event::Text { choice, text } | Event::Reasoning { choice, text } => {
            (choice, literal_len(text))
        }
        Event::ToolStart { choice, name, .. } => (choice, literal_len(name)),
        Event::ToolArguments { choice, piece: Piece::Literal(text), .. } => {
            (choice, literal_len(text))
        }
        Event::ToolArguments { choice, piece: Piece::Json(text), .. } => {
            (choice, text.len() as u64)
        }
        Event::Finish { choice, .. } => {
            *ended |= bit(choice);
            seen.first_content = true;
            return;
        }
    };
    *begun |= bit(choice);
    seen.deltas += 1;
    seen.out_bytes += bytes;
    seen.first_content = true;
}
