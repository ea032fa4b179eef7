//! A chat request: scanned once, kept as the bytes it came in.
//!
//! It must not know models, prices, engines' addresses or who asks. Invariants: the document is
//! valid JSON with no key named twice at the top level or in a message, every known field has a
//! value that its rule allows, and nothing of the body is re-serialised unless it has to change.

mod messages;
mod pass;
mod rule;
mod table;
#[cfg(test)]
mod tests;

use std::borrow::Cow;

use bytes::Bytes;
use relay_domain::{FieldError, Loc, Mode, ModeRequest};

use crate::dialect::{Dialect, EngineKind};
use crate::dialogue::{self, TranslationNote};
use crate::json::{Kind, Raw, Span, document};
use crate::surface::Surface;

use messages::{Census, MEMBERS_MAX};
pub(crate) use pass::stream_options;
pub(crate) use rule::{Carry, Errors, Path};
use rule::{Field, Rule};

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
}

/// One member of the body that is not `null`.
#[derive(Clone, Copy, Debug)]
struct Entry {
    span: Span,
    /// `None`: unknown, passes as it is.
    field: Option<&'static Field>,
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
        let choices = read.get("n").and_then(Raw::integer).and_then(|n| n.try_into().ok());
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
        if self.surface.dialect() == dialect {
            return Ok(self.passed(target));
        }
        self.translated(dialect, target).map(|(body, _)| body)
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

/// Reading values of a scanned body.
struct Read<'a> {
    text: &'a str,
    members: &'a [Entry],
}

impl<'a> Read<'a> {
    fn get(&self, key: &str) -> Option<Raw<'a>> {
        let named = |entry: &&Entry| literal(self.text, entry.span).is_some_and(|m| m.is(key));
        self.members.iter().find(named).map(|entry| value(self.text, entry.span))
    }

    fn text(&self, key: &str) -> Option<String> {
        self.get(key).and_then(Raw::string).map(Cow::into_owned)
    }

    fn flag(&self, key: &str) -> Option<bool> {
        self.get(key).and_then(Raw::bool)
    }

    fn output_cap(&self, surface: Surface) -> Option<u64> {
        let said = |value: Option<Raw<'_>>| {
            value.and_then(Raw::integer).and_then(|cap| u64::try_from(cap).ok())
        };
        if surface == Surface::Ollama {
            let cap = self.get("options").and_then(|options| options.get("num_predict"));
            // Ollama's -1 and -2 mean "no cap of mine".
            return said(cap).filter(|cap| *cap > 0);
        }
        let old = said(self.get("max_tokens"));
        let new = said(self.get("max_completion_tokens"));
        old.into_iter().chain(new).min()
    }
}

fn value(text: &str, span: Span) -> Raw<'_> {
    Raw::trusted(text.get(span.value..span.end).unwrap_or_default())
}

fn literal(text: &str, span: Span) -> Option<crate::json::Member<'_>> {
    let literal = text.get(span.key..span.key_end)?;
    Some(crate::json::Member { literal, value: value(text, span) })
}

/// Finds the field of every member and checks its value.
fn entries(surface: Surface, text: &str, spans: &[Span], errors: &mut Errors) -> Vec<Entry> {
    let mut seen = Vec::with_capacity(spans.len());
    let mut entries = Vec::with_capacity(spans.len());
    for &span in spans {
        let Some(member) = literal(text, span) else { continue };
        let key = member.key();
        if seen.contains(&key) {
            errors.body(&key, "duplicate_key", "Key appears more than once");
            continue;
        }
        let field = table::field(surface, &key);
        if field.is_none() {
            let refused = if surface.is_open() {
                table::refusal(surface, &key)
            } else {
                Some("Extra inputs are not permitted")
            };
            if let Some(msg) = refused {
                errors.body(&key, "extra_forbidden", msg);
            }
        }
        if !member.value.is_null() {
            if let Some(field) = field {
                field.rule.check(member.value, &Path::BODY.key(field.key), errors);
            }
            entries.push(Entry { span, field });
        }
        seen.push(key);
    }
    let read = Read { text, members: &entries };
    for field in table::required(surface) {
        if read.get(field.key).is_none() {
            errors.body(field.key, "missing", "Field required");
        }
    }
    nested(surface, &read, errors);
    entries
}

/// Checks the values inside `stream_options` and `options` that Relay reads or writes.
fn nested(surface: Surface, read: &Read<'_>, errors: &mut Errors) {
    if let Some(options) = read.get("stream_options") {
        let path = Path::BODY.key("stream_options");
        messages::unique(options, &path, errors);
        if let Some(flag) = options.get("include_usage") {
            Rule::Bool.check(flag, &path.key("include_usage"), errors);
        }
    }
    if surface == Surface::Ollama
        && let Some(options) = read.get("options")
    {
        let path = Path::BODY.key("options");
        messages::unique(options, &path, errors);
        if let Some(cap) = options.get("num_predict") {
            let rule = Rule::Integer { min: -2, max: table::OUTPUT_CAP_MAX };
            rule.check(cap, &path.key("num_predict"), errors);
        }
        if let Some(stop) = options.get("stop") {
            Rule::TextOrTexts(usize::MAX).check(stop, &path.key("stop"), errors);
        }
    }
}

/// Walks through everything that becomes prompt.
fn census(surface: Surface, text: &str, members: &[Entry], errors: &mut Errors) -> Census {
    let mut census = Census::default();
    let read = Read { text, members };
    if let Some(list) = read.get("messages") {
        messages::messages(surface, list, &mut census, errors);
    }
    if let Some(system) = read.get("system") {
        census.prompt_bytes += system.text().len() as u64;
        if system.kind() == Kind::Array {
            let path = Path::BODY.key("system");
            messages::blocks(surface, system, &path, &mut census, errors);
        }
    }
    for entry in members {
        let Some(member) = literal(text, entry.span) else { continue };
        let key = member.key();
        let is_counted = entry.field.is_none_or(|field| field.carry == Carry::Keep)
            && !matches!(key.as_ref(), "messages" | "system" | "logit_bias" | "stop");
        if is_counted && matches!(member.value.kind(), Kind::Object | Kind::Array | Kind::String) {
            // Templates write tools and schemas with a blank after each comma and colon.
            let text = member.value.text().as_bytes();
            let blanks = memchr::memchr2_iter(b',', b':', text).count();
            census.prompt_bytes += (text.len() + blanks) as u64;
        }
    }
    for (index, tool) in read.get("tools").iter().flat_map(|list| list.elements()).enumerate() {
        let tools = Path::BODY.key("tools");
        messages::cache_marker(surface, tool, &tools.index(index), &mut census, errors);
    }
    if let Some(marker) = read.get("cache_control") {
        messages::own_marker(marker, &Path::BODY.key("cache_control"), &mut census, errors);
    }
    census
}
