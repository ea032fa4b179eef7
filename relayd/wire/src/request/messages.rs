//! The conversation's shape: enough to refuse what no engine could read, and to count it.

use crate::Surface;
use crate::json::{Kind, Raw};

use super::rule::{Errors, Path};
use super::table::fold;

/// Tokens one picture is counted as in the ceiling of a prompt: the most that the vision models
/// in use make of one.
const IMAGE_TOKENS: u64 = 16_384;

/// Tokens a document, sound or film given by address is counted as; its size is not known here.
const ATTACHMENT_TOKENS: u64 = 262_144;

/// Most members of the body and of one message. The contract knows about forty.
pub(crate) const MEMBERS_MAX: usize = 256;

/// Cache markers allowed in one request (contract section 3.1).
const CACHE_MARKERS_MAX: u32 = 4;

/// What was counted while walking through a body.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Census {
    /// An upper bound of the prompt in tokens: bytes of text, tools and schemas, and allowances
    /// for pictures and attachments.
    pub(crate) prompt_bytes: u64,
    /// Cache markers on blocks, tools and the body itself.
    pub(crate) cache_markers: u32,
}

/// Checks the messages of a body and counts them.
pub(crate) fn messages(surface: Surface, list: Raw<'_>, census: &mut Census, errors: &mut Errors) {
    let path = Path::BODY.key("messages");
    let mut none = true;
    for (index, message) in list.elements().enumerate() {
        none = false;
        if message.kind() == Kind::Object {
            one(surface, message, &path.index(index), census, errors);
        }
    }
    if none && list.kind() == Kind::Array {
        let msg = "List should have at least 1 item after validation, not 0";
        errors.push(&path, "too_short", msg);
    }
}

fn one(
    surface: Surface,
    message: Raw<'_>,
    path: &Path<'_>,
    census: &mut Census,
    errors: &mut Errors,
) {
    unique(message, path, errors);
    census.prompt_bytes += message.text().len() as u64;
    role(surface, message, path, errors);
    if let Some(content) = message.get("content") {
        let path = path.key("content");
        match content.kind() {
            Kind::String => {}
            Kind::Array => blocks(surface, content, &path, census, errors),
            _ => errors.push(&path, "string_type", "Input should be a valid string or list"),
        }
    } else if surface == Surface::Anthropic {
        errors.push(&path.key("content"), "missing", "Field required");
    }
    if surface == Surface::Ollama {
        for member in message.members().filter(|member| fold(&member.key()) == "images") {
            for image in member.value.elements() {
                picture(image, census);
            }
        }
    }
}

fn role(surface: Surface, message: Raw<'_>, path: &Path<'_>, errors: &mut Errors) {
    let roles: &[&str] = match surface {
        Surface::Openai => &["system", "developer", "user", "assistant", "tool", "function"],
        Surface::Anthropic => &["user", "assistant"],
        // Templates of open models know roles of their own.
        Surface::Vllm | Surface::Ollama => &[],
    };
    let path = path.key("role");
    match message.get("role") {
        None => errors.push(&path, "missing", "Field required"),
        Some(role) if roles.is_empty() => super::rule::Rule::Text.check(role, &path, errors),
        Some(role) if !role.string().is_some_and(|role| roles.contains(&role.as_ref())) => {
            errors.push(&path, "literal_error", format!("Input should be {}", listed(roles)));
        }
        Some(_) => {}
    }
}

fn listed(words: &[&str]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| format!("'{word}'")).collect();
    quoted.join(", ")
}

/// Walks through content blocks: the text is counted by the caller, here only what is not text.
pub(crate) fn blocks(
    surface: Surface,
    list: Raw<'_>,
    path: &Path<'_>,
    census: &mut Census,
    errors: &mut Errors,
) {
    for (index, block) in list.elements().enumerate() {
        let path = path.index(index);
        if block.kind() != Kind::Object {
            // Only templates of the open surfaces take bare texts as parts.
            if !(surface.is_open() && block.kind() == Kind::String) {
                errors.push(&path, "dict_type", "Input should be a valid dictionary");
            }
            continue;
        }
        unique(block, &path, errors);
        let kind = block.get("type").and_then(Raw::string);
        match kind.as_deref() {
            Some("image" | "image_url" | "input_image") => picture(block, census),
            Some(
                "document" | "file" | "input_file" | "input_audio" | "audio_url" | "video_url"
                | "video",
            ) => census.prompt_bytes += ATTACHMENT_TOKENS,
            Some("tool_result" | "search_result") => {
                if let Some(inner) = block.get("content").filter(|c| c.kind() == Kind::Array) {
                    // One level only: results hold no results.
                    for part in inner.elements() {
                        match part.get("type").and_then(Raw::string).as_deref() {
                            Some("image") => picture(part, census),
                            Some("document") => census.prompt_bytes += ATTACHMENT_TOKENS,
                            _ => {}
                        }
                        cache_marker(surface, part, &path, census, errors);
                    }
                }
            }
            Some(_) => {}
            None if surface == Surface::Anthropic => {
                errors.push(&path.key("type"), "missing", "Field required");
            }
            None => {}
        }
        cache_marker(surface, block, &path, census, errors);
    }
}

/// Counts a picture by its allowance in place of its text.
fn picture(part: Raw<'_>, census: &mut Census) {
    let text = part.text().len() as u64;
    census.prompt_bytes = census.prompt_bytes.saturating_sub(text) + IMAGE_TOKENS;
}

/// Checks the marker of a block, a tool or the body: exactly `{"type":"ephemeral"}` with an
/// optional `ttl` of 5 minutes or 1 hour.
pub(crate) fn cache_marker(
    surface: Surface,
    holder: Raw<'_>,
    path: &Path<'_>,
    census: &mut Census,
    errors: &mut Errors,
) {
    if surface != Surface::Anthropic {
        return;
    }
    if let Some(marker) = holder.get("cache_control") {
        own_marker(marker, &path.key("cache_control"), census, errors);
    }
}

/// The same check on a marker itself.
pub(crate) fn own_marker(
    marker: Raw<'_>,
    path: &Path<'_>,
    census: &mut Census,
    errors: &mut Errors,
) {
    census.cache_markers += 1;
    let exact = marker.kind() == Kind::Object
        && marker.get("type").and_then(Raw::string).as_deref() == Some("ephemeral")
        && marker.members().all(|member| match member.key().as_ref() {
            "type" => true,
            "ttl" => {
                member.value.is_null()
                    || matches!(member.value.string().as_deref(), Some("5m" | "1h"))
            }
            _ => false,
        });
    if !exact {
        let msg = "Input should be {\"type\": \"ephemeral\"} with an optional ttl of '5m' or '1h'";
        errors.push(path, "literal_error", msg);
    }
    if census.cache_markers == CACHE_MARKERS_MAX + 1 {
        let msg = format!("At most {CACHE_MARKERS_MAX} blocks may carry cache_control");
        errors.push(path, "too_long", msg);
    }
}

/// Refuses an object that names a key twice: two parsers could read two different requests.
pub(crate) fn unique(object: Raw<'_>, path: &Path<'_>, errors: &mut Errors) {
    let mut seen = Vec::new();
    for member in object.members() {
        let key = member.key();
        if seen.len() == MEMBERS_MAX {
            let msg = format!("Dictionary should have at most {MEMBERS_MAX} items");
            return errors.push(path, "too_long", msg);
        }
        if seen.contains(&key) {
            errors.push(&path.key(&key), "duplicate_key", "Key appears more than once");
        }
        seen.push(key);
    }
}
