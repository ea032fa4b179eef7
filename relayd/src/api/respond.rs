//! Prints answers.

use axum::response::Response;
use serde::Serialize;

use crate::domain::Fault;

use super::body;
use super::error::Refused;

/// An answer as JSON.
pub(super) fn print(answer: &impl Serialize) -> Result<Response, Refused> {
    let json = serde_json::to_vec(answer).map_err(|error| {
        tracing::error!(%error, "an answer cannot be printed");
        Fault::internal()
    })?;
    Ok(body::json(json))
}

/// A time as the contract prints it: ISO 8601 with microseconds and `+00:00`.
pub(super) fn time(ms: i64) -> String {
    let timestamp = jiff::Timestamp::from_millisecond(ms).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    timestamp.strftime("%Y-%m-%dT%H:%M:%S%.6f+00:00").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_carry_their_offset() {
        assert_eq!(time(1_791_283_445_120), "2026-10-06T10:44:05.120000+00:00");
        assert_eq!(time(0), "1970-01-01T00:00:00.000000+00:00");
    }
}
