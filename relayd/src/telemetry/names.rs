//! Every metric's name and unit.
//!
//! `http_server_*` and `gen_ai_server_*` follow OpenTelemetry's semantic conventions in their
//! Prometheus spelling; what only Relay has begins with `relay_`. No label ever holds a key, a
//! customer or anything else that a client can choose freely.

use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};

/// Requests on the public face. Labels: `http_route`, `http_response_status_code`.
pub const HTTP_REQUESTS: &str = "http_server_requests_total";
/// Time from the head to the end of the answer. Labels: `http_route`.
pub const HTTP_DURATION: &str = "http_server_request_duration_seconds";
/// Requests that run on the public face now.
pub const HTTP_ACTIVE: &str = "http_server_active_requests";
/// Time to the first token. Label: `gen_ai_request_model`.
pub const TTFT: &str = "gen_ai_server_time_to_first_token_seconds";
/// Time between two output tokens of one stream, on average. Label: `gen_ai_request_model`.
pub const ITL: &str = "gen_ai_server_time_per_output_token_seconds";
/// Time of the whole generation. Label: `gen_ai_request_model`.
pub const GENERATION: &str = "gen_ai_server_request_duration_seconds";
/// Billed tokens. Labels: `gen_ai_request_model`, `gen_ai_token_type` (a meter).
pub const TOKENS: &str = "gen_ai_server_token_usage_total";
/// Settled requests. Labels: `gen_ai_request_model`, `outcome`.
pub const GENERATIONS: &str = "relay_generations_total";
/// Requests that wait for a backend. Label: `backend`.
pub const QUEUE_DEPTH: &str = "relay_queue_depth";
/// Time that a request waited for a backend.
pub const QUEUE_WAIT: &str = "relay_queue_wait_seconds";
/// Requests refused for want of capacity.
pub const SHED: &str = "relay_shed_total";
/// Requests that run on a backend. Label: `backend`.
pub const BACKEND_RUNNING: &str = "relay_backend_running";
/// 1 where the last probe of a backend succeeded. Label: `backend`.
pub const BACKEND_UP: &str = "relay_backend_up";
/// 0 closed, 1 half-open, 2 open. Label: `backend`.
pub const BREAKER: &str = "relay_breaker_state";
/// Requests sent to another backend before their first byte.
pub const FAILOVERS: &str = "relay_failovers_total";
/// Time from a hold's request to its commit.
pub const HOLD: &str = "relay_ledger_hold_seconds";
/// Time from a settlement's request to its commit.
pub const SETTLE: &str = "relay_ledger_settle_seconds";
/// Commands in one ledger commit.
pub const BATCH_SIZE: &str = "relay_ledger_batch_size";
/// Commands that wait for the ledger writer.
pub const LEDGER_QUEUE: &str = "relay_ledger_queue_depth";
/// Requests cancelled at the engine because the hold that their dispatch overlapped was refused.
pub const OVERLAP_REFUSED: &str = "relay_overlap_refused_total";
/// Nano-credits of usage above its hold, borne by the platform.
pub const WRITE_OFF: &str = "relay_ledger_write_off_ncr_total";
/// Breaches found by the last check of the ledger's invariants.
pub const BREACHES: &str = "relay_ledger_breaches";
/// Events that were not stored because the queue was full.
pub const EVENTS_DROPPED: &str = "relay_events_dropped_total";
/// Requests refused with 429. Label: `limit` (direct, opengpu, global).
pub const RATE_LIMITED: &str = "relay_rate_limited_total";
/// Always 1. Labels: `version`, `commit`.
pub const BUILD_INFO: &str = "relay_build_info";

/// From 100 us to 10 s: commits and queues.
const FINE: &[f64] = &[
    0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0,
    10.0,
];
/// From 1 ms to 10 min: whole requests.
const COARSE: &[f64] = &[
    0.001, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0,
    600.0,
];
/// Commands in a batch.
const SIZES: &[f64] = &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0];

/// The buckets of each histogram.
pub(super) const BUCKETS: &[(&str, &[f64])] = &[
    (HTTP_DURATION, COARSE),
    (TTFT, COARSE),
    (ITL, FINE),
    (GENERATION, COARSE),
    (QUEUE_WAIT, FINE),
    (HOLD, FINE),
    (SETTLE, FINE),
    (BATCH_SIZE, SIZES),
];

/// Gives every metric its help text and unit.
pub(super) fn describe() {
    describe_counter!(HTTP_REQUESTS, "Requests on the public face");
    describe_histogram!(
        HTTP_DURATION,
        Unit::Seconds,
        "Time from the head to the end of the answer"
    );
    describe_gauge!(HTTP_ACTIVE, "Requests that run on the public face now");
    describe_histogram!(TTFT, Unit::Seconds, "Time to the first token");
    describe_histogram!(ITL, Unit::Seconds, "Time between two output tokens of one stream");
    describe_histogram!(GENERATION, Unit::Seconds, "Time of the whole generation");
    describe_counter!(TOKENS, "Billed tokens by meter");
    describe_counter!(GENERATIONS, "Settled requests by outcome");
    describe_gauge!(QUEUE_DEPTH, "Requests that wait for a backend");
    describe_histogram!(QUEUE_WAIT, Unit::Seconds, "Time that a request waited for a backend");
    describe_counter!(SHED, "Requests refused for want of capacity");
    describe_gauge!(BACKEND_RUNNING, "Requests that run on a backend");
    describe_gauge!(BACKEND_UP, "1 where the last probe of the backend succeeded");
    describe_gauge!(BREAKER, "0 closed, 1 half-open, 2 open");
    describe_counter!(FAILOVERS, "Requests sent to another backend before their first byte");
    describe_histogram!(HOLD, Unit::Seconds, "Time from a hold's request to its commit");
    describe_histogram!(SETTLE, Unit::Seconds, "Time from a settlement's request to its commit");
    describe_histogram!(BATCH_SIZE, "Commands in one ledger commit");
    describe_gauge!(LEDGER_QUEUE, "Commands that wait for the ledger writer");
    describe_counter!(OVERLAP_REFUSED, "Requests cancelled because their hold was refused");
    describe_counter!(WRITE_OFF, "Nano-credits of usage above its hold");
    describe_gauge!(BREACHES, "Breaches found by the last check of the ledger");
    describe_counter!(EVENTS_DROPPED, "Events that were not stored");
    describe_counter!(RATE_LIMITED, "Requests refused with 429");
    describe_gauge!(BUILD_INFO, "Always 1, with the version and commit as labels");
}
