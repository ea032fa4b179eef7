//! What one backend carries and how fast it is, from what its requests show.
//!
//! Times are microseconds on the caller's clock. A request is counted from [`Gauge::enter`] to
//! [`Gauge::leave`]; [`Gauge::begun`] between them says that its answer began. Invariant: what
//! enters leaves, and with nothing running every count is zero.
//!
//! Speed is the time that one token ahead of a first token costs: a newcomer waits for the prompts
//! that are still unread, his own included, and a little for every answer that is being made.

use crate::Demand;

/// What a request costs besides its tokens, in prompt tokens: scheduling and one step.
const FIXED_TOKENS: u64 = 64;

/// What one answer that is being made costs a newcomer, in prompt tokens.
const ANSWER_TOKENS: u64 = 24;

/// Part of a prompt that is still to be read where its head is cached, as a divisor.
const WARM_DIVISOR: u64 = 4;

/// Prefixes remembered of one backend. About what an engine's cache holds of heads of 256 tokens;
/// 4 KiB.
const PREFIXES: usize = 512;

/// How long a slow answer is remembered, in microseconds: the time constant of the moving average.
const MEMORY_US: u64 = 10_000_000;

/// How long a backend that came back takes fewer requests, in microseconds.
pub const SLOW_START_US: u64 = 30_000_000;

/// Its share of the usual at first, in thousandths.
const SLOW_START_MILLI: u64 = 100;

/// How long what an engine says of itself holds, in microseconds.
pub const ENGINE_LOAD_US: u64 = 5_000_000;

/// Time that a token costs where nothing is known, in nanoseconds: 10,000 tokens a second.
pub(crate) const COST_UNKNOWN_NS: u64 = 100_000;

/// Shortest and longest time that a token is believed to cost, in nanoseconds.
const COST_NS: std::ops::RangeInclusive<u64> = 100..=1_000_000_000;

/// What an engine says of itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EngineLoad {
    /// Requests that it runs, whoever sent them.
    pub running: u32,
    /// Requests that wait inside it.
    pub waiting: u32,
    /// How full its KV cache is, 0 to 1000.
    pub kv_milli: u32,
    /// When it said so, in microseconds.
    pub at: u64,
}

/// One request on a backend; given back by [`Gauge::leave`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    at: u64,
    /// Its own share of the unread tokens; 0 once its answer began.
    unread: u64,
    /// Tokens before its first one, its own included.
    ahead: u64,
    work: u64,
    begun: bool,
}

/// The load of one backend at one moment, as a choice sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    /// Tokens before a newcomer's prompt.
    pub backlog: u64,
    /// Time that one of them costs, in nanoseconds; `None` before anything was measured.
    pub cost_ns: Option<u64>,
    /// Work that waits or runs, in prompt tokens.
    pub work: u64,
    /// Work that one place gets done, in prompt tokens a second; `None` before any was measured.
    pub rate: Option<u64>,
    /// How full its KV cache is, 0 to 1000; 0 where it does not say.
    pub kv_milli: u32,
    /// Its share of its usual requests, 1 to 1000, while it starts slowly.
    pub ramp_milli: u32,
}

/// Load and speed of one backend.
#[derive(Clone, Debug)]
pub struct Gauge {
    running: u32,
    unread: u64,
    answering: u32,
    work: u64,
    cost_ns: Option<u64>,
    measured_at: u64,
    /// When a first token came last, or when the first of those that wait for one came.
    moved_at: u64,
    rate: Option<u64>,
    came_at: Option<u64>,
    engine: Option<EngineLoad>,
    prefixes: Box<[u64; PREFIXES]>,
}

impl Gauge {
    /// Of a backend on which nothing runs and of which nothing is known.
    #[must_use]
    pub fn new() -> Self {
        Self {
            running: 0,
            unread: 0,
            answering: 0,
            work: 0,
            cost_ns: None,
            measured_at: 0,
            moved_at: 0,
            rate: None,
            came_at: None,
            engine: None,
            prefixes: Box::new([0; PREFIXES]),
        }
    }

    /// It came up, or is trusted again: it starts slowly, and its caches are cold.
    pub fn came(&mut self, now: u64) {
        self.came_at = Some(now);
        self.engine = None;
        self.prefixes.fill(0);
    }

    /// Takes what the engine says of itself.
    pub const fn engine_load(&mut self, load: EngineLoad) {
        self.engine = Some(load);
    }

    /// Whether a prompt with this head was sent here lately.
    #[must_use]
    pub fn is_warm(&self, prefix: u64) -> bool {
        self.prefixes[slot(prefix)] == prefix
    }

    /// Tokens that a prompt has to be read here.
    #[must_use]
    pub fn own_tokens(&self, demand: &Demand, prefix: Option<u64>) -> u64 {
        own_tokens(demand, prefix.is_some_and(|prefix| self.is_warm(prefix)))
    }

    /// A request begins to run.
    pub fn enter(&mut self, demand: &Demand, prefix: Option<u64>, now: u64) -> Taken {
        let unread = self.own_tokens(demand, prefix);
        if self.unread == 0 {
            self.moved_at = now;
        }
        let ahead = self.backlog(now).saturating_add(unread);
        let work = demand.work();
        self.running += 1;
        self.unread = self.unread.saturating_add(unread);
        self.work = self.work.saturating_add(work);
        if let Some(prefix) = prefix {
            self.prefixes[slot(prefix)] = prefix;
        }
        Taken { at: now, unread, ahead, work, begun: false }
    }

    /// The answer to a request begins, `ttft` microseconds after it was sent.
    pub fn begun(&mut self, taken: &mut Taken, ttft: u64, now: u64) {
        if taken.begun {
            return;
        }
        taken.begun = true;
        self.unread = self.unread.saturating_sub(taken.unread);
        taken.unread = 0;
        self.answering += 1;
        self.moved_at = now;
        let sample = ttft.saturating_mul(1000) / taken.ahead.max(1);
        self.measure(sample.clamp(*COST_NS.start(), *COST_NS.end()), now);
    }

    /// A request ends. `used` is what it really used; `None` where it brought no answer, and says
    /// nothing of the backend's speed.
    pub fn leave(&mut self, taken: Taken, used: Option<Demand>, now: u64) {
        self.running = self.running.saturating_sub(1);
        self.unread = self.unread.saturating_sub(taken.unread);
        self.work = self.work.saturating_sub(taken.work);
        if taken.begun {
            self.answering = self.answering.saturating_sub(1);
        } else {
            self.outwaited(&taken, now);
            self.moved_at = now;
        }
        let passed = now.saturating_sub(taken.at);
        if let Some(used) = used
            && passed > 0
        {
            let sample = used.work().saturating_mul(1_000_000) / passed;
            let rate = self.rate.map_or(sample, |old| (old.saturating_mul(7) + sample) / 8);
            self.rate = Some(rate.max(1));
        }
    }

    /// Requests that run.
    #[must_use]
    pub const fn running(&self) -> u32 {
        self.running
    }

    /// How it is now.
    #[must_use]
    pub fn load(&self, now: u64) -> Load {
        Load {
            backlog: self.backlog(now),
            cost_ns: self.cost(now),
            work: self.work,
            rate: self.rate,
            kv_milli: self.fresh(now).map_or(0, |engine| engine.kv_milli.min(1000)),
            ramp_milli: self.ramp(now),
        }
    }

    /// It was given up before its answer began: the answer would have taken longer than this, which
    /// says something where it is longer than was expected.
    fn outwaited(&mut self, taken: &Taken, now: u64) {
        let waited = now.saturating_sub(taken.at).saturating_mul(1000) / taken.ahead.max(1);
        if self.cost(now).is_some_and(|cost| waited > cost) {
            self.measure(waited.min(*COST_NS.end()), now);
        }
    }

    fn backlog(&self, now: u64) -> u64 {
        let answers = u64::from(self.answering).saturating_mul(ANSWER_TOKENS);
        let own = self.unread.saturating_add(answers);
        // What others sent there is known only where the engine tells.
        let others = self.fresh(now).map_or(0, |engine| {
            let all = engine.running.saturating_add(engine.waiting);
            let others = u64::from(all.saturating_sub(self.running));
            others.saturating_mul(ANSWER_TOKENS)
                + u64::from(engine.waiting).saturating_mul(FIXED_TOKENS)
        });
        own.saturating_add(others)
    }

    fn fresh(&self, now: u64) -> Option<&EngineLoad> {
        self.engine.as_ref().filter(|load| now.saturating_sub(load.at) < ENGINE_LOAD_US)
    }

    /// A peak-sensitive moving average: a slower answer counts half at once, a faster one with the
    /// time that passed since the last.
    fn measure(&mut self, sample: u64, now: u64) {
        let passed = now.saturating_sub(self.measured_at).clamp(MEMORY_US / 64, MEMORY_US);
        self.cost_ns = Some(match self.cost_ns {
            None => sample,
            Some(old) if sample > old => old + (sample - old) / 2,
            Some(old) => old - (old - sample) * passed / (MEMORY_US + passed),
        });
        self.measured_at = now;
    }

    /// The measured cost, less as it grows old, so that who was slow is tried again; and never
    /// less than what those who wait for a first token show by waiting.
    fn cost(&self, now: u64) -> Option<u64> {
        let measured = self.cost_ns.map(|cost| {
            let idle = now.saturating_sub(self.measured_at);
            (u128::from(cost) * u128::from(MEMORY_US) / u128::from(MEMORY_US + idle)) as u64
        });
        let shown = (self.unread > 0).then(|| {
            let waited = now.saturating_sub(self.moved_at);
            (waited.saturating_mul(1000) / self.unread).min(*COST_NS.end())
        });
        match measured {
            Some(cost) => Some(cost.max(shown.unwrap_or(0)).max(*COST_NS.start())),
            None => shown.filter(|cost| *cost > COST_UNKNOWN_NS),
        }
    }

    fn ramp(&self, now: u64) -> u32 {
        let Some(came) = self.came_at else { return 1000 };
        let passed = now.saturating_sub(came).min(SLOW_START_US);
        let milli = SLOW_START_MILLI + passed * (1000 - SLOW_START_MILLI) / SLOW_START_US;
        u32::try_from(milli).unwrap_or(1000)
    }
}

impl Default for Gauge {
    fn default() -> Self {
        Self::new()
    }
}

/// Tokens of a prompt that an engine has to read.
pub(crate) const fn own_tokens(demand: &Demand, warm: bool) -> u64 {
    let read = if warm { demand.input_tokens / WARM_DIVISOR } else { demand.input_tokens };
    read.saturating_add(FIXED_TOKENS)
}

const fn slot(prefix: u64) -> usize {
    (prefix % PREFIXES as u64) as usize
}
