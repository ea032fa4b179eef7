//! Finding the fields of a scanned body and checking their values.

use std::borrow::Cow;

use super::messages::{self, Census};
use super::rule::{Carry, Errors, Field, Path, Rule};
use super::table;
use crate::json::{Kind, Member, Raw, Span};
use crate::surface::Surface;

/// One member of the body that is not `null`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    pub(super) span: Span,
    /// `None`: unknown, passes as it is.
    pub(super) field: Option<&'static Field>,
}

/// Reading values of a scanned body.
pub(super) struct Read<'a> {
    pub(super) text: &'a str,
    pub(super) members: &'a [Entry],
}

impl<'a> Read<'a> {
    pub(super) fn get(&self, key: &str) -> Option<Raw<'a>> {
        let named = |entry: &&Entry| literal(self.text, entry.span).is_some_and(|m| m.is(key));
        self.members.iter().find(named).map(|entry| value(self.text, entry.span))
    }

    pub(super) fn text(&self, key: &str) -> Option<String> {
        self.get(key).and_then(Raw::string).map(Cow::into_owned)
    }

    pub(super) fn flag(&self, key: &str) -> Option<bool> {
        self.get(key).and_then(Raw::bool)
    }

    pub(super) fn output_cap(&self, surface: Surface) -> Option<u64> {
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

pub(super) fn literal(text: &str, span: Span) -> Option<Member<'_>> {
    let literal = text.get(span.key..span.key_end)?;
    Some(Member { literal, value: value(text, span) })
}

/// Finds the field of every member and checks its value.
pub(super) fn entries(
    surface: Surface,
    text: &str,
    spans: &[Span],
    errors: &mut Errors,
) -> Vec<Entry> {
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
pub(super) fn census(
    surface: Surface,
    text: &str,
    members: &[Entry],
    errors: &mut Errors,
) -> Census {
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
