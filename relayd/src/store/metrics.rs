//! Usage over time: one bucket a minute, hour or day, with percentiles of latency.

use std::collections::BTreeMap;

use sqlx::any::AnyRow;

use super::Store;
use super::error::StoreError;
use super::row::{Columns, meters};
use super::usage::{GROUPS_MAX, Span, UsageOf};
use crate::domain::{KeyId, Meters, Mode, ModelName, Ncr, Source};

/// How long a bucket is. Buckets begin at multiples of it since the epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BucketWidth {
    /// A minute.
    Minute,
    /// An hour.
    Hour,
    /// A UTC day.
    Day,
    /// All of the span in one bucket, which begins at the epoch.
    Whole,
}

/// What buckets are split by, and which rows count. Empty lists filter nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BucketQuery {
    /// Whose usage.
    pub of: UsageOf,
    /// Split by model.
    pub by_model: bool,
    /// Split by source.
    pub by_source: bool,
    /// Split by mode.
    pub by_mode: bool,
    /// Split by key.
    pub by_key: bool,
    /// Only these models.
    pub models: Vec<ModelName>,
    /// Only these sources.
    pub sources: Vec<Source>,
    /// Only these modes.
    pub modes: Vec<Mode>,
    /// Only these keys.
    pub keys: Vec<KeyId>,
}

/// What a bucket was split by; what it was not split by is none.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Dims {
    /// The model.
    pub model: Option<ModelName>,
    /// The source.
    pub source: Option<Source>,
    /// The mode.
    pub mode: Option<Mode>,
    /// The key; none also for requests without one.
    pub key: Option<KeyId>,
}

/// Nearest-rank percentiles over the successes of a bucket, in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Percentiles {
    /// Half lie at or below.
    pub p50: i64,
    /// Nine tenths do.
    pub p90: i64,
    /// Nineteen twentieths do.
    pub p95: i64,
    /// All but a hundredth do.
    pub p99: i64,
    /// How many were measured. With none the percentiles mean nothing.
    pub samples: u64,
}

/// One split of one bucket that saw a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BucketRow {
    /// The bucket's first millisecond.
    pub start_ms: i64,
    /// What it was split by.
    pub dims: Dims,
    /// Requests that ended.
    pub requests: u64,
    /// Of them those answered in full.
    pub successes: u64,
    /// Failures that were the caller's.
    pub client_errors: u64,
    /// Failures that were a backend's.
    pub upstream_errors: u64,
    /// All other ends that were no success.
    pub other_errors: u64,
    /// What was used.
    pub meters: Meters,
    /// What was charged.
    pub charged: Ncr,
    /// Time from acceptance to the end.
    pub latency: Percentiles,
    /// Time the backend took.
    pub upstream: Percentiles,
    /// Time to the first content.
    pub ttft: Percentiles,
}

impl BucketWidth {
    /// Its length in milliseconds.
    #[must_use]
    pub const fn millis(self) -> i64 {
        match self {
            Self::Minute => 60_000,
            Self::Hour => 3_600_000,
            Self::Day => 86_400_000,
            Self::Whole => i64::MAX,
        }
    }
}

/// The rows of the span that count, with their bucket and splits. `$1` and `$2` whose usage, `$3`
/// and `$4` the span, `$5` the width, `$6` to `$9` the splits, `$10` to `$13` the filters: names
/// with a line feed around each, which no name holds, searched by replacing.
macro_rules! bucketed {
    () => {
        "with rows as (
            select created_ms - created_ms % $5 as bucket,
                case when $6 = 1 then model else '' end as g_model,
                case when $7 = 1 then source else '' end as g_source,
                case when $8 = 1 then mode else '' end as g_mode,
                case when $9 = 1 then coalesce(key_id, '') else '' end as g_key,
                status, blame, done_ms - created_ms as latency_ms, upstream_ms, ttft_ms, charge_ncr,
                in_uncached, in_cache_read, in_cache_write_5m, in_cache_write_1h, out_text,
                out_reasoning
            from usage
            where created_ms >= $3 and created_ms < $4
              and ($1 = '' or customer_id = $1) and ($2 = '' or key_id = $2)
              and ($10 = '' or replace($10, '\n' || model || '\n', '') <> $10)
              and ($11 = '' or replace($11, '\n' || source || '\n', '') <> $11)
              and ($12 = '' or replace($12, '\n' || mode || '\n', '') <> $12)
              and ($13 = '' or replace($13, '\n' || coalesce(key_id, '') || '\n', '') <> $13))
        "
    };
}

macro_rules! percentiles {
    ($column:literal) => {
        concat!(
            bucketed!(),
            ", ranked as (
                select bucket, g_model, g_source, g_mode, g_key, ",
            $column,
            " as v,
                    row_number() over (partition by bucket, g_model, g_source, g_mode, g_key
                        order by ",
            $column,
            ") as i,
                    count(*) over (partition by bucket, g_model, g_source, g_mode, g_key) as n
                from rows where status = 'completed' and ",
            $column,
            " is not null)
            select bucket, g_model, g_source, g_mode, g_key, n,
                max(case when i = (n * 50 + 99) / 100 then v end) as p50,
                max(case when i = (n * 90 + 99) / 100 then v end) as p90,
                max(case when i = (n * 95 + 99) / 100 then v end) as p95,
                max(case when i = (n * 99 + 99) / 100 then v end) as p99
            from ranked group by bucket, g_model, g_source, g_mode, g_key, n
            order by bucket, g_model, g_source, g_mode, g_key limit $14"
        )
    };
}

/// Where in a bucket the percentiles of one measure belong.
type Measure = fn(&mut BucketRow) -> &mut Percentiles;

impl Store {
    /// Buckets that saw a request, oldest first, split as asked, at most
    /// [`GROUPS_MAX`] rows. The span is taken as it is: align it to the width before.
    ///
    /// # Errors
    /// As every read.
    pub async fn buckets(
        &self,
        query: &BucketQuery,
        width: BucketWidth,
        span: Span,
    ) -> Result<Vec<BucketRow>, StoreError> {
        let rows = query
            .bind(
                sqlx::query(concat!(
                    bucketed!(),
                    "select bucket, g_model, g_source, g_mode, g_key, count(*) as requests,
                        cast(sum(case when status = 'completed' then 1 else 0 end) as bigint)
                            as successes,
                        cast(sum(case when status <> 'completed' and blame = 'client' then 1 else 0 end)
                            as bigint) as client_errors,
                        cast(sum(case when status <> 'completed' and blame = 'provider' then 1 else 0 end)
                            as bigint) as upstream_errors,
                        cast(sum(in_uncached) as bigint) as in_uncached,
                        cast(sum(in_cache_read) as bigint) as in_cache_read,
                        cast(sum(in_cache_write_5m) as bigint) as in_cache_write_5m,
                        cast(sum(in_cache_write_1h) as bigint) as in_cache_write_1h,
                        cast(sum(out_text) as bigint) as out_text,
                        cast(sum(out_reasoning) as bigint) as out_reasoning,
                        cast(sum(charge_ncr) as bigint) as charged
                     from rows group by bucket, g_model, g_source, g_mode, g_key
                     order by bucket, g_model, g_source, g_mode, g_key limit $14"
                )),
                width,
                span,
            )
            .fetch_all(self.reader())
            .await?;
        let mut buckets: BTreeMap<(i64, Dims), BucketRow> = BTreeMap::new();
        for row in &rows {
            let bucket = read_bucket(row)?;
            buckets.insert((bucket.start_ms, bucket.dims.clone()), bucket);
        }
        let measures: [(&'static str, Measure); 3] = [
            (percentiles!("latency_ms"), |bucket| &mut bucket.latency),
            (percentiles!("upstream_ms"), |bucket| &mut bucket.upstream),
            (percentiles!("ttft_ms"), |bucket| &mut bucket.ttft),
        ];
        for (sql, place) in measures {
            let rows = query.bind(sqlx::query(sql), width, span).fetch_all(self.reader()).await?;
            for row in &rows {
                if let Some(bucket) = buckets.get_mut(&(row.int("bucket")?, read_dims(row)?)) {
                    *place(bucket) = read_percentiles(row)?;
                }
            }
        }
        Ok(buckets.into_values().collect())
    }
}

type AnyQuery<'q> = sqlx::query::Query<'q, sqlx::Any, sqlx::any::AnyArguments>;

impl BucketQuery {
    /// Binds `$1` to `$14`.
    fn bind<'q>(&self, query: AnyQuery<'q>, width: BucketWidth, span: Span) -> AnyQuery<'q> {
        query
            .bind(self.of.customer.as_ref().map_or_else(String::new, ToString::to_string))
            .bind(self.of.key.as_ref().map_or_else(String::new, ToString::to_string))
            .bind(span.from_ms)
            .bind(span.to_ms)
            .bind(width.millis())
            .bind(i64::from(self.by_model))
            .bind(i64::from(self.by_source))
            .bind(i64::from(self.by_mode))
            .bind(i64::from(self.by_key))
            .bind(framed(&self.models))
            .bind(framed(&self.sources))
            .bind(framed(&self.modes))
            .bind(framed(&self.keys))
            .bind(GROUPS_MAX)
    }
}

/// Names, each with a line feed before and after it; empty for none.
fn framed<T: std::fmt::Display>(names: &[T]) -> String {
    names.iter().map(|name| format!("\n{name}\n")).collect()
}

fn read_dims(row: &AnyRow) -> Result<Dims, StoreError> {
    let text = |name| Ok::<_, StoreError>(Some(row.text(name)?).filter(|text| !text.is_empty()));
    let corrupt = |name| move |_| StoreError::corrupt(name);
    Ok(Dims {
        model: text("g_model")?
            .map(|name| ModelName::new(&name))
            .transpose()
            .map_err(|_| StoreError::corrupt("model"))?,
        source: text("g_source")?
            .map(|text| text.parse().map_err(corrupt("source")))
            .transpose()?,
        mode: text("g_mode")?.map(|text| text.parse().map_err(corrupt("mode"))).transpose()?,
        key: text("g_key")?
            .map(|text| text.parse().map_err(|_| StoreError::corrupt("key_id")))
            .transpose()?,
    })
}

fn read_bucket(row: &AnyRow) -> Result<BucketRow, StoreError> {
    let (requests, successes) = (row.count("requests")?, row.count("successes")?);
    let (client_errors, upstream_errors) =
        (row.count("client_errors")?, row.count("upstream_errors")?);
    Ok(BucketRow {
        start_ms: row.int("bucket")?,
        dims: read_dims(row)?,
        requests,
        successes,
        client_errors,
        upstream_errors,
        other_errors: requests.saturating_sub(successes + client_errors + upstream_errors),
        meters: meters(row)?,
        charged: row.ncr("charged")?,
        ..BucketRow::default()
    })
}

fn read_percentiles(row: &AnyRow) -> Result<Percentiles, StoreError> {
    Ok(Percentiles {
        p50: row.int("p50")?,
        p90: row.int("p90")?,
        p95: row.int("p95")?,
        p99: row.int("p99")?,
        samples: row.count("n")?,
    })
}
