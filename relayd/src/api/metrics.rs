//! `GET /v2/customer/metrics` and `/v2/customer/usage/timeseries`: requests, latency, tokens and
//! spend in buckets of time (contract section 1.4).
//!
//! Both read the same buckets of the store; they differ in what a row tells and who may ask.

use std::collections::{BTreeMap, HashMap};

use axum::extract::State;
use axum::response::Response;
use http::Uri;
use serde::Serialize;

use crate::domain::{Code, Fault, KeyId, Mode, ModelName, Source};
use crate::store::{
    BucketQuery, BucketRow, BucketWidth, Dims, GROUPS_MAX, Percentiles, Span, UsageOf,
};

use super::access::Owner;
use super::error::Refused;
use super::money::Usd;
use super::respond::print;
use super::routes::Account;
use super::timespan::{Asked, Window};
use super::usage::all_keys;

/// Fewest samples from which a percentile says something.
const P50_SAMPLES: u64 = 1;
const P90_SAMPLES: u64 = 10;
const P95_SAMPLES: u64 = 20;
const P99_SAMPLES: u64 = 100;

#[derive(Serialize)]
struct Page<R> {
    object: &'static str,
    data: Vec<Bucket<R>>,
    /// Over the buckets of this page.
    summary: Option<Bucket<R>>,
    has_more: bool,
    next_page: Option<String>,
}

/// Times are seconds since the epoch; the end is excluded.
#[derive(Serialize)]
struct Bucket<R> {
    object: &'static str,
    start_time: i64,
    end_time: i64,
    results: Vec<R>,
}

/// What a row was split by; what it was not split by is absent.
#[derive(Serialize)]
struct Split {
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<ModelName>,
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<Source>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mode: Option<Mode>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_id: Option<KeyId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_name: Option<String>,
}

#[derive(Serialize)]
struct Metrics {
    request_count: u64,
    success_count: u64,
    error_count: u64,
    user_error_count: u64,
    upstream_error_count: u64,
    unclassified_error_count: u64,
    latency_ms: PercentileSet,
    provider_latency_ms: PercentileSet,
    ttft_ms: PercentileSet,
    #[serde(flatten)]
    split: Split,
}

#[derive(Serialize)]
struct PercentileSet {
    p50: Option<i64>,
    p90: Option<i64>,
    p95: Option<i64>,
    p99: Option<i64>,
    sample_count: u64,
}

#[derive(Serialize)]
struct Spend {
    request_count: u64,
    cost_usd: Usd,
    input_tokens: u64,
    output_tokens: u64,
    cached_input_tokens: u64,
    media_input_tokens: u64,
    media_output_tokens: u64,
    #[serde(flatten)]
    split: Split,
}

/// `GET /v2/customer/metrics`
pub(super) async fn metrics(
    State(face): State<Account>,
    owner: Owner,
    uri: Uri,
) -> Result<Response, Refused> {
    let asked = Asked::read(&uri, jiff::Timestamp::now().as_second())?;
    print(&page(&face, &owner, asked, Metrics::of).await?)
}

/// `GET /v2/customer/usage/timeseries`
pub(super) async fn timeseries(
    State(face): State<Account>,
    owner: Owner,
    uri: Uri,
) -> Result<Response, Refused> {
    face.needs_custom(&owner, "Spend over time")?;
    let asked = Asked::read(&uri, jiff::Timestamp::now().as_second())?;
    print(&page(&face, &owner, asked, Spend::of).await?)
}

async fn page<R>(
    face: &Account,
    owner: &Owner,
    asked: Asked,
    row: impl Fn(BucketRow, Split) -> R,
) -> Result<Page<R>, Fault> {
    let Asked { window, mut query } = asked;
    query.of = UsageOf { customer: Some(owner.customer().clone()), key: None };
    let names = match query.by_key {
        true => {
            let (keys, ..) = all_keys(face, owner.customer(), None, None).await?;
            keys.into_iter().map(|key| (key.id, key.name)).collect()
        }
        false => HashMap::new(),
    };
    let rows = buckets(face, &query, window.width, window.span()).await?;
    let whole = buckets(face, &query, BucketWidth::Whole, window.span()).await?;
    let told = |rows: Vec<BucketRow>| results(rows, &names, &row);
    let mut by_start: BTreeMap<i64, Vec<BucketRow>> = BTreeMap::new();
    for row in rows {
        by_start.entry(row.start_ms).or_default().push(row);
    }
    let data = window.starts_s().map(|start_s| Bucket {
        object: "bucket",
        start_time: start_s,
        end_time: start_s + window.width_s(),
        results: told(by_start.remove(&(start_s * 1_000)).unwrap_or_default()),
    });
    Ok(Page {
        object: "page",
        data: data.collect(),
        summary: Some(Bucket {
            object: "summary",
            start_time: window.from_s,
            end_time: window.to_s,
            results: told(whole),
        }),
        has_more: window.next_s.is_some(),
        next_page: window.next_s.map(Window::page),
    })
}

async fn buckets(
    face: &Account,
    query: &BucketQuery,
    width: BucketWidth,
    span: Span,
) -> Result<Vec<BucketRow>, Fault> {
    let rows = face.store.buckets(query, width, span).await?;
    if i64::try_from(rows.len()).is_ok_and(|rows| rows < GROUPS_MAX) {
        return Ok(rows);
    }
    let text = "There are too many groups for one page; ask for fewer buckets or group by less";
    Err(Fault::new(Code::Unservable, text))
}

/// Rows of one bucket; a bucket without any says so in one row of zeros.
fn results<R>(
    rows: Vec<BucketRow>,
    names: &HashMap<KeyId, String>,
    row: impl Fn(BucketRow, Split) -> R,
) -> Vec<R> {
    if rows.is_empty() {
        return vec![row(BucketRow::default(), Split::of(Dims::default(), names))];
    }
    rows.into_iter()
        .map(|mut found| {
            let split = Split::of(std::mem::take(&mut found.dims), names);
            row(found, split)
        })
        .collect()
}

impl Split {
    fn of(dims: Dims, names: &HashMap<KeyId, String>) -> Self {
        let Dims { model, source, mode, key } = dims;
        let key_name = key.as_ref().and_then(|key| names.get(key).cloned());
        Self { model, source, mode, key_id: key, key_name }
    }
}

impl Metrics {
    fn of(row: BucketRow, split: Split) -> Self {
        Self {
            request_count: row.requests,
            success_count: row.successes,
            error_count: row.client_errors + row.upstream_errors + row.other_errors,
            user_error_count: row.client_errors,
            upstream_error_count: row.upstream_errors,
            unclassified_error_count: row.other_errors,
            latency_ms: row.latency.into(),
            provider_latency_ms: row.upstream.into(),
            ttft_ms: row.ttft.into(),
            split,
        }
    }
}

impl Spend {
    fn of(row: BucketRow, split: Split) -> Self {
        Self {
            request_count: row.requests,
            cost_usd: Usd(row.charged),
            input_tokens: row.meters.input(),
            output_tokens: row.meters.output(),
            cached_input_tokens: row.meters.in_cache_read,
            media_input_tokens: 0,
            media_output_tokens: 0,
            split,
        }
    }
}

impl From<Percentiles> for PercentileSet {
    fn from(measured: Percentiles) -> Self {
        let from = |least, value| (measured.samples >= least).then_some(value);
        Self {
            p50: from(P50_SAMPLES, measured.p50),
            p90: from(P90_SAMPLES, measured.p90),
            p95: from(P95_SAMPLES, measured.p95),
            p99: from(P99_SAMPLES, measured.p99),
            sample_count: measured.samples,
        }
    }
}
