//! What happens to a frame: read, counted, and passed on or written in the client's format.

use bytes::{Bytes, BytesMut};
use relay_domain::Meters;

use super::outlet::Outlet;
use super::{Seen, TailReason, anthropic, failure, ollama, openai};
use crate::dialect::Dialect;
use crate::error::WireError;
use crate::frame::Frame;
use crate::json::{Raw, Span, document, literal_len};
use crate::read::{self, Event, Heading, Piece};
use crate::stamp::{Stamp, Timing};
use crate::surface::Surface;
use crate::transcript::Transcript;
use crate::usage::{Meter, Tally};

/// Everything but the framing.
#[derive(Debug)]
pub(super) struct Flow {
    pub(super) surface: Surface,
    pub(super) dialect: Dialect,
    pub(super) stamp: Stamp,
    pub(super) include_usage: bool,
    pub(super) seen: Seen,
    pub(super) meter: Meter,
    pub(super) outlet: Outlet,
    pub(super) writer: Writer,
    pub(super) spans: Vec<Span>,
    /// Tool calls seen in Ollama's format.
    pub(super) calls: u32,
    /// Choices begun and choices finished, a bit each.
    pub(super) begun: u32,
    pub(super) ended: u32,
    /// The closing frame that waits for the settlement, where the formats match.
    pub(super) held: String,
    /// The first frame went through.
    pub(super) is_stamped: bool,
    pub(super) has_tail: bool,
    /// What a frame without its line end held, found when the upstream closed.
    pub(super) late: Vec<Bytes>,
    /// The answer's text, where somebody counts it anew.
    pub(super) transcript: Option<Transcript>,
}

/// What writes the surface's format.
#[derive(Debug)]
pub(super) enum Writer {
    Openai(openai::Writer),
    Anthropic(anthropic::Writer),
    Ollama(ollama::Writer),
}

/// What the tail is written from.
#[derive(Debug)]
pub(super) struct Ending<'a> {
    pub(super) end: TailReason,
    pub(super) billed: &'a Meters,
    pub(super) timing: &'a Timing,
    /// The engine's own closing frame; empty where there is none or it is of no use.
    pub(super) held: &'a str,
    pub(super) include_usage: bool,
    /// Choices that have not ended, a bit each.
    pub(super) open_choices: u32,
}

impl Flow {
    pub(super) fn new(
        surface: Surface,
        dialect: Dialect,
        stamp: Stamp,
        include_usage: bool,
    ) -> Self {
        let writer = match surface.dialect() {
            Dialect::Openai => Writer::Openai(openai::Writer::new(&stamp)),
            Dialect::Anthropic => Writer::Anthropic(anthropic::Writer::default()),
            Dialect::Ollama => Writer::Ollama(ollama::Writer::new(&stamp)),
        };
        Self {
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
            transcript: None,
        }
    }

    /// Handles one frame.
    pub(super) fn frame(
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
        let Self { seen, meter, outlet, writer, stamp, begun, ended, calls, transcript, .. } = self;
        let is_parted = *ended != 0 && *begun & !*ended != 0;
        let mut written = Ok(());
        let known = meter.running;
        let sink = |event: Event<'_>| {
            note(seen, begun, ended, &event);
            if let Some(transcript) = transcript {
                transcript.note(&event);
            }
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
    pub(super) const fn is_complete(&self) -> bool {
        self.ended != 0 && self.begun & !self.ended == 0
    }

    pub(super) fn flush(&mut self, chunk: &Bytes, out: &mut Vec<Bytes>) -> Result<(), WireError> {
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

impl Flow {
    pub(super) fn tail(
        &mut self,
        end: TailReason,
        billed: &Meters,
        timing: &Timing,
        out: &mut Vec<Bytes>,
    ) {
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
        Event::Finish { choice, finish, .. } => {
            *ended |= bit(choice);
            seen.first_content = true;
            if choice == 0 {
                seen.finish = Some(finish);
            }
            return;
        }
    };
    *begun |= bit(choice);
    seen.deltas += 1;
    seen.out_bytes += bytes;
    seen.first_content = true;
}
