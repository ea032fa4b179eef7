//! Errors that upstreams report under HTTP 200.

use crate::error::{WireError, bounded};
use crate::json::{Kind, Raw};

/// The error a body or chunk reports, if it reports one: `{"error": ..}` with a text or an object
/// (OpenAI, Ollama, Anthropic), or `{"object": "error", ..}` with the fields beside it (vLLM).
pub(crate) fn reported(object: Raw<'_>) -> Option<WireError> {
    if let Some(error) = object.get("error") {
        return Some(described(error));
    }
    let is_error = |key| object.get(key).and_then(Raw::string).as_deref() == Some("error");
    (is_error("object") || is_error("type")).then(|| described(object))
}

/// Reads an error's own words.
pub(crate) fn described(error: Raw<'_>) -> WireError {
    let text = |key| error.get(key).and_then(Raw::string).unwrap_or_default();
    let (mut kind, mut message) = (text("type"), text("message"));
    if error.kind() == Kind::String {
        message = error.string().unwrap_or_default();
    }
    if kind.is_empty() {
        kind = text("code");
    }
    let status = ["code", "status", "status_code"]
        .into_iter()
        .filter_map(|key| error.get(key))
        .find_map(status)
        .or_else(|| status_of(&kind));
    WireError::Upstream { status, kind: bounded(&kind), message: bounded(&message) }
}

/// A number, or a text of digits, that is an HTTP error status.
fn status(value: Raw<'_>) -> Option<u16> {
    let text = value.string();
    let digits = text.as_deref().unwrap_or_else(|| value.text());
    digits.parse().ok().filter(|status| (400..600).contains(status))
}

/// The status that the vendors' words stand for.
fn status_of(kind: &str) -> Option<u16> {
    Some(match kind {
        "invalid_request_error" | "BadRequestError" | "context_length_exceeded" => 400,
        "authentication_error" => 401,
        "permission_error" => 403,
        "not_found_error" | "NotFoundError" => 404,
        "request_too_large" => 413,
        "rate_limit_error" | "rate_limit_exceeded" | "insufficient_quota" => 429,
        "api_error" | "server_error" | "internal_server_error" | "InternalServerError" => 500,
        "unavailable_error" | "overloaded_error" | "capacity_exhausted" => 503,
        "timeout_error" => 504,
        _ => return None,
    })
}
