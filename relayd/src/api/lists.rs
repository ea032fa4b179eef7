//! Model lists in the formats of OpenAI and Ollama, and Ollama's `show` and `version`.

use axum::extract::{Path, Request, State};
use axum::response::Response;
use axum::{Extension, body::Bytes};
use http::HeaderMap;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::catalogue::{Listing, Model};
use crate::domain::{Fault, FieldError, Source};

use super::access::caller;
use super::body;
use super::edge::Visit;
use super::error::Refused;
use super::models::{not_found, offered};
use super::routes::Reads;

/// Time that Ollama's clients show for a model. Relay keeps no files, so it has none.
const NO_TIME: &str = "1970-01-01T00:00:00Z";

#[derive(Deserialize)]
struct Show {
    model: Option<String>,
    /// What older clients send.
    name: Option<String>,
}

/// `GET /v2/openai/v1/models`
pub(super) async fn openai(
    reads: State<Reads>,
    visit: Extension<Visit>,
    headers: HeaderMap,
) -> Result<Response, Refused> {
    openai_list(reads, visit, headers, Source::Openai).await
}

/// `GET /v2/vllm/v1/models`
pub(super) async fn vllm(
    reads: State<Reads>,
    visit: Extension<Visit>,
    headers: HeaderMap,
) -> Result<Response, Refused> {
    openai_list(reads, visit, headers, Source::Vllm).await
}

/// `GET /v2/openai/v1/models/{name}`
pub(super) async fn openai_one(
    reads: State<Reads>,
    visit: Extension<Visit>,
    headers: HeaderMap,
    path: Path<String>,
) -> Result<Response, Refused> {
    openai_model(reads, visit, headers, path, Source::Openai).await
}

/// `GET /v2/vllm/v1/models/{name}`
pub(super) async fn vllm_one(
    reads: State<Reads>,
    visit: Extension<Visit>,
    headers: HeaderMap,
    path: Path<String>,
) -> Result<Response, Refused> {
    openai_model(reads, visit, headers, path, Source::Vllm).await
}

/// `GET /v2/ollama/api/tags`
pub(super) async fn ollama_tags(
    State(reads): State<Reads>,
    Extension(visit): Extension<Visit>,
    headers: HeaderMap,
) -> Result<Response, Refused> {
    caller(&reads.identity, &visit, &headers).await?;
    let snapshot = reads.catalogue.snapshot();
    let models: Vec<Value> = offered(&snapshot)
        .filter(|listing| sold_by(listing, Source::Ollama))
        .map(|listing| {
            json!({
                "name": listing.model.name.as_str(),
                "model": listing.model.name.as_str(),
                "modified_at": NO_TIME,
                "size": 0,
                "digest": "",
                "details": ollama_details(),
            })
        })
        .collect();
    Ok(body::json(json!({ "models": models }).to_string()))
}

/// `POST /v2/ollama/api/show`
pub(super) async fn ollama_show(
    State(reads): State<Reads>,
    Extension(visit): Extension<Visit>,
    headers: HeaderMap,
    request: Request,
) -> Result<Response, Refused> {
    caller(&reads.identity, &visit, &headers).await?;
    let bytes: Bytes = reads.small_bodies.read(&headers, request.into_body()).await?;
    let invalid = |kind, msg: &str| Fault::validation(vec![FieldError::body("model", kind, msg)]);
    let show: Show = serde_json::from_slice(&bytes)
        .map_err(|_| invalid("json_invalid", "Expected an object with a model"))?;
    let name = show.model.or(show.name).ok_or_else(|| invalid("missing", "Field required"))?;
    let snapshot = reads.catalogue.snapshot();
    let listing = snapshot
        .listing(&name)
        .filter(|listing| sold_by(listing, Source::Ollama))
        .ok_or_else(|| not_found(&name))?;
    Ok(body::json(show_model(&listing.model).to_string()))
}

/// `GET /v2/ollama/api/version`
pub(super) async fn ollama_version() -> Response {
    body::json(json!({ "version": env!("CARGO_PKG_VERSION") }).to_string())
}

async fn openai_list(
    State(reads): State<Reads>,
    Extension(visit): Extension<Visit>,
    headers: HeaderMap,
    source: Source,
) -> Result<Response, Refused> {
    caller(&reads.identity, &visit, &headers).await?;
    let snapshot = reads.catalogue.snapshot();
    let data: Vec<Value> = offered(&snapshot)
        .filter(|listing| sold_by(listing, source))
        .map(|listing| openai_row(&listing.model))
        .collect();
    Ok(body::json(json!({ "object": "list", "data": data }).to_string()))
}

async fn openai_model(
    State(reads): State<Reads>,
    Extension(visit): Extension<Visit>,
    headers: HeaderMap,
    Path(name): Path<String>,
    source: Source,
) -> Result<Response, Refused> {
    caller(&reads.identity, &visit, &headers).await?;
    let snapshot = reads.catalogue.snapshot();
    let listing = snapshot
        .listing(&name)
        .filter(|listing| sold_by(listing, source))
        .ok_or_else(|| not_found(&name))?;
    Ok(body::json(openai_row(&listing.model).to_string()))
}

fn sold_by(listing: &Listing, source: Source) -> bool {
    listing.offers.iter().any(|offer| offer.scope.source == source)
}

fn openai_row(model: &Model) -> Value {
    let name = model.name.as_str();
    let owner = name.split_once('/').map_or("relay", |(vendor, _)| vendor);
    json!({ "id": name, "object": "model", "created": 0, "owned_by": owner })
}

fn show_model(model: &Model) -> Value {
    let mut capabilities = vec!["completion"];
    capabilities.extend(model.capabilities.iter().filter_map(|word| match word.as_str() {
        "tools" => Some("tools"),
        "vision" => Some("vision"),
        "reasoning" => Some("thinking"),
        _ => None,
    }));
    json!({
        "modelfile": "",
        "parameters": "",
        "template": "",
        "details": ollama_details(),
        "model_info": {
            "general.basename": model.display_name,
            "general.context_length": model.context_tokens,
        },
        "capabilities": capabilities,
        "modified_at": NO_TIME,
    })
}

/// What only a file would tell.
fn ollama_details() -> Value {
    json!({
        "parent_model": "",
        "format": "",
        "family": "",
        "families": [],
        "parameter_size": "",
        "quantization_level": "",
    })
}
