//! Reading a request in Anthropic's format.

use super::{NO_WORDS, Report, image, parts, stop};
use crate::dialogue::{
    Arguments, Call, Dialogue, Format, Image, Knob, Part, Setting, Tool, ToolChoice, Turn, Words,
};
use crate::json::{Kind, Raw};
use crate::request::{ChatRequest, Path};

const KNOBS: &[(&str, Knob, &[&str])] = &[
    ("temperature", Knob::Temperature, &["temperature"]),
    ("top_p", Knob::TopP, &["top_p"]),
    ("top_k", Knob::TopK, &["top_k"]),
];

const HINTS: &[(&str, &str)] = &[
    ("thinking", "the engine's format says nothing about thinking"),
    ("service_tier", "the engine has one tier"),
    ("cache_control", "the engine caches by itself"),
];

pub(super) fn read<'a>(request: &'a ChatRequest, report: &mut Report) -> Dialogue<'a> {
    let mut dialogue = Dialogue::default();
    if let Some(system) = request.get("system") {
        let words = Words::System(parts(Some(system), &Path::BODY.key("system"), report, part));
        dialogue.turns.push(Turn { at: None, words });
    }
    for (index, message) in request.get("messages").iter().flat_map(|m| m.elements()).enumerate() {
        self::message(message, index, &mut dialogue, report);
    }
    for (key, knob, field) in KNOBS {
        if let Some(value) = request.get(key) {
            dialogue.knobs.push(Setting { knob: *knob, field, value });
        }
    }
    for (key, reason) in HINTS {
        if let Some(value) = request.get(key) {
            let kind = value.get("type").map(Raw::text);
            dialogue.no_thinking |= *key == "thinking" && kind == Some("\"disabled\"");
            report.dropped(*key, reason);
        }
    }
    dialogue.stop = stop(request.get("stop_sequences"));
    let metadata = request.get("metadata");
    dialogue.user = metadata.and_then(|m| m.get("user_id")).and_then(Raw::literal);
    dialogue.tools = tools(request, report);
    if let Some(choice) = request.get("tool_choice") {
        dialogue.tool_choice = tool_choice(choice, report);
        let is_single = choice.get("disable_parallel_tool_use").and_then(Raw::bool);
        dialogue.parallel_calls = is_single.map(|single| !single);
    }
    if let Some(output) = request.get("output_config") {
        if output.get("effort").is_some() {
            report.dropped("output_config.effort", "the engine's format says nothing about effort");
        }
        dialogue.format = output.get("format").and_then(|f| format(f, report));
    }
    dialogue
}

fn message<'a>(message: Raw<'a>, index: usize, dialogue: &mut Dialogue<'a>, report: &mut Report) {
    let messages = Path::BODY.key("messages");
    let message_path = messages.index(index);
    let path = message_path.key("content");
    let (mut results, mut calls) = (Vec::new(), Vec::new());
    let said = parts(message.get("content"), &path, report, |block, path, report| {
        match block.get("type").and_then(Raw::string).as_deref() {
            Some("tool_result") => {
                results.extend(result(block, path, report));
                None
            }
            Some("tool_use") => {
                calls.extend(call(block, path, report));
                None
            }
            Some("thinking" | "redacted_thinking") => {
                report.dropped("messages.content.thinking", "earlier thinking is not sent again");
                None
            }
            _ => part(block, path, report),
        }
    });
    let at = Some(index);
    if message.get("role").map(Raw::text) == Some("\"assistant\"") {
        dialogue.turns.push(Turn { at, words: Words::Assistant { parts: said, calls } });
        return;
    }
    // Results answer the calls before them, so they stand before what the user adds.
    let has_results = !results.is_empty();
    dialogue.turns.extend(results.into_iter().map(|words| Turn { at, words }));
    if !said.is_empty() || !has_results {
        dialogue.turns.push(Turn { at, words: Words::User(said) });
    }
}

fn part<'a>(block: Raw<'a>, path: &Path<'_>, report: &mut Report) -> Option<Part<'a>> {
    let read = match block.get("type").and_then(Raw::string).as_deref() {
        Some("text") => block.get("text").and_then(Raw::literal).map(Part::Text),
        Some("image") => block.get("source").and_then(source).map(Part::Image),
        _ => None,
    };
    if read.is_none() {
        report.refused(path, NO_WORDS);
    }
    read
}

fn source(source: Raw<'_>) -> Option<Image<'_>> {
    match source.get("type").and_then(Raw::string)?.as_ref() {
        "base64" => Some(Image::Data {
            media: source.get("media_type").and_then(Raw::string)?,
            data: source.get("data").and_then(Raw::string)?,
        }),
        "url" => source.get("url").and_then(image),
        _ => None,
    }
}

fn result<'a>(block: Raw<'a>, path: &Path<'_>, report: &mut Report) -> Option<Words<'a>> {
    let Some(id) = block.get("tool_use_id").and_then(Raw::literal) else {
        report.errors.push(&path.key("tool_use_id"), "missing", "Field required");
        return None;
    };
    if block.get("is_error").and_then(Raw::bool) == Some(true) {
        report.dropped("messages.content.is_error", "a result's text says that it failed");
    }
    let parts = parts(block.get("content"), &path.key("content"), report, part);
    Some(Words::Result { id: id.into(), name: None, parts })
}

fn call<'a>(block: Raw<'a>, path: &Path<'_>, report: &mut Report) -> Option<Call<'a>> {
    let id = block.get("id").and_then(Raw::literal);
    let name = block.get("name").and_then(Raw::literal);
    let input = block.get("input").filter(|input| input.kind() == Kind::Object);
    let (Some(id), Some(name)) = (id, name) else {
        report.refused(path, "Input should be a tool call with id and name");
        return None;
    };
    let arguments = Arguments::Json(input.map_or("{}", Raw::text));
    Some(Call { id: id.into(), name, arguments })
}

fn tools<'a>(request: &'a ChatRequest, report: &mut Report) -> Vec<Tool<'a>> {
    let mut tools = Vec::new();
    let path = Path::BODY.key("tools");
    for (index, tool) in request.get("tools").iter().flat_map(|t| t.elements()).enumerate() {
        let is_own = matches!(tool.get("type").map(Raw::text), None | Some("\"custom\""));
        let name = tool.get("name").filter(|name| is_own && name.kind() == Kind::String);
        let Some(name) = name else {
            report.refused(&path.index(index), "The engine's format knows the caller's tools only");
            continue;
        };
        let (description, schema) = (tool.get("description"), tool.get("input_schema"));
        tools.push(Tool { name, description, schema });
    }
    tools
}

fn tool_choice<'a>(choice: Raw<'a>, report: &mut Report) -> Option<ToolChoice<'a>> {
    let name = choice.get("name").and_then(Raw::literal);
    match (choice.get("type").and_then(Raw::string).as_deref(), name) {
        (Some("auto"), _) => Some(ToolChoice::Auto),
        (Some("any"), _) => Some(ToolChoice::Required),
        (Some("none"), _) => Some(ToolChoice::None),
        (Some("tool"), Some(name)) => Some(ToolChoice::Named(name)),
        _ => {
            report.refused(&Path::BODY.key("tool_choice"), NO_WORDS);
            None
        }
    }
}

fn format<'a>(format: Raw<'a>, report: &mut Report) -> Option<Format<'a>> {
    let schema = format.get("schema").filter(|schema| schema.kind() == Kind::Object);
    if schema.is_none() {
        let output = Path::BODY.key("output_config");
        report.refused(&output.key("format"), NO_WORDS);
    }
    schema.map(|schema| Format::Schema { name: None, schema })
}
