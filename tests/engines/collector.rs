//! A collector of traces that speaks OTLP over gRPC and keeps what it is sent.

use std::sync::{Arc, Mutex, PoisonError};

use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::trace::v1::Span;
use tonic::{Request, Response, Status};

use crate::served::Served;

/// A running collector; ends when dropped.
pub struct Collector {
    /// `http://127.0.0.1:port`.
    pub url: String,
    kept: Arc<Mutex<Vec<Exported>>>,
    _served: Served,
}

/// One span as it arrived.
#[derive(Clone, Debug)]
pub struct Exported {
    /// `service.name` of its resource.
    pub service: String,
    /// The span.
    pub span: Span,
}

struct Keeper(Arc<Mutex<Vec<Exported>>>);

impl Collector {
    /// Starts a collector.
    ///
    /// # Errors
    /// When no port is free.
    pub fn start() -> anyhow::Result<Self> {
        let kept = Arc::new(Mutex::new(Vec::new()));
        let service = TraceServiceServer::new(Keeper(Arc::clone(&kept)));
        let routes = tonic::service::Routes::new(service).into_axum_router();
        let served = Served::start(routes)?;
        Ok(Self { url: served.url.clone(), kept, _served: served })
    }

    /// Everything that arrived so far.
    #[must_use]
    pub fn spans(&self) -> Vec<Exported> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Exported {
    /// An attribute as text; empty when it is absent.
    #[must_use]
    pub fn attribute(&self, key: &str) -> String {
        text(&self.span.attributes, key)
    }

    /// Ids in hexadecimal: trace, span, parent.
    #[must_use]
    pub fn ids(&self) -> [String; 3] {
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        [&self.span.trace_id, &self.span.span_id, &self.span.parent_span_id].map(|id| hex(id))
    }
}

fn text(attributes: &[KeyValue], key: &str) -> String {
    let found = attributes.iter().find(|attribute| attribute.key == key);
    match found.and_then(|attribute| attribute.value.as_ref()) {
        Some(AnyValue { value: Some(Value::StringValue(text)) }) => text.clone(),
        Some(AnyValue { value: Some(Value::IntValue(number)) }) => number.to_string(),
        Some(AnyValue { value: Some(Value::BoolValue(flag)) }) => flag.to_string(),
        other => other.map_or_else(String::new, |value| format!("{value:?}")),
    }
}

#[tonic::async_trait]
impl TraceService for Keeper {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for sent in request.into_inner().resource_spans {
            let resource = sent.resource.unwrap_or_default();
            let service = text(&resource.attributes, "service.name");
            let spans = sent.scope_spans.into_iter().flat_map(|scope| scope.spans);
            kept.extend(spans.map(|span| Exported { service: service.clone(), span }));
        }
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}
