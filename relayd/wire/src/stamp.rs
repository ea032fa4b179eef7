//! What Relay puts on every answer, and the times Ollama's format asks for.

use relay_domain::Mode;

use crate::json::Object;

/// What an answer carries besides the engine's words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// The model's Relay name; replaces the engine's.
    pub model: String,
    /// The task id: `direct:` or `opengpu:` and a UUID.
    pub task_id: String,
    /// The mode that serves.
    pub mode: Mode,
    /// The request id, for error frames.
    pub request_id: String,
    /// When the request came, in seconds since 1970 UTC.
    pub created: i64,
}

/// How long the parts of an answer took, by the caller's clock, in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timing {
    /// From the request to the end.
    pub total_ns: u64,
    /// Loading the model; 0 where it was loaded.
    pub load_ns: u64,
    /// From the request to the first content.
    pub prompt_ns: u64,
    /// From the first content to the end.
    pub eval_ns: u64,
}

impl Stamp {
    /// The UUID of the task, which ids of translated answers are made of.
    pub(crate) fn suffix(&self) -> &str {
        self.task_id.split_once(':').map_or(self.task_id.as_str(), |(_, id)| id)
    }

    /// `task_id`, `task_address` and `mode`.
    pub(crate) fn put(&self, object: &mut Object<'_>) {
        object
            .text("task_id", &self.task_id)
            .json("task_address", "null")
            .text("mode", self.mode.as_str());
    }

    /// The request's time as RFC 3339 in UTC.
    pub(crate) fn created_at(&self) -> String {
        rfc3339(self.created)
    }
}

impl Timing {
    /// The durations that the last object of an Ollama answer carries, in its order around the
    /// counts, which `prompt` and `eval` are.
    pub(crate) fn put(&self, object: &mut Object<'_>, prompt: u64, eval: u64) {
        object
            .count("total_duration", self.total_ns)
            .count("load_duration", self.load_ns)
            .count("prompt_eval_count", prompt)
            .count("prompt_eval_duration", self.prompt_ns)
            .count("eval_count", eval)
            .count("eval_duration", self.eval_ns);
    }
}

/// Seconds since 1970 as `2026-11-22T10:00:00Z`.
fn rfc3339(seconds: i64) -> String {
    const DAY: i64 = 86_400;
    let (days, second) = (seconds.div_euclid(DAY), seconds.rem_euclid(DAY));
    // Days are counted from March 1 of the year 0, in eras of 400 years (146,097 days): leap days
    // then fall on the end of a year.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let (hour, minute) = (second / 3600, second / 60 % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{:02}Z", second % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_rfc3339() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_791_277_180, "2026-10-06T08:59:40Z"),
            (4_107_542_399, "2100-02-28T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
            (-1, "1969-12-31T23:59:59Z"),
        ] {
            assert_eq!(rfc3339(seconds), text);
        }
    }
}
