//! Ollama's format: lines of a stream and whole bodies, which are one and the same shape.

use super::{Event, Heading, Piece, reported};
use crate::Dialect;
use crate::error::WireError;
use crate::finish::Finish;
use crate::json::{Kind, Raw};
use crate::usage::Meter;

/// Reads one line. `calls` counts the tool calls of the answer so far: they come whole and have
/// no number of their own.
///
/// # Errors
/// The error that the line reports.
pub(crate) fn line<'a>(
    object: Raw<'a>,
    calls: &mut u32,
    meter: &mut Meter,
    mut sink: impl FnMut(Event<'a>),
) -> Result<Heading, WireError> {
    if let Some(error) = reported(object) {
        return Err(error);
    }
    let called_before = *calls;
    if let Some(message) = object.get("message") {
        self::message(message, calls, &mut sink);
    }
    if object.get("done").and_then(Raw::bool) != Some(true) {
        return Ok(Heading::Content);
    }
    meter.report(Dialect::Ollama, object);
    let word = object.get("done_reason").and_then(Raw::string).unwrap_or_default();
    let finish = match Finish::read(&word) {
        // Ollama has no word of its own for it.
        Finish::Stop | Finish::Unknown if *calls > 0 || called_before > 0 => Finish::ToolCalls,
        Finish::Unknown if word.is_empty() => Finish::Stop,
        finish => finish,
    };
    sink(Event::Finish { choice: 0, finish, stop_sequence: None });
    Ok(Heading::Closing)
}

/// Reads a whole body.
///
/// # Errors
/// The error that the body reports, or that it is no finished message.
pub(crate) fn body<'a>(
    object: Raw<'a>,
    meter: &mut Meter,
    sink: impl FnMut(Event<'a>),
) -> Result<(), WireError> {
    let is_message = object.get("message").is_some_and(|message| message.kind() == Kind::Object);
    match line(object, &mut 0, meter, sink)? {
        Heading::Closing if is_message => Ok(()),
        _ if is_message => Err(WireError::Truncated),
        _ => Err(WireError::Garbage("an answer without a message")),
    }
}

fn message<'a>(message: Raw<'a>, calls: &mut u32, sink: &mut impl FnMut(Event<'a>)) {
    for member in message.members() {
        let value = member.value;
        match member.literal {
            "\"content\"" if value.kind() == Kind::String && value.text().len() > 2 => {
                sink(Event::Text { choice: 0, text: value.text() });
            }
            "\"thinking\"" if value.kind() == Kind::String && value.text().len() > 2 => {
                sink(Event::Reasoning { choice: 0, text: value.text() });
            }
            "\"tool_calls\"" => {
                for call in value.elements() {
                    tool_call(call, *calls, sink);
                    *calls += 1;
                }
            }
            _ => {}
        }
    }
}

fn tool_call<'a>(call: Raw<'a>, slot: u32, sink: &mut impl FnMut(Event<'a>)) {
    let Some(function) = call.get("function") else { return };
    if let Some(name) = function.get("name").and_then(Raw::literal) {
        let id = call.get("id").and_then(Raw::literal);
        sink(Event::ToolStart { choice: 0, slot, id, name });
    }
    if let Some(arguments) = function.get("arguments") {
        let piece = match arguments.kind() {
            Kind::String => Piece::Literal(arguments.text()),
            _ => Piece::Json(arguments.text()),
        };
        sink(Event::ToolArguments { choice: 0, slot, piece });
    }
}
