//! The ops listener: is the process alive, may it get traffic, what does it measure.
//!
//! Not guarded, and so it tells nothing that an outsider may not know.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use metrics_exporter_prometheus::PrometheusHandle;

use crate::store::Store;

/// Longest wait for the database before `/readyz` says no.
const STORE_TIMEOUT: Duration = Duration::from_secs(1);

/// Whether this process may get traffic. Cheap to clone; all clones are one.
#[derive(Clone, Debug, Default)]
pub struct Readiness(Arc<AtomicU8>);

/// Anything but these two is starting.
const READY: u8 = 1;
const DRAINING: u8 = 2;

impl Readiness {
    /// Everything is up.
    pub fn ready(&self) {
        self.0.store(READY, Ordering::Release);
    }

    /// The process ends what runs and takes nothing new.
    pub fn draining(&self) {
        self.0.store(DRAINING, Ordering::Release);
    }

    /// Whether the process drains.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.0.load(Ordering::Acquire) == DRAINING
    }

    fn refusal(&self) -> Option<&'static str> {
        match self.0.load(Ordering::Acquire) {
            READY => None,
            DRAINING => Some("draining"),
            _ => Some("starting"),
        }
    }
}

/// What the listener needs.
#[derive(Clone)]
pub struct Ops {
    /// Metrics to print.
    pub prometheus: PrometheusHandle,
    /// Whether traffic is welcome.
    pub readiness: Readiness,
    /// Asked by `/readyz`.
    pub store: Store,
}

/// `/livez`, `/readyz` and `/metrics`.
pub fn router(ops: Ops) -> Router {
    Router::new()
        .route("/livez", get(async || "alive\n"))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .with_state(ops)
}

async fn readyz(State(ops): State<Ops>) -> impl IntoResponse {
    if let Some(reason) = ops.readiness.refusal() {
        return (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n"));
    }
    match tokio::time::timeout(STORE_TIMEOUT, ops.store.ping()).await {
        Ok(Ok(())) => (StatusCode::OK, "ready\n".to_owned()),
        _ => (StatusCode::SERVICE_UNAVAILABLE, "the database does not answer\n".to_owned()),
    }
}

async fn metrics(State(ops): State<Ops>) -> impl IntoResponse {
    ops.prometheus.run_upkeep();
    let content_type = [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")];
    (content_type, ops.prometheus.render())
}
