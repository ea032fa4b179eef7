//! Writing a request in Ollama's format.

use std::borrow::Cow;

use super::{arguments, knobs, openai, put_texts, texts_only};
use crate::dialect::Dialect;
use crate::dialogue::read::Report;
use crate::dialogue::{Dialogue, Format, Image, Part, ToolChoice, Turn, Words};
use crate::json::{Array, Object};
use crate::request::{Path, Upstream};

pub(super) fn write(
    dialogue: &Dialogue<'_>,
    target: &Upstream<'_>,
    stream: bool,
    object: &mut Object<'_>,
    report: &mut Report,
) {
    object.array("messages", |messages| {
        for turn in &dialogue.turns {
            message(turn, dialogue, messages, report);
        }
    });
    match dialogue.tool_choice {
        None | Some(ToolChoice::Auto) => openai::tools(dialogue, object),
        // Without tools none is called.
        Some(ToolChoice::None) => {}
        Some(ToolChoice::Required | ToolChoice::Named(_)) => {
            let msg = "The engine's format cannot demand a tool call";
            report.refused(&Path::BODY.key("tool_choice"), msg);
        }
    }
    if dialogue.parallel_calls == Some(false) {
        report.dropped("parallel_tool_calls", "the engine's format has no limit on calls");
    }
    match dialogue.format {
        None => {}
        Some(Format::Json) => {
            object.text("format", "json");
        }
        Some(Format::Schema { schema, .. }) => {
            object.json("format", schema.text());
        }
    }
    if dialogue.no_thinking {
        object.flag("think", false);
    }
    if dialogue.user.is_some() {
        report.dropped("user", "the engine does not tell callers apart");
    }
    object.flag("stream", stream).object("options", |options| {
        knobs(dialogue, Dialect::Ollama, target.engine, options, report);
        target.defaults.write(options);
        if !dialogue.stop.is_empty() {
            options.array("stop", |list| {
                for text in &dialogue.stop {
                    list.json(text);
                }
            });
        }
        options.count("num_predict", target.output_cap);
    });
}

fn message(
    turn: &Turn<'_>,
    dialogue: &Dialogue<'_>,
    messages: &mut Array<'_>,
    report: &mut Report,
) {
    messages.object(|message| {
        let (role, parts) = match &turn.words {
            Words::System(parts) => ("system", parts),
            Words::User(parts) => ("user", parts),
            Words::Assistant { parts, .. } => ("assistant", parts),
            Words::Result { parts, .. } => ("tool", parts),
        };
        if role != "user" {
            texts_only(turn, parts, report);
        }
        message.text("role", role).quoted("content", |out| put_texts(parts, out));
        images(turn, parts, message, report);
        match &turn.words {
            Words::Assistant { calls, .. } if !calls.is_empty() => {
                message.array("tool_calls", |list| {
                    for call in calls {
                        let arguments = arguments(call, turn, report);
                        list.object(|entry| {
                            entry.object("function", |function| {
                                function.json("name", call.name).json("arguments", &arguments);
                            });
                        });
                    }
                });
            }
            Words::Result { id, name, .. } => {
                let name = name.clone().or_else(|| named(dialogue, id));
                if let Some(name) = name {
                    message.json("tool_name", &name);
                }
            }
            _ => {}
        }
    });
}

/// The name of the tool whose call has that id.
fn named<'a>(dialogue: &Dialogue<'a>, id: &str) -> Option<Cow<'a, str>> {
    dialogue.turns.iter().find_map(|turn| match &turn.words {
        Words::Assistant { calls, .. } => {
            calls.iter().find(|call| call.id == id).map(|call| Cow::Borrowed(call.name))
        }
        _ => None,
    })
}

fn images(turn: &Turn<'_>, parts: &[Part<'_>], message: &mut Object<'_>, report: &mut Report) {
    let images: Vec<&Image<'_>> = parts
        .iter()
        .filter_map(|part| match part {
            Part::Image(image) => Some(image),
            Part::Text(_) => None,
        })
        .collect();
    if images.is_empty() {
        return;
    }
    message.array("images", |list| {
        for image in images {
            match image {
                Image::Data { data, .. } => {
                    list.text(data);
                }
                Image::Link(_) => {
                    let messages = Path::BODY.key("messages");
                    let message = messages.index(turn.at.unwrap_or_default());
                    let msg = "The engine takes pictures as data URIs only";
                    report.refused(&message.key("content"), msg);
                }
            }
        }
    });
}
