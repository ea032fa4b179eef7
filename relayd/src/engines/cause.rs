//! Why a call to an engine failed, in relayd's own words.
//!
//! An engine may repeat a prompt in whatever it says: in an error's sentence, in a content type,
//! in a broken frame. So nothing it says is logged or told to operators. What they get is a
//! `&'static str` from this crate, which no engine can fill, beside class and status.

use std::error::Error;
use std::io::ErrorKind;

/// Words by which the known engines and vendors classify an error. One that is on this list may
/// be logged, as the list's own text; any other word of an engine is dropped.
const KNOWN: [&str; 30] = [
    "BadRequestError",
    "InternalServerError",
    "NotFoundError",
    "api_error",
    "authentication_error",
    "billing_error",
    "capacity_exhausted",
    "content_filter",
    "content_policy_violation",
    "context_length_exceeded",
    "exceed_context_size_error",
    "insufficient_quota",
    "internal_server_error",
    "invalid_api_key",
    "invalid_request_error",
    "model_not_found",
    "not_found_error",
    "not_supported_error",
    "overloaded_error",
    "permission_error",
    "rate_limit_error",
    "rate_limit_exceeded",
    "request_too_large",
    "requests",
    "server_error",
    "string_above_max_length",
    "timeout_error",
    "tokens",
    "unavailable_error",
    "unsupported_parameter",
];

/// The list's own text for an engine's word for an error.
pub(crate) fn known(word: &str) -> Option<&'static str> {
    KNOWN.into_iter().find(|known| *known == word)
}

/// What a connection that was closed behind our back comes to, whatever side notices first.
const GONE: [&str; 5] = [
    "closed before the answer was complete",
    "closed while the request was sent",
    "connection aborted",
    "connection reset",
    "the connection was closed",
];

/// Whether a cause says that the other side closed the connection.
pub(crate) fn is_gone(cause: &str) -> bool {
    GONE.contains(&cause)
}

/// What became of a connection.
pub(crate) fn of_connection(error: &(dyn Error + 'static)) -> &'static str {
    let mut next = Some(error);
    let mut found = "the connection failed";
    while let Some(error) = next {
        // The innermost cause that says something says most.
        found = one(error).unwrap_or(found);
        next = error.source();
    }
    found
}

fn one(error: &(dyn Error + 'static)) -> Option<&'static str> {
    if let Some(error) = error.downcast_ref::<std::io::Error>() {
        // A foreign error inside is not always among the sources.
        return error.get_ref().and_then(|inner| one(inner)).or_else(|| of_io(error.kind()));
    }
    if error.is::<rustls::Error>() {
        return Some("the TLS handshake failed");
    }
    if let Some(error) = error.downcast_ref::<hyper::Error>() {
        return of_hyper(error);
    }
    let error = error.downcast_ref::<reqwest::Error>()?;
    if error.is_timeout() {
        Some("no connection in time")
    } else if error.is_connect() {
        Some("no connection, or no such host")
    } else {
        None
    }
}

fn of_hyper(error: &hyper::Error) -> Option<&'static str> {
    if error.is_incomplete_message() {
        Some("closed before the answer was complete")
    } else if error.is_parse() {
        Some("the answer is not HTTP")
    } else if error.is_closed() || error.is_canceled() {
        Some("the connection was closed")
    } else if error.is_timeout() {
        Some("no answer in time")
    } else {
        None
    }
}

const fn of_io(kind: ErrorKind) -> Option<&'static str> {
    Some(match kind {
        ErrorKind::ConnectionRefused => "connection refused",
        ErrorKind::ConnectionReset => "connection reset",
        ErrorKind::ConnectionAborted => "connection aborted",
        ErrorKind::HostUnreachable => "host unreachable",
        ErrorKind::NetworkUnreachable => "network unreachable",
        ErrorKind::AddrNotAvailable => "no free local address",
        ErrorKind::PermissionDenied => "connecting is not permitted",
        ErrorKind::BrokenPipe => "closed while the request was sent",
        ErrorKind::UnexpectedEof => "closed before the answer was complete",
        ErrorKind::TimedOut => "no connection in time",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_words_of_the_list_are_known() {
        assert_eq!(known("overloaded_error"), Some("overloaded_error"));
        assert_eq!(known("my password is swordfish"), None);
        assert_eq!(known(""), None);
        assert!(KNOWN.is_sorted());
    }

    #[test]
    fn the_innermost_cause_is_told() {
        let inner = std::io::Error::from(ErrorKind::ConnectionRefused);
        assert_eq!(of_connection(&inner), "connection refused");
        let foreign = std::io::Error::other("a sentence of the engine");
        assert_eq!(of_connection(&foreign), "the connection failed");
        let outer = std::io::Error::other(std::io::Error::from(ErrorKind::ConnectionReset));
        assert_eq!(of_connection(&outer), "connection reset");
        let tls = std::io::Error::other(rustls::Error::General("a name".to_owned()));
        assert_eq!(of_connection(&tls), "the TLS handshake failed");
    }
}
