//! Reading a request in the OpenAI format.

use super::{NO_WORDS, Report, image, parts, stop};
use crate::dialogue::{
    Arguments, Call, Dialogue, Format, Knob, Part, Setting, Tool, ToolChoice, Turn, Words,
};
use crate::json::{Kind, Raw};
use crate::request::{ChatRequest, Path};

const KNOBS: &[(&str, Knob, &[&str])] = &[
    ("temperature", Knob::Temperature, &["temperature"]),
    ("top_p", Knob::TopP, &["top_p"]),
    ("top_k", Knob::TopK, &["top_k"]),
    ("min_p", Knob::MinP, &["min_p"]),
    ("frequency_penalty", Knob::FrequencyPenalty, &["frequency_penalty"]),
    ("presence_penalty", Knob::PresencePenalty, &["presence_penalty"]),
    ("repetition_penalty", Knob::RepetitionPenalty, &["repetition_penalty"]),
    ("seed", Knob::Seed, &["seed"]),
    ("logit_bias", Knob::LogitBias, &["logit_bias"]),
    ("logprobs", Knob::Logprobs, &["logprobs"]),
    ("top_logprobs", Knob::TopLogprobs, &["top_logprobs"]),
];

const HINTS: &[(&str, &str)] = &[
    ("store", "the engine stores nothing"),
    ("chat_template_kwargs", "the engine's format has no template options"),
    ("reasoning_effort", "the engine's format says nothing about effort"),
    ("reasoning", "the engine's format says nothing about effort"),
    ("include_reasoning", "reasoning is shown where the engine shows it"),
];

/// Fields that are read by name; on an open surface every other one is an engine's own option.
const READ: &[&str] = &["messages", "stop", "tools", "tool_choice", "user", "n", "response_format"];

pub(super) fn read<'a>(request: &'a ChatRequest, report: &mut Report) -> Dialogue<'a> {
    let mut dialogue = Dialogue::default();
    for (index, message) in request.get("messages").iter().flat_map(|m| m.elements()).enumerate() {
        let messages = Path::BODY.key("messages");
        let path = messages.index(index);
        if let Some(words) = self::message(message, &path, report) {
            dialogue.turns.push(Turn { at: Some(index), words });
        }
    }
    for (key, knob, field) in KNOBS {
        if let Some(value) = request.get(key) {
            dialogue.knobs.push(Setting { knob: *knob, field, value });
        }
    }
    for (key, reason) in HINTS {
        if let Some(value) = request.get(key) {
            let is_off = value.text() == "\"none\"";
            dialogue.no_thinking |= *key == "reasoning_effort" && is_off;
            report.dropped(*key, reason);
        }
    }
    for key in request.unknown_keys() {
        if key == "parallel_tool_calls" {
            dialogue.parallel_calls = request.get(&key).and_then(Raw::bool);
        } else if !READ.contains(&key.as_ref()) {
            report.dropped(key, "an option of another kind of engine");
        }
    }
    dialogue.stop = stop(request.get("stop"));
    dialogue.user = request.get("user").and_then(Raw::literal);
    dialogue.tools = tools(request, report);
    dialogue.tool_choice = request.get("tool_choice").and_then(|c| tool_choice(c, report));
    dialogue.format = request.get("response_format").and_then(|f| format(f, report));
    if request.choices() > 1 {
        report.refused(&Path::BODY.key("n"), "The engine gives one answer at a time");
    }
    dialogue
}

fn message<'a>(message: Raw<'a>, path: &Path<'_>, report: &mut Report) -> Option<Words<'a>> {
    let role = message.get("role").and_then(Raw::string).unwrap_or_default();
    let content = path.key("content");
    let content = parts(message.get("content"), &content, report, part);
    Some(match role.as_ref() {
        "system" | "developer" => Words::System(content),
        "user" => Words::User(content),
        "assistant" => {
            if message.get("reasoning_content").is_some() {
                report.dropped("messages.reasoning_content", "earlier reasoning is not sent again");
            }
            if message.get("function_call").is_some() {
                report.refused(&path.key("function_call"), "Use tool_calls instead");
            }
            Words::Assistant { parts: content, calls: calls(message, path, report) }
        }
        "tool" => {
            let Some(id) = message.get("tool_call_id").and_then(Raw::literal) else {
                report.errors.push(&path.key("tool_call_id"), "missing", "Field required");
                return None;
            };
            Words::Result { id: id.into(), name: None, parts: content }
        }
        _ => {
            report.refused(&path.key("role"), NO_WORDS);
            return None;
        }
    })
}

fn part<'a>(part: Raw<'a>, path: &Path<'_>, report: &mut Report) -> Option<Part<'a>> {
    let kind = part.get("type").and_then(Raw::string);
    let read = match kind.as_deref() {
        Some("text" | "input_text") | None => {
            part.get("text").and_then(Raw::literal).or_else(|| part.literal()).map(Part::Text)
        }
        Some("refusal") => part.get("refusal").and_then(Raw::literal).map(Part::Text),
        Some("image_url") => {
            let holder = part.get("image_url");
            let address = holder.and_then(|h| h.get("url")).or(holder);
            address.and_then(image).map(Part::Image)
        }
        Some(_) => None,
    };
    if read.is_none() {
        report.refused(path, NO_WORDS);
    }
    read
}

fn calls<'a>(message: Raw<'a>, path: &Path<'_>, report: &mut Report) -> Vec<Call<'a>> {
    let mut calls = Vec::new();
    let path = path.key("tool_calls");
    for (index, call) in message.get("tool_calls").iter().flat_map(|c| c.elements()).enumerate() {
        let function = call.get("function");
        let name = function.and_then(|f| f.get("name")).and_then(Raw::literal);
        let id = call.get("id").and_then(Raw::literal);
        let (Some(function), Some(name), Some(id)) = (function, name, id) else {
            report.refused(&path.index(index), "Input should be a function call with id and name");
            continue;
        };
        let arguments = match function.get("arguments") {
            Some(text) if text.kind() == Kind::String => Arguments::Literal(text.text()),
            Some(json) if json.kind() == Kind::Object => Arguments::Json(json.text()),
            _ => Arguments::Json("{}"),
        };
        calls.push(Call { id: id.into(), name, arguments });
    }
    calls
}

/// Tools in the shape that the OpenAI format and Ollama's share.
pub(super) fn tools<'a>(request: &'a ChatRequest, report: &mut Report) -> Vec<Tool<'a>> {
    let mut tools = Vec::new();
    let path = Path::BODY.key("tools");
    for (index, tool) in request.get("tools").iter().flat_map(|t| t.elements()).enumerate() {
        let function = tool.get("function").filter(|f| f.kind() == Kind::Object);
        let named = function.and_then(|f| f.get("name").filter(|n| n.kind() == Kind::String));
        let (Some(function), Some(name)) = (function, named) else {
            report.refused(&path.index(index), "The engine's format knows function tools only");
            continue;
        };
        let (description, schema) = (function.get("description"), function.get("parameters"));
        tools.push(Tool { name, description, schema });
    }
    tools
}

fn tool_choice<'a>(choice: Raw<'a>, report: &mut Report) -> Option<ToolChoice<'a>> {
    let named = choice.get("function").and_then(|f| f.get("name")).and_then(Raw::literal);
    match choice.string().as_deref() {
        Some("auto") => Some(ToolChoice::Auto),
        Some("none") => Some(ToolChoice::None),
        Some("required") => Some(ToolChoice::Required),
        _ if named.is_some() => named.map(ToolChoice::Named),
        _ => {
            report.refused(&Path::BODY.key("tool_choice"), NO_WORDS);
            None
        }
    }
}

fn format<'a>(format: Raw<'a>, report: &mut Report) -> Option<Format<'a>> {
    let kind = format.get("type").and_then(Raw::string);
    let holder = format.get("json_schema").unwrap_or(format);
    let schema = holder.get("schema").filter(|schema| schema.kind() == Kind::Object);
    match (kind.as_deref(), schema) {
        (Some("text"), _) => None,
        (Some("json_object"), None) => Some(Format::Json),
        (Some("json_object" | "json_schema"), Some(schema)) => {
            Some(Format::Schema { name: holder.get("name").and_then(Raw::literal), schema })
        }
        _ => {
            report.refused(&Path::BODY.key("response_format"), NO_WORDS);
            None
        }
    }
}
