//! An answer in a format that the engine does not speak.

use bytes::{BufMut, BytesMut};
use relay_domain::Meters;

use super::{Call, Reply};
use crate::dialect::Dialect;
use crate::error::WireError;
use crate::finish::Finish;
use crate::json::{Array, Object, document, unescape};
use crate::read::Piece;
use crate::stamp::{Stamp, Timing};
use crate::usage;

pub(super) fn body(
    format: Dialect,
    reply: &Reply<'_>,
    billed: &Meters,
    stamp: &Stamp,
    timing: &Timing,
    out: &mut BytesMut,
) -> Result<(), WireError> {
    let calls = reply.calls.iter().map(arguments).collect::<Result<Vec<_>, _>>()?;
    let mut object = Object::new(out);
    match format {
        Dialect::Openai => openai(reply, &calls, billed, stamp, &mut object),
        Dialect::Anthropic => anthropic(reply, &calls, billed, stamp, &mut object),
        Dialect::Ollama => ollama(reply, &calls, billed, stamp, timing, &mut object),
    }
    object.end();
    Ok(())
}

fn openai(
    reply: &Reply<'_>,
    calls: &[String],
    billed: &Meters,
    stamp: &Stamp,
    object: &mut Object<'_>,
) {
    let finish = reply.finish.unwrap_or(Finish::Stop);
    object.text("id", &format!("chatcmpl-{}", stamp.suffix()));
    object.text("object", "chat.completion").integer("created", stamp.created);
    object.text("model", &stamp.model).array("choices", |choices| {
        choices.object(|choice| {
            choice.count("index", 0).object("message", |message| {
                message.text("role", "assistant");
                if reply.text.is_empty() && !calls.is_empty() {
                    message.json("content", "null");
                } else {
                    message.quoted("content", |out| joined(&reply.text, out));
                }
                if !reply.reasoning.is_empty() {
                    message.quoted("reasoning_content", |out| joined(&reply.reasoning, out));
                }
                if !calls.is_empty() {
                    message.array("tool_calls", |list| {
                        for (n, (call, arguments)) in reply.calls.iter().zip(calls).enumerate() {
                            openai_call(call, n, arguments, stamp, list);
                        }
                    });
                }
            });
            choice.json("logprobs", "null");
            choice.text("finish_reason", finish.word(Dialect::Openai));
        });
    });
    object.object("usage", |usage| usage::put(Dialect::Openai, billed, usage));
    stamp.put(object);
}

fn openai_call(call: &Call<'_>, n: usize, arguments: &str, stamp: &Stamp, list: &mut Array<'_>) {
    list.object(|entry| {
        match call.id {
            Some(id) => entry.json("id", id),
            None => entry.text("id", &format!("call_{}_{n}", stamp.suffix())),
        };
        entry.text("type", "function").object("function", |function| {
            function.json("name", call.name).text("arguments", arguments);
        });
    });
}

fn anthropic(
    reply: &Reply<'_>,
    calls: &[String],
    billed: &Meters,
    stamp: &Stamp,
    object: &mut Object<'_>,
) {
    let finish = reply.finish.unwrap_or(Finish::Stop);
    object.text("id", &format!("msg_{}", stamp.suffix()));
    object.text("type", "message").text("role", "assistant").text("model", &stamp.model);
    object.array("content", |content| {
        if !reply.reasoning.is_empty() {
            content.object(|block| {
                block.text("type", "thinking");
                block.quoted("thinking", |out| joined(&reply.reasoning, out));
                block.text("signature", "");
            });
        }
        if !reply.text.is_empty() {
            content.object(|block| {
                block.text("type", "text").quoted("text", |out| joined(&reply.text, out));
            });
        }
        for (n, (call, arguments)) in reply.calls.iter().zip(calls).enumerate() {
            content.object(|block| {
                block.text("type", "tool_use");
                match call.id {
                    Some(id) => block.json("id", id),
                    None => block.text("id", &format!("toolu_{}_{n}", stamp.suffix())),
                };
                block.json("name", call.name).json("input", arguments);
            });
        }
    });
    object.text("stop_reason", finish.word(Dialect::Anthropic));
    object.json("stop_sequence", reply.stop_sequence.unwrap_or("null"));
    object.object("usage", |usage| usage::put(Dialect::Anthropic, billed, usage));
    stamp.put(object);
}

fn ollama(
    reply: &Reply<'_>,
    calls: &[String],
    billed: &Meters,
    stamp: &Stamp,
    timing: &Timing,
    object: &mut Object<'_>,
) {
    let finish = reply.finish.unwrap_or(Finish::Stop);
    object.text("model", &stamp.model).text("created_at", &stamp.created_at());
    object.object("message", |message| {
        message.text("role", "assistant").quoted("content", |out| joined(&reply.text, out));
        if !reply.reasoning.is_empty() {
            message.quoted("thinking", |out| joined(&reply.reasoning, out));
        }
        if !calls.is_empty() {
            message.array("tool_calls", |list| {
                for (call, arguments) in reply.calls.iter().zip(calls) {
                    list.object(|entry| {
                        entry.object("function", |function| {
                            function.json("name", call.name).json("arguments", arguments);
                        });
                    });
                }
            });
        }
    });
    object.text("done_reason", finish.word(Dialect::Ollama)).flag("done", true);
    timing.put(object, billed.input(), billed.output());
    object.text("task_id", &stamp.task_id).text("mode", stamp.mode.as_str());
}

/// The insides of literals, one after the other.
fn joined(literals: &[&str], out: &mut BytesMut) {
    for literal in literals {
        let inside = literal.get(1..literal.len().saturating_sub(1)).unwrap_or_default();
        out.put_slice(inside.as_bytes());
    }
}

/// A call's arguments as the text of a JSON object.
fn arguments(call: &Call<'_>) -> Result<String, WireError> {
    let mut text = String::new();
    for piece in &call.arguments {
        match piece {
            Piece::Literal(literal) => text.push_str(&unescape(literal)),
            Piece::Json(json) => text.push_str(json),
        }
    }
    if text.trim().is_empty() {
        return Ok("{}".to_owned());
    }
    match document(text.as_bytes(), &mut Vec::new()) {
        Ok((_, true)) => Ok(text),
        _ => Err(WireError::Garbage("tool arguments that are no JSON object")),
    }
}
