//! Who used what.

use super::Store;
use super::error::StoreError;
use super::page::{Page, Paged};
use super::row::{Columns, meters, usage};
use crate::domain::{CustomerId, KeyId, Meters, Mode, ModelName, Ncr, RequestId, Source};
use crate::ledger::UsageRow;

/// Most groups of one summary: models times sources times keys of one customer, with room.
pub const GROUPS_MAX: i64 = 10_000;

/// Milliseconds of a UTC day.
pub const DAY_MS: i64 = 86_400_000;

/// Whose usage. A key's owner need not be named beside it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UsageOf {
    /// Only of this customer.
    pub customer: Option<CustomerId>,
    /// Only by this key.
    pub key: Option<KeyId>,
}

/// A span of time: from the first millisecond, included, to the last, excluded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// First, milliseconds since the epoch.
    pub from_ms: i64,
    /// First after it.
    pub to_ms: i64,
}

/// By what usage is grouped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GroupBy {
    /// By UTC day.
    pub day: bool,
    /// By customer.
    pub customer: bool,
    /// By key.
    pub key: bool,
    /// By mode.
    pub mode: bool,
    /// By source.
    pub source: bool,
    /// By model.
    pub model: bool,
    /// By backend.
    pub backend: bool,
}

/// One group of usage. What was not grouped by is none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UsageSum {
    /// The day's first millisecond.
    pub day_ms: Option<i64>,
    /// The customer.
    pub customer: Option<CustomerId>,
    /// The key; none also for requests without one.
    pub key: Option<KeyId>,
    /// The mode.
    pub mode: Option<Mode>,
    /// The source.
    pub source: Option<Source>,
    /// The model.
    pub model: Option<ModelName>,
    /// The backend; none also for requests that reached none.
    pub backend: Option<String>,
    /// Requests that ended, in whatever way.
    pub requests: u64,
    /// Of them those that failed.
    pub errors: u64,
    /// What was used.
    pub meters: Meters,
    /// What was charged.
    pub charged: Ncr,
    /// What the platform bore.
    pub written_off: Ncr,
}

macro_rules! select_usage {
    ($rest:literal) => {
        concat!(
            "select request_id, attempt, customer_id, key_id, mode, source, model, backend, price_id,
                in_uncached, in_cache_read, in_cache_write_5m, in_cache_write_1h, out_text,
                out_reasoning, count_source, estimated, charge_ncr, write_off_ncr, status, error_code,
                blame, stream, created_ms, ttft_ms, upstream_ms, done_ms, task_id, claimed_in,
                claimed_out, provider, provider_ncr from usage ",
            $rest
        )
    };
}

impl Span {
    /// All time.
    pub const ALL: Self = Self { from_ms: i64::MIN, to_ms: i64::MAX };

    /// The UTC day that `now_ms` lies in.
    #[must_use]
    pub const fn day_of(now_ms: i64) -> Self {
        let from_ms = now_ms - now_ms.rem_euclid(DAY_MS);
        Self { from_ms, to_ms: from_ms + DAY_MS }
    }
}

impl Store {
    /// The usage row of a request, once it is settled or released.
    ///
    /// # Errors
    /// As every read; a request that has none is `None`.
    pub async fn usage_of(&self, request: RequestId) -> Result<Option<UsageRow>, StoreError> {
        let row = sqlx::query(select_usage!("where request_id = $1"))
            .bind(request.to_string())
            .fetch_optional(self.reader())
            .await?;
        row.map(|row| usage(&row)).transpose()
    }

    /// Usage rows, newest first. Cursors are request ids.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when the cursor is no request.
    pub async fn usage(&self, of: &UsageOf, page: &Page) -> Result<Paged<UsageRow>, StoreError> {
        self.check_cursor("select request_id from usage where request_id = $1", page).await?;
        // Three texts, so that each runs along its own index.
        let query = match (&of.key, &of.customer) {
            (Some(key), _) => sqlx::query(select_usage!(
                "where key_id = $1 and ($2 = '' or (created_ms, request_id) <
                    (select created_ms, request_id from usage where request_id = $2))
                 order by created_ms desc, request_id desc limit $3"
            ))
            .bind(key.as_str()),
            (None, Some(customer)) => sqlx::query(select_usage!(
                "where customer_id = $1 and ($2 = '' or (created_ms, request_id) <
                    (select created_ms, request_id from usage where request_id = $2))
                 order by created_ms desc, request_id desc limit $3"
            ))
            .bind(customer.as_str()),
            (None, None) => sqlx::query(select_usage!(
                "where $1 = '' and ($2 = '' or (created_ms, request_id) <
                    (select created_ms, request_id from usage where request_id = $2))
                 order by created_ms desc, request_id desc limit $3"
            ))
            .bind(""),
        };
        let rows = query.bind(page.after()).bind(page.fetch()).fetch_all(self.reader()).await?;
        page.cut(&rows, usage, |row| row.request.to_string())
    }

    /// Sums over a span, grouped; ordered by what was charged, highest first, at most
    /// [`GROUPS_MAX`] groups.
    ///
    /// # Errors
    /// As every read.
    pub async fn summarize(
        &self,
        of: &UsageOf,
        span: Span,
        by: GroupBy,
    ) -> Result<Vec<UsageSum>, StoreError> {
        let flag = i64::from;
        let rows = sqlx::query(
            "select g_day, g_customer, g_key, g_mode, g_source, g_model, g_backend,
                count(*) as requests,
                cast(sum(case when status = 'failed' then 1 else 0 end) as bigint) as errors,
                cast(sum(in_uncached) as bigint) as in_uncached,
                cast(sum(in_cache_read) as bigint) as in_cache_read,
                cast(sum(in_cache_write_5m) as bigint) as in_cache_write_5m,
                cast(sum(in_cache_write_1h) as bigint) as in_cache_write_1h,
                cast(sum(out_text) as bigint) as out_text,
                cast(sum(out_reasoning) as bigint) as out_reasoning,
                cast(sum(charge_ncr) as bigint) as charged,
                cast(sum(write_off_ncr) as bigint) as written_off
             from (select usage.*,
                    case when $5 = 1 then created_ms - created_ms % 86400000 else -1 end as g_day,
                    case when $6 = 1 then customer_id else '' end as g_customer,
                    case when $7 = 1 then coalesce(key_id, '') else '' end as g_key,
                    case when $8 = 1 then mode else '' end as g_mode,
                    case when $9 = 1 then source else '' end as g_source,
                    case when $10 = 1 then model else '' end as g_model,
                    case when $11 = 1 then coalesce(backend, '') else '' end as g_backend
                from usage
                where created_ms >= $3 and created_ms < $4
                  and ($1 = '' or customer_id = $1) and ($2 = '' or key_id = $2)) as grouped
             group by g_day, g_customer, g_key, g_mode, g_source, g_model, g_backend
             order by charged desc, g_day, g_customer, g_key, g_mode, g_source, g_model, g_backend
             limit $12",
        )
        .bind(of.customer.as_ref().map_or("", |customer| customer.as_str()))
        .bind(of.key.as_ref().map_or("", |key| key.as_str()))
        .bind(span.from_ms)
        .bind(span.to_ms)
        .bind(flag(by.day))
        .bind(flag(by.customer))
        .bind(flag(by.key))
        .bind(flag(by.mode))
        .bind(flag(by.source))
        .bind(flag(by.model))
        .bind(flag(by.backend))
        .bind(GROUPS_MAX)
        .fetch_all(self.reader())
        .await?;
        rows.iter().map(read_sum).collect()
    }

    /// The sum over a span; all zero when nothing was used.
    ///
    /// # Errors
    /// As every read.
    pub async fn usage_total(&self, of: &UsageOf, span: Span) -> Result<UsageSum, StoreError> {
        Ok(self.summarize(of, span, GroupBy::default()).await?.pop().unwrap_or_default())
    }
}

/// The text that stands for "not grouped by" is nothing.
fn group<T: std::str::FromStr>(
    row: &sqlx::any::AnyRow,
    name: &'static str,
) -> Result<Option<T>, StoreError> {
    let text = row.text(name)?;
    if text.is_empty() {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|_| StoreError::corrupt(name))
}

fn read_sum(row: &sqlx::any::AnyRow) -> Result<UsageSum, StoreError> {
    Ok(UsageSum {
        day_ms: Some(row.int("g_day")?).filter(|day| *day >= 0),
        customer: group(row, "g_customer")?,
        key: group(row, "g_key")?,
        mode: group(row, "g_mode")?,
        source: group(row, "g_source")?,
        model: group(row, "g_model")?,
        backend: group(row, "g_backend")?,
        requests: row.count("requests")?,
        errors: row.count("errors")?,
        meters: meters(row)?,
        charged: row.ncr("charged")?,
        written_off: row.ncr("written_off")?,
    })
}
