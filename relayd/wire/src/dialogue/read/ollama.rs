//! Reading a request in Ollama's format.

use std::borrow::Cow;
use std::collections::VecDeque;

use super::{NO_WORDS, Report, openai, stop};
use crate::dialogue::{Arguments, Call, Dialogue, Format, Image, Knob, Part, Setting, Turn, Words};
use crate::json::{Kind, Raw};
use crate::request::{ChatRequest, Path};

const KNOBS: &[(&str, Knob, &[&str])] = &[
    ("temperature", Knob::Temperature, &["options", "temperature"]),
    ("top_p", Knob::TopP, &["options", "top_p"]),
    ("top_k", Knob::TopK, &["options", "top_k"]),
    ("min_p", Knob::MinP, &["options", "min_p"]),
    ("frequency_penalty", Knob::FrequencyPenalty, &["options", "frequency_penalty"]),
    ("presence_penalty", Knob::PresencePenalty, &["options", "presence_penalty"]),
    ("repeat_penalty", Knob::RepetitionPenalty, &["options", "repeat_penalty"]),
    ("seed", Knob::Seed, &["options", "seed"]),
];

/// A call without a result so far: its made-up id and its name, as literals.
type Pending<'a> = VecDeque<(String, &'a str)>;

pub(super) fn read<'a>(request: &'a ChatRequest, report: &mut Report) -> Dialogue<'a> {
    let mut dialogue = Dialogue::default();
    let (mut pending, mut made) = (Pending::new(), 0);
    for (index, message) in request.get("messages").iter().flat_map(|m| m.elements()).enumerate() {
        let words = self::message(message, index, &mut pending, &mut made, report);
        dialogue.turns.extend(words.map(|words| Turn { at: Some(index), words }));
    }
    for (key, knob) in [("logprobs", Knob::Logprobs), ("top_logprobs", Knob::TopLogprobs)] {
        if let Some(value) = request.get(key) {
            let field: &[&str] =
                if knob == Knob::Logprobs { &["logprobs"] } else { &["top_logprobs"] };
            dialogue.knobs.push(Setting { knob, field, value });
        }
    }
    for option in request.get("options").iter().flat_map(|options| options.members()) {
        let key = option.key();
        if let Some((_, knob, field)) = KNOBS.iter().find(|(name, ..)| *name == key) {
            if !option.value.is_null() {
                dialogue.knobs.push(Setting { knob: *knob, field, value: option.value });
            }
        } else if key == "stop" {
            dialogue.stop = stop(Some(option.value));
        } else if key != "num_predict" {
            report.dropped(format!("options.{key}"), "an option of Ollama's runner");
        }
    }
    for key in request.unknown_keys() {
        report.dropped(key, "an option of another kind of engine");
    }
    if let Some(think) = request.get("think") {
        dialogue.no_thinking = think.bool() == Some(false);
        if !dialogue.no_thinking {
            report.dropped("think", "the engine's format says nothing about thinking");
        }
    }
    dialogue.tools = openai::tools(request, report);
    dialogue.format = request.get("format").and_then(|f| format(f, report));
    dialogue
}

fn message<'a>(
    message: Raw<'a>,
    index: usize,
    pending: &mut Pending<'a>,
    made: &mut usize,
    report: &mut Report,
) -> Option<Words<'a>> {
    let messages = Path::BODY.key("messages");
    let path = messages.index(index);
    let content = message.get("content").and_then(Raw::literal).map(Part::Text);
    let mut parts: Vec<Part<'a>> = content.into_iter().collect();
    for image in message.get("images").iter().flat_map(|images| images.elements()) {
        let data = image.string().unwrap_or_default();
        parts.push(Part::Image(Image::Data { media: media(&data).into(), data }));
    }
    let role = message.get("role").and_then(Raw::string).unwrap_or_default();
    Some(match role.as_ref() {
        "system" => Words::System(parts),
        "user" => Words::User(parts),
        "assistant" => {
            if message.get("thinking").is_some() {
                report.dropped("messages.thinking", "earlier thinking is not sent again");
            }
            pending.clear();
            Words::Assistant { parts, calls: calls(message, &path, pending, made, report) }
        }
        "tool" => {
            let name = message.get("tool_name").or_else(|| message.get("name"));
            let name = name.and_then(Raw::literal);
            let named = |(_, known): &(String, &str)| name.is_none_or(|name| name == *known);
            let place = pending.iter().position(named).unwrap_or(0);
            let Some((id, known)) = pending.remove(place) else {
                report.refused(&path, "A tool's result needs the call that it answers before it");
                return None;
            };
            Words::Result { id: id.into(), name: Some(Cow::Borrowed(known)), parts }
        }
        _ => {
            report.refused(&path.key("role"), NO_WORDS);
            return None;
        }
    })
}

/// Reads the calls of a message and gives them ids: the format has none, results name the tool or
/// follow in order.
fn calls<'a>(
    message: Raw<'a>,
    path: &Path<'_>,
    pending: &mut Pending<'a>,
    made: &mut usize,
    report: &mut Report,
) -> Vec<Call<'a>> {
    let mut calls = Vec::new();
    let path = path.key("tool_calls");
    for (index, call) in message.get("tool_calls").iter().flat_map(|c| c.elements()).enumerate() {
        let function = call.get("function");
        let Some(name) = function.and_then(|f| f.get("name")).and_then(Raw::literal) else {
            report.refused(&path.index(index), "Input should be a function call with a name");
            continue;
        };
        let id = format!("\"call_{made}\"");
        *made += 1;
        pending.push_back((id.clone(), name));
        let arguments = function.and_then(|f| f.get("arguments"));
        let arguments = match arguments.filter(|arguments| arguments.kind() == Kind::Object) {
            Some(json) => Arguments::Json(json.text()),
            None => Arguments::Json("{}"),
        };
        calls.push(Call { id: id.into(), name, arguments });
    }
    calls
}

/// The media type of a picture, by the first characters of its base64.
fn media(data: &str) -> &'static str {
    match data.get(..5) {
        Some(start) if start.starts_with("/9j/") => "image/jpeg",
        Some("R0lGO") => "image/gif",
        Some("UklGR") => "image/webp",
        _ => "image/png",
    }
}

fn format<'a>(format: Raw<'a>, report: &mut Report) -> Option<Format<'a>> {
    match format.string().as_deref() {
        None => Some(Format::Schema { name: None, schema: format }),
        Some("json") => Some(Format::Json),
        Some("") => None,
        Some(_) => {
            report.refused(&Path::BODY.key("format"), NO_WORDS);
            None
        }
    }
}
