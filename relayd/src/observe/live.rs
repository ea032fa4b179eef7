//! One request, from its beginning to its end.

use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use super::view::{Phase, RequestView};
use super::window::Count;
use super::{ENDED_MAX, Observe, lock, trouble};
use crate::domain::{BackendId, Code, CustomerId, KeyId, Meters, Ncr, RequestId, Scope};

/// No first token yet. A real time that long is stored as one less.
const NO_TTFT: u32 = u32::MAX;

/// What is known when a request begins.
#[derive(Clone, Debug)]
pub struct NewRequest {
    /// Its id.
    pub request_id: RequestId,
    /// The key it came with; none for a guest.
    pub key: Option<KeyId>,
    /// What people call that key; empty when unknown.
    pub key_name: Arc<str>,
    /// Who pays; none for a guest.
    pub customer: Option<CustomerId>,
    /// Mode, source and model.
    pub scope: Scope,
    /// Whether the client asked for a stream.
    pub stream: bool,
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was answered whole.
    Completed,
    /// It was refused or broke, with the error its caller was told.
    Failed(Code),
    /// The client left.
    Cancelled,
}

/// The end of a request: what was settled.
#[derive(Clone, Copy, Debug)]
pub struct End {
    /// How.
    pub outcome: Outcome,
    /// What was billed.
    pub meters: Meters,
    /// Whether relayd counted in place of the engine.
    pub estimated: bool,
    /// The charge.
    pub charged: Ncr,
}

/// Follows one request. Every step is a few memory writes; dropped without [`LiveRequest::ended`]
/// the request is listed as failed.
#[derive(Debug)]
pub struct LiveRequest {
    observe: Observe,
    slot: Arc<Slot>,
    listed: bool,
    open: bool,
}

#[derive(Debug)]
pub(super) struct Slot {
    pub(super) request: NewRequest,
    pub(super) began_ms: u64,
    created_at_ms: i64,
    shard: usize,
    phase: AtomicU8,
    ttft_ms: AtomicU32,
    tokens: AtomicU64,
    backend: Mutex<Option<BackendId>>,
}

impl LiveRequest {
    pub(super) const fn new(observe: Observe, slot: Arc<Slot>, listed: bool) -> Self {
        Self { observe, slot, listed, open: true }
    }

    /// It waits for a backend (again, after one failed before its first byte).
    pub fn queued(&self) {
        self.slot.enter(Phase::Queued);
    }

    /// It was sent to this backend.
    pub fn dispatched(&self, backend: &BackendId) {
        *lock(&self.slot.backend) = Some(backend.clone());
        self.slot.enter(Phase::Prefill);
    }

    /// The first byte of content came.
    pub fn first_byte(&self) {
        let inner = &self.observe.0;
        let ttft = inner.now_ms().saturating_sub(self.slot.began_ms);
        let ttft = u32::try_from(ttft).unwrap_or(NO_TTFT).min(NO_TTFT - 1);
        self.slot.enter(Phase::Streaming);
        if self.slot.ttft_ms.swap(ttft, Ordering::Relaxed) == NO_TTFT {
            inner.first_token(self.slot.request.key.as_ref(), ttft);
        }
    }

    /// So many more tokens were received.
    pub fn progress(&self, tokens: u64) {
        self.slot.tokens.fetch_add(tokens, Ordering::Relaxed);
        self.observe.0.count(self.slot.shard, Count::TokensOut, tokens);
    }

    /// The answer is complete and the charge is being written.
    pub fn settling(&self) {
        self.slot.enter(Phase::Settling);
    }

    /// It is over.
    pub fn ended(mut self, end: End) {
        self.finish(&end);
    }

    fn finish(&mut self, end: &End) {
        if !std::mem::take(&mut self.open) {
            return;
        }
        let (inner, slot) = (&self.observe.0, &self.slot);
        let now = inner.now_ms();
        inner.count(slot.shard, Count::Ended, 1);
        inner.count(slot.shard, Count::TokensIn, end.meters.input());
        let streamed = slot.tokens.load(Ordering::Relaxed);
        inner.count(slot.shard, Count::TokensOut, end.meters.output().saturating_sub(streamed));
        if let Outcome::Failed(code) = end.outcome {
            inner.count(slot.shard, Count::Errors, 1);
            if trouble::is_ours(code) {
                inner.trouble(|trouble| trouble.failed(code));
            }
        }
        if let Some(key) = &slot.request.key {
            lock(&inner.keys).end(key, now);
        }
        let mut ended = lock(&inner.ended);
        ended.truncate(ENDED_MAX - 1);
        ended.push_front((now, slot.ended_view(now, end)));
        drop(ended);
        if self.listed {
            lock(&inner.running).remove(&slot.request.request_id);
        } else {
            inner.unlisted.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Drop for LiveRequest {
    fn drop(&mut self) {
        self.finish(&End {
            outcome: Outcome::Failed(Code::InternalError),
            meters: Meters::default(),
            estimated: false,
            charged: Ncr::ZERO,
        });
    }
}

impl Slot {
    pub(super) fn new(
        request: NewRequest,
        began_ms: u64,
        created_at_ms: i64,
        shard: usize,
    ) -> Self {
        Self {
            request,
            began_ms,
            created_at_ms,
            shard,
            phase: AtomicU8::new(Phase::Queued.number()),
            ttft_ms: AtomicU32::new(NO_TTFT),
            tokens: AtomicU64::new(0),
            backend: Mutex::new(None),
        }
    }

    fn enter(&self, phase: Phase) {
        self.phase.store(phase.number(), Ordering::Relaxed);
    }

    pub(super) fn phase(&self) -> Phase {
        Phase::from_number(self.phase.load(Ordering::Relaxed))
    }

    pub(super) fn view(&self, now_ms: u64) -> RequestView {
        let ttft = self.ttft_ms.load(Ordering::Relaxed);
        let duration = now_ms.saturating_sub(self.began_ms);
        RequestView {
            request_id: self.request.request_id,
            customer: self.request.customer.clone(),
            key: self.request.key.clone(),
            key_name: Arc::clone(&self.request.key_name),
            scope: self.request.scope.clone(),
            backend: lock(&self.backend).clone(),
            phase: self.phase(),
            error: None,
            stream: self.request.stream,
            meters: Meters { out_text: self.tokens.load(Ordering::Relaxed), ..Meters::default() },
            estimated: false,
            charged: Ncr::ZERO,
            created_at_ms: self.created_at_ms,
            ttft_ms: (ttft != NO_TTFT).then_some(ttft),
            duration_ms: u32::try_from(duration).unwrap_or(u32::MAX),
        }
    }

    fn ended_view(&self, now_ms: u64, end: &End) -> RequestView {
        let (phase, error) = match end.outcome {
            Outcome::Completed => (Phase::Completed, None),
            Outcome::Failed(code) => (Phase::Failed, Some(code)),
            Outcome::Cancelled => (Phase::Cancelled, None),
        };
        RequestView {
            phase,
            error,
            meters: end.meters,
            estimated: end.estimated,
            charged: end.charged,
            ..self.view(now_ms)
        }
    }
}
