//! A chat request: scanned once, kept as the bytes it came in.
//!
//! It must not know models, prices, engines' addresses or who asks. Invariants: the document is
//! valid JSON with no key named twice at the top level or in a message, every known field has a
//! value that its rule allows, and nothing of the body is re-serialised unless it has to change.

mod check;
mod messages;
mod pass;
mod rule;
mod schema;
mod spoken;
mod table;
#[cfg(test)]
mod tests;

use std::borrow::Cow;

use bytes::Bytes;
use relay_domain::{FieldError, Loc, Mode, ModeRequest};

use crate::dialect::{Dialect, EngineKind};
use crate::dialogue::{self, TranslationNote};
use crate::json::{Object, Raw, document};
use crate::surface::Surface;

use check::{Entry, Read, census, entries, literal};
use messages::{Census, MEMBERS_MAX};
pub(crate) use pass::stream_options;
use rule::Carry;
pub(crate) use rule::{Errors, Path};
pub use schema::{request_schema, response_schema};

/// A scanned request body.
#[derive(Clone, Debug)]
pub struct ChatRequest {
    surface: Surface,
    body: Bytes,
    members: Vec<Entry>,
    model: String,
    stream: bool,
    mode: ModeRequest,
    is_async: bool,
    webhook_url: Option<String>,
    output_cap: Option<u64>,
    choices: u32,
    include_usage: bool,
    census: Census,
}

/// What the engine's body is written for.
#[derive(Clone, Copy, Debug)]
pub struct Upstream<'a> {
    /// The model's name at the engine.
    pub model: &'a str,
    /// Tokens one answer may have at most; always written.
    pub output_cap: u64,
    /// What kind of server it is.
    pub engine: EngineKind,
    /// What is said where the caller said nothing.
    pub defaults: Defaults,
}

/// Values for what a caller left open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Defaults {
    /// Temperature, in thousandths.
    pub temperature_milli: Option<u32>,
    /// Nucleus, in thousandths.
    pub top_p_milli: Option<u32>,
}

impl Defaults {
    /// Writes those that are there.
    pub(crate) fn write(self, object: &mut Object<'_>) {
        let members = [("temperature", self.temperature_milli), ("top_p", self.top_p_milli)];
        for (key, value) in members {
            if let Some(milli) = value {
                object.json(key, &format!("{}.{:03}", milli / 1_000, milli % 1_000));
            }
        }
    }
}

impl ChatRequest {
    /// Reads a body.
    ///
    /// # Errors
    /// Every wrong field (at most 64), in the shape of the contract's validation list; for a body
    /// that is not JSON the one flaw and its byte offset.
    pub fn scan(surface: Surface, body: Bytes) -> Result<Self, Vec<FieldError>> {
        let mut spans = Vec::with_capacity(16);
        let text = match document(&body, &mut spans) {
            Ok((text, true)) => text,
            Ok((_, false)) => {
                return Err(vec![whole("model_attributes_type", "Input should be an object")]);
            }
            Err(flaw) => {
                let mut error = whole("json_invalid", format!("JSON decode error: {}", flaw.what));
                error.loc.push(Loc::Index(flaw.at));
                return Err(vec![error]);
            }
        };
        if spans.len() > MEMBERS_MAX {
            let msg = format!("Dictionary should have at most {MEMBERS_MAX} items");
            return Err(vec![whole("too_long", msg)]);
        }
        let mut errors = Errors::default();
        let members = entries(surface, text, &spans, &mut errors);
        let census = census(surface, text, &members, &mut errors);
        if !errors.is_empty() {
            return Err(errors.into_list());
        }
        let read = Read { text, members: &members };
        let model = read.text("model").unwrap_or_default();
        let mode = match read.text("mode").as_deref() {
            Some("direct") => ModeRequest::Only(Mode::Direct),
            Some("opengpu") => ModeRequest::Only(Mode::Opengpu),
            _ => ModeRequest::Auto,
        };
        let is_async = read.flag("async").unwrap_or(false);
        // Ollama streams unless told otherwise; a queued task has nobody to stream to.
        let stream = read.flag("stream").unwrap_or(surface == Surface::Ollama && !is_async);
        let choices = read.get("n").filter(|_| surface.dialect() == Dialect::Openai);
        let choices = choices.and_then(Raw::integer).and_then(|n| n.try_into().ok());
        let include_usage = read.get("stream_options").and_then(|o| o.get("include_usage"));
        let request = Self {
            surface,
            model,
            stream,
            mode,
            is_async,
            webhook_url: read.text("webhook_url"),
            output_cap: read.output_cap(surface),
            choices: choices.unwrap_or(1),
            include_usage: include_usage.and_then(Raw::bool).unwrap_or(false),
            census,
            members,
            body,
        };
        Ok(request)
    }

    /// The route's format.
    #[must_use]
    pub const fn surface(&self) -> Surface {
        self.surface
    }

    /// The Relay name of the model, as the caller wrote it; not looked up.
    #[must_use]
    pub fn model(&self) -> &str {
        &self.model
    }

    /// Whether the caller wants a stream.
    #[must_use]
    pub const fn stream(&self) -> bool {
        self.stream
    }

    /// The mode asked for.
    #[must_use]
    pub const fn mode(&self) -> ModeRequest {
        self.mode
    }

    /// Whether the caller wants a task instead of an answer.
    #[must_use]
    pub const fn is_async(&self) -> bool {
        self.is_async
    }

    /// Where to announce the task's end: 1 to 2048 characters, otherwise unchecked.
    #[must_use]
    pub fn webhook_url(&self) -> Option<&str> {
        self.webhook_url.as_deref()
    }

    /// Tokens the caller allows for one answer, 1 to 128,000; the smaller one where two fields
    /// say it. `None`: not said.
    #[must_use]
    pub const fn output_cap(&self) -> Option<u64> {
        self.output_cap
    }

    /// How many answers are asked for, 1 to 10. The output cap holds for each.
    #[must_use]
    pub const fn choices(&self) -> u32 {
        self.choices
    }

    /// Whether the caller asked for usage in the stream (`stream_options.include_usage`).
    #[must_use]
    pub const fn include_usage(&self) -> bool {
        self.include_usage
    }

    /// An upper bound of the prompt in tokens without the model's template: all bytes that reach
    /// the prompt (text, tools, schemas), and an allowance a picture or attachment.
    #[must_use]
    pub const fn prompt_bytes(&self) -> u64 {
        self.census.prompt_bytes
    }

    /// The head of the prompt, as it stands in the body: the system text and the messages up to the
    /// first one of the user, cut to `most` bytes. It stays the same while a conversation grows, so
    /// that it names what an engine may have cached.
    pub fn prompt_head(&self, most: usize) -> impl Iterator<Item = &[u8]> {
        let read = self.read();
        let mut after_user = false;
        let messages = read.get("messages").into_iter().flat_map(|list| list.elements());
        let messages = messages.take_while(move |message| {
            let taken = !after_user;
            let role = message.get("role").and_then(Raw::string);
            after_user = role.is_some_and(|role| role == "user");
            taken
        });
        let mut left = most;
        read.get("system").into_iter().chain(messages).map_while(move |part| {
            let bytes = part.text().as_bytes();
            let taken = bytes.len().min(left);
            left -= taken;
            (taken > 0).then(|| &bytes[..taken])
        })
    }

    /// Cache markers in the body; only the Anthropic surface has them.
    #[must_use]
    pub const fn cache_markers(&self) -> u32 {
        self.census.cache_markers
    }

    /// Whether the body carries `routing`, which no fixed model takes.
    #[must_use]
    pub fn has_routing(&self) -> bool {
        self.get("routing").is_some()
    }

    /// The body to send to an engine that speaks `dialect`.
    ///
    /// Where the formats match, members are copied as they came and only what Relay decides is
    /// written: the model, the output cap, `stream` and `stream_options`. Otherwise the request is
    /// translated.
    ///
    /// # Errors
    /// The fields that the other format cannot express.
    pub fn upstream(
        &self,
        dialect: Dialect,
        target: &Upstream<'_>,
    ) -> Result<Bytes, Vec<FieldError>> {
        let target = Upstream { defaults: self.left_open(target.defaults), ..*target };
        if self.surface.dialect() == dialect {
            return Ok(self.passed(&target));
        }
        self.translated(dialect, &target).map(|(body, _)| body)
    }

    /// What [`ChatRequest::upstream`] drops or moves for an engine that speaks another format:
    /// hints that its format has no words for. Nothing where the formats match.
    #[must_use]
    pub fn translation_notes(
        &self,
        dialect: Dialect,
        target: &Upstream<'_>,
    ) -> Vec<TranslationNote> {
        if self.surface.dialect() == dialect {
            return Vec::new();
        }
        self.translated(dialect, target).map(|(_, notes)| notes).unwrap_or_default()
    }

    fn translated(
        &self,
        dialect: Dialect,
        target: &Upstream<'_>,
    ) -> Result<(Bytes, Vec<TranslationNote>), Vec<FieldError>> {
        let mut report = dialogue::read::Report::default();
        let dialogue = dialogue::read::dialogue(self, &mut report);
        let body = dialogue::write::body(&dialogue, dialect, target, self.stream, &mut report);
        report.errors.or((body, report.notes))
    }

    /// Whether the caller leaves nothing to chance: he says a temperature of 0 and wants one answer.
    #[must_use]
    pub fn is_greedy(&self) -> bool {
        let temperature = match self.surface.dialect() {
            Dialect::Ollama => self.get("options").and_then(|options| options.get("temperature")),
            Dialect::Openai | Dialect::Anthropic => self.get("temperature"),
        };
        self.choices() == 1 && temperature.and_then(Raw::number) == Some(0.0)
    }

    /// The defaults that the caller left open. What is said as `null` is said.
    fn left_open(&self, defaults: Defaults) -> Defaults {
        let text = self.read().text;
        let said = |key: &str| match self.surface.dialect() {
            Dialect::Ollama => {
                let options = self.get("options");
                options.iter().flat_map(|options| options.members()).any(|member| member.is(key))
            }
            Dialect::Openai | Dialect::Anthropic => {
                let named = |entry: &Entry| literal(text, entry.span).is_some_and(|m| m.is(key));
                self.members.iter().any(named)
            }
        };
        Defaults {
            temperature_milli: defaults.temperature_milli.filter(|_| !said("temperature")),
            top_p_milli: defaults.top_p_milli.filter(|_| !said("top_p")),
        }
    }

    /// Keys that the surface's table does not name; only open surfaces have any.
    pub(crate) fn unknown_keys(&self) -> impl Iterator<Item = Cow<'_, str>> {
        let text = self.read().text;
        let unknown = self.members.iter().filter(|entry| entry.field.is_none());
        unknown.filter_map(move |entry| literal(text, entry.span).map(|member| member.key()))
    }

    /// The value of a known or unknown field, unless it is absent or `null`.
    pub(crate) fn get(&self, key: &str) -> Option<Raw<'_>> {
        self.read().get(key)
    }

    fn read(&self) -> Read<'_> {
        // Scanned before: the bytes are UTF-8.
        let text = std::str::from_utf8(&self.body).unwrap_or_default();
        Read { text, members: &self.members }
    }
}

/// An error about the body itself.
fn whole(kind: &'static str, msg: impl Into<String>) -> FieldError {
    FieldError { kind, loc: vec![Loc::Key("body".into())], msg: msg.into() }
}
