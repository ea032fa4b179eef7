//! Anthropic's format: events of a stream and whole bodies.

use super::failure::described;
use super::{Event, Heading, Piece, reported};
use crate::Dialect;
use crate::error::WireError;
use crate::finish::Finish;
use crate::json::{Kind, Raw};
use crate::usage::Meter;

/// Reads one event of a stream; its name is repeated inside as `type`.
///
/// # Errors
/// The error that the event reports.
pub(crate) fn event<'a>(
    object: Raw<'a>,
    meter: &mut Meter,
    mut sink: impl FnMut(Event<'a>),
) -> Result<Heading, WireError> {
    let kind = object.get("type").and_then(Raw::string).unwrap_or_default();
    let slot = object.get("index").and_then(|index| index.text().parse().ok()).unwrap_or(0);
    match kind.as_ref() {
        "message_start" => {
            if let Some(message) = object.get("message") {
                if let Some(usage) = message.get("usage") {
                    meter.opening(Dialect::Anthropic, usage);
                }
                id(message, &mut sink);
            }
            return Ok(Heading::Opening);
        }
        "content_block_start" => {
            if let Some(block) = object.get("content_block") {
                self::block(block, slot, &mut sink);
            }
        }
        "content_block_delta" => {
            if let Some(delta) = object.get("delta") {
                self::delta(delta, slot, &mut sink);
            }
        }
        "message_delta" => {
            usage(object, meter);
            if let Some(delta) = object.get("delta") {
                finish(delta, &mut sink);
            }
            return Ok(Heading::Closing);
        }
        "message_stop" => return Ok(Heading::Mark),
        "error" => return Err(object.get("error").map_or_else(|| described(object), described)),
        _ => {
            if let Some(error) = reported(object) {
                return Err(error);
            }
        }
    }
    Ok(Heading::Content)
}

/// Reads a whole body.
///
/// # Errors
/// The error that the body reports, or that it has no content.
pub(crate) fn body<'a>(
    object: Raw<'a>,
    meter: &mut Meter,
    mut sink: impl FnMut(Event<'a>),
) -> Result<(), WireError> {
    if let Some(error) = reported(object) {
        return Err(error);
    }
    let content = object.get("content").filter(|content| content.kind() == Kind::Array);
    let content = content.ok_or(WireError::Garbage("a message without content"))?;
    usage(object, meter);
    id(object, &mut sink);
    for (slot, block) in content.elements().enumerate() {
        self::block(block, slot as u32, &mut sink);
    }
    finish(object, &mut sink);
    Ok(())
}

fn usage(holder: Raw<'_>, meter: &mut Meter) {
    if let Some(usage) = holder.get("usage") {
        meter.report(Dialect::Anthropic, usage);
    }
}

fn id<'a>(message: Raw<'a>, sink: &mut impl FnMut(Event<'a>)) {
    message.get("id").and_then(Raw::literal).into_iter().for_each(|id| sink(Event::Id(id)));
}

fn finish<'a>(holder: Raw<'a>, sink: &mut impl FnMut(Event<'a>)) {
    if let Some(word) = holder.get("stop_reason").and_then(Raw::string) {
        let finish = Finish::read(&word);
        let stop_sequence = holder.get("stop_sequence").and_then(Raw::literal);
        sink(Event::Finish { choice: 0, finish, stop_sequence });
    }
}

/// The text of a member, unless it is absent or empty.
fn filled<'a>(holder: Raw<'a>, key: &str) -> Option<&'a str> {
    holder.get(key).and_then(Raw::literal).filter(|text| text.len() > 2)
}

fn block<'a>(block: Raw<'a>, slot: u32, sink: &mut impl FnMut(Event<'a>)) {
    match block.get("type").and_then(Raw::string).as_deref() {
        Some("text") => {
            filled(block, "text")
                .into_iter()
                .for_each(|text| sink(Event::Text { choice: 0, text }));
        }
        Some("thinking") => {
            filled(block, "thinking")
                .into_iter()
                .for_each(|text| sink(Event::Reasoning { choice: 0, text }));
        }
        Some("tool_use") => {
            if let Some(name) = filled(block, "name") {
                let id = filled(block, "id");
                sink(Event::ToolStart { choice: 0, slot, id, name });
            }
            // In a stream the input follows in deltas and stands here as an empty object.
            let input = block.get("input").filter(|input| input.members().next().is_some());
            if let Some(input) = input {
                let piece = Piece::Json(input.text());
                sink(Event::ToolArguments { choice: 0, slot, piece });
            }
        }
        _ => sink(Event::Foreign),
    }
}

fn delta<'a>(delta: Raw<'a>, slot: u32, sink: &mut impl FnMut(Event<'a>)) {
    match delta.get("type").and_then(Raw::string).as_deref() {
        Some("text_delta") => {
            filled(delta, "text")
                .into_iter()
                .for_each(|text| sink(Event::Text { choice: 0, text }));
        }
        Some("thinking_delta") => {
            filled(delta, "thinking")
                .into_iter()
                .for_each(|text| sink(Event::Reasoning { choice: 0, text }));
        }
        Some("input_json_delta") => {
            if let Some(text) = filled(delta, "partial_json") {
                let piece = Piece::Literal(text);
                sink(Event::ToolArguments { choice: 0, slot, piece });
            }
        }
        _ => {}
    }
}
