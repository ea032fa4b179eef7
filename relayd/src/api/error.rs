//! The one table from a fault to what HTTP says of it, and the shapes it is printed in.
//!
//! Handlers answer `Err(Refused)`; nothing but [`render`] turns that into bytes, so that every
//! failure of every route looks alike.

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;

use crate::domain::{Code, Fault, FieldError, RequestId};
use crate::wire::stream_error_kind;

/// How HTTP speaks of a [`Code`] (contract section 5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// The status.
    pub status: u16,
    /// The class of error.
    pub kind: &'static str,
    /// Who is to blame.
    pub source: &'static str,
}

/// Which shape the caller's SDK reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// The envelope: Relay's own routes, openai and vllm.
    Relay,
    /// The envelope with Anthropic's top-level `"type":"error"`.
    Anthropic,
    /// Ollama's `{"error":"text"}` with code and request id beside it.
    Ollama,
}

/// A fault on its way out of a handler.
#[derive(Clone, Debug)]
pub struct Refused {
    /// What went wrong.
    pub fault: Fault,
    /// The caller asked for a stream and nothing of it was sent yet (contract section 3.1).
    pub before_stream: bool,
}

#[derive(Serialize)]
struct Envelope<'a> {
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    kind: Option<&'static str>,
    detail: Detail<'a>,
    error: Inner<'a>,
}

#[derive(Serialize)]
struct Inner<'a> {
    code: &'static str,
    #[serde(rename = "type")]
    kind: &'static str,
    source: &'static str,
    message: &'a str,
    request_id: RequestId,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<&'a [FieldError]>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Detail<'a> {
    Text(&'a str),
    Fields(&'a [FieldError]),
}

#[derive(Serialize)]
struct OllamaError<'a> {
    error: &'a str,
    code: &'static str,
    request_id: RequestId,
}

#[derive(Serialize)]
struct StreamError<'a> {
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    kind: Option<&'static str>,
    error: StreamInner<'a>,
}

#[derive(Serialize)]
struct StreamInner<'a> {
    message: &'a str,
    #[serde(rename = "type")]
    kind: &'static str,
    code: u16,
}

/// The table. The public word of a code is its own; clients fall back to the status where they do
/// not know the word.
#[must_use]
pub const fn row(code: Code) -> Row {
    use Code as C;
    let (status, kind, source) = match code {
        C::ValidationError => (422, "validation", "client"),
        C::Unservable => (400, "validation", "client"),
        C::UpstreamInvalidRequest => (400, "validation", "client"),
        C::InvalidApiKey => (401, "authentication", "client"),
        C::InvalidToken => (401, "authentication", "client"),
        C::KeyRevoked => (401, "authentication", "client"),
        C::MissingCredentials => (401, "authentication", "client"),
        C::InsufficientCredits => (402, "authorization", "client"),
        C::KeyBudgetExhausted => (402, "authorization", "client"),
        C::AccountInactive => (403, "authorization", "client"),
        C::CredentialNotPermitted => (403, "authorization", "client"),
        C::KeyLimitReached => (403, "authorization", "client"),
        C::KeyNotOwned => (403, "authorization", "client"),
        C::ScopeDenied => (403, "authorization", "client"),
        C::TierFeatureUnavailable => (403, "authorization", "client"),
        C::RoleDenied => (403, "authorization", "client"),
        C::ModelNotAvailable => (403, "validation", "client"),
        C::ModelRetired => (403, "removed", "client"),
        C::CustomerNotFound => (404, "validation", "client"),
        C::KeyNotFound => (404, "validation", "client"),
        C::ModelNotFound => (404, "validation", "client"),
        C::NotFound => (404, "validation", "client"),
        C::RouteNotFound => (404, "validation", "client"),
        C::MethodNotAllowed => (405, "validation", "client"),
        C::SystemKeyImmutable => (400, "validation", "client"),
        C::RequestTimeout => (408, "timeout", "client"),
        C::SuperkeyConflict => (409, "validation", "client"),
        C::VersionConflict => (409, "validation", "client"),
        C::FailedPrecondition => (409, "validation", "client"),
        C::IdempotencyInProgress => (409, "validation", "client"),
        C::IdempotencyKeyReused => (422, "validation", "client"),
        C::BodyTooLarge => (413, "validation", "client"),
        C::ContentTypeUnsupported => (415, "validation", "client"),
        C::HeadersTooLarge => (431, "validation", "client"),
        C::HostNotServed => (421, "validation", "client"),
        C::RateLimited => (429, "rate_limit", "client"),
        // Nobody reads it: the caller is gone. 499 is what proxies log for that.
        C::Cancelled => (499, "timeout", "client"),
        C::InternalError => (500, "internal", "relay"),
        C::UpstreamError => (502, "unavailable", "provider"),
        C::ProviderUnavailable => (502, "unavailable", "provider"),
        C::ProviderSchemaMismatch => (502, "schema", "provider"),
        C::CapacityExhausted => (503, "unavailable", "provider"),
        C::ServiceUnavailable => (503, "unavailable", "relay"),
        C::UpstreamTimeout => (504, "timeout", "provider"),
    };
    Row { status, kind, source }
}

impl Shape {
    /// The shape that the clients of a path read.
    #[must_use]
    pub fn of(path: &str) -> Self {
        let under = |prefix: &str| {
            path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        if under("/v2/anthropic") {
            Self::Anthropic
        } else if under("/v2/ollama") {
            Self::Ollama
        } else {
            Self::Relay
        }
    }
}

impl From<Fault> for Refused {
    fn from(fault: Fault) -> Self {
        Self { fault, before_stream: false }
    }
}

impl IntoResponse for Refused {
    /// A response that carries the refusal and no body yet; the edge renders it.
    fn into_response(self) -> Response {
        let mut response = status(self.fault.code).into_response();
        response.extensions_mut().insert(self);
        response
    }
}

/// Prints a refusal.
#[must_use]
pub fn render(refused: &Refused, shape: Shape, request_id: RequestId) -> Response {
    let fault = &refused.fault;
    let body = match (refused.before_stream, shape) {
        (_, Shape::Ollama) => serde_json::to_vec(&OllamaError {
            error: &fault.message,
            code: fault.code.as_str(),
            request_id,
        }),
        (true, _) => serde_json::to_vec(&stream_error(fault, shape)),
        (false, _) => serde_json::to_vec(&envelope(fault, shape, request_id)),
    };
    // Strings and integers always print.
    let mut response = Response::new(Body::from(body.unwrap_or_default()));
    *response.status_mut() = status(fault.code);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if let Some(seconds) = fault.retry_after_s.filter(|_| may_retry(fault.code)) {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

fn envelope<'a>(fault: &'a Fault, shape: Shape, request_id: RequestId) -> Envelope<'a> {
    let Row { kind, source, .. } = row(fault.code);
    let fields = (!fault.fields.is_empty()).then_some(fault.fields.as_slice());
    Envelope {
        kind: (shape == Shape::Anthropic).then_some("error"),
        detail: fields.map_or(Detail::Text(&fault.message), Detail::Fields),
        error: Inner {
            code: fault.code.as_str(),
            kind,
            source,
            message: &fault.message,
            request_id,
            detail: fields,
        },
    }
}

fn stream_error(fault: &Fault, shape: Shape) -> StreamError<'_> {
    StreamError {
        kind: (shape == Shape::Anthropic).then_some("error"),
        error: StreamInner {
            message: &fault.message,
            kind: stream_error_kind(row(fault.code).status),
            code: row(fault.code).status,
        },
    }
}

/// `Retry-After` never goes with a 500 or 502: a client of the contract would retry those for ever
/// (section 8).
const fn may_retry(code: Code) -> bool {
    matches!(row(code).status, 409 | 429 | 503)
}

fn status(code: Code) -> StatusCode {
    StatusCode::from_u16(row(code).status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use http_body_util::BodyExt as _;

    use crate::domain::Loc;

    use super::*;

    /// The statuses of the contract, of the codes that this face can answer with.
    const CONTRACT: [(&str, u16); 31] = [
        ("ACCOUNT_INACTIVE", 403),
        ("CAPACITY_EXHAUSTED", 503),
        ("CREDENTIAL_NOT_PERMITTED", 403),
        ("CUSTOMER_NOT_FOUND", 404),
        ("IDEMPOTENCY_IN_PROGRESS", 409),
        ("IDEMPOTENCY_KEY_REUSED", 422),
        ("INSUFFICIENT_CREDITS", 402),
        ("INTERNAL_ERROR", 500),
        ("INVALID_API_KEY", 401),
        ("INVALID_TOKEN", 401),
        ("KEY_BUDGET_EXHAUSTED", 402),
        ("KEY_LIMIT_REACHED", 403),
        ("KEY_NOT_FOUND", 404),
        ("KEY_NOT_OWNED", 403),
        ("KEY_REVOKED", 401),
        ("MISSING_CREDENTIALS", 401),
        ("MODEL_NOT_AVAILABLE", 403),
        ("MODEL_NOT_FOUND", 404),
        ("MODEL_RETIRED", 403),
        ("PROVIDER_SCHEMA_MISMATCH", 502),
        ("PROVIDER_UNAVAILABLE", 502),
        ("RATE_LIMITED", 429),
        ("SCOPE_DENIED", 403),
        ("SERVICE_UNAVAILABLE", 503),
        ("SUPERKEY_CONFLICT", 409),
        ("SYSTEM_KEY_IMMUTABLE", 400),
        ("TIER_FEATURE_UNAVAILABLE", 403),
        ("UPSTREAM_ERROR", 502),
        ("UPSTREAM_INVALID_REQUEST", 400),
        ("UPSTREAM_TIMEOUT", 504),
        ("VALIDATION_ERROR", 422),
    ];

    #[test]
    fn the_table_agrees_with_the_contract() {
        let mut ours: HashMap<&str, Vec<u16>> = HashMap::new();
        for code in Code::ALL {
            let row = row(code);
            ours.entry(code.as_str()).or_default().push(row.status);
        }
        for (code, status) in CONTRACT {
            assert!(ours[code].contains(&status), "{code}: {:?}, not {status}", ours[code]);
        }
        assert_eq!(ours["VALIDATION_ERROR"], [422, 400], "the one code with two statuses");
        assert!(ours.iter().all(|(code, rows)| rows.len() == 1 || *code == "VALIDATION_ERROR"));
    }

    #[test]
    fn kinds_and_sources_are_those_of_the_contract() {
        let kinds = [
            "validation",
            "authentication",
            "authorization",
            "rate_limit",
            "timeout",
            "schema",
            "internal",
            "unavailable",
            "removed",
        ];
        for code in Code::ALL {
            let row = row(code);
            assert!(kinds.contains(&row.kind), "{code:?}");
            let blamed = match row.status {
                500 => "relay",
                503 if code == Code::ServiceUnavailable => "relay",
                502..=504 => "provider",
                _ => "client",
            };
            assert_eq!(row.source, blamed, "{code:?}");
            assert!(StatusCode::from_u16(row.status).is_ok());
        }
    }

    async fn printed(refused: &Refused, shape: Shape) -> (u16, Option<String>, String) {
        let id = "0199a8f0-0000-7000-8000-000000000001".parse().unwrap();
        let response = render(refused, shape, id);
        let retry = response.headers().get(header::RETRY_AFTER);
        let retry = retry.map(|value| value.to_str().unwrap().to_owned());
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, retry, String::from_utf8(body.to_vec()).unwrap())
    }

    const GOLDEN: [(&str, Shape, u16, &str); 7] = [
        (
            "limited",
            Shape::Relay,
            429,
            r#"{"detail":"Rate limit exceeded","error":{"code":"RATE_LIMITED","type":"rate_limit","source":"client","message":"Rate limit exceeded","request_id":"0199a8f0-0000-7000-8000-000000000001"}}"#,
        ),
        (
            "limited",
            Shape::Anthropic,
            429,
            r#"{"type":"error","detail":"Rate limit exceeded","error":{"code":"RATE_LIMITED","type":"rate_limit","source":"client","message":"Rate limit exceeded","request_id":"0199a8f0-0000-7000-8000-000000000001"}}"#,
        ),
        (
            "limited",
            Shape::Ollama,
            429,
            r#"{"error":"Rate limit exceeded","code":"RATE_LIMITED","request_id":"0199a8f0-0000-7000-8000-000000000001"}"#,
        ),
        (
            "invalid",
            Shape::Relay,
            422,
            r#"{"detail":[{"type":"missing","loc":["body","messages"],"msg":"Field required"}],"error":{"code":"VALIDATION_ERROR","type":"validation","source":"client","message":"messages: Field required","request_id":"0199a8f0-0000-7000-8000-000000000001","detail":[{"type":"missing","loc":["body","messages"],"msg":"Field required"}]}}"#,
        ),
        (
            "early",
            Shape::Relay,
            429,
            r#"{"error":{"message":"Rate limit exceeded","type":"rate_limit_exceeded","code":429}}"#,
        ),
        (
            "early",
            Shape::Anthropic,
            429,
            r#"{"type":"error","error":{"message":"Rate limit exceeded","type":"rate_limit_exceeded","code":429}}"#,
        ),
        (
            "early",
            Shape::Ollama,
            429,
            r#"{"error":"Rate limit exceeded","code":"RATE_LIMITED","request_id":"0199a8f0-0000-7000-8000-000000000001"}"#,
        ),
    ];

    #[tokio::test]
    async fn the_shapes_are_golden() {
        let limited: Refused =
            Fault::new(Code::RateLimited, "Rate limit exceeded").retry_after(60).into();
        let field = FieldError::body("messages", "missing", "Field required");
        let invalid: Refused = Fault::validation(vec![field]).into();
        assert_eq!(invalid.fault.fields[0].loc[0], Loc::Key("body".into()));
        let early = Refused { before_stream: true, ..limited.clone() };
        for (which, shape, status, body) in GOLDEN {
            let refused = match which {
                "limited" => &limited,
                "invalid" => &invalid,
                _ => &early,
            };
            let retry = (status == 429).then(|| "60".to_owned());
            let got = printed(refused, shape).await;
            assert_eq!(got, (status, retry, body.to_owned()), "{which} {shape:?}");
        }
    }

    #[tokio::test]
    async fn a_500_or_502_never_asks_for_a_retry() {
        for code in Code::ALL {
            let refused: Refused = Fault::new(code, "x").retry_after(5).into();
            let (status, retry, _) = printed(&refused, Shape::Relay).await;
            assert_eq!(retry.is_some(), matches!(status, 409 | 429 | 503), "{code:?}");
        }
    }

    #[test]
    fn a_path_has_one_shape() {
        for (path, shape) in [
            ("/v2/anthropic/v1/messages", Shape::Anthropic),
            ("/v2/anthropic", Shape::Anthropic),
            ("/v2/anthropicx", Shape::Relay),
            ("/v2/ollama/api/chat", Shape::Ollama),
            ("/v2/openai/v1/chat/completions", Shape::Relay),
            ("/", Shape::Relay),
        ] {
            assert_eq!(Shape::of(path), shape, "{path}");
        }
    }
}
