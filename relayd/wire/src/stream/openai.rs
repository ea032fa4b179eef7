//! Writing a stream in the OpenAI format.

use bytes::{BufMut, BytesMut};
use relay_domain::Meters;

use super::TailReason;
use super::flow::Ending;
use crate::Dialect;
use crate::finish::Finish;
use crate::json::{Object, put_string};
use crate::read::{Event, Piece};
use crate::stamp::Stamp;
use crate::usage::{self, Meter};

/// The format's end marker.
const DONE: &[u8] = b"data: [DONE]\n\n";

/// The state of one stream.
#[derive(Debug)]
pub(super) struct Writer {
    /// The answer's id as a literal: the engine's where the formats match, else our own.
    id: String,
    /// `"object":..` up to the choices, the same in every chunk.
    head: String,
    is_begun: bool,
    /// The slots of tool calls, in order: the format numbers them from 0.
    slots: Vec<u32>,
}

impl Writer {
    pub(super) fn new(stamp: &Stamp) -> Self {
        let mut model = BytesMut::new();
        put_string(&mut model, &stamp.model);
        let head = format!(
            "\"object\":\"chat.completion.chunk\",\"created\":{},\"model\":{},\"choices\":[",
            stamp.created,
            String::from_utf8_lossy(&model)
        );
        let id = format!("\"chatcmpl-{}\"", stamp.suffix());
        Self { id, head, is_begun: false, slots: Vec::new() }
    }

    /// Takes over the engine's id, where the formats match.
    pub(super) fn observe(&mut self, event: &Event<'_>) {
        if let Event::Id(id) = event
            && !self.is_begun
        {
            self.is_begun = true;
            (*id).clone_into(&mut self.id);
        }
    }

    pub(super) fn write(&mut self, event: &Event<'_>, stamp: &Stamp, out: &mut BytesMut) {
        if matches!(event, Event::Id(_) | Event::Foreign) {
            return;
        }
        if !self.is_begun {
            self.is_begun = true;
            self.chunk(0, None, out, |delta| {
                delta.text("role", "assistant").text("content", "");
            });
            // The first chunk carries what every answer of the relay carries.
            out.truncate(out.len() - "}\n\n".len());
            out.put_u8(b',');
            let mut rest = BytesMut::new();
            let mut object = Object::new(&mut rest);
            stamp.put(&mut object);
            object.end();
            out.put_slice(rest.get(1..).unwrap_or_default());
            out.put_slice(b"\n\n");
        }
        match *event {
            Event::Id(_) | Event::Foreign => {}
            Event::Text { choice, text } => self.chunk(choice, None, out, |delta| {
                delta.json("content", text);
            }),
            Event::Reasoning { choice, text } => self.chunk(choice, None, out, |delta| {
                delta.json("reasoning_content", text);
            }),
            Event::ToolStart { choice, slot, id, name } => {
                let index = self.index(slot);
                let made = format!("\"call_{}_{index}\"", stamp.suffix());
                self.chunk(choice, None, out, |delta| {
                    call(delta, index, |call| {
                        call.json("id", id.unwrap_or(&made)).text("type", "function");
                        call.object("function", |function| {
                            function.json("name", name).text("arguments", "");
                        });
                    });
                });
            }
            Event::ToolArguments { choice, slot, piece } => {
                let index = self.index(slot);
                self.chunk(choice, None, out, |delta| {
                    call(delta, index, |call| {
                        call.object("function", |function| {
                            match piece {
                                Piece::Literal(text) => function.json("arguments", text),
                                Piece::Json(text) => function.text("arguments", text),
                            };
                        });
                    });
                });
            }
            Event::Finish { choice, finish, .. } => self.chunk(choice, Some(finish), out, |_| {}),
        }
    }

    pub(super) fn tail(&mut self, ending: &Ending<'_>, meter: &Meter, out: &mut BytesMut) {
        if ending.end == TailReason::InsufficientCredits {
            for choice in 0..u32::BITS {
                if ending.open_choices & (1 << choice) != 0 {
                    self.chunk(choice, Some(Finish::Length), out, |_| {});
                    out.truncate(out.len() - "}\n\n".len());
                    out.put_slice(b",\"end_reason\":\"insufficient_credits\"}\n\n");
                }
            }
        }
        if ending.include_usage {
            out.put_slice(b"data: {\"id\":");
            out.put_slice(self.id.as_bytes());
            out.put_u8(b',');
            out.put_slice(self.head.as_bytes());
            out.put_slice(b"],\"usage\":");
            put_usage(ending.billed, meter, out);
            out.put_slice(b"}\n\n");
        }
        out.put_slice(DONE);
    }

    fn index(&mut self, slot: u32) -> u64 {
        let index = self.slots.iter().position(|known| *known == slot).unwrap_or_else(|| {
            self.slots.push(slot);
            self.slots.len() - 1
        });
        index as u64
    }

    fn chunk(
        &self,
        choice: u32,
        finish: Option<Finish>,
        out: &mut BytesMut,
        fill: impl FnOnce(&mut Object<'_>),
    ) {
        out.put_slice(b"data: {\"id\":");
        out.put_slice(self.id.as_bytes());
        out.put_u8(b',');
        out.put_slice(self.head.as_bytes());
        let mut object = Object::new(out);
        object.count("index", u64::from(choice)).object("delta", fill);
        match finish {
            Some(finish) => object.text("finish_reason", finish.word(Dialect::Openai)),
            None => object.json("finish_reason", "null"),
        };
        object.end();
        out.put_slice(b"]}\n\n");
    }
}

/// One entry of a delta's `tool_calls`.
fn call(delta: &mut Object<'_>, index: u64, fill: impl FnOnce(&mut Object<'_>)) {
    delta.array("tool_calls", |calls| {
        calls.object(|call| {
            call.count("index", index);
            fill(call);
        });
    });
}

/// The engine's own report if that is what was billed, with all its details; else the billed
/// meters.
fn put_usage(billed: &Meters, meter: &Meter, out: &mut BytesMut) {
    if !meter.last.is_empty() && meter.usage.meters().as_ref() == Some(billed) {
        return out.put_slice(meter.last.as_bytes());
    }
    let mut object = Object::new(out);
    usage::put(Dialect::Openai, billed, &mut object);
    object.end();
}
