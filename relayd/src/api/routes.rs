//! Every route of the public face, in one table.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::middleware;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, patch, post};
use http::StatusCode;
use serde_json::json;
use tokio::sync::watch;

use crate::catalogue::Catalogue;
use crate::domain::{Code, Fault};
use crate::identity::Identity;
use crate::inference::Inference;
use crate::observe::Observe;
use crate::store::Store;

use super::body::{self, BodyBounds};
use super::edge::{EdgeSettings, edge};
use super::error::Refused;
use super::{account, chat, history, keys, lists, metrics, models, usage};

/// What the chat routes need.
#[derive(Clone)]
pub struct Chat {
    /// Who asks.
    pub identity: Identity,
    /// What is sold.
    pub catalogue: Catalogue,
    /// Who serves it.
    pub inference: Inference,
    /// Where refusals by rate limit are counted, by key.
    pub observe: Observe,
    /// Bounds of a chat body.
    pub bodies: BodyBounds,
}

/// What the catalogue's routes need.
#[derive(Clone)]
pub struct Reads {
    /// Who asks: a bad credential is refused here too.
    pub identity: Identity,
    /// What is sold.
    pub catalogue: Catalogue,
    /// Bounds of the few bodies here.
    pub small_bodies: BodyBounds,
}

/// What the account routes need.
#[derive(Clone)]
pub struct Account {
    /// Who asks, and keys.
    pub identity: Identity,
    /// Tiers and prices.
    pub catalogue: Catalogue,
    /// Balances and usage.
    pub store: Store,
    /// Bounds of a body.
    pub small_bodies: BodyBounds,
}

/// What the health route needs.
#[derive(Clone, Debug)]
pub struct Health {
    /// Whether requests can be served now.
    pub healthy: watch::Receiver<bool>,
    /// The commit that was built.
    pub commit: &'static str,
}

/// The whole face.
#[derive(Clone)]
pub struct Face {
    /// Chat.
    pub chat: Chat,
    /// The catalogue.
    pub reads: Reads,
    /// Accounts.
    pub account: Account,
    /// Health.
    pub health: Health,
    /// What every request meets.
    pub edge: EdgeSettings,
}

/// The public routes.
pub fn router(face: Face) -> Router {
    let chat = Router::new()
        .route("/v2/openai/v1/chat/completions", post(chat::openai))
        .route("/v2/vllm/v1/chat/completions", post(chat::vllm))
        .route("/v2/anthropic/v1/messages", post(chat::anthropic))
        // What installers made of a base URL that ends in /v1/ or /v1.
        .route("/v2/anthropic/v1//messages", post(chat::anthropic))
        .route("/v2/anthropic/v1/v1/messages", post(chat::anthropic))
        .route("/v2/ollama/api/chat", post(chat::ollama))
        .with_state(face.chat);
    let reads = Router::new()
        .route("/v2/models", get(models::list))
        .route("/v2/models/{*name}", get(models::detail))
        .route("/v2/pricing", get(models::pricing))
        .route("/v2/tiers", get(models::tiers))
        .route("/v2/openai/v1/models", get(lists::openai))
        .route("/v2/openai/v1/models/{*name}", get(lists::openai_one))
        .route("/v2/vllm/v1/models", get(lists::vllm))
        .route("/v2/vllm/v1/models/{*name}", get(lists::vllm_one))
        .route("/v2/anthropic/v1/models", get(lists::anthropic))
        .route("/v2/anthropic/v1/models/{*name}", get(lists::anthropic_one))
        .route("/v2/anthropic/v1//models", get(lists::anthropic))
        .route("/v2/anthropic/v1//models/{*name}", get(lists::anthropic_one))
        .route("/v2/anthropic/v1/v1/models", get(lists::anthropic))
        .route("/v2/anthropic/v1/v1/models/{*name}", get(lists::anthropic_one))
        .route("/v2/ollama/api/ps", get(lists::ollama_ps))
        .route("/v2/ollama/api/tags", get(lists::ollama_tags))
        .route("/v2/ollama/api/show", post(lists::ollama_show))
        .route("/v2/ollama/api/version", get(lists::ollama_version))
        .with_state(face.reads);
    let account = Router::new()
        .route("/v2/customer/credits", get(account::credits))
        .route("/v2/customer/credits/history", get(history::list))
        .route("/v2/customer/profile", get(account::profile).put(account::set_profile))
        .route("/v2/customer/settings", patch(account::settings))
        .route("/v2/customer/pricing", get(account::pricing))
        .route(
            "/v2/customer/model-allowlist",
            get(account::allowlist).patch(account::set_allowlist),
        )
        .route("/v2/customer/metrics", get(metrics::metrics))
        .route("/v2/customer/usage", get(usage::all))
        .route("/v2/customer/usage/timeseries", get(metrics::timeseries))
        .route("/v2/customer/usage/{key_id}", get(usage::one))
        .route("/v2/customer/keys", get(keys::list).post(keys::create))
        .route("/v2/customer/keys/{key_id}", patch(keys::patch).delete(keys::delete))
        .route("/v2/customer/keys/{key_id}/revoke", post(keys::revoke))
        .route("/v2/customer/keys/{key_id}/unrevoke", post(keys::unrevoke))
        .route("/v2/customer/keys/{key_id}/topup", post(keys::top_up))
        .route("/v2/customer/keys/{key_id}/promote", post(keys::promote))
        .with_state(face.account);
    Router::new()
        .route("/v2/health", get(health))
        .with_state(face.health)
        .merge(chat)
        .merge(reads)
        .merge(account)
        .fallback(no_route)
        .method_not_allowed_fallback(no_method)
        .layer(middleware::from_fn_with_state(Arc::new(face.edge), edge))
}

/// `GET /v2/health`
async fn health(State(health): State<Health>) -> Response {
    let healthy = *health.healthy.borrow();
    let (status, word) = match healthy {
        true => (StatusCode::OK, "ok"),
        false => (StatusCode::SERVICE_UNAVAILABLE, "degraded"),
    };
    let answer = json!({ "status": word, "version": "2", "commit": health.commit });
    (status, body::json(answer.to_string())).into_response()
}

async fn no_route() -> Refused {
    Fault::new(Code::RouteNotFound, "There is no such route").into()
}

async fn no_method() -> Refused {
    Fault::new(Code::MethodNotAllowed, "This route does not take that method").into()
}
