//! What a fault is in gRPC. The only place of the admin plane that knows.

use std::fmt::Write as _;

use tonic::{Code as Grpc, Status};

use crate::domain::{Code, Fault};

/// The status of a fault: its sentence, and every wrong field where there are some.
pub(super) fn status(fault: &Fault) -> Status {
    let mut text = match fault.fields.as_slice() {
        [] => fault.message.to_string(),
        fields => fields.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "),
    };
    if let Some(seconds) = fault.retry_after_s {
        // Writing to a String cannot fail.
        let _ = write!(text, " (try again in {seconds} s)");
    }
    Status::new(grpc(fault.code), text)
}

const fn grpc(code: Code) -> Grpc {
    match code {
        Code::ValidationError
        | Code::Unservable
        | Code::UpstreamInvalidRequest
        | Code::IdempotencyKeyReused
        | Code::ContentTypeUnsupported => Grpc::InvalidArgument,
        Code::InvalidApiKey | Code::InvalidToken | Code::KeyRevoked | Code::MissingCredentials => {
            Grpc::Unauthenticated
        }
        Code::CredentialNotPermitted
        | Code::KeyNotOwned
        | Code::ScopeDenied
        | Code::TierFeatureUnavailable
        | Code::RoleDenied => Grpc::PermissionDenied,
        Code::CustomerNotFound | Code::KeyNotFound | Code::ModelNotFound | Code::NotFound => {
            Grpc::NotFound
        }
        Code::RouteNotFound | Code::MethodNotAllowed => Grpc::Unimplemented,
        Code::InsufficientCredits
        | Code::KeyBudgetExhausted
        | Code::AccountInactive
        | Code::ModelNotAvailable
        | Code::ModelRetired
        | Code::SystemKeyImmutable
        | Code::HostNotServed
        | Code::FailedPrecondition => Grpc::FailedPrecondition,
        Code::SuperkeyConflict => Grpc::AlreadyExists,
        Code::VersionConflict => Grpc::Aborted,
        Code::KeyLimitReached
        | Code::RateLimited
        | Code::BodyTooLarge
        | Code::HeadersTooLarge
        | Code::CapacityExhausted => Grpc::ResourceExhausted,
        Code::RequestTimeout | Code::UpstreamTimeout => Grpc::DeadlineExceeded,
        Code::IdempotencyInProgress
        | Code::UpstreamError
        | Code::ProviderUnavailable
        | Code::ProviderSchemaMismatch
        | Code::ServiceUnavailable => Grpc::Unavailable,
        Code::Cancelled => Grpc::Cancelled,
        Code::InternalError => Grpc::Internal,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::FieldError;

    #[test]
    fn every_wrong_field_is_named() {
        let fields = vec![
            FieldError::body("name", "string_too_short", "at least 3 characters"),
            FieldError::body("tier", "unknown", "no tier 'gold'"),
        ];
        let status = status(&Fault::validation(fields));
        assert_eq!(status.code(), Grpc::InvalidArgument);
        assert_eq!(status.message(), "name: at least 3 characters; tier: no tier 'gold'");
    }

    #[test]
    fn a_conflict_is_aborted_and_an_outage_says_when() {
        let conflict = Fault::new(Code::VersionConflict, "key has version 4, expected 3");
        assert_eq!(status(&conflict).code(), Grpc::Aborted);
        let outage = status(&Fault::store_unavailable());
        assert_eq!(outage.code(), Grpc::Unavailable);
        assert!(outage.message().ends_with("(try again in 1 s)"), "{}", outage.message());
    }

    #[test]
    fn no_code_is_ok_or_unknown() {
        for code in Code::ALL {
            assert!(!matches!(grpc(code), Grpc::Ok | Grpc::Unknown), "{code:?}");
        }
    }
}
