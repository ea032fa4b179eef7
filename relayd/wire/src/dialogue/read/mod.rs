//! Reading a request of one format.

mod anthropic;
mod ollama;
mod openai;

use std::borrow::Cow;

use super::{Dialogue, Image, Part, TranslationNote};
use crate::dialect::Dialect;
use crate::json::{Kind, Raw};
use crate::request::{ChatRequest, Errors, Path};

/// Why a part of a message was refused.
const NO_WORDS: &str = "The engine's format cannot express this";

/// What goes wrong or missing while reading.
#[derive(Debug, Default)]
pub(crate) struct Report {
    pub(crate) errors: Errors,
    pub(crate) notes: Vec<TranslationNote>,
}

impl Report {
    pub(crate) fn dropped(&mut self, field: impl Into<String>, reason: &'static str) {
        self.notes.push(TranslationNote { field: field.into(), action: "dropped", reason });
    }

    pub(crate) fn refused(&mut self, path: &Path<'_>, msg: impl Into<String>) {
        self.errors.push(path, "not_expressible", msg);
    }
}

/// Reads a request of any format.
pub(crate) fn dialogue<'a>(request: &'a ChatRequest, report: &mut Report) -> Dialogue<'a> {
    match request.surface().dialect() {
        Dialect::Openai => openai::read(request, report),
        Dialect::Anthropic => anthropic::read(request, report),
        Dialect::Ollama => ollama::read(request, report),
    }
}

/// Content given as one text or as parts, each of which `part` reads.
fn parts<'a>(
    content: Option<Raw<'a>>,
    path: &Path<'_>,
    report: &mut Report,
    mut part: impl FnMut(Raw<'a>, &Path<'_>, &mut Report) -> Option<Part<'a>>,
) -> Vec<Part<'a>> {
    let Some(content) = content else { return Vec::new() };
    match content.kind() {
        Kind::Array => content
            .elements()
            .enumerate()
            .filter_map(|(index, element)| part(element, &path.index(index), report))
            .collect(),
        _ => content.literal().map(Part::Text).into_iter().collect(),
    }
}

/// A picture by its address or data URI.
fn image(address: Raw<'_>) -> Option<Image<'_>> {
    let address = address.string()?;
    if !address.starts_with("data:") {
        return Some(Image::Link(address));
    }
    let split = |text: &str| {
        let comma = text.find(',')?;
        let media = text.get("data:".len()..comma)?.strip_suffix(";base64")?;
        Some(("data:".len()..("data:".len() + media.len()), comma + 1))
    };
    let (media, data) = split(&address)?;
    Some(match address {
        Cow::Borrowed(text) => {
            Image::Data { media: text.get(media)?.into(), data: text.get(data..)?.into() }
        }
        Cow::Owned(text) => Image::Data {
            media: text.get(media)?.to_owned().into(),
            data: text.get(data..)?.to_owned().into(),
        },
    })
}

/// Stop sequences: one or a list.
fn stop(value: Option<Raw<'_>>) -> Vec<&str> {
    let Some(value) = value else { return Vec::new() };
    match value.literal() {
        Some(one) => vec![one],
        None => value.elements().filter_map(Raw::literal).collect(),
    }
}
