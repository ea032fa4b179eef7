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
/// Copies of requests sent to further backends; label `execution`.
pub const COPIES: &str = "relay_request_copies_total";
/// Requests whose copies were answered too differently for a quorum.
pub const DISAGREED: &str = "relay_quorum_failures_total";
/// Requests sent again to the same backend on a fresh connection, because it had closed the kept one.
pub const RECONNECTS: &str = "relay_reconnects_total";
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

/// 1 where the driver of a host's GPUs answers. Label: `host`.
pub const GPU_DRIVER_UP: &str = "relay_gpu_driver_up";
/// Age of a host's word about its GPUs. Label: `host`.
pub const GPU_SAMPLE_AGE: &str = "relay_gpu_sample_age_seconds";
/// 1 where a card answers and nothing is wrong with it. Labels of this and of every other metric
/// of a card: `host`, `gpu` (its index), `uuid` (the first part).
pub const GPU_UP: &str = "relay_gpu_up";
/// Share of the last second in which something ran on a card.
pub const GPU_UTILIZATION: &str = "relay_gpu_utilization_ratio";
/// Share of the last second in which a card's memory was read or written.
pub const GPU_MEMORY_UTILIZATION: &str = "relay_gpu_memory_utilization_ratio";
/// A card's memory.
pub const GPU_MEMORY_TOTAL: &str = "relay_gpu_memory_total_bytes";
/// What is taken of it.
pub const GPU_MEMORY_USED: &str = "relay_gpu_memory_used_bytes";
/// Temperature of a card's chip.
pub const GPU_TEMPERATURE: &str = "relay_gpu_temperature_celsius";
/// What a card draws.
pub const GPU_POWER: &str = "relay_gpu_power_watts";
/// The most that a card may draw.
pub const GPU_POWER_LIMIT: &str = "relay_gpu_power_limit_watts";
/// Clock of a card's processors.
pub const GPU_SM_CLOCK: &str = "relay_gpu_sm_clock_hertz";
/// Clock of a card's memory.
pub const GPU_MEMORY_CLOCK: &str = "relay_gpu_memory_clock_hertz";
/// 1 while heat or power hold a card's clocks back.
pub const GPU_THROTTLED: &str = "relay_gpu_throttled";
/// Memory errors that were corrected since the driver was loaded.
pub const GPU_ECC_CORRECTED: &str = "relay_gpu_ecc_corrected_errors";
/// Memory errors that could not be corrected since the driver was loaded.
pub const GPU_ECC_UNCORRECTED: &str = "relay_gpu_ecc_uncorrected_errors";
/// Speed of a card's first fan.
pub const GPU_FAN: &str = "relay_gpu_fan_ratio";
/// What a card receives over its bus in a second.
pub const GPU_PCIE_RX: &str = "relay_gpu_pcie_receive_bytes_per_second";
/// What a card sends over its bus in a second.
pub const GPU_PCIE_TX: &str = "relay_gpu_pcie_send_bytes_per_second";
/// Processes that use a card.
pub const GPU_PROCESSES: &str = "relay_gpu_processes";
/// Share of a host's processor time that is used. Label of this and of every other metric of a
/// host: `host`.
pub const HOST_CPU: &str = "relay_host_cpu_utilization_ratio";
/// Load of a host's last minute.
pub const HOST_LOAD: &str = "relay_host_load1";
/// A host's memory.
pub const HOST_MEMORY_TOTAL: &str = "relay_host_memory_total_bytes";
/// What a new process could have of it.
pub const HOST_MEMORY_AVAILABLE: &str = "relay_host_memory_available_bytes";
/// The file system of the data directory.
pub const HOST_DISK_TOTAL: &str = "relay_host_disk_total_bytes";
/// What is free of it.
pub const HOST_DISK_AVAILABLE: &str = "relay_host_disk_available_bytes";

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
    describe_counter!(
        RECONNECTS,
        "Requests sent again on a fresh connection, the kept one having been closed"
    );
    describe_counter!(FAILOVERS, "Requests sent to another backend before their first byte");
    describe_counter!(COPIES, "Copies of requests sent to further backends");
    describe_counter!(
        DISAGREED,
        "Requests whose copies were answered too differently for a quorum"
    );
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
    describe_host();
}

fn describe_host() {
    describe_gauge!(GPU_DRIVER_UP, "1 where the driver of the host's GPUs answers");
    describe_gauge!(GPU_SAMPLE_AGE, Unit::Seconds, "Age of the host's word about its GPUs");
    describe_gauge!(GPU_UP, "1 where the card answers and nothing is wrong with it");
    describe_gauge!(GPU_UTILIZATION, "Share of the last second in which something ran");
    describe_gauge!(GPU_MEMORY_UTILIZATION, "Share of the last second in which memory was used");
    describe_gauge!(GPU_MEMORY_TOTAL, Unit::Bytes, "The card's memory");
    describe_gauge!(GPU_MEMORY_USED, Unit::Bytes, "What is taken of the card's memory");
    describe_gauge!(GPU_TEMPERATURE, "Temperature of the card's chip");
    describe_gauge!(GPU_POWER, "What the card draws");
    describe_gauge!(GPU_POWER_LIMIT, "The most that the card may draw");
    describe_gauge!(GPU_SM_CLOCK, "Clock of the card's processors");
    describe_gauge!(GPU_MEMORY_CLOCK, "Clock of the card's memory");
    describe_gauge!(GPU_THROTTLED, "1 while heat or power hold the card's clocks back");
    describe_gauge!(GPU_ECC_CORRECTED, "Memory errors corrected since the driver was loaded");
    describe_gauge!(GPU_ECC_UNCORRECTED, "Memory errors not corrected since the driver was loaded");
    describe_gauge!(GPU_FAN, "Speed of the card's first fan");
    describe_gauge!(GPU_PCIE_RX, "What the card receives over its bus");
    describe_gauge!(GPU_PCIE_TX, "What the card sends over its bus");
    describe_gauge!(GPU_PROCESSES, "Processes that use the card");
    describe_gauge!(HOST_CPU, "Share of the host's processor time that is used");
    describe_gauge!(HOST_LOAD, "Load of the host's last minute");
    describe_gauge!(HOST_MEMORY_TOTAL, Unit::Bytes, "The host's memory");
    describe_gauge!(HOST_MEMORY_AVAILABLE, Unit::Bytes, "What a new process could have of it");
    describe_gauge!(HOST_DISK_TOTAL, Unit::Bytes, "The file system of the data directory");
    describe_gauge!(HOST_DISK_AVAILABLE, Unit::Bytes, "What is free of that file system");
}
