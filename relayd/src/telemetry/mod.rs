//! Logs, traces and metrics: set up once, named in one place.
//!
//! Log lines are lower case, carry their values as fields and never hold a body, a header, a
//! query or a secret. Metric names and units are constants in [`names`]; where OpenTelemetry has
//! a semantic convention, its name is used.

pub mod names;
pub mod trace;

use std::io::IsTerminal as _;

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::WithExportConfig as _;
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _};

use crate::config::{LogFormat, TelemetryConfig};

/// Span target of a request and its stages; only such spans leave as traces. Stages are spans of
/// level debug: unless traces are exported, or logs ask for them, they do not even begin.
pub const REQUEST_TARGET: &str = "relay::request";

/// What must live as long as the process logs and measures.
pub struct Telemetry {
    prometheus: PrometheusHandle,
    traces: Option<SdkTracerProvider>,
}

/// Why telemetry could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The filter of `telemetry.log_filter` does not parse.
    #[error("telemetry.log_filter: {0}")]
    Filter(#[from] tracing_subscriber::filter::ParseError),
    /// A subscriber or recorder is set already.
    #[error("logs or metrics were set up before: {0}")]
    Twice(String),
    /// The exporter of traces cannot be built.
    #[error("telemetry.otlp_endpoint: {0}")]
    Traces(String),
}

/// Sets up logs, metrics and, where configured, traces for this process.
///
/// # Errors
/// See [`TelemetryError`]. Called twice, it fails.
pub fn init(config: &TelemetryConfig) -> Result<Telemetry, TelemetryError> {
    let prometheus = recorder()?;
    let traces = config.otlp_endpoint.as_deref().map(|to| exporter(config, to)).transpose()?;
    let filter = EnvFilter::try_new(&config.log_filter)?;
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    let lines = match config.log_format {
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
        LogFormat::Text => lines.with_target(false).boxed(),
    };
    let exported = traces.as_ref().map(|provider| {
        tracing_opentelemetry::layer()
            .with_tracer(provider.tracer("relayd"))
            // A source line and a thread say nothing about a request.
            .with_location(false)
            .with_threads(false)
            .with_target(false)
            .with_tracked_inactivity(false)
            .with_filter(tracing_subscriber::filter::filter_fn(|meta| {
                meta.is_span() && meta.target() == REQUEST_TARGET
            }))
    });
    tracing_subscriber::registry()
        .with(lines.with_filter(filter))
        .with(exported)
        .try_init()
        .map_err(|error| TelemetryError::Twice(error.to_string()))?;
    Ok(Telemetry { prometheus, traces })
}

fn recorder() -> Result<PrometheusHandle, TelemetryError> {
    let twice =
        |error: metrics_exporter_prometheus::BuildError| TelemetryError::Twice(error.to_string());
    let mut builder = PrometheusBuilder::new();
    for (name, buckets) in names::BUCKETS {
        builder = builder
            .set_buckets_for_metric(Matcher::Full((*name).to_owned()), buckets)
            .map_err(twice)?;
    }
    let handle = builder.install_recorder().map_err(twice)?;
    names::describe();
    Ok(handle)
}

fn exporter(config: &TelemetryConfig, endpoint: &str) -> Result<SdkTracerProvider, TelemetryError> {
    let exporter = opentelemetry_otlp::SpanExporter::builder()
        .with_tonic()
        .with_endpoint(endpoint)
        .build()
        .map_err(|error| TelemetryError::Traces(error.to_string()))?;
    let share = f64::from(config.trace_sample_ppm) / 1e6;
    Ok(SdkTracerProvider::builder()
        .with_batch_exporter(exporter)
        .with_sampler(Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(share))))
        .with_resource(opentelemetry_sdk::Resource::builder().with_service_name("relayd").build())
        .build())
}

impl Telemetry {
    /// Every metric in the Prometheus text format.
    #[must_use]
    pub fn prometheus(&self) -> PrometheusHandle {
        self.prometheus.clone()
    }

    /// Sends what is left of the traces. Blocks for as long as the collector takes, at most 5 s.
    pub fn shutdown(&self) {
        if let Some(provider) = &self.traces
            && let Err(error) = provider.shutdown_with_timeout(std::time::Duration::from_secs(5))
        {
            tracing::warn!(%error, "the last traces could not be sent");
        }
    }
}
