//! Writing a stream in Ollama's format.

use bytes::{BufMut, BytesMut};

use super::TailReason;
use super::flow::Ending;
use crate::Dialect;
use crate::error::WireError;
use crate::finish::Finish;
use crate::json::{Object, Raw, document, unescape};
use crate::read::{Event, Piece};
use crate::stamp::Stamp;

/// Most bytes of tool arguments of one answer that are put together; the format has no pieces.
const ARGUMENTS_MAX_BYTES: usize = 1 << 20;

/// A tool call that is being put together.
#[derive(Debug)]
struct Call {
    slot: u32,
    /// As a literal.
    name: String,
    arguments: String,
}

/// The state of one stream.
#[derive(Debug)]
pub(super) struct Writer {
    created_at: String,
    calls: Vec<Call>,
    gathered: usize,
    finish: Option<Finish>,
}

impl Writer {
    pub(super) fn new(stamp: &Stamp) -> Self {
        Self { created_at: stamp.created_at(), calls: Vec::new(), gathered: 0, finish: None }
    }

    pub(super) fn write(
        &mut self,
        event: &Event<'_>,
        stamp: &Stamp,
        out: &mut BytesMut,
    ) -> Result<(), WireError> {
        match *event {
            Event::Id(_) | Event::Foreign => {}
            Event::Text { text, .. } => self.line(stamp, out, |message| {
                message.json("content", text);
            }),
            Event::Reasoning { text, .. } => self.line(stamp, out, |message| {
                message.text("content", "").json("thinking", text);
            }),
            Event::ToolStart { slot, name, .. } => {
                self.calls.push(Call { slot, name: name.to_owned(), arguments: String::new() });
            }
            Event::ToolArguments { slot, piece, .. } => self.gather(slot, piece)?,
            Event::Finish { finish, .. } => {
                self.finish = Some(finish);
                self.flush_calls(stamp, out)?;
            }
        }
        Ok(())
    }

    pub(super) fn tail(
        &mut self,
        ending: &Ending<'_>,
        stamp: &Stamp,
        is_billed: bool,
        out: &mut BytesMut,
    ) {
        let (prompt, eval) = (ending.billed.input(), ending.billed.output());
        let mut object = Object::new(out);
        if ending.end == TailReason::Finished && !ending.held.is_empty() {
            held(Raw::trusted(ending.held), stamp, is_billed, &mut object);
            if !is_billed {
                object.count("prompt_eval_count", prompt).count("eval_count", eval);
            }
        } else {
            let cut = ending.end == TailReason::InsufficientCredits;
            let finish = if cut { Finish::Length } else { self.finish.unwrap_or(Finish::Stop) };
            object.text("model", &stamp.model).text("created_at", &self.created_at);
            object.object("message", |message| {
                message.text("role", "assistant").text("content", "");
            });
            object.text("done_reason", finish.word(Dialect::Ollama)).flag("done", true);
            ending.timing.put(&mut object, prompt, eval);
            if cut {
                object.text("end_reason", "insufficient_credits");
            }
        }
        object.text("task_id", &stamp.task_id).text("mode", stamp.mode.as_str());
        object.end();
        out.put_u8(b'\n');
    }

    fn gather(&mut self, slot: u32, piece: Piece<'_>) -> Result<(), WireError> {
        let Some(call) = self.calls.iter_mut().rev().find(|call| call.slot == slot) else {
            return Ok(());
        };
        let before = call.arguments.len();
        match piece {
            Piece::Literal(text) => call.arguments.push_str(&unescape(text)),
            Piece::Json(text) => call.arguments.push_str(text),
        }
        self.gathered += call.arguments.len() - before;
        if self.gathered > ARGUMENTS_MAX_BYTES {
            return Err(WireError::Garbage("more than 1 MiB of tool arguments"));
        }
        Ok(())
    }

    /// Puts out the tool calls of the answer, whole.
    fn flush_calls(&mut self, stamp: &Stamp, out: &mut BytesMut) -> Result<(), WireError> {
        if self.calls.is_empty() {
            return Ok(());
        }
        for call in &mut self.calls {
            if call.arguments.trim().is_empty() {
                call.arguments = "{}".to_owned();
            }
            if !matches!(document(call.arguments.as_bytes(), &mut Vec::new()), Ok((_, true))) {
                return Err(WireError::Garbage("tool arguments that are no JSON object"));
            }
        }
        let calls = std::mem::take(&mut self.calls);
        self.line(stamp, out, |message| {
            message.text("content", "").array("tool_calls", |list| {
                for call in &calls {
                    list.object(|entry| {
                        entry.object("function", |function| {
                            function.json("name", &call.name).json("arguments", &call.arguments);
                        });
                    });
                }
            });
        });
        Ok(())
    }

    fn line(&self, stamp: &Stamp, out: &mut BytesMut, fill: impl FnOnce(&mut Object<'_>)) {
        let mut object = Object::new(out);
        object.text("model", &stamp.model).text("created_at", &self.created_at);
        object.object("message", |message| {
            message.text("role", "assistant");
            fill(message);
        });
        object.flag("done", false);
        object.end();
        out.put_u8(b'\n');
    }
}

/// The engine's own last line under the Relay name, without the counts if others were billed.
fn held(line: Raw<'_>, stamp: &Stamp, is_billed: bool, object: &mut Object<'_>) {
    for member in line.members() {
        match member.key().as_ref() {
            "model" => {
                object.text("model", &stamp.model);
            }
            "prompt_eval_count" | "eval_count" if !is_billed => {}
            "task_id" | "task_address" | "mode" => {}
            key => {
                object.json(key, member.value.text());
            }
        }
    }
}
