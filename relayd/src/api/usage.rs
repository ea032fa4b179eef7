//! `/v2/customer/usage` and `/v2/customer/usage/{key_id}` (contract section 1.4).

use std::collections::{BTreeMap, HashMap};

use axum::extract::State;
use axum::response::Response;
use http::Uri;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

use crate::domain::{Code, CustomerId, Fault, FieldError, KeyId, Mode, ModelName, Ncr, Source};
use crate::store::{ApiKey, DAY_MS, GroupBy, KeyFilter, PAGE_MAX, Page, Span, UsageOf, UsageSum};

use super::access::Owner;
use super::error::Refused;
use super::input::{self, Segment, unknown_cursor};
use super::keys::KeyFacts;
use super::money::Usd;
use super::respond::{print, time};
use super::routes::Account;

/// Most days between `from` and `to`.
const DAYS_MAX: i64 = 30;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct UsageQuery {
    limit: Option<u32>,
    starting_after: Option<String>,
    #[serde(flatten)]
    dates: DatesQuery,
}

#[derive(Deserialize)]
struct DatesQuery {
    period: Option<String>,
    from: Option<String>,
    to: Option<String>,
}

/// The dates that a caller asked for, as it is told back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Dates {
    period: Option<String>,
    from: Option<String>,
    to: Option<String>,
    #[serde(skip)]
    span: Span,
}

#[derive(Serialize)]
struct UsageAnswer {
    total: u64,
    limit: Option<u32>,
    has_more: bool,
    next_cursor: Option<String>,
    keys: Vec<KeyUsage>,
    query: Option<Dates>,
}

#[derive(Serialize)]
struct KeyUsage {
    #[serde(flatten)]
    facts: KeyFacts,
    analytics: Analytics,
}

#[derive(Default, Serialize)]
struct Analytics {
    lifetime: Option<ByMode>,
    by_date: Option<BTreeMap<String, ByMode>>,
}

type ByMode = BTreeMap<Mode, BTreeMap<Source, BTreeMap<ModelName, Used>>>;

#[derive(Default, Serialize)]
struct Used {
    requests: u64,
    credits: Usd,
    input_tokens: u64,
    output_tokens: u64,
}

/// `GET /v2/customer/usage`
pub(super) async fn all(
    State(face): State<Account>,
    owner: Owner,
    uri: Uri,
) -> Result<Response, Refused> {
    let query: UsageQuery = input::query(&uri)?;
    if query.limit.is_some_and(|limit| !(1..=PAGE_MAX).contains(&limit)) {
        let error = FieldError::query("limit", "value_error", "Expected 1 to 1000");
        return Err(Fault::validation(vec![error]).into());
    }
    let dates = query.dates.read()?;
    let after = query.starting_after;
    let (rows, total, next) = all_keys(&face, owner.customer(), query.limit, after).await?;
    let keys = with_usage(&face, owner.customer(), None, rows, dates.as_ref()).await?;
    print(&UsageAnswer {
        total,
        limit: query.limit,
        has_more: next.is_some(),
        next_cursor: next,
        keys,
        query: dates,
    })
}

/// `GET /v2/customer/usage/{key_id}`
pub(super) async fn one(
    State(face): State<Account>,
    owner: Owner,
    Segment(id): Segment,
    uri: Uri,
) -> Result<Response, Refused> {
    let query: UsageQuery = input::query(&uri)?;
    let dates = query.dates.read()?;
    let key = face.identity.key_of(owner.customer(), &id).await?;
    let only = Some(key.id.clone());
    let keys = with_usage(&face, owner.customer(), only, vec![key], dates.as_ref()).await?;
    print(&keys.first().ok_or_else(Fault::internal)?)
}

/// Keys of a customer: a page of them, or all where no limit is named; how many there are, and the
/// cursor of the next page.
pub(super) async fn all_keys(
    face: &Account,
    customer: &CustomerId,
    limit: Option<u32>,
    mut after: Option<String>,
) -> Result<(Vec<ApiKey>, u64, Option<String>), Fault> {
    let filter =
        KeyFilter { customer: Some(customer.clone()), system: true, ..KeyFilter::default() };
    let mut rows = Vec::new();
    loop {
        let page = Page::new(after.as_deref(), limit.unwrap_or(PAGE_MAX));
        let (paged, total) = match face.identity.keys(&filter, &page).await {
            Err(fault) if fault.code == Code::NotFound => return Err(unknown_cursor()),
            found => found?,
        };
        rows.extend(paged.rows);
        // Without a limit all are asked for; a tier bounds how many there are.
        match (limit, paged.next) {
            (None, Some(next)) => after = Some(next),
            (_, next) => return Ok((rows, total, next)),
        }
    }
}

async fn with_usage(
    face: &Account,
    customer: &CustomerId,
    only: Option<KeyId>,
    keys: Vec<ApiKey>,
    dates: Option<&Dates>,
) -> Result<Vec<KeyUsage>, Fault> {
    let of = UsageOf { customer: Some(customer.clone()), key: only };
    let by = GroupBy {
        key: true,
        mode: true,
        source: true,
        model: true,
        day: dates.is_some(),
        ..GroupBy::default()
    };
    let span = dates.map_or(Span::ALL, |dates| dates.span);
    let mut sums: HashMap<KeyId, Vec<UsageSum>> = HashMap::new();
    for sum in face.store.summarize(&of, span, by).await? {
        if let Some(key) = sum.key.clone() {
            sums.entry(key).or_default().push(sum);
        }
    }
    let row = |key: ApiKey| KeyUsage {
        analytics: analytics(sums.remove(&key.id).unwrap_or_default(), dates.is_some()),
        facts: key.into(),
    };
    Ok(keys.into_iter().map(row).collect())
}

fn analytics(sums: Vec<UsageSum>, dated: bool) -> Analytics {
    let mut lifetime = ByMode::new();
    let mut by_date: BTreeMap<String, ByMode> = BTreeMap::new();
    for sum in sums {
        let (Some(mode), Some(source), Some(model)) = (sum.mode, sum.source, sum.model) else {
            continue;
        };
        let modes = match sum.day_ms {
            Some(day) if dated => by_date.entry(date(day)).or_default(),
            _ => &mut lifetime,
        };
        let used = modes.entry(mode).or_default().entry(source).or_default().entry(model);
        let used = used.or_default();
        used.requests = used.requests.saturating_add(sum.requests);
        used.credits = Usd(used.credits.0.checked_add(sum.charged).unwrap_or(Ncr::MAX));
        used.input_tokens = used.input_tokens.saturating_add(sum.meters.input());
        used.output_tokens = used.output_tokens.saturating_add(sum.meters.output());
    }
    if dated {
        Analytics { by_date: Some(by_date), lifetime: None }
    } else {
        Analytics { lifetime: Some(lifetime), by_date: None }
    }
}

fn date(day_ms: i64) -> String {
    time(day_ms).chars().take("2026-10-06".len()).collect()
}

impl DatesQuery {
    fn read(self) -> Result<Option<Dates>, Fault> {
        self.read_at(jiff::Timestamp::now().as_millisecond())
    }

    fn read_at(self, now_ms: i64) -> Result<Option<Dates>, Fault> {
        let refuse = |text: &'static str| Err(Fault::new(Code::Unservable, text));
        match (&self.period, &self.from, &self.to) {
            (None, None, None) => Ok(None),
            (Some(period), None, None) => {
                let days = match period.as_str() {
                    "7d" => 7,
                    "30d" => 30,
                    _ => {
                        let error = FieldError::query("period", "enum", "Expected 7d or 30d");
                        return Err(Fault::validation(vec![error]));
                    }
                };
                let to_ms = Span::day_of(now_ms).to_ms;
                let span = Span { from_ms: to_ms - days * DAY_MS, to_ms };
                Ok(Some(Dates { period: self.period, from: None, to: None, span }))
            }
            (None, Some(from), Some(to)) => {
                let (from_ms, last_ms) = (day("from", from)?, day("to", to)?);
                if last_ms < from_ms {
                    return refuse("from is later than to");
                }
                if last_ms - from_ms > DAYS_MAX * DAY_MS {
                    return refuse("from and to are at most 30 days apart");
                }
                let span = Span { from_ms, to_ms: last_ms + DAY_MS };
                Ok(Some(Dates { period: None, from: self.from, to: self.to, span }))
            }
            (None, _, _) => refuse("from and to are needed together"),
            (Some(_), _, _) => refuse("period and from/to exclude each other"),
        }
    }
}

/// The first millisecond of a UTC day.
fn day(name: &'static str, text: &str) -> Result<i64, Fault> {
    let parsed = text
        .parse::<Date>()
        .ok()
        .filter(|_| text.len() == "2026-10-06".len())
        .and_then(|date| date.to_zoned(TimeZone::UTC).ok())
        .map(|zoned| zoned.timestamp().as_millisecond());
    parsed.ok_or_else(|| {
        Fault::validation(vec![FieldError::query(name, "date_parsing", "Expected YYYY-MM-DD")])
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-10-06T10:44:05Z.
    const NOW: i64 = 1_791_283_445_000;

    fn read(
        period: Option<&str>,
        from: Option<&str>,
        to: Option<&str>,
    ) -> Result<Option<Dates>, Code> {
        let own = |text: Option<&str>| text.map(str::to_owned);
        DatesQuery { period: own(period), from: own(from), to: own(to) }
            .read_at(NOW)
            .map_err(|fault| fault.code)
    }

    #[test]
    fn dates_are_read_as_the_contract_says() {
        assert_eq!(read(None, None, None), Ok(None));
        let week = read(Some("7d"), None, None).unwrap().unwrap().span;
        assert_eq!((week.to_ms - week.from_ms) / DAY_MS, 7);
        assert!(week.from_ms < NOW && NOW < week.to_ms);
        let month = read(None, Some("2026-09-06"), Some("2026-10-06")).unwrap().unwrap().span;
        assert_eq!((month.to_ms - month.from_ms) / DAY_MS, 31, "both days count");
        let one = read(None, Some("2026-10-06"), Some("2026-10-06")).unwrap().unwrap().span;
        assert_eq!(one, Span::day_of(NOW));
        for (period, from, to, code) in [
            (Some("7d"), Some("2026-10-01"), Some("2026-10-02"), Code::Unservable),
            (None, Some("2026-10-01"), None, Code::Unservable),
            (None, Some("2026-10-02"), Some("2026-10-01"), Code::Unservable),
            (None, Some("2026-09-05"), Some("2026-10-06"), Code::Unservable),
            (Some("8d"), None, None, Code::ValidationError),
            (None, Some("2026-13-01"), Some("2026-10-01"), Code::ValidationError),
            (None, Some("20261001"), Some("2026-10-01"), Code::ValidationError),
        ] {
            assert_eq!(read(period, from, to), Err(code), "{period:?} {from:?} {to:?}");
        }
    }
}
