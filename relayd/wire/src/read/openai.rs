//! The OpenAI format: chunks of a stream and whole bodies.

use super::{Event, Heading, Piece, reported};
use crate::Dialect;
use crate::error::WireError;
use crate::finish::Finish;
use crate::json::{Kind, Raw};
use crate::usage::{Meter, is_report};

/// Reads one chunk of a stream. `is_parted` says that some choices have begun and not ended while
/// others have.
///
/// # Errors
/// The error that the chunk reports.
pub(crate) fn chunk<'a>(
    object: Raw<'a>,
    is_parted: bool,
    meter: &mut Meter,
    mut sink: impl FnMut(Event<'a>),
) -> Result<Heading, WireError> {
    let (mut choices, mut usage) = (None, None);
    for member in object.members() {
        match member.literal {
            "\"error\"" if !member.value.is_null() => return Err(failure(object)),
            "\"object\"" | "\"type\"" if member.value.text() == "\"error\"" => {
                return Err(failure(object));
            }
            "\"id\"" => member.value.literal().into_iter().for_each(|id| sink(Event::Id(id))),
            "\"choices\"" => choices = Some(member.value),
            "\"usage\"" => usage = Some(member.value).filter(|usage| is_report(*usage)),
            // Groq puts the report one level deeper.
            "\"x_groq\"" => {
                member.value.get("usage").into_iter().for_each(|usage| {
                    meter.report(Dialect::Openai, usage);
                });
            }
            "\"timings\"" => meter.timings(member.value),
            _ => {}
        }
    }
    let mut count = 0;
    for (position, choice) in choices.iter().flat_map(|list| list.elements()).enumerate() {
        count += 1;
        one(choice, position, meter, &mut sink);
    }
    Ok(match (count, usage, choices) {
        (0, Some(usage), _) => {
            meter.closing(usage, is_parted);
            Heading::Closing
        }
        // Neither choices nor usage: a sign of life of some proxy.
        (0, None, None) => Heading::Mark,
        (_, usage, _) => {
            usage.into_iter().for_each(|usage| meter.report(Dialect::Openai, usage));
            Heading::Content
        }
    })
}

/// Reads a whole body.
///
/// # Errors
/// The error that the body reports, or that it has no choices.
pub(crate) fn body<'a>(
    object: Raw<'a>,
    meter: &mut Meter,
    mut sink: impl FnMut(Event<'a>),
) -> Result<(), WireError> {
    if let Some(error) = reported(object) {
        return Err(error);
    }
    if let Some(usage) = object.get("usage") {
        meter.report(Dialect::Openai, usage);
    }
    object.get("id").and_then(Raw::literal).into_iter().for_each(|id| sink(Event::Id(id)));
    let choices = object.get("choices").filter(|choices| choices.kind() == Kind::Array);
    let choices = choices.ok_or(WireError::Garbage("a completion without choices"))?;
    let mut count = 0;
    for (position, choice) in choices.elements().enumerate() {
        count += 1;
        one(choice, position, meter, &mut sink);
    }
    if count == 0 { Err(WireError::Garbage("a completion without choices")) } else { Ok(()) }
}

fn failure(object: Raw<'_>) -> WireError {
    reported(object).unwrap_or(WireError::Garbage("an error that says nothing"))
}

fn one<'a>(choice: Raw<'a>, position: usize, meter: &mut Meter, sink: &mut impl FnMut(Event<'a>)) {
    let (mut index, mut words, mut finish) = (position as u32, None, None);
    for member in choice.members() {
        match member.literal {
            "\"index\"" => {
                index = member.value.text().parse().unwrap_or(index);
            }
            "\"delta\"" | "\"message\"" => words = Some(member.value),
            "\"finish_reason\"" => finish = member.value.string(),
            // Moonshot reports here.
            "\"usage\"" => meter.report(Dialect::Openai, member.value),
            _ => {}
        }
    }
    if let Some(words) = words {
        message(words, index, sink);
    }
    if let Some(word) = finish {
        let finish = Finish::read(&word);
        sink(Event::Finish { choice: index, finish, stop_sequence: None });
    }
}

/// Reads a delta or message.
fn message<'a>(words: Raw<'a>, choice: u32, sink: &mut impl FnMut(Event<'a>)) {
    let mut has_reasoning = false;
    for member in words.members() {
        let value = member.value;
        match member.literal {
            "\"content\"" | "\"refusal\"" => match value.kind() {
                Kind::String if value.text().len() > 2 => {
                    sink(Event::Text { choice, text: value.text() });
                }
                Kind::Array => parts(value, choice, sink),
                _ => {}
            },
            // Three spellings of one thing; an engine in transition sends two at once.
            "\"reasoning_content\"" | "\"reasoning\"" | "\"reasoning_text\"" => {
                let is_new = value.kind() == Kind::String && value.text().len() > 2;
                if is_new && !has_reasoning {
                    has_reasoning = true;
                    sink(Event::Reasoning { choice, text: value.text() });
                }
            }
            "\"tool_calls\"" => {
                for (position, call) in value.elements().enumerate() {
                    tool_call(call, choice, position as u32, sink);
                }
            }
            "\"function_call\"" if value.kind() == Kind::Object => {
                function(value, choice, 0, None, sink);
            }
            "\"audio\"" if value.kind() == Kind::Object => sink(Event::Foreign),
            _ => {}
        }
    }
}

/// Content as a list of parts, which a few servers send.
fn parts<'a>(list: Raw<'a>, choice: u32, sink: &mut impl FnMut(Event<'a>)) {
    for part in list.elements() {
        match part.get("text").and_then(Raw::literal) {
            Some(text) if text.len() > 2 => sink(Event::Text { choice, text }),
            Some(_) => {}
            None => sink(Event::Foreign),
        }
    }
}

fn tool_call<'a>(call: Raw<'a>, choice: u32, position: u32, sink: &mut impl FnMut(Event<'a>)) {
    let index = call.get("index").and_then(|index| index.text().parse().ok());
    let id = call.get("id").and_then(Raw::literal).filter(|id| id.len() > 2);
    if let Some(called) = call.get("function") {
        function(called, choice, index.unwrap_or(position), id, sink);
    }
}

fn function<'a>(
    called: Raw<'a>,
    choice: u32,
    slot: u32,
    id: Option<&'a str>,
    sink: &mut impl FnMut(Event<'a>),
) {
    if let Some(name) = called.get("name").and_then(Raw::literal).filter(|name| name.len() > 2) {
        sink(Event::ToolStart { choice, slot, id, name });
    }
    if let Some(arguments) = called.get("arguments") {
        let piece = match arguments.kind() {
            Kind::String => Piece::Literal(arguments.text()),
            _ => Piece::Json(arguments.text()),
        };
        sink(Event::ToolArguments { choice, slot, piece });
    }
}
