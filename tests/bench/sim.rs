//! A fleet in virtual time, under the rules that relayd routes by.
//!
//! An engine reads prompts one after another, faster where it has read their head before, and makes
//! answers beside it, slower the more there are. It has a bound on what it runs; beyond all bounds
//! requests wait in relayd's line. A backend that dies takes what it was answering with it; what had
//! not begun goes elsewhere, and for half a second nobody knows.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap, VecDeque};

use relay_balance::{
    Class, Demand, Dice, Gauge, Hasher, Member, Policy, Question, Rank, Shares, Taken,
};

/// Prompts' heads that an engine keeps.
const HEADS: usize = 64;

/// Tokens that a prompt costs besides its own.
const PROMPT_FIXED: u64 = 64;

/// How much each answer that is being made slows the reading of prompts, in thousandths.
const ANSWER_SLOWS_MILLI: u64 = 30;

/// How much each answer slows all others, in thousandths.
const ANSWERS_SHARE_MILLI: u64 = 80;

/// Time until a dead backend is known to be dead, in microseconds.
const BLIND_US: u64 = 500_000;

/// A first token within this is good, in microseconds.
const GOOD_US: u64 = 2_000_000;

/// One request of a trace.
#[derive(Clone, Copy, Debug)]
pub struct Request {
    /// When it comes, in microseconds.
    pub at: u64,
    /// Whose.
    pub customer: u64,
    /// What it uses.
    pub demand: Demand,
    /// The head of its prompt.
    pub head: u64,
    /// Tokens of the head.
    pub head_tokens: u64,
}

/// One backend of a trace.
#[derive(Clone, Copy, Debug)]
pub struct Machine {
    /// Nanoseconds for a token of a prompt.
    pub prompt_ns: u64,
    /// Microseconds for a token of an answer on an idle machine.
    pub answer_us: u64,
    /// Requests at once.
    pub slots: u32,
}

/// Machines, what they are asked, and when they die and come back.
#[derive(Clone, Debug)]
pub struct Trace {
    /// What it is called.
    pub name: &'static str,
    /// The machines.
    pub machines: Vec<Machine>,
    /// What they are asked, in order of time.
    pub requests: Vec<Request>,
    /// Machine, from, until.
    pub deaths: Vec<(usize, u64, u64)>,
}

/// What came of a trace under a policy.
#[derive(Clone, Copy, Debug)]
pub struct Outcome {
    /// Times to the first token, milliseconds: median, 95th and 99th percentile.
    pub ttft_ms: [u64; 3],
    /// Requests a thousand seconds whose first token came in time and whose answer came whole.
    pub good_per_ks: u64,
    /// Jain's index over the customers' shares of good answers, in thousandths: 1000 is even.
    pub fair_milli: u64,
    /// Answers that were cut.
    pub cut: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Down(usize),
    Noticed(usize),
    Up(usize),
    First(usize, u32),
    Done(usize, u32),
    Arrives(usize),
}

struct Backend {
    machine: Machine,
    gauge: Gauge,
    key: u64,
    alive: bool,
    believed: bool,
    reads_until: u64,
    answering: u64,
    heads: VecDeque<u64>,
    running: Vec<usize>,
}

/// What a request is doing.
#[derive(Clone, Copy, Debug, Default)]
struct State {
    on: Option<(usize, Taken)>,
    /// Counts its attempts: events of earlier ones are void.
    attempt: u32,
    first_at: Option<u64>,
    done: bool,
    cut: bool,
}

struct Sim<'a> {
    trace: &'a Trace,
    policy: Policy,
    backends: Vec<Backend>,
    states: Vec<State>,
    line: BTreeMap<Rank, usize>,
    shares: Shares,
    events: BinaryHeap<Reverse<(u64, Event)>>,
    turn: u64,
    dice: Dice,
}

/// Plays a trace under a policy.
#[must_use]
pub fn play(trace: &Trace, policy: Policy, seed: u64) -> Outcome {
    let backend = |(n, machine): (usize, &Machine)| Backend {
        machine: *machine,
        gauge: Gauge::new(),
        key: Hasher::new().part(&n.to_be_bytes()).end(),
        alive: true,
        believed: true,
        reads_until: 0,
        answering: 0,
        heads: VecDeque::new(),
        running: Vec::new(),
    };
    let mut sim = Sim {
        trace,
        policy,
        backends: trace.machines.iter().enumerate().map(backend).collect(),
        states: vec![State::default(); trace.requests.len()],
        line: BTreeMap::new(),
        shares: Shares::new(),
        events: BinaryHeap::new(),
        turn: 0,
        dice: Dice::new(seed),
    };
    for (n, request) in trace.requests.iter().enumerate() {
        sim.events.push(Reverse((request.at, Event::Arrives(n))));
    }
    for (machine, from, until) in &trace.deaths {
        sim.events.push(Reverse((*from, Event::Down(*machine))));
        sim.events.push(Reverse((from + BLIND_US, Event::Noticed(*machine))));
        sim.events.push(Reverse((*until, Event::Up(*machine))));
    }
    while let Some(Reverse((now, event))) = sim.events.pop() {
        sim.happens(event, now);
    }
    sim.outcome()
}

impl Sim<'_> {
    fn happens(&mut self, event: Event, now: u64) {
        match event {
            Event::Arrives(n) => self.admit(n, now),
            Event::First(n, attempt) if self.states[n].attempt == attempt => self.first(n, now),
            Event::Done(n, attempt) if self.states[n].attempt == attempt => self.done(n, now),
            Event::First(..) | Event::Done(..) => {}
            Event::Down(machine) => self.down(machine, now),
            Event::Noticed(machine) => {
                let backend = &mut self.backends[machine];
                backend.believed = backend.alive;
            }
            Event::Up(machine) => {
                let backend = &mut self.backends[machine];
                (backend.alive, backend.believed) = (true, true);
                backend.gauge.came(now);
                self.serve(now);
            }
        }
    }

    /// A place at once, or one in line.
    fn admit(&mut self, n: usize, now: u64) {
        let request = self.trace.requests[n];
        let rank = self.shares.join(Class::Standard, request.customer.into(), &request.demand);
        match self.choose(&request, now) {
            Some(on) => {
                self.served(&rank);
                self.start(n, on, now);
            }
            None => {
                self.line.insert(rank, n);
            }
        }
    }

    fn choose(&mut self, request: &Request, now: u64) -> Option<usize> {
        let free = |backend: &Backend| {
            backend.believed && backend.running.len() < backend.machine.slots as usize
        };
        let free: Vec<usize> =
            (0..self.backends.len()).filter(|n| free(&self.backends[*n])).collect();
        let member = |n: &usize| {
            let backend = &self.backends[*n];
            Member {
                key: backend.key,
                weight: 100,
                running: backend.gauge.running(),
                slots: backend.machine.slots,
                load: backend.gauge.load(now),
                warm: backend.gauge.is_warm(request.head),
                distance_us: 0,
                on_trial: false,
            }
        };
        let members: Vec<Member> = free.iter().map(member).collect();
        let question =
            Question { demand: request.demand, prefix: Some(request.head), session: None };
        let place = self.policy.choose(&members, &question, &mut self.turn, &mut self.dice)?;
        Some(free[place])
    }

    fn start(&mut self, n: usize, on: usize, now: u64) {
        let request = self.trace.requests[n];
        let backend = &mut self.backends[on];
        if !backend.alive {
            // Refused at once; it is known to be dead from now on.
            backend.believed = false;
            return self.admit(n, now);
        }
        let taken = backend.gauge.enter(&request.demand, Some(request.head), now);
        let known = backend.heads.iter().position(|head| *head == request.head);
        if let Some(place) = known {
            backend.heads.remove(place);
        }
        backend.heads.push_back(request.head);
        if backend.heads.len() > HEADS {
            backend.heads.pop_front();
        }
        let unread = match known {
            Some(_) => request.demand.input_tokens.saturating_sub(request.head_tokens),
            None => request.demand.input_tokens,
        };
        let slowed = 1_000 + ANSWER_SLOWS_MILLI * backend.answering;
        let reading = (unread + PROMPT_FIXED) * backend.machine.prompt_ns / 1_000 * slowed / 1_000;
        backend.reads_until = backend.reads_until.max(now) + reading;
        backend.running.push(n);
        let state = &mut self.states[n];
        state.attempt += 1;
        state.on = Some((on, taken));
        self.events.push(Reverse((backend.reads_until, Event::First(n, state.attempt))));
    }

    fn first(&mut self, n: usize, now: u64) {
        let state = &mut self.states[n];
        let Some((on, taken)) = &mut state.on else { return };
        let backend = &mut self.backends[*on];
        let ttft = now.saturating_sub(self.trace.requests[n].at);
        backend.gauge.begun(taken, ttft.max(1), now);
        backend.answering += 1;
        state.first_at = Some(now);
        let step = backend.machine.answer_us * (1_000 + ANSWERS_SHARE_MILLI * backend.answering);
        let making = self.trace.requests[n].demand.output_tokens * step / 1_000;
        self.events.push(Reverse((now + making, Event::Done(n, state.attempt))));
    }

    fn done(&mut self, n: usize, now: u64) {
        let Some((on, taken)) = self.states[n].on.take() else { return };
        let backend = &mut self.backends[on];
        backend.gauge.leave(taken, Some(self.trace.requests[n].demand), now);
        backend.answering -= 1;
        backend.running.retain(|running| *running != n);
        self.states[n].done = true;
        self.serve(now);
    }

    fn down(&mut self, machine: usize, now: u64) {
        let backend = &mut self.backends[machine];
        (backend.alive, backend.answering, backend.reads_until) = (false, 0, now);
        backend.heads.clear();
        for n in std::mem::take(&mut backend.running) {
            let state = &mut self.states[n];
            state.attempt += 1;
            if let Some((_, taken)) = state.on.take() {
                self.backends[machine].gauge.leave(taken, None, now);
            }
            if self.states[n].first_at.is_some() {
                self.states[n].cut = true;
            } else {
                self.admit(n, now);
            }
        }
    }

    /// Free places to those in line, in order.
    fn serve(&mut self, now: u64) {
        while let Some((rank, n)) = self.line.first_key_value().map(|(rank, n)| (*rank, *n)) {
            let request = self.trace.requests[n];
            let Some(on) = self.choose(&request, now) else { return };
            self.line.remove(&rank);
            self.served(&rank);
            self.start(n, on, now);
        }
    }

    fn served(&mut self, rank: &Rank) {
        let first = self.line.first_key_value().map(|(rank, _)| rank);
        self.shares.served(rank, first);
    }

    fn outcome(&self) -> Outcome {
        let mut waits: Vec<u64> = Vec::with_capacity(self.states.len());
        let mut customers: HashMap<u64, (u64, u64)> = HashMap::new();
        let mut good = 0;
        for (request, state) in self.trace.requests.iter().zip(&self.states) {
            let wait = state.first_at.map_or(u64::MAX / 2, |first| first - request.at);
            waits.push(wait);
            let is_good = state.done && wait <= GOOD_US;
            good += u64::from(is_good);
            let (asked, got) = customers.entry(request.customer).or_default();
            *asked += 1;
            *got += u64::from(is_good);
        }
        waits.sort_unstable();
        let at = |permille: usize| waits[(waits.len() - 1) * permille / 1_000] / 1_000;
        let span = self.trace.requests.last().map_or(1, |last| last.at.max(1));
        // Shares of what each asked for, so that many requests are not a merit.
        let shares: Vec<f64> =
            customers.values().map(|(asked, got)| *got as f64 / *asked as f64).collect();
        let (sum, squares) = shares.iter().fold((0.0, 0.0), |(a, b), x| (a + x, b + x * x));
        let fair = if squares == 0.0 { 0.0 } else { sum * sum / squares / shares.len() as f64 };
        Outcome {
            ttft_ms: [at(500), at(950), at(990)],
            good_per_ks: good * 1_000_000_000 / span,
            fair_milli: (fair * 1e3).round() as u64,
            cut: self.states.iter().filter(|state| state.cut).count(),
        }
    }
}
