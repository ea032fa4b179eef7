//! What happens on one backend: load, health, breaker, figures. Outlives changes of the fleet.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::sync::Notify;
use tokio::time::Instant;

use super::breaker::{Breaker, BreakerState, Change, Ticket, Verdict};
use super::notice::{FleetEvent, Notices, What};
use super::sketch::Sketch;
use crate::domain::BackendId;
use crate::engines::{EngineLoad, Probe};

/// Failed probes in a row after which a backend that was up counts as down.
pub const PROBES_TO_DOWN: u32 = 3;

/// Requests over which the share of recent failures is taken.
const RECENT: u32 = 100;

/// The rank of a backend that can be relied on in full: one of the operator's own.
const RANK_MAX: u32 = 1_000;

/// Longest error text that is kept, in characters: one line of a screen.
const ERROR_MAX_CHARS: usize = 200;

/// How a backend answers probes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// Not probed yet.
    Unknown,
    /// It serves.
    Up,
    /// It still loads its model.
    Loading,
    /// It does not serve.
    Down {
        /// Why, in one line.
        reason: String,
    },
}

/// What a request on a backend ended as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was answered.
    Ok {
        /// Time from sending to the first byte.
        ttft: Duration,
    },
    /// The backend failed it.
    BackendFailed {
        /// Why, for the operator.
        reason: String,
    },
    /// The backend lives and failed the request. The request itself may be the cause, so that one
    /// caller's requests alone must not take the backend from all others.
    Doubtful {
        /// Why, for the operator.
        reason: String,
    },
    /// The backend takes no more for now. Not a failure; it is left alone that long.
    Busy {
        /// How long.
        wait: Duration,
    },
    /// The backend answered that the request is wrong.
    ClientFault,
    /// It was given up before the backend had failed or succeeded.
    Cancelled,
}

/// A backend's last failure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastError {
    /// When.
    pub at: SystemTime,
    /// What, in one line.
    pub text: String,
}

/// Everything there is to show of a backend's runtime at one moment.
#[derive(Clone, Debug)]
pub struct RuntimeView {
    /// Requests running on it.
    pub running: u32,
    /// Requests waiting for it.
    pub queued: u32,
    /// How it answers probes.
    pub health: Health,
    /// Since when.
    pub health_since: SystemTime,
    /// When it was probed last.
    pub probed_at: Option<SystemTime>,
    /// What its breaker does.
    pub breaker: BreakerState,
    /// How long the breaker still keeps requests away; zero unless open.
    pub breaker_left: Duration,
    /// How long it is still left alone because it said that it is busy.
    pub busy_left: Duration,
    /// Half of the recent first bytes came within this time.
    pub ttft_p50: Option<Duration>,
    /// 95 % of them did.
    pub ttft_p95: Option<Duration>,
    /// Moving average of them.
    pub ttft_average: Option<Duration>,
    /// Requests since relayd started.
    pub requests: u64,
    /// How many of them it failed.
    pub failures: u64,
    /// Share of failures in its last 100 requests, in millionths.
    pub recent_failures_ppm: u32,
    /// Answer tokens since relayd started.
    pub tokens_out: u64,
    /// Its last failure.
    pub last_error: Option<LastError>,
}

/// Load, health and figures of one backend.
#[derive(Debug)]
pub struct Runtime {
    id: BackendId,
    notices: Notices,
    running: AtomicU32,
    /// Whether it is being emptied and its end was not told yet.
    draining: AtomicBool,
    queued: AtomicU32,
    tokens_out: AtomicU64,
    /// How far it can be relied on, in thousandths.
    rank_milli: AtomicU32,
    pub(crate) emptied: Notify,
    /// What runs is to end.
    cut: Notify,
    pub(crate) probe_soon: Notify,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    health: Health,
    health_since: SystemTime,
    failed_probes: u32,
    probed_at: Option<SystemTime>,
    /// Its agent says that it takes no more: it counts as down, however it answers.
    withdrawn: bool,
    breaker: Breaker,
    busy_until: Option<Instant>,
    /// What the engine said of its own load, and when.
    engine_load: Option<(EngineLoad, Instant)>,
    /// The shortest way to it and back of late.
    distance: Option<Duration>,
    ttft: Sketch,
    requests: u64,
    failures: u64,
    /// The last [`RECENT`] requests, newest in the lowest bit; 1 is a failure.
    recent: u128,
    recent_seen: u32,
    last_error: Option<LastError>,
}

/// Whether a backend can take a request, apart from its load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fitness {
    /// It can.
    Fit,
    /// It could, but its breaker keeps requests away until then.
    Ejected(Instant),
    /// It serves, and said that it is busy; or it has not been probed yet. Worth waiting for.
    NotNow,
    /// It does not serve.
    Unfit,
}

impl Runtime {
    pub(crate) fn new(id: BackendId, notices: Notices) -> Self {
        Self {
            id,
            notices,
            running: AtomicU32::new(0),
            draining: AtomicBool::new(false),
            queued: AtomicU32::new(0),
            tokens_out: AtomicU64::new(0),
            rank_milli: AtomicU32::new(RANK_MAX),
            emptied: Notify::new(),
            cut: Notify::new(),
            probe_soon: Notify::new(),
            inner: Mutex::new(Inner {
                health: Health::Unknown,
                health_since: SystemTime::now(),
                failed_probes: 0,
                probed_at: None,
                breaker: Breaker::new(),
                withdrawn: false,
                busy_until: None,
                engine_load: None,
                distance: None,
                ttft: Sketch::new(),
                requests: 0,
                failures: 0,
                recent: 0,
                recent_seen: 0,
                last_error: None,
            }),
        }
    }

    /// Requests running on it now.
    #[must_use]
    pub fn running(&self) -> u32 {
        self.running.load(Ordering::SeqCst)
    }

    /// Requests waiting for it now.
    #[must_use]
    pub fn queued(&self) -> u32 {
        self.queued.load(Ordering::SeqCst)
    }

    /// Counts answer tokens.
    pub fn add_tokens_out(&self, tokens: u64) {
        self.tokens_out.fetch_add(tokens, Ordering::Relaxed);
    }

    /// How far it can be relied on, in thousandths: what its weight is worth.
    #[must_use]
    pub fn rank(&self) -> u32 {
        self.rank_milli.load(Ordering::Relaxed)
    }

    /// Ranks it from now on, in thousandths; what is above counts as in full.
    pub(crate) fn set_rank(&self, milli: u32) {
        self.rank_milli.store(milli.min(RANK_MAX), Ordering::Relaxed);
    }

    /// How it answers probes.
    #[must_use]
    pub fn health(&self) -> Health {
        self.lock().health.clone()
    }

    /// Everything there is to show.
    #[must_use]
    pub fn view(&self) -> RuntimeView {
        let now = Instant::now();
        let mut inner = self.lock();
        let breaker = inner.breaker.state(now);
        let left = |until: Instant| until.saturating_duration_since(now);
        let failures = u64::from(inner.recent.count_ones()) * 1_000_000;
        let ppm = failures.checked_div(u64::from(inner.recent_seen)).unwrap_or(0);
        RuntimeView {
            running: self.running(),
            queued: self.queued(),
            health: inner.health.clone(),
            health_since: inner.health_since,
            probed_at: inner.probed_at,
            breaker,
            breaker_left: match breaker {
                BreakerState::Open { until } => left(until),
                BreakerState::Closed | BreakerState::HalfOpen => Duration::ZERO,
            },
            busy_left: inner.busy_until.map_or(Duration::ZERO, left),
            ttft_p50: inner.ttft.quantile(0.5, now),
            ttft_p95: inner.ttft.quantile(0.95, now),
            ttft_average: inner.ttft.average(),
            requests: inner.requests,
            failures: inner.failures,
            recent_failures_ppm: u32::try_from(ppm).unwrap_or(u32::MAX),
            tokens_out: self.tokens_out.load(Ordering::Relaxed),
            last_error: inner.last_error.clone(),
        }
    }

    pub(crate) fn fitness(&self, now: Instant) -> Fitness {
        let inner = self.lock();
        match inner.health {
            Health::Unknown => return Fitness::NotNow,
            Health::Loading | Health::Down { .. } => return Fitness::Unfit,
            Health::Up => {}
        }
        if inner.busy_until.is_some_and(|until| now < until) {
            return Fitness::NotNow;
        }
        match inner.breaker.state(now) {
            BreakerState::Open { until } => Fitness::Ejected(until),
            // Half-open with its one request on the way: wait for what that one says.
            BreakerState::HalfOpen if !inner.breaker.allows(now) => Fitness::Ejected(now),
            BreakerState::Closed | BreakerState::HalfOpen => Fitness::Fit,
        }
    }

    /// Whether it can take a request, load aside.
    pub(crate) fn is_fit(&self, now: Instant) -> bool {
        self.fitness(now) == Fitness::Fit
    }

    /// Whether it is to be tried with one request before it is trusted again.
    pub(crate) fn is_on_trial(&self, now: Instant) -> bool {
        self.lock().breaker.state(now) == BreakerState::HalfOpen
    }

    /// What its engine said of its own load last, and when; none where it tells nothing.
    #[must_use]
    pub fn engine_load(&self) -> Option<(EngineLoad, Instant)> {
        self.lock().engine_load
    }

    /// Takes what its engine says of its own load.
    pub(crate) fn engine_says(&self, load: EngineLoad) {
        self.lock().engine_load = (!load.is_empty()).then(|| (load, Instant::now()));
    }

    /// Time to reach it and back, as far as known.
    pub(crate) fn distance(&self) -> Option<Duration> {
        self.lock().distance
    }

    /// Takes how long an answer to a probe took. The shortest of late is the way itself, the rest
    /// is work; it is forgotten a tenth at a time.
    pub(crate) fn reached(&self, took: Duration) {
        let mut inner = self.lock();
        inner.distance = Some(inner.distance.map_or(took, |old| took.min(old + old / 10)));
    }

    /// Within what time 95 of 100 recent first bytes came; none before at least so many did.
    pub(crate) fn late_after(&self, least: u64) -> Option<Duration> {
        let now = Instant::now();
        let mut inner = self.lock();
        (inner.ttft.len(now) >= least).then(|| inner.ttft.quantile(0.95, now)).flatten()
    }

    /// A request begins to run. The caller has checked the bound on how many may.
    pub(crate) fn enter(&self, now: Instant) -> Ticket {
        self.running.fetch_add(1, Ordering::SeqCst);
        self.lock().breaker.enter(now)
    }

    /// A running request has had its first byte, `ttft` after it was sent.
    pub(crate) fn first_byte(&self, ticket: &mut Ticket, ttft: Duration) {
        let now = Instant::now();
        let change = {
            let mut inner = self.lock();
            inner.ttft.record(ttft, now);
            inner.breaker.first_byte(ticket, now)
        };
        self.tell(change);
    }

    /// A running request has ended. Exactly once for each [`Self::enter`].
    pub(crate) fn leave(&self, ticket: Ticket, outcome: &Outcome, ttft_known: bool) {
        let now = Instant::now();
        let change = {
            let mut inner = self.lock();
            let verdict = match outcome {
                Outcome::Ok { .. } | Outcome::ClientFault => Verdict::Success,
                Outcome::BackendFailed { .. } => Verdict::Failure,
                Outcome::Doubtful { .. } => Verdict::Doubt,
                Outcome::Busy { .. } | Outcome::Cancelled => Verdict::Nothing,
            };
            inner.count(verdict);
            match outcome {
                Outcome::Ok { ttft } if !ttft_known => inner.ttft.record(*ttft, now),
                Outcome::BackendFailed { reason } | Outcome::Doubtful { reason } => {
                    let text = reason.chars().take(ERROR_MAX_CHARS).collect();
                    inner.last_error = Some(LastError { at: SystemTime::now(), text });
                    self.probe_soon.notify_one();
                }
                Outcome::Busy { wait } => {
                    let until = now + *wait;
                    inner.busy_until = Some(inner.busy_until.map_or(until, |old| old.max(until)));
                }
                Outcome::Ok { .. } | Outcome::ClientFault | Outcome::Cancelled => {}
            }
            inner.breaker.leave(ticket, verdict, now)
        };
        if self.running.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.emptied.notify_waiters();
            self.tell_if_drained();
        }
        self.tell(change);
    }

    /// Its intake was closed until it is empty, or that ended.
    pub(crate) fn drains(&self, draining: bool) {
        self.draining.store(draining, Ordering::SeqCst);
        self.tell_if_drained();
    }

    /// Told once: whoever comes first, the last request or the one that closed the intake of an
    /// idle backend, takes the mark.
    fn tell_if_drained(&self) {
        if self.running() == 0 && self.draining.swap(false, Ordering::SeqCst) {
            self.notices.tell(FleetEvent { backend: self.id.clone(), what: What::Drained });
        }
    }

    /// Ends what runs and waits for [`Self::ended`] now.
    pub(crate) fn cut(&self) {
        self.cut.notify_waiters();
    }

    /// Resolves when the operator wants what runs here ended.
    pub fn ended(&self) -> impl Future<Output = ()> + Send + '_ {
        self.cut.notified()
    }

    pub(crate) fn queue_changed(&self, joined: bool) {
        if joined {
            self.queued.fetch_add(1, Ordering::SeqCst);
        } else {
            self.queued.fetch_sub(1, Ordering::SeqCst);
        }
    }

    /// Takes the answer of a probe. Down after three failures in a row, or after one when it was
    /// never up; up after one success.
    pub(crate) fn probed(&self, probe: Probe) {
        let what = {
            let mut inner = self.lock();
            inner.probed_at = Some(SystemTime::now());
            let probe = match probe {
                Probe::Up | Probe::Loading if inner.withdrawn => {
                    Probe::Down("its agent says that it takes no more requests".to_owned())
                }
                probe => probe,
            };
            let health = match probe {
                Probe::Up => {
                    inner.failed_probes = 0;
                    Health::Up
                }
                Probe::Loading => {
                    inner.failed_probes = 0;
                    Health::Loading
                }
                Probe::Down(reason) => {
                    inner.failed_probes = inner.failed_probes.saturating_add(1);
                    if inner.health == Health::Up && inner.failed_probes < PROBES_TO_DOWN {
                        return;
                    }
                    Health::Down { reason: reason.chars().take(ERROR_MAX_CHARS).collect() }
                }
            };
            let same = std::mem::discriminant(&inner.health) == std::mem::discriminant(&health);
            inner.health = health.clone();
            if same {
                return;
            }
            inner.health_since = SystemTime::now();
            match health {
                Health::Up => What::Up,
                Health::Loading => What::Loading,
                Health::Down { reason } => What::Down { reason },
                Health::Unknown => return,
            }
        };
        self.notices.tell(FleetEvent { backend: self.id.clone(), what });
    }

    /// Its agent says whether it takes requests.
    pub(crate) fn withdrawn(&self, withdrawn: bool) {
        {
            let mut inner = self.lock();
            if inner.withdrawn == withdrawn {
                return;
            }
            inner.withdrawn = withdrawn;
            inner.failed_probes = PROBES_TO_DOWN;
        }
        match withdrawn {
            true => self.probed(Probe::Up),
            false => self.probe_soon.notify_one(),
        }
    }

    /// The connection over which it is reached came or went.
    pub(crate) fn uplink_changed(&self, here: bool) {
        if here {
            self.probe_soon.notify_one();
            return;
        }
        {
            let mut inner = self.lock();
            // One that was up needs no more proof; what it was before counts for nothing.
            inner.failed_probes = PROBES_TO_DOWN;
        }
        self.probed(Probe::Down("the provider is not connected".to_owned()));
    }

    /// Forgets what is known of the engine behind it, because another one stands there now.
    pub(crate) fn engine_replaced(&self) {
        let mut inner = self.lock();
        inner.health = Health::Unknown;
        inner.health_since = SystemTime::now();
        inner.failed_probes = 0;
        inner.breaker.reset();
        inner.busy_until = None;
        inner.withdrawn = false;
    }

    /// Whether it is failing probes without being down yet, or loading: worth asking again soon.
    pub(crate) fn is_unsettled(&self) -> bool {
        let inner = self.lock();
        match inner.health {
            Health::Up => inner.failed_probes > 0,
            Health::Loading => true,
            Health::Unknown | Health::Down { .. } => false,
        }
    }

    fn tell(&self, change: Option<Change>) {
        let what = match change {
            None => return,
            Some(Change::Opened(time)) => What::BreakerOpened { time },
            Some(Change::Closed) => What::BreakerClosed,
        };
        self.notices.tell(FleetEvent { backend: self.id.clone(), what });
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Every section below leaves the state whole, so a panic elsewhere spoils nothing.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn count(&mut self, verdict: Verdict) {
        self.requests += 1;
        let failed = match verdict {
            Verdict::Nothing => return,
            Verdict::Success => false,
            Verdict::Failure | Verdict::Doubt => true,
        };
        self.failures += u64::from(failed);
        self.recent = ((self.recent << 1) | u128::from(failed)) & ((1 << RECENT) - 1);
        self.recent_seen = (self.recent_seen + 1).min(RECENT);
    }
}
