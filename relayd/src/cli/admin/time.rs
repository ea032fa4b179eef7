//! Moments on the command line.

use jiff::civil::Date;
use jiff::{Timestamp, tz::TimeZone};

/// Milliseconds since the epoch from `2026-11-23`, `2026-11-23T10:00:00Z`, or an age such as
/// `30m`, `24h`, `7d`.
pub(super) fn moment(text: &str) -> Result<i64, String> {
    if let Some(age) = age_ms(text) {
        return Ok(Timestamp::now().as_millisecond().saturating_sub(age));
    }
    if let Ok(at) = text.parse::<Timestamp>() {
        return Ok(at.as_millisecond());
    }
    text.parse::<Date>()
        .and_then(|date| date.to_zoned(TimeZone::UTC))
        .map(|at| at.timestamp().as_millisecond())
        .map_err(|_| {
            format!(
                "'{text}' is not a time: write 2026-11-23, 2026-11-23T10:00:00Z, or an age like 24h"
            )
        })
}

/// The milliseconds of `30m`, `24h` or `7d`.
pub(super) fn age_ms(text: &str) -> Option<i64> {
    let unit_ms = match text.as_bytes().last()? {
        b'm' => 60_000,
        b'h' => 3_600_000,
        b'd' => 86_400_000,
        _ => return None,
    };
    let count: i64 = text[..text.len() - 1].parse().ok().filter(|count| *count >= 0)?;
    count.checked_mul(unit_ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_moments_and_ages() {
        assert_eq!(moment("1970-01-02"), Ok(86_400_000));
        assert_eq!(moment("1970-01-01T00:00:01Z"), Ok(1_000));
        let now = Timestamp::now().as_millisecond();
        let day = moment("1d").unwrap();
        assert!((now - 86_400_000 - day).abs() < 60_000);
        for bad in ["", "tomorrow", "-1d", "7w", "2026-13-01"] {
            assert!(moment(bad).is_err(), "{bad:?}");
        }
    }
}
