//! What readers of the registry get.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::window::{Count, Window};
use super::{ENDED_FOR_MS, Inner, lock};
use crate::domain::{BackendId, Code, CustomerId, KeyId, Meters, Ncr, RequestId, Scope};

/// Rates are over this many whole seconds; the running second is left out.
const RATE_SECONDS: u64 = 10;
/// Shares are over this many seconds, the running one included.
const SHARE_SECONDS: u64 = 60;
const PPM: u64 = 1_000_000;

/// How far a request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Waits for a backend.
    Queued,
    /// Sent, no answer yet.
    Prefill,
    /// Content comes.
    Streaming,
    /// The charge is being written.
    Settling,
    /// Answered whole.
    Completed,
    /// Refused or broken.
    Failed,
    /// The client left.
    Cancelled,
}

/// One request as people see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestView {
    /// Its id.
    pub request_id: RequestId,
    /// Who pays; none for a guest.
    pub customer: Option<CustomerId>,
    /// The key it came with.
    pub key: Option<KeyId>,
    /// What people call that key.
    pub key_name: Arc<str>,
    /// Mode, source and model.
    pub scope: Scope,
    /// Where it was sent.
    pub backend: Option<BackendId>,
    /// How far it is.
    pub phase: Phase,
    /// Why it failed.
    pub error: Option<Code>,
    /// Whether it is a stream.
    pub stream: bool,
    /// What was counted; while it runs, only the answer's tokens so far.
    pub meters: Meters,
    /// Whether relayd counted in place of the engine.
    pub estimated: bool,
    /// The charge; zero while it runs.
    pub charged: Ncr,
    /// When it began, in milliseconds since the Unix epoch.
    pub created_at_ms: i64,
    /// Until the first content.
    pub ttft_ms: Option<u32>,
    /// Until now, or until its end.
    pub duration_ms: u32,
}

/// The whole traffic at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Requests begun, over the last 10 whole seconds, in thousandths of one a second.
    pub requests_per_ks: u64,
    /// Prompt tokens of requests that ended, likewise.
    pub tokens_in_per_ks: u64,
    /// Answer tokens, likewise.
    pub tokens_out_per_ks: u64,
    /// Share of failures among the requests that ended in the last minute.
    pub errors_ppm: u32,
    /// Refused for want of capacity in the last minute.
    pub shed: u64,
    /// Requests that run.
    pub in_flight: u32,
    /// Of them, streams that have begun.
    pub streams: u32,
    /// Of them, those that wait for a backend.
    pub queued: u32,
    /// How long the oldest of those has waited.
    pub oldest_queued_ms: u64,
    /// Half of the last minute's first tokens came faster.
    pub ttft_p50_ms: u32,
    /// 95 of 100 came faster.
    pub ttft_p95_ms: u32,
    /// 99 of 100 came faster.
    pub ttft_p99_ms: u32,
}

/// What one key does now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeyActivity {
    /// Requests that run.
    pub in_flight: u32,
    /// Over the last 10 whole seconds, in thousandths of one a second.
    pub requests_per_ks: u64,
    /// Refused with 429 since 00:00 UTC, by this process.
    pub limited_today: u64,
    /// Since 00:00 UTC, by this process.
    pub ttft_p50_ms: u32,
    /// Since 00:00 UTC, by this process.
    pub ttft_p95_ms: u32,
}

impl Phase {
    const ALL: [Self; 7] = [
        Self::Queued,
        Self::Prefill,
        Self::Streaming,
        Self::Settling,
        Self::Completed,
        Self::Failed,
        Self::Cancelled,
    ];

    pub(super) const fn number(self) -> u8 {
        self as u8
    }

    pub(super) fn from_number(number: u8) -> Self {
        Self::ALL.get(usize::from(number)).copied().unwrap_or(Self::Failed)
    }
}

pub(super) fn traffic(inner: &Inner) -> Traffic {
    let now_ms = inner.now_ms();
    let second = now_ms / 1_000;
    let windows: Vec<Window> = inner.windows.iter().map(|shard| lock(shard).clone()).collect();
    let sum = |from: u64, to: u64, count| {
        windows.iter().map(|window| window.sum(from, to, count)).sum::<u64>()
    };
    let rate = |count| match second.checked_sub(1) {
        Some(last) => sum(second.saturating_sub(RATE_SECONDS), last, count) * 1_000 / RATE_SECONDS,
        None => 0,
    };
    let minute = |count| sum((second + 1).saturating_sub(SHARE_SECONDS), second, count);
    let ended = minute(Count::Ended);
    let errors_ppm = (minute(Count::Errors) * PPM).checked_div(ended).unwrap_or(0);
    let ttft = lock(&inner.ttft).last_minute(second);

    let mut traffic = Traffic {
        requests_per_ks: rate(Count::Requests),
        tokens_in_per_ks: rate(Count::TokensIn),
        tokens_out_per_ks: rate(Count::TokensOut),
        errors_ppm: narrow(errors_ppm),
        shed: minute(Count::Shed),
        in_flight: narrow(inner.unlisted.load(Ordering::Relaxed)),
        ttft_p50_ms: ttft.percentile(50),
        ttft_p95_ms: ttft.percentile(95),
        ttft_p99_ms: ttft.percentile(99),
        ..Traffic::default()
    };
    let mut oldest = now_ms;
    for slot in lock(&inner.running).values() {
        traffic.in_flight = traffic.in_flight.saturating_add(1);
        match slot.phase() {
            Phase::Queued => {
                traffic.queued += 1;
                oldest = oldest.min(slot.began_ms);
            }
            Phase::Streaming if slot.request.stream => traffic.streams += 1,
            _ => {}
        }
    }
    traffic.oldest_queued_ms = now_ms - oldest;
    traffic
}

pub(super) fn requests(inner: &Inner, limit: usize) -> Vec<RequestView> {
    let now_ms = inner.now_ms();
    let mut running: Vec<_> = lock(&inner.running).values().cloned().collect();
    running.sort_by_key(|slot| std::cmp::Reverse((slot.began_ms, slot.request.request_id)));
    let mut rows: Vec<_> = running.iter().take(limit).map(|slot| slot.view(now_ms)).collect();

    let mut ended = lock(&inner.ended);
    let fresh = ended.partition_point(|(at, _)| now_ms.saturating_sub(*at) < ENDED_FOR_MS);
    ended.truncate(fresh);
    let room = limit.saturating_sub(rows.len());
    rows.extend(ended.iter().take(room).map(|(_, view)| view.clone()));
    rows
}

fn narrow(value: u64) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}
