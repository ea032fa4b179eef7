//! Model lists in the formats of OpenAI, Anthropic and Ollama, and Ollama's `show`, `ps` and
//! `version`.

use axum::body::Bytes;
use axum::extract::{Request, State};
use axum::response::Response;
use http::{HeaderMap, Uri};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::catalogue::{CatalogueSnapshot, Listing, Model};
use crate::domain::{Fault, FieldError, Source};

use super::access::Anyone;
use super::body;
use super::error::Refused;
use super::input::{self, Segment};
use super::models::{not_found, offered};
use super::routes::Reads;

/// Time that clients of Anthropic and Ollama show for a model. Relay keeps no files and knows no
/// release dates, so it has none.
const NO_TIME: &str = "1970-01-01T00:00:00Z";

/// When Ollama's clients are told that a model will be unloaded.
const NEVER: &str = "9999-12-31T23:59:59Z";

/// Models on a page of Anthropic's list that does not say how many it wants, and the most.
const ANTHROPIC_DEFAULT: usize = 20;
const ANTHROPIC_MAX: usize = 1_000;

/// Other parameters, such as those of workspaces, are the vendor's own and say nothing here.
#[derive(Deserialize)]
struct AnthropicQuery {
    limit: Option<usize>,
    after_id: Option<String>,
    before_id: Option<String>,
}

#[derive(Deserialize)]
struct Show {
    model: Option<String>,
    /// What older clients send.
    name: Option<String>,
}

/// `GET /v2/openai/v1/models`
pub(super) async fn openai(State(reads): State<Reads>, _: Anyone) -> Result<Response, Refused> {
    Ok(openai_list(&reads, Source::Openai))
}

/// `GET /v2/vllm/v1/models`
pub(super) async fn vllm(State(reads): State<Reads>, _: Anyone) -> Result<Response, Refused> {
    Ok(openai_list(&reads, Source::Vllm))
}

/// `GET /v2/openai/v1/models/{name}`
pub(super) async fn openai_one(
    State(reads): State<Reads>,
    _: Anyone,
    Segment(name): Segment,
) -> Result<Response, Refused> {
    openai_model(&reads, Source::Openai, &name)
}

/// `GET /v2/vllm/v1/models/{name}`
pub(super) async fn vllm_one(
    State(reads): State<Reads>,
    _: Anyone,
    Segment(name): Segment,
) -> Result<Response, Refused> {
    openai_model(&reads, Source::Vllm, &name)
}

/// `GET /v2/anthropic/v1/models`
pub(super) async fn anthropic(
    State(reads): State<Reads>,
    _: Anyone,
    uri: Uri,
) -> Result<Response, Refused> {
    let query: AnthropicQuery = input::query(&uri)?;
    let limit = query.limit.unwrap_or(ANTHROPIC_DEFAULT);
    if !(1..=ANTHROPIC_MAX).contains(&limit) {
        let error = FieldError::query("limit", "value_error", "Expected 1 to 1000");
        return Err(Fault::validation(vec![error]).into());
    }
    let snapshot = reads.catalogue.snapshot();
    let all: Vec<&Listing> =
        offered(&snapshot).filter(|listing| sold_by(listing, Source::Anthropic)).collect();
    let place = |id: &str| {
        let found = all.iter().position(|listing| listing.model.name.as_str() == id);
        found.ok_or_else(|| not_found(&snapshot, Some(Source::Anthropic), id))
    };
    let (from, to, has_more) = match (query.after_id, query.before_id) {
        (_, Some(before)) => {
            let to = place(&before)?;
            let from = to.saturating_sub(limit);
            (from, to, from > 0)
        }
        (after, None) => {
            let from = after.map_or(Ok(0), |after| Ok::<_, Fault>(place(&after)? + 1))?;
            let to = from.saturating_add(limit).min(all.len());
            (from, to, to < all.len())
        }
    };
    let data: Vec<Value> = all[from..to].iter().map(|found| anthropic_row(&found.model)).collect();
    let id = |row: Option<&Value>| row.map_or(Value::Null, |row| row["id"].clone());
    let (first_id, last_id) = (id(data.first()), id(data.last()));
    let list =
        json!({ "data": data, "has_more": has_more, "first_id": first_id, "last_id": last_id });
    Ok(body::json(list.to_string()))
}

/// `GET /v2/anthropic/v1/models/{name}`
pub(super) async fn anthropic_one(
    State(reads): State<Reads>,
    _: Anyone,
    Segment(name): Segment,
) -> Result<Response, Refused> {
    let snapshot = reads.catalogue.snapshot();
    let listing = find(&snapshot, Source::Anthropic, &name)?;
    Ok(body::json(anthropic_row(&listing.model).to_string()))
}

/// `GET /v2/ollama/api/tags`
pub(super) async fn ollama_tags(
    State(reads): State<Reads>,
    _: Anyone,
) -> Result<Response, Refused> {
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

/// `GET /v2/ollama/api/ps`: every model is as good as loaded, and none of them ever unloaded.
pub(super) async fn ollama_ps(State(reads): State<Reads>, _: Anyone) -> Result<Response, Refused> {
    let snapshot = reads.catalogue.snapshot();
    let served = |listing: &&Listing| {
        sold_by(listing, Source::Ollama) && snapshot.is_served(&listing.model.name)
    };
    let models: Vec<Value> = offered(&snapshot)
        .filter(served)
        .map(|listing| {
            json!({
                "name": listing.model.name.as_str(),
                "model": listing.model.name.as_str(),
                "size": 0,
                "digest": "",
                "details": ollama_details(),
                "expires_at": NEVER,
                "size_vram": 0,
                "context_length": listing.model.context_tokens,
            })
        })
        .collect();
    Ok(body::json(json!({ "models": models }).to_string()))
}

/// `POST /v2/ollama/api/show`
pub(super) async fn ollama_show(
    State(reads): State<Reads>,
    _: Anyone,
    headers: HeaderMap,
    request: Request,
) -> Result<Response, Refused> {
    let bytes: Bytes = reads.small_bodies.read(&headers, request.into_body()).await?;
    let invalid = |kind, msg: &str| Fault::validation(vec![FieldError::body("model", kind, msg)]);
    let show: Show = serde_json::from_slice(&bytes)
        .map_err(|_| invalid("json_invalid", "Expected an object with a model"))?;
    let name = show.model.or(show.name).ok_or_else(|| invalid("missing", "Field required"))?;
    let snapshot = reads.catalogue.snapshot();
    let listing = find(&snapshot, Source::Ollama, &name)?;
    Ok(body::json(show_model(&listing.model).to_string()))
}

/// `GET /v2/ollama/api/version`
pub(super) async fn ollama_version() -> Response {
    body::json(json!({ "version": env!("CARGO_PKG_VERSION") }).to_string())
}

fn openai_list(reads: &Reads, source: Source) -> Response {
    let snapshot = reads.catalogue.snapshot();
    let data: Vec<Value> = offered(&snapshot)
        .filter(|listing| sold_by(listing, source))
        .map(|listing| openai_row(&listing.model))
        .collect();
    body::json(json!({ "object": "list", "data": data }).to_string())
}

fn openai_model(reads: &Reads, source: Source, name: &str) -> Result<Response, Refused> {
    let snapshot = reads.catalogue.snapshot();
    let listing = find(&snapshot, source, name)?;
    Ok(body::json(openai_row(&listing.model).to_string()))
}

/// A model that a family of routes serves.
fn find<'s>(
    snapshot: &'s CatalogueSnapshot,
    source: Source,
    name: &str,
) -> Result<&'s Listing, Fault> {
    snapshot
        .listing(name)
        .filter(|listing| sold_by(listing, source))
        .ok_or_else(|| not_found(snapshot, Some(source), name))
}

fn sold_by(listing: &Listing, source: Source) -> bool {
    listing.offers.iter().any(|offer| offer.scope.source == source)
}

fn openai_row(model: &Model) -> Value {
    let name = model.name.as_str();
    let owner = name.split_once('/').map_or("relay", |(vendor, _)| vendor);
    json!({ "id": name, "object": "model", "created": 0, "owned_by": owner })
}

fn anthropic_row(model: &Model) -> Value {
    json!({
        "type": "model",
        "id": model.name.as_str(),
        "display_name": model.display_name,
        "created_at": NO_TIME,
        "lifecycle": "active",
        "max_input_tokens": model.context_tokens,
    })
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
