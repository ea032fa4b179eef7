//! The four chat routes: one handler, four formats.
//!
//! The order of the checks is the contract's (section 5): credential, account, key's budget, body,
//! model and scope, limits; credit is the ledger's own answer. Nothing is sent to an engine from
//! here and nothing of the body is kept.

use axum::Extension;
use axum::extract::{Request, State};
use axum::response::Response;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue};

use crate::domain::{Code, Fault, FieldError, Mode, ModeRequest, RequestId, Source};
use crate::identity::Principal;
use crate::inference::{Call, Reply};
use crate::wire::{ChatRequest, Surface, stream_error_frame, stream_error_kind};

use super::access::caller;
use super::body;
use super::edge::Visit;
use super::error::{Refused, row};
use super::routes::Chat;

/// The header by which a caller says what belongs together.
const SESSION: &str = "x-session-id";
/// Longest value of it that is heeded: four UUIDs.
const SESSION_MAX_BYTES: usize = 144;

/// The header of an answer while the customer's credit is below its own threshold.
const CREDIT_WARNING: &str = "x-credit-warning";

/// `POST /v2/openai/v1/chat/completions`
pub(super) async fn openai(
    face: State<Chat>,
    visit: Extension<Visit>,
    request: Request,
) -> Result<Response, Refused> {
    answer(face, visit, request, Surface::Openai).await
}

/// `POST /v2/vllm/v1/chat/completions`
pub(super) async fn vllm(
    face: State<Chat>,
    visit: Extension<Visit>,
    request: Request,
) -> Result<Response, Refused> {
    answer(face, visit, request, Surface::Vllm).await
}

/// `POST /v2/anthropic/v1/messages`
pub(super) async fn anthropic(
    face: State<Chat>,
    visit: Extension<Visit>,
    request: Request,
) -> Result<Response, Refused> {
    answer(face, visit, request, Surface::Anthropic).await
}

/// `POST /v2/ollama/api/chat`
pub(super) async fn ollama(
    face: State<Chat>,
    visit: Extension<Visit>,
    request: Request,
) -> Result<Response, Refused> {
    answer(face, visit, request, Surface::Ollama).await
}

async fn answer(
    State(face): State<Chat>,
    Extension(visit): Extension<Visit>,
    request: Request,
    surface: Surface,
) -> Result<Response, Refused> {
    let (head, body) = request.into_parts();
    let principal = caller(&face.identity, &visit, &head.headers).await?;
    if let Some(key) = principal.key() {
        face.identity.check_budget(key).await?;
    }
    let request = scan(&face, &head.headers, body, surface).await?;
    check_features(&request, &principal)?;
    let stream = request.stream();
    let session = session(&principal, &head.headers);
    let served = serve(&face, visit, principal, request, session).await;
    served.map_err(|fault| Refused { fault, before_stream: stream })
}

async fn scan(
    face: &Chat,
    headers: &HeaderMap,
    body: axum::body::Body,
    surface: Surface,
) -> Result<ChatRequest, Fault> {
    let body = face.bodies.read(headers, body).await?;
    ChatRequest::scan(surface, body).map_err(Fault::validation)
}

async fn serve(
    face: &Chat,
    visit: Visit,
    principal: Principal,
    request: ChatRequest,
    session: Option<Box<[u8]>>,
) -> Result<Response, Fault> {
    let surface = request.surface();
    let snapshot = face.catalogue.snapshot();
    let offer =
        snapshot.resolve(source(surface), request.model(), request.mode(), principal.access())?;
    if let Err(fault) = face.identity.admit(&principal, offer.scope.mode).await {
        if let Some(key) = principal.key() {
            face.observe.limited(&key.key_id);
        }
        return Err(fault);
    }
    let low = match principal.key() {
        Some(key) => face.identity.is_low(key).await?,
        None => false,
    };
    let request_id = visit.request_id;
    let (class, weight) = face.identity.class_and_weight(&principal);
    let trace = visit.trace;
    let call = Call { principal, request_id, request, offer, session, trace, class, weight };
    let mut response = match face.inference.chat(call).await? {
        Reply::Whole(answer) => body::json(answer),
        Reply::Stream(frames) => {
            let last = move |fault: &Fault| last_frame(surface, fault, request_id);
            body::stream(surface.stream_content_type(), frames, last)
        }
    };
    if low {
        response.headers_mut().insert(CREDIT_WARNING, HeaderValue::from_static("true"));
    }
    Ok(response)
}

/// What keeps a conversation on one revision of its model and, where it can, on one backend: the caller's own word for it, apart
/// from the same word of other callers.
fn session(principal: &Principal, headers: &HeaderMap) -> Option<Box<[u8]>> {
    let said = headers.get(SESSION)?.as_bytes();
    if said.is_empty() || said.len() > SESSION_MAX_BYTES {
        return None;
    }
    let caller = principal.key().map_or("", |key| key.key_id.as_str());
    Some([caller.as_bytes(), &[0], said].concat().into())
}

/// Refuses well-formed requests that no route of this deployment serves.
fn check_features(request: &ChatRequest, principal: &Principal) -> Result<(), Fault> {
    let refuse = |code, text: &'static str| Err(Fault::new(code, text));
    if request.stream() && request.is_async() {
        return refuse(Code::Unservable, "stream and async exclude each other");
    }
    if request.stream() && request.mode() == ModeRequest::Only(Mode::Opengpu) {
        return refuse(Code::Unservable, "Streaming is served in direct mode only");
    }
    let invalid = |field, msg: &str| {
        Err(Fault::validation(vec![FieldError::body(field, "value_error", msg)]))
    };
    if request.has_routing() {
        return invalid("routing", "No model of this deployment takes routing");
    }
    if request.webhook_url().is_some() && !request.is_async() {
        return invalid("webhook_url", "A webhook needs \"async\": true");
    }
    if request.cache_markers() > 0 && principal.key().is_none() {
        return invalid("cache_control", "Prompt caching needs an API key");
    }
    if request.is_async() {
        return refuse(
            Code::TierFeatureUnavailable,
            "Async tasks are not offered by this deployment. Send the request without \"async\".",
        );
    }
    Ok(())
}

/// The frame that ends a stream in failure (contract section 9.9).
fn last_frame(surface: Surface, fault: &Fault, request_id: RequestId) -> Bytes {
    let status = row(fault.code).status;
    let kind = stream_error_kind(status);
    stream_error_frame(surface, status, kind, &fault.message, &request_id.to_string())
}

/// The family of routes that a format belongs to.
const fn source(surface: Surface) -> Source {
    match surface {
        Surface::Openai => Source::Openai,
        Surface::Vllm => Source::Vllm,
        Surface::Anthropic => Source::Anthropic,
        Surface::Ollama => Source::Ollama,
    }
}
