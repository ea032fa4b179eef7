//! Reads which buckets of time a caller wants: the query of the metrics routes (contract section
//! 1.4), and its pages.

use http::Uri;

use crate::domain::{Code, Fault, FieldError, KeyId, Mode, ModelName, Source};
use crate::store::{BucketQuery, BucketWidth, Span};

/// Last second that may be asked for: the end of the year 9999.
const LAST_S: i64 = 253_402_300_799;

/// Most names in one filter: more than a page shows of anything.
const FILTER_MAX: usize = 100;

/// What a caller asked for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) window: Window,
    /// Splits and filters; whose usage is the route's to say.
    pub(super) query: BucketQuery,
}

/// The buckets of one page, in seconds since the epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Window {
    pub(super) width: BucketWidth,
    /// The first bucket's begin.
    pub(super) from_s: i64,
    /// The last bucket's end, excluded.
    pub(super) to_s: i64,
    /// Where the next page begins, if there is one.
    pub(super) next_s: Option<i64>,
}

/// The parameters as they came.
#[derive(Default)]
struct Given {
    start_s: Option<i64>,
    end_s: Option<i64>,
    width: Option<BucketWidth>,
    limit: Option<i64>,
    page_s: Option<i64>,
    query: BucketQuery,
}

impl Asked {
    /// Reads a query. The end that is not given is `now_s`.
    pub(super) fn read(uri: &Uri, now_s: i64) -> Result<Self, Fault> {
        let mut given = Given::default();
        for (name, value) in url::form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes())
        {
            given.take(&name, &value)?;
        }
        let start_s = given.start_s.ok_or_else(|| {
            Fault::validation(vec![FieldError::query("start_time", "missing", "Field required")])
        })?;
        let end_s = given.end_s.unwrap_or(now_s);
        if end_s <= start_s {
            return Err(wrong("end_time", "Expected a time after start_time"));
        }
        let width = given.width.unwrap_or(BucketWidth::Day);
        let (usual, most) = limits(width);
        let limit = given.limit.unwrap_or(usual);
        if !(1..=most).contains(&limit) {
            return Err(wrong("limit", format!("Expected 1 to {most} buckets of this width")));
        }
        let window = Window::new(width, start_s, end_s, limit, given.page_s)?;
        Ok(Self { window, query: given.query })
    }
}

impl Window {
    fn new(
        width: BucketWidth,
        start_s: i64,
        end_s: i64,
        limit: i64,
        page_s: Option<i64>,
    ) -> Result<Self, Fault> {
        let width_s = width.millis() / 1_000;
        let first_s = start_s - start_s.rem_euclid(width_s);
        let from_s = page_s.unwrap_or(first_s);
        if from_s < first_s || from_s >= end_s || (from_s - first_s) % width_s != 0 {
            return Err(Fault::new(Code::Unservable, "page is not one that this query gave"));
        }
        let last_s = from_s + limit * width_s;
        let more = last_s < end_s;
        // The last bucket is whole, also where the end lies within it.
        let to_s = if more { last_s } else { end_s + (from_s - end_s).rem_euclid(width_s) };
        Ok(Self { width, from_s, to_s, next_s: more.then_some(last_s) })
    }

    /// How the page that begins at a second is named.
    pub(super) fn page(start_s: i64) -> String {
        format!("t{start_s}")
    }

    /// A bucket's length.
    pub(super) const fn width_s(&self) -> i64 {
        self.width.millis() / 1_000
    }

    /// When each bucket begins.
    pub(super) fn starts_s(self) -> impl Iterator<Item = i64> {
        (0..).map(move |n| self.from_s + n * self.width_s()).take_while(move |&s| s < self.to_s)
    }

    /// The page as the store reads it.
    pub(super) const fn span(&self) -> Span {
        Span { from_ms: self.from_s * 1_000, to_ms: self.to_s * 1_000 }
    }
}

impl Given {
    fn take(&mut self, name: &str, value: &str) -> Result<(), Fault> {
        match name {
            "start_time" => self.start_s = Some(second("start_time", value)?),
            "end_time" => self.end_s = Some(second("end_time", value)?),
            "bucket_width" => {
                self.width = Some(match value {
                    "1m" => BucketWidth::Minute,
                    "1h" => BucketWidth::Hour,
                    "1d" => BucketWidth::Day,
                    _ => return Err(wrong("bucket_width", "Expected 1m, 1h or 1d")),
                });
            }
            "limit" => {
                let limit = value.parse().map_err(|_| wrong("limit", "Expected an integer"))?;
                self.limit = Some(limit);
            }
            "page" => {
                let start = value.strip_prefix('t').and_then(|second| second.parse().ok());
                let start = start.filter(|second| (0..=LAST_S).contains(second));
                let unknown = || Fault::new(Code::Unservable, "page is not one that was given out");
                self.page_s = Some(start.ok_or_else(unknown)?);
            }
            "group_by" => {
                *match value {
                    "model" => &mut self.query.by_model,
                    "source" => &mut self.query.by_source,
                    "mode" => &mut self.query.by_mode,
                    "key_id" => &mut self.query.by_key,
                    _ => return Err(wrong("group_by", "Expected model, source, mode or key_id")),
                } = true;
            }
            "models" => filter(&mut self.query.models, "models", ModelName::new(value).ok())?,
            "sources" => filter::<Source>(&mut self.query.sources, "sources", value.parse().ok())?,
            "modes" => filter::<Mode>(&mut self.query.modes, "modes", value.parse().ok())?,
            "key_ids" => filter::<KeyId>(&mut self.query.keys, "key_ids", value.parse().ok())?,
            other => {
                let name: String = other.chars().filter(|c| !c.is_control()).take(80).collect();
                let text = "Extra inputs are not permitted";
                return Err(Fault::validation(vec![FieldError::query(
                    name,
                    "extra_forbidden",
                    text,
                )]));
            }
        }
        Ok(())
    }
}

fn filter<T>(names: &mut Vec<T>, name: &'static str, value: Option<T>) -> Result<(), Fault> {
    if names.len() == FILTER_MAX {
        return Err(wrong(name, format!("Expected at most {FILTER_MAX} of them")));
    }
    names.push(value.ok_or_else(|| wrong(name, "Not of the expected form"))?);
    Ok(())
}

fn second(name: &'static str, value: &str) -> Result<i64, Fault> {
    let second = value.parse().ok().filter(|second| (0..=LAST_S).contains(second));
    second.ok_or_else(|| wrong(name, "Expected seconds since 1970"))
}

/// Buckets of a page that does not say how many it wants, and the most (contract section 1.4).
const fn limits(width: BucketWidth) -> (i64, i64) {
    match width {
        BucketWidth::Minute => (60, 1_440),
        BucketWidth::Hour => (24, 168),
        BucketWidth::Day | BucketWidth::Whole => (7, 31),
    }
}

fn wrong(name: &'static str, text: impl Into<String>) -> Fault {
    Fault::validation(vec![FieldError::query(name, "value_error", text)])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-10-06T10:44:05Z.
    const NOW: i64 = 1_791_283_445;
    /// That day's first second.
    const DAY: i64 = NOW - NOW % 86_400;

    fn read(query: &str) -> Result<Asked, Fault> {
        Asked::read(&format!("/?{query}").parse().unwrap(), NOW)
    }

    #[test]
    fn buckets_are_aligned_and_the_last_one_is_whole() {
        let window = read(&format!("start_time={}", NOW - 86_400)).unwrap().window;
        assert_eq!((window.from_s, window.to_s), (DAY - 86_400, DAY + 86_400));
        assert_eq!(window.starts_s().collect::<Vec<_>>(), [DAY - 86_400, DAY]);
        assert_eq!(window.next_s, None);
        let exact = read(&format!("start_time={}&end_time={DAY}", DAY - 86_400)).unwrap().window;
        assert_eq!((exact.to_s, exact.next_s), (DAY, None), "the end is excluded");
    }

    #[test]
    fn pages_follow_one_another_until_the_end() {
        let query =
            format!("start_time={DAY}&end_time={}&bucket_width=1h&limit=2", DAY + 5 * 3_600);
        let mut starts = Vec::new();
        let mut page = String::new();
        for _ in 0..3 {
            let window = read(&format!("{query}{page}")).unwrap().window;
            starts.extend(window.starts_s());
            page = window.next_s.map_or_else(String::new, |s| format!("&page={}", Window::page(s)));
        }
        assert_eq!(starts, (0..5).map(|n| DAY + n * 3_600).collect::<Vec<_>>());
        assert_eq!(page, "", "the third is the last");
    }

    #[test]
    fn splits_and_filters_may_repeat() {
        let asked = read(
            "start_time=1&group_by=model&group_by=key_id&models=a%2Fb&models=c&modes=direct\
             &sources=openai&key_ids=key_0000000000000001",
        );
        let query = asked.unwrap().query;
        assert!(query.by_model && query.by_key && !query.by_mode && !query.by_source);
        assert_eq!((query.models.len(), query.keys.len()), (2, 1));
        assert_eq!((query.modes, query.sources), (vec![Mode::Direct], vec![Source::Openai]));
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        for (query, code, text) in [
            ("", Code::ValidationError, "start_time: Field required"),
            ("start_time=x", Code::ValidationError, "start_time: "),
            ("start_time=-1", Code::ValidationError, "start_time: "),
            ("start_time=5&end_time=5", Code::ValidationError, "end_time: "),
            ("start_time=5&bucket_width=2h", Code::ValidationError, "bucket_width: "),
            ("start_time=5&limit=32", Code::ValidationError, "limit: Expected 1 to 31"),
            ("start_time=5&limit=0", Code::ValidationError, "limit: "),
            ("start_time=5&group_by=day", Code::ValidationError, "group_by: "),
            ("start_time=5&modes=auto", Code::ValidationError, "modes: "),
            ("start_time=5&nope=1", Code::ValidationError, "nope: Extra inputs"),
            ("start_time=5&page=t7", Code::Unservable, "page is not"),
            ("start_time=5&page=x", Code::Unservable, "page is not"),
        ] {
            let fault = read(query).unwrap_err();
            assert_eq!(fault.code, code, "{query}");
            assert!(fault.message.starts_with(text), "{query}: {}", fault.message);
        }
    }
}
