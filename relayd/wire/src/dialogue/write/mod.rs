//! Writing a request in one format.

mod anthropic;
mod ollama;
mod openai;

use bytes::{BufMut, Bytes, BytesMut};

use super::read::Report;
use super::{Arguments, Dialogue, Knob, Part, Setting, Turn};
use crate::dialect::{Dialect, EngineKind};
use crate::json::{Object, document, unescape};
use crate::request::{Path, Upstream};

/// What a format makes of a sampling setting.
enum Fate {
    /// It has it under this name.
    As(&'static str),
    /// It has nothing like it, and the answer would differ.
    Refused,
    /// It has nothing like it, and it is a wish only.
    Dropped(&'static str),
}

/// Writes the body for an engine.
pub(crate) fn body(
    dialogue: &Dialogue<'_>,
    dialect: Dialect,
    target: &Upstream<'_>,
    stream: bool,
    report: &mut Report,
) -> Bytes {
    let mut out = BytesMut::with_capacity(1024);
    let mut object = Object::new(&mut out);
    object.text("model", target.model);
    match dialect {
        Dialect::Openai => openai::write(dialogue, target, stream, &mut object, report),
        Dialect::Anthropic => anthropic::write(dialogue, target, stream, &mut object, report),
        Dialect::Ollama => ollama::write(dialogue, target, stream, &mut object, report),
    }
    object.end();
    out.freeze()
}

/// Writes the sampling settings that the format has.
fn knobs(
    dialogue: &Dialogue<'_>,
    dialect: Dialect,
    engine: EngineKind,
    object: &mut Object<'_>,
    report: &mut Report,
) {
    for setting in &dialogue.knobs {
        match fate(setting.knob, dialect, engine) {
            Fate::As(name) => {
                if dialect == Dialect::Anthropic && is_hot(setting) {
                    let msg = "The engine takes a temperature of at most 1";
                    refuse(setting, msg, report);
                } else {
                    object.raw(name, Some(setting.value));
                }
            }
            _ if setting.is_neutral() => {}
            Fate::Refused => refuse(setting, "The engine's format has no such setting", report),
            Fate::Dropped(reason) => report.dropped(setting.field.join("."), reason),
        }
    }
}

fn is_hot(setting: &Setting<'_>) -> bool {
    setting.knob == Knob::Temperature && setting.value.number().is_some_and(|t| t > 1.0)
}

fn refuse(setting: &Setting<'_>, msg: &str, report: &mut Report) {
    match setting.field {
        [field] => report.refused(&Path::BODY.key(field), msg),
        [outer, field, ..] => report.refused(&Path::BODY.key(outer).key(field), msg),
        [] => report.refused(Path::BODY, msg),
    }
}

fn fate(knob: Knob, dialect: Dialect, engine: EngineKind) -> Fate {
    let is_vendor = engine == EngineKind::Commercial;
    match (dialect, knob) {
        (_, Knob::Temperature) => Fate::As("temperature"),
        (_, Knob::TopP) => Fate::As("top_p"),
        // Answers of the formats differ too much to carry probabilities over.
        (_, Knob::Logprobs | Knob::TopLogprobs | Knob::LogitBias) => Fate::Refused,
        (Dialect::Openai, Knob::TopK | Knob::MinP | Knob::RepetitionPenalty) if is_vendor => {
            Fate::Refused
        }
        (_, Knob::TopK) => Fate::As("top_k"),
        (Dialect::Anthropic, Knob::Seed) => Fate::Dropped("the engine's format has no seed"),
        (Dialect::Anthropic, _) => Fate::Refused,
        (_, Knob::Seed) => Fate::As("seed"),
        (_, Knob::MinP) => Fate::As("min_p"),
        (_, Knob::FrequencyPenalty) => Fate::As("frequency_penalty"),
        (_, Knob::PresencePenalty) => Fate::As("presence_penalty"),
        (Dialect::Ollama, Knob::RepetitionPenalty) => Fate::As("repeat_penalty"),
        (Dialect::Openai, Knob::RepetitionPenalty) if engine == EngineKind::Llamacpp => {
            Fate::As("repeat_penalty")
        }
        (Dialect::Openai, Knob::RepetitionPenalty) => Fate::As("repetition_penalty"),
    }
}

/// The texts of parts as one string, a line each.
fn put_texts(parts: &[Part<'_>], out: &mut BytesMut) {
    let mut has_text = false;
    for part in parts {
        let Part::Text(literal) = part else { continue };
        if std::mem::replace(&mut has_text, true) {
            out.put_slice(b"\\n");
        }
        let inside = literal.get(1..literal.len().saturating_sub(1)).unwrap_or_default();
        out.put_slice(inside.as_bytes());
    }
}

fn has_text(parts: &[Part<'_>]) -> bool {
    parts.iter().any(|part| matches!(part, Part::Text(text) if text.len() > 2))
}

/// Refuses pictures where the format takes texts only.
fn texts_only(turn: &Turn<'_>, parts: &[Part<'_>], report: &mut Report) {
    if parts.iter().any(|part| matches!(part, Part::Image(_))) {
        let messages = Path::BODY.key("messages");
        let msg = "The engine's format takes text only here";
        match turn.at {
            Some(at) => report.refused(&messages.index(at).key("content"), msg),
            None => report.refused(&Path::BODY.key("system"), msg),
        }
    }
}

/// A call's arguments as a JSON object.
fn arguments(call: &super::Call<'_>, turn: &Turn<'_>, report: &mut Report) -> String {
    let text = match call.arguments {
        Arguments::Json(json) => return json.to_owned(),
        Arguments::Literal(literal) => unescape(literal),
    };
    if text.trim().is_empty() {
        return "{}".to_owned();
    }
    if !matches!(document(text.as_bytes(), &mut Vec::new()), Ok((_, true))) {
        let messages = Path::BODY.key("messages");
        let message = messages.index(turn.at.unwrap_or_default());
        report.refused(&message.key("tool_calls"), "Arguments should be the text of a JSON object");
        return "{}".to_owned();
    }
    text.into_owned()
}
