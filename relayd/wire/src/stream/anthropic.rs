//! Writing a stream in Anthropic's format.

use bytes::{BufMut, BytesMut};
use relay_domain::Meters;

use super::TailReason;
use super::flow::Ending;
use crate::Dialect;
use crate::finish::Finish;
use crate::json::{Object, Raw};
use crate::read::{Event, Piece};
use crate::stamp::Stamp;
use crate::usage::{self, Meter, Tally};

/// What a content block is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Block {
    Text,
    Thinking,
    /// A tool call, by its slot.
    Tool(u32),
}

/// The state of one stream.
#[derive(Debug, Default)]
pub(super) struct Writer {
    is_begun: bool,
    /// The block that is being written and its number.
    open: Option<(Block, u64)>,
    /// The next block's number.
    next: u64,
    /// The numbers of tool calls, by slot.
    slots: Vec<(u32, u64)>,
    finish: Option<Finish>,
    /// As a literal.
    stop_sequence: Option<String>,
}

impl Writer {
    pub(super) fn write(
        &mut self,
        event: &Event<'_>,
        stamp: &Stamp,
        known: &Tally,
        out: &mut BytesMut,
    ) {
        if matches!(event, Event::Id(_) | Event::Foreign) {
            return;
        }
        if !std::mem::replace(&mut self.is_begun, true) {
            opening(stamp, known, out);
        }
        match *event {
            Event::Id(_) | Event::Foreign => {}
            Event::Text { text, .. } => {
                let index = self.block(Block::Text, out, |block| {
                    block.text("type", "text").text("text", "");
                });
                delta(index, "text_delta", out, |delta| {
                    delta.json("text", text);
                });
            }
            Event::Reasoning { text, .. } => {
                let index = self.block(Block::Thinking, out, |block| {
                    block.text("type", "thinking").text("thinking", "").text("signature", "");
                });
                delta(index, "thinking_delta", out, |delta| {
                    delta.json("thinking", text);
                });
            }
            Event::ToolStart { slot, id, name, .. } => {
                let made = format!("\"toolu_{}_{}\"", stamp.suffix(), self.next);
                let index = self.block(Block::Tool(slot), out, |block| {
                    block.text("type", "tool_use").json("id", id.unwrap_or(&made));
                    block.json("name", name).object("input", |_| {});
                });
                self.slots.push((slot, index));
            }
            Event::ToolArguments { slot, piece, .. } => {
                let known = self.slots.iter().rev().find(|(known, _)| *known == slot);
                let Some(&(_, index)) = known else { return };
                delta(index, "input_json_delta", out, |delta| {
                    match piece {
                        Piece::Literal(text) => delta.json("partial_json", text),
                        Piece::Json(text) => delta.text("partial_json", text),
                    };
                });
            }
            Event::Finish { finish, stop_sequence, .. } => {
                self.close(out);
                self.finish = Some(finish);
                self.stop_sequence = stop_sequence.map(str::to_owned);
            }
        }
    }

    /// Notes the block that the engine's own frame opened or closed, where the formats match.
    pub(super) fn observe(&mut self, object: Raw<'_>) {
        let index = object.get("index").and_then(|index| index.text().parse().ok());
        match object.get("type").map(Raw::text) {
            Some("\"message_start\"") => self.is_begun = true,
            Some("\"content_block_start\"") => {
                self.open = index.map(|index| (Block::Text, index));
            }
            Some("\"content_block_stop\"") => self.open = None,
            _ => {}
        }
    }

    pub(super) fn tail(
        &mut self,
        ending: &Ending<'_>,
        stamp: &Stamp,
        meter: &Meter,
        out: &mut BytesMut,
    ) {
        if !std::mem::replace(&mut self.is_begun, true) {
            opening(stamp, &meter.running, out);
        }
        self.close(out);
        let is_held = ending.end == TailReason::Finished && !ending.held.is_empty();
        if is_held {
            frame("message_delta", out, |object| {
                held(Raw::trusted(ending.held), ending.billed, meter, object);
            });
        } else {
            self.closing(ending, out);
        }
        frame("message_stop", out, |object| {
            object.text("type", "message_stop");
        });
    }

    fn closing(&self, ending: &Ending<'_>, out: &mut BytesMut) {
        let cut = ending.end == TailReason::InsufficientCredits;
        let finish = if cut { Finish::Length } else { self.finish.unwrap_or(Finish::Stop) };
        frame("message_delta", out, |object| {
            object.text("type", "message_delta").object("delta", |delta| {
                delta.text("stop_reason", finish.word(Dialect::Anthropic));
                let stop_sequence = self.stop_sequence.as_deref().filter(|_| !cut);
                delta.json("stop_sequence", stop_sequence.unwrap_or("null"));
            });
            object.object("usage", |usage| {
                usage::put(Dialect::Anthropic, ending.billed, usage);
            });
            if cut {
                object.text("end_reason", "insufficient_credits");
            }
        });
    }

    /// The number of the open block, which is opened if it is not that one.
    fn block(
        &mut self,
        block: Block,
        out: &mut BytesMut,
        fill: impl FnOnce(&mut Object<'_>),
    ) -> u64 {
        if let Some((open, index)) = self.open
            && open == block
        {
            return index;
        }
        self.close(out);
        let index = self.next;
        self.next += 1;
        self.open = Some((block, index));
        frame("content_block_start", out, |object| {
            object.text("type", "content_block_start").count("index", index);
            object.object("content_block", fill);
        });
        index
    }

    fn close(&mut self, out: &mut BytesMut) {
        if let Some((_, index)) = self.open.take() {
            frame("content_block_stop", out, |object| {
                object.text("type", "content_block_stop").count("index", index);
            });
        }
    }
}

fn opening(stamp: &Stamp, known: &Tally, out: &mut BytesMut) {
    // What is known by now, often nothing: the closing usage corrects it.
    let known = known.meters().unwrap_or_default();
    let known = Meters { out_text: 0, out_reasoning: 0, ..known };
    frame("message_start", out, |object| {
        object.text("type", "message_start").object("message", |message| {
            message
                .quoted("id", |id| {
                    id.put_slice(b"msg_");
                    id.put_slice(stamp.suffix().as_bytes());
                })
                .text("type", "message")
                .text("role", "assistant")
                .text("model", &stamp.model)
                .array("content", |_| {})
                .json("stop_reason", "null")
                .json("stop_sequence", "null")
                .object("usage", |usage| usage::put(Dialect::Anthropic, &known, usage));
            stamp.put(message);
        });
    });
}

fn delta(index: u64, kind: &str, out: &mut BytesMut, fill: impl FnOnce(&mut Object<'_>)) {
    frame("content_block_delta", out, |object| {
        object.text("type", "content_block_delta").count("index", index);
        object.object("delta", |delta| {
            delta.text("type", kind);
            fill(delta);
        });
    });
}

/// One event: its name, its data and the blank line.
fn frame(name: &str, out: &mut BytesMut, fill: impl FnOnce(&mut Object<'_>)) {
    out.put_slice(b"event: ");
    out.put_slice(name.as_bytes());
    out.put_slice(b"\ndata: ");
    let mut object = Object::new(out);
    fill(&mut object);
    object.end();
    out.put_slice(b"\n\n");
}

/// The engine's own closing frame, with the usage that was billed.
fn held(closing: Raw<'_>, billed: &Meters, meter: &Meter, object: &mut Object<'_>) {
    let is_billed = meter.usage.meters().as_ref() == Some(billed);
    let mut has_usage = false;
    for member in closing.members() {
        if member.is("usage") && !is_billed {
            continue;
        }
        has_usage |= member.is("usage");
        object.json(&member.key(), member.value.text());
    }
    if !has_usage {
        object.object("usage", |usage| usage::put(Dialect::Anthropic, billed, usage));
    }
}
