//! What a failure of the link means, in one sentence that says where to look.

use std::error::Error;
use std::io;

use tonic::{Code, Status};

use crate::text::clean;

/// Why no connection came to be.
pub(super) fn of_connect(url: &str, error: &(dyn Error + 'static)) -> String {
    let mut deepest = error;
    let mut cause = Some(error);
    while let Some(inner) = cause {
        deepest = inner;
        if let Some(io) = inner.downcast_ref::<io::Error>() {
            match io.kind() {
                io::ErrorKind::ConnectionRefused => {
                    return format!("is relayd running? {url} refuses connections");
                }
                io::ErrorKind::TimedOut => return format!("{url} does not answer"),
                _ => {}
            }
        }
        cause = inner.source();
    }
    let said = deepest.to_string();
    let lower = said.to_lowercase();
    if lower.contains("lookup") || lower.contains("dns") || lower.contains("name or service") {
        format!("the name in {url} is not known to DNS")
    } else if lower.contains("certificate") || lower.contains("tls") || lower.contains("handshake")
    {
        format!("the TLS handshake with {url} failed: {}", clean(&said))
    } else if lower.contains("deadline") || lower.contains("timed out") || lower.contains("timeout")
    {
        format!("{url} does not answer")
    } else {
        format!("cannot reach {url}: {}", clean(&said))
    }
}

/// Why a call or a stream failed.
pub(super) fn of_status(url: &str, status: &Status) -> String {
    let said = clean(status.message().trim_end_matches('.'));
    match status.code() {
        Code::Unauthenticated => format!("relayd does not accept the token: {said}"),
        Code::PermissionDenied => format!("not allowed: {said}"),
        Code::Unimplemented => {
            format!("{url} is no relayd admin plane, or one too old for this console")
        }
        Code::Unavailable | Code::Unknown | Code::Cancelled | Code::Internal => {
            match status.source() {
                Some(source) => of_connect(url, source),
                None if said.is_empty() => format!("{url} closed the connection"),
                None => said,
            }
        }
        Code::DeadlineExceeded => format!("{url} did not answer in time"),
        _ => said,
    }
}

/// A refusal of one call, as its toast says it.
pub(super) fn of_call(status: &Status) -> String {
    let said = clean(status.message().trim_end_matches('.'));
    match status.code() {
        Code::PermissionDenied => format!("not allowed: {said}"),
        Code::Unauthenticated => format!("relayd does not accept the token: {said}"),
        Code::Unimplemented => "this relayd is too old for it".to_owned(),
        _ if said.is_empty() => format!("failed: {}", status.code().description()),
        _ => said,
    }
}

/// The call may have been carried out although no answer came.
pub(super) fn is_uncertain(status: &Status) -> bool {
    match status.code() {
        Code::DeadlineExceeded | Code::Cancelled => true,
        Code::Unavailable | Code::Unknown | Code::Internal => status.source().is_some(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_failure_has_its_sentence() {
        let refused = io::Error::from(io::ErrorKind::ConnectionRefused);
        assert_eq!(
            of_connect("http://x:1", &refused),
            "is relayd running? http://x:1 refuses connections"
        );
        for (said, part) in [
            ("failed to lookup address information: Name or service not known", "not known to DNS"),
            ("invalid peer certificate: UnknownIssuer", "TLS handshake"),
            ("deadline has elapsed", "does not answer"),
            ("odd\x1b[2J", "odd?[2J"),
        ] {
            let text = of_connect("http://x:1", &io::Error::other(said));
            assert!(text.contains(part), "{text}");
        }
        let status = Status::unauthenticated("the token is revoked.");
        assert_eq!(
            of_status("u", &status),
            "relayd does not accept the token: the token is revoked"
        );
        assert!(of_status("u", &Status::unimplemented("")).contains("too old"));
        assert_eq!(
            of_status("u", &Status::unavailable("relayd is stopping")),
            "relayd is stopping"
        );
    }

    #[test]
    fn only_a_lost_answer_is_uncertain() {
        assert!(is_uncertain(&Status::deadline_exceeded("")));
        assert!(!is_uncertain(&Status::unavailable("the store is away")));
        assert!(!is_uncertain(&Status::aborted("version 4, expected 3")));
        assert!(is_uncertain(&Status::from_error(Box::new(io::Error::from(
            io::ErrorKind::BrokenPipe
        )))));
    }
}
