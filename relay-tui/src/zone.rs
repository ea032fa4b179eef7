//! Points in time as an operator reads them: in UTC with a `Z`, or in the zone of the operator's
//! machine, without one.

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// A day of UTC.
const DAY_MS: i64 = 86_400_000;

/// Where the day begins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Zone(Option<TimeZone>);

impl Zone {
    /// The zone of a machine.
    pub(crate) fn local(zone: TimeZone) -> Self {
        Self(Some(zone))
    }

    fn write(&self, at_ms: i64, how: &str) -> String {
        let zone = self.0.clone().unwrap_or(TimeZone::UTC);
        Timestamp::from_millisecond(at_ms)
            .map_or_else(|_| "?".to_owned(), |at| at.to_zoned(zone).strftime(how).to_string())
    }

    /// `Z` for UTC, nothing for a zone of one's own.
    const fn sign(&self) -> &'static str {
        if self.0.is_none() { "Z" } else { "" }
    }

    /// `14:07:31`.
    pub(crate) fn clock(&self, at_ms: i64) -> String {
        match self.0 {
            Some(_) => self.write(at_ms, "%H:%M:%S"),
            None => {
                let second = at_ms.div_euclid(1_000).rem_euclid(DAY_MS / 1_000);
                format!("{:02}:{:02}:{:02}", second / 3_600, second % 3_600 / 60, second % 60)
            }
        }
    }

    /// `14:07:31Z`.
    pub(crate) fn stamp(&self, at_ms: i64) -> String {
        format!("{}{}", self.clock(at_ms), self.sign())
    }

    /// In eight columns: the time of day, or the day when it was another one: `14:07:31`, `02 Mar`.
    pub(crate) fn when(&self, at_ms: i64, now_ms: i64) -> String {
        if self.date(at_ms) == self.date(now_ms) {
            self.clock(at_ms)
        } else {
            self.write(at_ms, "%d %b")
        }
    }

    /// `2026-03-02`, or `never` for 0.
    pub(crate) fn date(&self, at_ms: i64) -> String {
        if at_ms == 0 { "never".to_owned() } else { self.write(at_ms, "%Y-%m-%d") }
    }

    /// `2026-03-02 14:07:31Z`, or `never` for 0.
    pub(crate) fn moment(&self, at_ms: i64) -> String {
        if at_ms == 0 {
            "never".to_owned()
        } else {
            format!("{} {}", self.date(at_ms), self.stamp(at_ms))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-03-02 23:07:31Z.
    const LATE: i64 = 1_772_492_851_000;

    #[test]
    fn times_are_utc_and_say_so_or_local_and_do_not() {
        let utc = Zone::default();
        assert_eq!((utc.stamp(LATE), utc.moment(0)), ("23:07:31Z".into(), "never".into()));
        assert_eq!(utc.moment(LATE), "2026-03-02 23:07:31Z");
        let vienna = Zone::local(TimeZone::fixed(jiff::tz::offset(1)));
        assert_eq!(vienna.moment(LATE), "2026-03-03 00:07:31");
        assert_eq!(utc.clock(-1), "23:59:59");
    }

    #[test]
    fn another_day_shows_its_date() {
        let utc = Zone::default();
        assert_eq!(utc.when(LATE, LATE + 60_000), "23:07:31");
        assert_eq!(utc.when(LATE, LATE + 3_600_000), "02 Mar");
    }
}
