//! Failures as each surface's clients read them (contract section 3.1).

use bytes::{BufMut, Bytes, BytesMut};

use crate::error::{WireError, bounded};
use crate::json::Object;
use crate::surface::Surface;

/// The word that goes with an HTTP status in a stream's error (`error.type`).
#[must_use]
pub const fn stream_error_kind(status: u16) -> &'static str {
    match status {
        401 => "authentication_error",
        402 => "insufficient_quota",
        403 => "permission_error",
        404 => "not_found_error",
        408 | 504 => "worker_timeout",
        429 => "rate_limit_exceeded",
        503 => "capacity_exhausted",
        400..=499 => "invalid_request_error",
        _ => "server_error",
    }
}

/// The whole body of a streamed request that failed before its first chunk: OpenAI's shape with
/// the HTTP status as a number in `code`, inside Anthropic's envelope on that surface. On the
/// Ollama surface a sentence alone.
#[must_use]
pub fn stream_error_body(surface: Surface, status: u16, kind: &str, message: &str) -> Bytes {
    let mut out = BytesMut::new();
    let mut object = Object::new(&mut out);
    match surface {
        Surface::Openai | Surface::Vllm => openai(&mut object, status, kind, message),
        Surface::Anthropic => {
            object.text("type", "error");
            openai(&mut object, status, kind, message);
        }
        Surface::Ollama => {
            object.text("error", message);
        }
    }
    object.end();
    out.freeze()
}

/// The frame that ends a stream in failure, after which the connection closes without an end
/// marker (contract section 9.9).
#[must_use]
pub fn stream_error_frame(
    surface: Surface,
    status: u16,
    kind: &str,
    message: &str,
    request_id: &str,
) -> Bytes {
    let mut out = BytesMut::new();
    match surface {
        Surface::Openai | Surface::Vllm => out.put_slice(b"data: "),
        Surface::Anthropic => out.put_slice(b"event: error\ndata: "),
        Surface::Ollama => {}
    }
    let mut object = Object::new(&mut out);
    match surface {
        Surface::Openai | Surface::Vllm => openai(&mut object, status, kind, message),
        Surface::Anthropic => {
            object.text("type", "error").object("error", |error| {
                error.text("type", kind).text("message", message);
            });
            object.text("request_id", request_id);
        }
        Surface::Ollama => {
            object.text("error", message);
        }
    }
    object.end();
    out.put_slice(if surface == Surface::Ollama { b"\n" } else { b"\n\n" });
    out.freeze()
}

fn openai(object: &mut Object<'_>, status: u16, kind: &str, message: &str) {
    object.object("error", |error| {
        error.text("message", message).text("type", kind).count("code", u64::from(status));
    });
}

/// An upstream's error event whose data is not JSON.
pub(super) fn plain(data: &[u8]) -> WireError {
    let message = String::from_utf8_lossy(data);
    WireError::Upstream { status: None, kind: String::new(), message: bounded(&message) }
}
