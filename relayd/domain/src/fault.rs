//! What a caller may be told when something goes wrong.

use std::borrow::Cow;
use std::fmt;

use serde::{Serialize, Serializer};

/// The closed, append-only catalogue of public error codes (contract section 5).
///
/// Which HTTP status, type and source a code has is known to the REST face alone, which gRPC
/// code it has to the admin face alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Code {
    /// The body, query or path is invalid.
    ValidationError,
    /// Well-formed but not servable: a combination that no route offers.
    Unservable,
    /// A provider refused the parameters.
    UpstreamInvalidRequest,
    /// Unknown API key.
    InvalidApiKey,
    /// Unknown or expired token.
    InvalidToken,
    /// The key was revoked.
    KeyRevoked,
    /// An account route without a credential.
    MissingCredentials,
    /// The wallet does not cover the request.
    InsufficientCredits,
    /// The key's own budget does not cover the request.
    KeyBudgetExhausted,
    /// The customer's account is suspended.
    AccountInactive,
    /// A credential of the wrong kind for this route.
    CredentialNotPermitted,
    /// The tier's number of keys is reached.
    KeyLimitReached,
    /// The key belongs to another customer.
    KeyNotOwned,
    /// Tier, key or allowlist bars the model.
    ScopeDenied,
    /// The tier lacks a feature.
    TierFeatureUnavailable,
    /// A known model that nobody serves.
    ModelNotAvailable,
    /// A model that was withdrawn.
    ModelRetired,
    /// No such customer.
    CustomerNotFound,
    /// No such key.
    KeyNotFound,
    /// No such model.
    ModelNotFound,
    /// No such object of another kind; the message names it.
    NotFound,
    /// No such path, or not with that method.
    RouteNotFound,
    /// The path exists, but not with that method.
    MethodNotAllowed,
    /// A system key cannot be changed.
    SystemKeyImmutable,
    /// An active superkey exists.
    SuperkeyConflict,
    /// The object changed since it was read; the message names both versions.
    VersionConflict,
    /// The object's state does not allow the change.
    FailedPrecondition,
    /// The same idempotency key with another body.
    IdempotencyKeyReused,
    /// The same idempotency key is being accepted.
    IdempotencyInProgress,
    /// The body is larger than allowed.
    BodyTooLarge,
    /// The head is larger than allowed.
    HeadersTooLarge,
    /// The request addresses a host name that is not ours.
    HostNotServed,
    /// The client did not finish its request in time.
    RequestTimeout,
    /// The content type of the body is not accepted.
    ContentTypeUnsupported,
    /// More requests a minute than allowed.
    RateLimited,
    /// The operator's role does not allow the call.
    RoleDenied,
    /// A fault of relayd itself.
    InternalError,
    /// The provider took the request and failed.
    UpstreamError,
    /// No provider could take the request.
    ProviderUnavailable,
    /// The provider's answer is not in shape.
    ProviderSchemaMismatch,
    /// Every provider is busy, or the queue is full.
    CapacityExhausted,
    /// relayd cannot serve now: it drains, or its database is away.
    ServiceUnavailable,
    /// The provider took too long.
    UpstreamTimeout,
    /// The caller went away before the work began.
    Cancelled,
}

/// One step of the way to a wrong value: `["body", "messages", 0, "role"]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Loc {
    /// A member of an object.
    Key(Cow<'static, str>),
    /// An element of an array.
    Index(usize),
}

/// One wrong value, in the shape of the contract's validation list. Never holds the value itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FieldError {
    /// A short stable word: `missing`, `int_type`, `less_than_equal`, ...
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// Where the value stands.
    pub loc: Vec<Loc>,
    /// A sentence for people.
    pub msg: String,
}

/// A refusal or failure, as far as a caller may know it. Holds no secret and no driver text.
#[derive(Clone, Debug, PartialEq)]
pub struct Fault {
    /// Which error.
    pub code: Code,
    /// A sentence that says what is wrong and what to do.
    pub message: Cow<'static, str>,
    /// Wrong values, for validation faults; otherwise empty.
    pub fields: Vec<FieldError>,
    /// Seconds after which a retry makes sense.
    pub retry_after_s: Option<u32>,
}

impl Code {
    /// Every code, for tables that must be complete.
    pub const ALL: [Self; 44] = [
        Self::ValidationError,
        Self::Unservable,
        Self::UpstreamInvalidRequest,
        Self::InvalidApiKey,
        Self::InvalidToken,
        Self::KeyRevoked,
        Self::MissingCredentials,
        Self::InsufficientCredits,
        Self::KeyBudgetExhausted,
        Self::AccountInactive,
        Self::CredentialNotPermitted,
        Self::KeyLimitReached,
        Self::KeyNotOwned,
        Self::ScopeDenied,
        Self::TierFeatureUnavailable,
        Self::ModelNotAvailable,
        Self::ModelRetired,
        Self::CustomerNotFound,
        Self::KeyNotFound,
        Self::ModelNotFound,
        Self::NotFound,
        Self::RouteNotFound,
        Self::MethodNotAllowed,
        Self::SystemKeyImmutable,
        Self::SuperkeyConflict,
        Self::VersionConflict,
        Self::FailedPrecondition,
        Self::IdempotencyKeyReused,
        Self::IdempotencyInProgress,
        Self::BodyTooLarge,
        Self::HeadersTooLarge,
        Self::HostNotServed,
        Self::RequestTimeout,
        Self::ContentTypeUnsupported,
        Self::RateLimited,
        Self::RoleDenied,
        Self::InternalError,
        Self::UpstreamError,
        Self::ProviderUnavailable,
        Self::ProviderSchemaMismatch,
        Self::CapacityExhausted,
        Self::ServiceUnavailable,
        Self::UpstreamTimeout,
        Self::Cancelled,
    ];

    /// The word that callers see and that usage rows keep.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ValidationError | Self::Unservable => "VALIDATION_ERROR",
            Self::UpstreamInvalidRequest => "UPSTREAM_INVALID_REQUEST",
            Self::InvalidApiKey => "INVALID_API_KEY",
            Self::InvalidToken => "INVALID_TOKEN",
            Self::KeyRevoked => "KEY_REVOKED",
            Self::MissingCredentials => "MISSING_CREDENTIALS",
            Self::InsufficientCredits => "INSUFFICIENT_CREDITS",
            Self::KeyBudgetExhausted => "KEY_BUDGET_EXHAUSTED",
            Self::AccountInactive => "ACCOUNT_INACTIVE",
            Self::CredentialNotPermitted => "CREDENTIAL_NOT_PERMITTED",
            Self::KeyLimitReached => "KEY_LIMIT_REACHED",
            Self::KeyNotOwned => "KEY_NOT_OWNED",
            Self::ScopeDenied => "SCOPE_DENIED",
            Self::TierFeatureUnavailable => "TIER_FEATURE_UNAVAILABLE",
            Self::ModelNotAvailable => "MODEL_NOT_AVAILABLE",
            Self::ModelRetired => "MODEL_RETIRED",
            Self::CustomerNotFound => "CUSTOMER_NOT_FOUND",
            Self::KeyNotFound => "KEY_NOT_FOUND",
            Self::ModelNotFound => "MODEL_NOT_FOUND",
            Self::NotFound => "NOT_FOUND",
            Self::RouteNotFound => "ROUTE_NOT_FOUND",
            Self::MethodNotAllowed => "METHOD_NOT_ALLOWED",
            Self::SystemKeyImmutable => "SYSTEM_KEY_IMMUTABLE",
            Self::SuperkeyConflict => "SUPERKEY_CONFLICT",
            Self::VersionConflict => "VERSION_CONFLICT",
            Self::FailedPrecondition => "FAILED_PRECONDITION",
            Self::IdempotencyKeyReused => "IDEMPOTENCY_KEY_REUSED",
            Self::IdempotencyInProgress => "IDEMPOTENCY_IN_PROGRESS",
            Self::BodyTooLarge => "BODY_TOO_LARGE",
            Self::HeadersTooLarge => "HEADERS_TOO_LARGE",
            Self::HostNotServed => "HOST_NOT_SERVED",
            Self::RequestTimeout => "REQUEST_TIMEOUT",
            Self::ContentTypeUnsupported => "CONTENT_TYPE_UNSUPPORTED",
            Self::RateLimited => "RATE_LIMITED",
            Self::RoleDenied => "ROLE_DENIED",
            Self::InternalError => "INTERNAL_ERROR",
            Self::UpstreamError => "UPSTREAM_ERROR",
            Self::ProviderUnavailable => "PROVIDER_UNAVAILABLE",
            Self::ProviderSchemaMismatch => "PROVIDER_SCHEMA_MISMATCH",
            Self::CapacityExhausted => "CAPACITY_EXHAUSTED",
            Self::ServiceUnavailable => "SERVICE_UNAVAILABLE",
            Self::UpstreamTimeout => "UPSTREAM_TIMEOUT",
            Self::Cancelled => "CANCELLED",
        }
    }
}

impl Fault {
    /// A fault with a sentence.
    #[must_use]
    pub fn new(code: Code, message: impl Into<Cow<'static, str>>) -> Self {
        Self { code, message: message.into(), fields: Vec::new(), retry_after_s: None }
    }

    /// A validation fault that lists wrong values. Its message is the first of them.
    #[must_use]
    pub fn validation(fields: Vec<FieldError>) -> Self {
        let message = match fields.as_slice() {
            [] => "the request is invalid".to_owned(),
            [only] => only.to_string(),
            [first, rest @ ..] => format!("{first} (and {} more)", rest.len()),
        };
        Self { fields, ..Self::new(Code::ValidationError, message) }
    }

    /// The same fault, with a time after which a retry makes sense.
    #[must_use]
    pub fn retry_after(self, seconds: u32) -> Self {
        Self { retry_after_s: Some(seconds), ..self }
    }

    /// Our own failure. The cause belongs in the log, not in the answer.
    #[must_use]
    pub fn internal() -> Self {
        Self::new(
            Code::InternalError,
            "relayd failed to handle the request; the operator finds the cause under the request id",
        )
    }

    /// The database cannot be reached or did not answer in time.
    #[must_use]
    pub fn store_unavailable() -> Self {
        Self::new(
            Code::ServiceUnavailable,
            "the service is temporarily unavailable, please retry shortly",
        )
        .retry_after(1)
    }
}

impl FieldError {
    /// An error about `body.<key>`.
    #[must_use]
    pub fn body(
        key: impl Into<Cow<'static, str>>,
        kind: &'static str,
        msg: impl Into<String>,
    ) -> Self {
        Self { kind, loc: vec![Loc::Key("body".into()), Loc::Key(key.into())], msg: msg.into() }
    }

    /// An error about `query.<key>`.
    #[must_use]
    pub fn query(
        key: impl Into<Cow<'static, str>>,
        kind: &'static str,
        msg: impl Into<String>,
    ) -> Self {
        Self { kind, loc: vec![Loc::Key("query".into()), Loc::Key(key.into())], msg: msg.into() }
    }
}

impl fmt::Display for FieldError {
    /// `messages.0.role: Field required`; the leading `body` or `query` is left out. A body that is
    /// no JSON has no members: there the place is a byte.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let [Loc::Key(whole), Loc::Index(at)] = self.loc.as_slice() {
            return write!(f, "{whole}, byte {at}: {}", self.msg);
        }
        let path = if self.loc.len() > 1 { &self.loc[1..] } else { &self.loc[..] };
        for (n, step) in path.iter().enumerate() {
            let dot = if n == 0 { "" } else { "." };
            match step {
                Loc::Key(key) => write!(f, "{dot}{key}")?,
                Loc::Index(index) => write!(f, "{dot}{index}")?,
            }
        }
        write!(f, ": {}", self.msg)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Fault {}

impl Serialize for Loc {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Key(key) => serializer.serialize_str(key),
            Self::Index(index) => serializer.serialize_u64(*index as u64),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_error_reads_like_the_contract() {
        let error = FieldError {
            kind: "missing",
            loc: vec![Loc::Key("body".into()), Loc::Key("messages".into()), Loc::Index(0)],
            msg: "Field required".into(),
        };
        assert_eq!(error.to_string(), "messages.0: Field required");
        let no_json = FieldError {
            kind: "json_invalid",
            loc: vec![Loc::Key("body".into()), Loc::Index(7)],
            msg: "JSON decode error: expected a value".into(),
        };
        assert_eq!(no_json.to_string(), "body, byte 7: JSON decode error: expected a value");
        assert_eq!(
            serde_json::to_string(&error).unwrap(),
            r#"{"type":"missing","loc":["body","messages",0],"msg":"Field required"}"#
        );
        assert_eq!(
            Fault::validation(vec![error.clone(), error]).message,
            "messages.0: Field required (and 1 more)"
        );
    }
}
