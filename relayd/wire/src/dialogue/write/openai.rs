//! Writing a request in the OpenAI format.

use super::{has_text, knobs, put_texts, texts_only};
use crate::dialect::{Dialect, EngineKind};
use crate::dialogue::read::Report;
use crate::dialogue::{Arguments, Call, Dialogue, Format, Image, Part, ToolChoice, Turn, Words};
use crate::json::{Array, Object, unescape};
use crate::request::{Upstream, stream_options};

pub(super) fn write(
    dialogue: &Dialogue<'_>,
    target: &Upstream<'_>,
    stream: bool,
    object: &mut Object<'_>,
    report: &mut Report,
) {
    object.array("messages", |messages| {
        for turn in &dialogue.turns {
            message(turn, messages, report);
        }
    });
    tools(dialogue, object);
    tool_choice(dialogue, object);
    knobs(dialogue, Dialect::Openai, target.engine, object, report);
    target.defaults.write(object);
    if !dialogue.stop.is_empty() {
        object.array("stop", |list| {
            for text in &dialogue.stop {
                list.json(text);
            }
        });
    }
    match dialogue.format {
        None => {}
        Some(Format::Json) => {
            object.object("response_format", |format| {
                format.text("type", "json_object");
            });
        }
        Some(Format::Schema { name, schema }) => {
            object.object("response_format", |format| {
                format.text("type", "json_schema").object("json_schema", |inner| {
                    inner.json("name", name.unwrap_or("\"answer\"")).json("schema", schema.text());
                });
            });
        }
    }
    if let Some(user) = dialogue.user {
        object.json("user", user);
    }
    if dialogue.no_thinking {
        match target.engine {
            EngineKind::Llamacpp | EngineKind::Vllm => {
                object.object("chat_template_kwargs", |kwargs| {
                    kwargs.flag("enable_thinking", false);
                });
            }
            _ => report.dropped("think", "the engine's format says nothing about thinking"),
        }
    }
    let is_vendor = target.engine == EngineKind::Commercial;
    let cap = if is_vendor { "max_completion_tokens" } else { "max_tokens" };
    object.count(cap, target.output_cap);
    stream_options(object, stream, target.engine);
}

fn message(turn: &Turn<'_>, messages: &mut Array<'_>, report: &mut Report) {
    messages.object(|message| match &turn.words {
        Words::System(parts) => {
            texts_only(turn, parts, report);
            message.text("role", "system");
            content(parts, message);
        }
        Words::User(parts) => {
            message.text("role", "user");
            content(parts, message);
        }
        Words::Assistant { parts, calls } => {
            texts_only(turn, parts, report);
            message.text("role", "assistant");
            if has_text(parts) || calls.is_empty() {
                message.quoted("content", |out| put_texts(parts, out));
            } else {
                message.json("content", "null");
            }
            if !calls.is_empty() {
                message.array("tool_calls", |list| {
                    for entry in calls {
                        call(entry, list);
                    }
                });
            }
        }
        Words::Result { id, parts, .. } => {
            texts_only(turn, parts, report);
            message.text("role", "tool").json("tool_call_id", id);
            message.quoted("content", |out| put_texts(parts, out));
        }
    });
}

/// One text as a string, anything else as parts.
fn content(parts: &[Part<'_>], message: &mut Object<'_>) {
    match parts {
        [] => {
            message.text("content", "");
        }
        [Part::Text(text)] => {
            message.json("content", text);
        }
        parts => {
            message.array("content", |list| {
                for entry in parts {
                    part(entry, list);
                }
            });
        }
    }
}

fn part(part: &Part<'_>, list: &mut Array<'_>) {
    list.object(|entry| match part {
        Part::Text(text) => {
            entry.text("type", "text").json("text", text);
        }
        Part::Image(image) => {
            entry.text("type", "image_url").object("image_url", |holder| {
                match image {
                    Image::Link(address) => holder.text("url", address),
                    Image::Data { media, data } => {
                        holder.text("url", &format!("data:{media};base64,{data}"))
                    }
                };
            });
        }
    });
}

fn call(call: &Call<'_>, list: &mut Array<'_>) {
    list.object(|entry| {
        entry.json("id", &call.id).text("type", "function").object("function", |function| {
            function.json("name", call.name);
            match call.arguments {
                Arguments::Literal(text) => function.json("arguments", text),
                Arguments::Json(json) => function.text("arguments", json),
            };
        });
    });
}

/// Tools in the shape that the OpenAI format and Ollama's share.
pub(super) fn tools(dialogue: &Dialogue<'_>, object: &mut Object<'_>) {
    if dialogue.tools.is_empty() {
        return;
    }
    object.array("tools", |list| {
        for tool in &dialogue.tools {
            list.object(|entry| {
                entry.text("type", "function").object("function", |function| {
                    function
                        .raw("name", Some(tool.name))
                        .raw("description", tool.description)
                        .raw("parameters", tool.schema);
                });
            });
        }
    });
}

fn tool_choice(dialogue: &Dialogue<'_>, object: &mut Object<'_>) {
    match dialogue.tool_choice {
        None => {}
        Some(ToolChoice::Auto) => {
            object.text("tool_choice", "auto");
        }
        Some(ToolChoice::None) => {
            object.text("tool_choice", "none");
        }
        Some(ToolChoice::Required) => {
            object.text("tool_choice", "required");
        }
        Some(ToolChoice::Named(name)) => {
            object.object("tool_choice", |choice| {
                choice.text("type", "function").object("function", |function| {
                    function.text("name", &unescape(name));
                });
            });
        }
    }
    if let Some(parallel) = dialogue.parallel_calls {
        object.flag("parallel_tool_calls", parallel);
    }
}
