//! What the daemon said, in the console's own words: plain rows, already safe to draw.
//!
//! Units: `_ncr` nano-credits, `_at_ms` milliseconds since the Unix epoch (0 = never), `_ms`
//! durations, `_ppm` parts per million, `_per_ks` per thousand seconds.

/// What an operator may do; each role may do what the ones before it may.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Role {
    #[default]
    Viewer,
    Operator,
    Admin,
}

/// The answer to "who am I".
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Session {
    pub(crate) operator: String,
    pub(crate) role: Role,
    pub(crate) relay: String,
    pub(crate) version: String,
    pub(crate) commit: String,
    pub(crate) protocol: u32,
    pub(crate) started_at_ms: i64,
    pub(crate) now_ms: i64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Severity {
    #[default]
    Info,
    Warning,
    Critical,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Traffic {
    pub(crate) requests_per_ks: u64,
    pub(crate) tokens_in_per_ks: u64,
    pub(crate) tokens_out_per_ks: u64,
    pub(crate) errors_ppm: u32,
    pub(crate) shed: u64,
    pub(crate) in_flight: u32,
    pub(crate) streams: u32,
    pub(crate) queued: u32,
    pub(crate) oldest_queued_ms: i64,
    pub(crate) ttft_p50_ms: u32,
    pub(crate) ttft_p95_ms: u32,
    pub(crate) ttft_p99_ms: u32,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Money {
    pub(crate) charged_today_ncr: i64,
    pub(crate) held_ncr: i64,
    pub(crate) balances_ncr: i64,
    pub(crate) open_holds: u64,
    pub(crate) checked_at_ms: i64,
    pub(crate) breaches: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Fleet {
    pub(crate) backends: u32,
    pub(crate) up: u32,
    pub(crate) down: u32,
    pub(crate) cordoned: u32,
}

/// Something that needs a person, and where the decision is taken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Attention {
    /// The subject and which of its matters this is: the daemon gives none.
    pub(crate) id: String,
    pub(crate) severity: Severity,
    pub(crate) text: String,
    pub(crate) screen: String,
    pub(crate) subject: String,
    pub(crate) since_ms: i64,
}

/// The parts of the overview that an update carries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct OverviewPatch {
    pub(crate) traffic: Option<Traffic>,
    pub(crate) money: Option<Money>,
    pub(crate) fleet: Option<Fleet>,
    pub(crate) attention: Option<Vec<Attention>>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum BackendState {
    Down,
    Draining,
    Drained,
    Cordoned,
    #[default]
    Unknown,
    Loading,
    Up,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Breaker {
    #[default]
    Closed,
    HalfOpen,
    Open,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Backend {
    pub(crate) id: String,
    pub(crate) provider: String,
    pub(crate) dialect: String,
    pub(crate) engine: String,
    pub(crate) base_url: String,
    pub(crate) state: BackendState,
    pub(crate) reason: String,
    pub(crate) since_ms: i64,
    pub(crate) breaker: Breaker,
    pub(crate) breaker_until_ms: i64,
    pub(crate) weight: u32,
    pub(crate) max_concurrency: u32,
    pub(crate) queue_limit: u32,
    pub(crate) running: u32,
    pub(crate) queued: u32,
    pub(crate) ttft_p50_ms: u32,
    pub(crate) ttft_p95_ms: u32,
    pub(crate) requests: u64,
    pub(crate) failures: u64,
    pub(crate) recent_failures_ppm: u32,
    pub(crate) tokens_out: u64,
    pub(crate) models: Vec<Served>,
    pub(crate) version: u64,
    pub(crate) probed_at_ms: i64,
}

/// A model that a backend serves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Served {
    pub(crate) model: String,
    pub(crate) upstream: String,
}

/// Requests a minute; `None` = the tier's own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Limits {
    pub(crate) direct: Option<u32>,
    pub(crate) opengpu: Option<u32>,
    pub(crate) global: Option<u32>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Key {
    pub(crate) id: String,
    pub(crate) customer_id: String,
    pub(crate) customer: String,
    pub(crate) name: String,
    pub(crate) prefix: String,
    pub(crate) revoked: bool,
    pub(crate) superkey: bool,
    pub(crate) system: bool,
    pub(crate) tier: String,
    pub(crate) denied_scopes: Vec<String>,
    pub(crate) limits: Limits,
    pub(crate) budget_ncr: Option<i64>,
    pub(crate) created_at_ms: i64,
    pub(crate) last_used_at_ms: i64,
    pub(crate) revoked_at_ms: i64,
    pub(crate) version: u64,
    pub(crate) today: KeyUsage,
    pub(crate) in_flight: u32,
    pub(crate) requests_per_ks: u64,
}

/// Since 00:00 UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct KeyUsage {
    pub(crate) requests: u64,
    pub(crate) errors: u64,
    pub(crate) limited: u64,
    pub(crate) tokens_in: u64,
    pub(crate) tokens_out: u64,
    pub(crate) charged_ncr: i64,
    pub(crate) ttft_p50_ms: u32,
    pub(crate) ttft_p95_ms: u32,
}

/// Where a key stands, as one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum KeyState {
    Errors,
    Limited,
    Spent,
    Ok,
    Unused,
    Revoked,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum RequestState {
    #[default]
    Queued,
    Prefill,
    Streaming,
    Settling,
    Completed,
    Failed,
    Cancelled,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) id: String,
    pub(crate) customer_id: String,
    pub(crate) key_id: String,
    pub(crate) key_name: String,
    pub(crate) scope: String,
    pub(crate) backend: String,
    pub(crate) state: RequestState,
    pub(crate) error_code: String,
    pub(crate) stream: bool,
    pub(crate) tokens_in: u64,
    pub(crate) tokens_out: u64,
    pub(crate) estimated: bool,
    pub(crate) charged_ncr: i64,
    pub(crate) created_at_ms: i64,
    pub(crate) ttft_ms: u32,
    pub(crate) duration_ms: u32,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Event {
    pub(crate) seq: u64,
    /// The sequence number as a row's id.
    pub(crate) id: String,
    pub(crate) at_ms: i64,
    pub(crate) kind: String,
    pub(crate) severity: Severity,
    pub(crate) subject: String,
    pub(crate) text: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct AuditEntry {
    pub(crate) seq: u64,
    /// The sequence number as a row's id.
    pub(crate) id: String,
    pub(crate) at_ms: i64,
    pub(crate) operator: String,
    pub(crate) role: String,
    pub(crate) action: String,
    pub(crate) object: String,
    pub(crate) request_id: String,
    pub(crate) reason: String,
    pub(crate) before: String,
    pub(crate) after: String,
    pub(crate) hash: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Customer {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) tier: String,
    pub(crate) suspended: bool,
    pub(crate) balance_ncr: i64,
}

/// What a key used of one model today.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ModelUsage {
    pub(crate) model: String,
    pub(crate) requests: u64,
    pub(crate) charged_ncr: i64,
}

/// Rows of a watch, or what changed in them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Rows<R> {
    Snapshot(Vec<R>),
    Delta { changed: Vec<R>, removed: Vec<String> },
}

impl Role {
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }
}

impl Severity {
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "WARN",
            Self::Critical => "CRIT",
        }
    }
}

impl BackendState {
    /// Words, so that the meaning needs no colour; capitals where service suffers.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Down => "DOWN",
            Self::Draining => "draining",
            Self::Drained => "DRAINED",
            Self::Cordoned => "CORDONED",
            Self::Unknown => "unknown",
            Self::Loading => "loading",
            Self::Up => "ok",
        }
    }
}

impl Breaker {
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::HalfOpen => "half",
            Self::Open => "OPEN",
        }
    }
}

impl RequestState {
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Prefill => "prefill",
            Self::Streaming => "stream",
            Self::Settling => "settle",
            Self::Completed => "done",
            Self::Failed => "FAILED",
            Self::Cancelled => "left",
        }
    }

    pub(crate) const fn runs(self) -> bool {
        matches!(self, Self::Queued | Self::Prefill | Self::Streaming | Self::Settling)
    }
}

impl KeyState {
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Errors => "errors",
            Self::Limited => "limited",
            Self::Spent => "SPENT",
            Self::Ok => "ok",
            Self::Unused => "unused",
            Self::Revoked => "REVOKED",
        }
    }
}

impl Key {
    /// One word for the key; the worst that is true.
    pub(crate) const fn state(&self) -> KeyState {
        if self.revoked {
            KeyState::Revoked
        } else if matches!(self.budget_ncr, Some(left) if left <= 0) {
            KeyState::Spent
        } else if self.today.errors > 0 && self.today.errors * 20 >= self.today.requests {
            KeyState::Errors
        } else if self.today.limited > 0 {
            KeyState::Limited
        } else if self.last_used_at_ms == 0 {
            KeyState::Unused
        } else {
            KeyState::Ok
        }
    }

    pub(crate) const fn tokens_today(&self) -> u64 {
        self.today.tokens_in.saturating_add(self.today.tokens_out)
    }

    /// Share of today's requests that failed.
    pub(crate) const fn errors_ppm(&self) -> u32 {
        match self.today.requests {
            0 => 0,
            requests => {
                let ppm = self.today.errors.saturating_mul(1_000_000) / requests;
                if ppm > 1_000_000 { 1_000_000 } else { ppm as u32 }
            }
        }
    }

    /// How much of what the key had at midnight it has spent, in percent.
    pub(crate) fn spent_percent(&self) -> Option<u8> {
        let left = i128::from(self.budget_ncr?.max(0));
        let spent = i128::from(self.today.charged_ncr.max(0));
        match left + spent {
            0 => Some(100),
            all => u8::try_from(spent * 100 / all).ok(),
        }
    }
}

impl Backend {
    /// Its first model, and how many more.
    pub(crate) fn model_line(&self) -> String {
        match self.models.as_slice() {
            [] => "-".to_owned(),
            [one] => one.model.clone(),
            [first, rest @ ..] => format!("{} +{}", first.model, rest.len()),
        }
    }
}

impl Request {
    /// The model of its scope `mode.source.model`.
    pub(crate) fn model(&self) -> &str {
        self.scope.splitn(3, '.').nth(2).unwrap_or(&self.scope)
    }

    /// How long it took, or has taken by now.
    pub(crate) fn lasted_ms(&self, now_ms: i64) -> i64 {
        if self.state.runs() {
            (now_ms - self.created_at_ms).max(0)
        } else {
            self.duration_ms.into()
        }
    }
}
