//! Writing a request in Anthropic's format.

use super::{arguments, has_text, knobs, texts_only};
use crate::dialect::Dialect;
use crate::dialogue::read::Report;
use crate::dialogue::{Dialogue, Format, Image, Part, ToolChoice, TranslationNote, Turn, Words};
use crate::json::{Array, Object};
use crate::request::{Path, Upstream};

/// What a tool without parameters declares: the format insists on a schema.
const NO_PARAMETERS: &str = r#"{"type":"object","properties":{}}"#;

pub(super) fn write(
    dialogue: &Dialogue<'_>,
    target: &Upstream<'_>,
    stream: bool,
    object: &mut Object<'_>,
    report: &mut Report,
) {
    system(dialogue, object, report);
    object.array("messages", |messages| {
        let turns: Vec<&Turn<'_>> =
            dialogue.turns.iter().filter(|turn| role(turn).is_some()).collect();
        // Neighbours of one role are one message.
        for group in turns.chunk_by(|a, b| role(a) == role(b)) {
            message(group, messages, report);
        }
    });
    if !dialogue.tools.is_empty() {
        object.array("tools", |list| {
            for tool in &dialogue.tools {
                list.object(|entry| {
                    entry
                        .raw("name", Some(tool.name))
                        .raw("description", tool.description)
                        .json("input_schema", tool.schema.map_or(NO_PARAMETERS, |s| s.text()));
                });
            }
        });
    }
    tool_choice(dialogue, object);
    knobs(dialogue, Dialect::Anthropic, target.engine, object, report);
    target.defaults.write(object);
    if !dialogue.stop.is_empty() {
        object.array("stop_sequences", |list| {
            for text in &dialogue.stop {
                list.json(text);
            }
        });
    }
    match dialogue.format {
        None => {}
        Some(Format::Json) => {
            let msg = "The engine's format takes a JSON schema, not JSON at large";
            report.refused(&Path::BODY.key("response_format"), msg);
        }
        Some(Format::Schema { schema, .. }) => {
            object.object("output_config", |output| {
                output.object("format", |format| {
                    format.text("type", "json_schema").json("schema", schema.text());
                });
            });
        }
    }
    if let Some(user) = dialogue.user {
        object.object("metadata", |metadata| {
            metadata.json("user_id", user);
        });
    }
    object.count("max_tokens", target.output_cap).flag("stream", stream);
}

/// The format has one system prompt, outside the messages.
fn system(dialogue: &Dialogue<'_>, object: &mut Object<'_>, report: &mut Report) {
    let mut texts = Vec::new();
    let mut has_others = false;
    for turn in &dialogue.turns {
        let Words::System(parts) = &turn.words else {
            has_others = true;
            continue;
        };
        texts_only(turn, parts, report);
        if has_others && let Some(at) = turn.at {
            report.notes.push(TranslationNote {
                field: format!("messages.{at}"),
                action: "moved",
                reason: "the engine's format has one system prompt, at the beginning",
            });
        }
        texts.extend(parts.iter().filter_map(|part| match part {
            Part::Text(text) if text.len() > 2 => Some(*text),
            _ => None,
        }));
    }
    match texts.as_slice() {
        [] => {}
        [one] => {
            object.json("system", one);
        }
        several => {
            object.array("system", |list| {
                for text in several {
                    list.object(|block| {
                        block.text("type", "text").json("text", text);
                    });
                }
            });
        }
    }
}

fn role(turn: &Turn<'_>) -> Option<&'static str> {
    match &turn.words {
        Words::System(_) => None,
        Words::User(_) | Words::Result { .. } => Some("user"),
        Words::Assistant { parts, calls } => {
            // The format has no empty messages; an assistant that said nothing is left out.
            (has_text(parts) || !calls.is_empty()).then_some("assistant")
        }
    }
}

fn message(group: &[&Turn<'_>], messages: &mut Array<'_>, report: &mut Report) {
    let Some(role) = group.first().and_then(|turn| role(turn)) else { return };
    messages.object(|message| {
        message.text("role", role);
        // A single text needs no blocks.
        if let [turn] = group
            && let Words::User(parts) | Words::Assistant { parts, calls: _ } = &turn.words
            && let [Part::Text(text)] = parts.as_slice()
            && !matches!(&turn.words, Words::Assistant { calls, .. } if !calls.is_empty())
        {
            message.json("content", text);
            return;
        }
        message.array("content", |content| {
            for turn in group {
                blocks(turn, content, report);
            }
        });
    });
}

fn blocks(turn: &Turn<'_>, content: &mut Array<'_>, report: &mut Report) {
    match &turn.words {
        Words::System(_) => {}
        Words::User(parts) => {
            for part in parts {
                block(part, content);
            }
        }
        Words::Assistant { parts, calls } => {
            texts_only(turn, parts, report);
            for part in parts {
                block(part, content);
            }
            for call in calls {
                let input = arguments(call, turn, report);
                content.object(|block| {
                    block.text("type", "tool_use").json("id", &call.id);
                    block.json("name", call.name).json("input", &input);
                });
            }
        }
        Words::Result { id, parts, .. } => {
            content.object(|block| {
                block.text("type", "tool_result").json("tool_use_id", id);
                block.array("content", |inner| {
                    for part in parts {
                        self::block(part, inner);
                    }
                });
            });
        }
    }
}

fn block(part: &Part<'_>, content: &mut Array<'_>) {
    // The format refuses empty texts.
    if matches!(part, Part::Text(text) if text.len() <= 2) {
        return;
    }
    content.object(|block| match part {
        Part::Text(text) => {
            block.text("type", "text").json("text", text);
        }
        Part::Image(image) => {
            block.text("type", "image").object("source", |source| match image {
                Image::Link(address) => {
                    source.text("type", "url").text("url", address);
                }
                Image::Data { media, data } => {
                    source.text("type", "base64").text("media_type", media).text("data", data);
                }
            });
        }
    });
}

fn tool_choice(dialogue: &Dialogue<'_>, object: &mut Object<'_>) {
    let is_single = dialogue.parallel_calls == Some(false);
    let choice = match dialogue.tool_choice {
        None if is_single && !dialogue.tools.is_empty() => ToolChoice::Auto,
        None => return,
        Some(choice) => choice,
    };
    object.object("tool_choice", |entry| {
        match choice {
            ToolChoice::Auto => entry.text("type", "auto"),
            ToolChoice::None => entry.text("type", "none"),
            ToolChoice::Required => entry.text("type", "any"),
            ToolChoice::Named(name) => entry.text("type", "tool").json("name", name),
        };
        if is_single && choice != ToolChoice::None {
            entry.flag("disable_parallel_tool_use", true);
        }
    });
}
