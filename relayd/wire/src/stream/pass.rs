//! Frames whose format is already the client's.
//!
//! What the client may see as it is goes out as a slice; a frame that names the model or reports
//! usage is written again from its own slices. Content is never parsed into values.

use bytes::{BufMut, Bytes};

use super::flow::{Flow, Writer};
use crate::dialect::Dialect;
use crate::frame::Frame;
use crate::json::{Object, Raw, Span};
use crate::read::Heading;
use crate::stamp::Stamp;

impl Flow {
    /// Handles a frame that was read.
    pub(super) fn pass(
        &mut self,
        heading: Heading,
        object: Raw<'_>,
        frame: &Frame<'_>,
        chunk: &Bytes,
        out: &mut Vec<Bytes>,
    ) {
        match (self.dialect, heading) {
            (_, Heading::Mark) => {}
            // The report in the OpenAI format was read; the tail writes it.
            (Dialect::Openai, Heading::Closing) => {}
            (Dialect::Openai, _) => self.pass_openai(object, frame, chunk, out),
            (Dialect::Anthropic | Dialect::Ollama, Heading::Closing) => {
                // A report without a reason to stop is only a report.
                if self.dialect == Dialect::Ollama || self.is_complete() {
                    object.text().clone_into(&mut self.held);
                }
            }
            (Dialect::Anthropic, _) => self.pass_anthropic(heading, object, frame, chunk, out),
            (Dialect::Ollama, _) => self.pass_ollama(object, chunk, out),
        }
    }

    fn pass_openai(
        &mut self,
        object: Raw<'_>,
        frame: &Frame<'_>,
        chunk: &Bytes,
        out: &mut Vec<Bytes>,
    ) {
        let Self { spans, stamp, outlet, is_stamped, .. } = self;
        let text = object.text();
        // Spans count from the start of the data, the object's text from its brace.
        let shift = frame.data.len() - frame.data.trim_ascii_start().len();
        let changes = spans.iter().any(|span| rewrites(key(text, *span, shift)));
        let first = !std::mem::replace(is_stamped, true);
        if let Some(run) = frame.run
            && frame.name.is_empty()
            && !changes
            && !first
        {
            return outlet.forward(run, chunk, out);
        }
        let out = outlet.buffer(chunk, out);
        out.put_slice(b"data: ");
        let mut rewritten = Object::new(out);
        for span in spans.iter() {
            match key(text, *span, shift) {
                "\"model\"" => {
                    rewritten.text("model", &stamp.model);
                }
                key if rewrites(key) => {}
                _ => {
                    let member = text.get(span.key - shift..span.end - shift);
                    rewritten.spliced(member.unwrap_or_default().as_bytes());
                }
            }
        }
        if first {
            stamp.put(&mut rewritten);
        }
        rewritten.end();
        out.put_slice(b"\n\n");
    }

    fn pass_anthropic(
        &mut self,
        heading: Heading,
        object: Raw<'_>,
        frame: &Frame<'_>,
        chunk: &Bytes,
        out: &mut Vec<Bytes>,
    ) {
        let Self { stamp, outlet, writer, .. } = self;
        if let Writer::Anthropic(writer) = writer {
            writer.observe(object);
        }
        if heading == Heading::Opening {
            let out = outlet.buffer(chunk, out);
            out.put_slice(b"event: message_start\ndata: ");
            let mut rewritten = Object::new(out);
            for member in object.members() {
                if member.is("message") {
                    rewritten.object("message", |message| opening(member.value, stamp, message));
                } else {
                    rewritten.json(&member.key(), member.value.text());
                }
            }
            rewritten.end();
            return out.put_slice(b"\n\n");
        }
        if let Some(run) = frame.run {
            return outlet.forward(run, chunk, out);
        }
        let out = outlet.buffer(chunk, out);
        if !frame.name.is_empty() {
            out.put_slice(b"event: ");
            out.put_slice(frame.name);
            out.put_u8(b'\n');
        }
        out.put_slice(b"data: ");
        out.put_slice(frame.data);
        out.put_slice(b"\n\n");
    }

    fn pass_ollama(&mut self, object: Raw<'_>, chunk: &Bytes, out: &mut Vec<Bytes>) {
        let Self { stamp, outlet, .. } = self;
        let out = outlet.buffer(chunk, out);
        let mut rewritten = Object::new(out);
        for member in object.members() {
            match member.literal {
                "\"model\"" => rewritten.text("model", &stamp.model),
                _ => rewritten.json(&member.key(), member.value.text()),
            };
        }
        rewritten.end();
        out.put_u8(b'\n');
    }
}

/// The key literal of a span of the data, read in the object's text.
fn key(text: &str, span: Span, shift: usize) -> &str {
    text.get(span.key - shift..span.key_end - shift).unwrap_or_default()
}

/// Whether a chunk with that member has to be written again: the model's name is replaced, the
/// rest is the engine's own business (usage and measurements) or Relay's.
fn rewrites(key: &str) -> bool {
    matches!(
        key,
        "\"model\""
            | "\"usage\""
            | "\"timings\""
            | "\"x_groq\""
            | "\"__verbose\""
            | "\"task_id\""
            | "\"task_address\""
            | "\"mode\""
    )
}

/// The message of an opening event under the Relay name.
fn opening(message: Raw<'_>, stamp: &Stamp, rewritten: &mut Object<'_>) {
    for member in message.members() {
        match member.key().as_ref() {
            "model" => {
                rewritten.text("model", &stamp.model);
            }
            "task_id" | "task_address" | "mode" => {}
            key => {
                rewritten.json(key, member.value.text());
            }
        }
    }
    stamp.put(rewritten);
}
