//! Durations as people write them: `500ms`, `30s`, `10m`, `1h`.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Deserializer, de};

/// A length of time, above zero and at most a day.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Span(Duration);

/// Longest duration that a key may have: a day. Longer is a slip of the finger.
const MAX: Duration = Duration::from_secs(24 * 60 * 60);

impl Span {
    /// A length in seconds.
    #[must_use]
    pub const fn seconds(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }

    /// The length.
    #[must_use]
    pub const fn get(self) -> Duration {
        self.0
    }
}

impl fmt::Debug for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        parse(&text).ok_or_else(|| {
            de::Error::custom(format!(
                "'{text}' is not a duration above zero and at most a day, such as \"500ms\", \"30s\", \"10m\" or \"1h\""
            ))
        })
    }
}

fn parse(text: &str) -> Option<Span> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().ok()?;
    let length = match unit.trim() {
        "ms" => Duration::from_millis(number),
        "s" => Duration::from_secs(number),
        "m" => Duration::from_secs(number.checked_mul(60)?),
        "h" => Duration::from_secs(number.checked_mul(3600)?),
        _ => return None,
    };
    (!length.is_zero() && length <= MAX).then_some(Span(length))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_people_write() {
        for (text, ms) in [("500ms", 500), ("30s", 30_000), ("10m", 600_000), ("1h", 3_600_000)] {
            assert_eq!(parse(text), Some(Span(Duration::from_millis(ms))));
        }
        for text in ["", "5", "0s", "-1s", "25h", "1d", "s", "1.5s", "99999999999999999999s"] {
            assert_eq!(parse(text), None, "{text:?}");
        }
    }
}
