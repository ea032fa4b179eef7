//! Who of several backends takes a request.

use std::cmp::Reverse;
use std::fmt;
use std::str::FromStr;

use crate::Demand;
use crate::dice::{Dice, unit};
use crate::gauge::{COST_UNKNOWN_NS, Load, own_tokens};
use crate::hash::mix;

/// How far above the shortest expected wait one still counts as good, as a divisor of it: there,
/// chance decides by weight, so that an idle pool is shared.
const EVEN_DIVISOR: u64 = 16;

/// The same where the prompt's head is known: the least that a warm cache is worth. This is the
/// bound of the load of consistent hashing, taken of the expected wait.
const PREFIX_DIVISOR: u64 = 4;

/// The same for a session, as a factor: it moves when staying would cost several times the wait.
const SESSION_FACTOR: u64 = 4;

/// How much longer than the best one somebody who starts slowly may take and still get his share, as
/// a divisor of it.
const STARTER_DIVISOR: u64 = 4;

/// A way that is no longer than this is as good as none, in microseconds: on one network, what a
/// probe takes is chance.
const NEAR_US: u64 = 5_000;

/// Load over the pool's mean up to which plain affinity stays, as a divisor of the mean: 1.25.
const BOUND_DIVISOR: u64 = 4;

/// KV cache from which on a backend is avoided, in thousandths: it will soon preempt.
const KV_TIGHT_MILLI: u32 = 850;

/// How backends are chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Policy {
    /// The shortest expected wait for the first token; among nearly even ones the one that a
    /// prompt's head, or a session, belongs to.
    #[default]
    Predictive,
    /// The shortest expected wait, whatever the prompt.
    LeastLoad,
    /// Consistent hashing of the prompt's head with bounded load, whatever the speed.
    Affinity,
    /// The less loaded of two drawn by weight.
    TwoChoices,
    /// One after another.
    RoundRobin,
    /// Drawn by weight.
    Random,
}

/// A policy that does not exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownPolicy;

/// One backend that can take the request and has room for it.
#[derive(Clone, Copy, Debug)]
pub struct Member {
    /// A hash of its name, the same on every replica.
    pub key: u64,
    /// Its share as the operator set it, above 0.
    pub weight: u32,
    /// Requests that run on it.
    pub running: u32,
    /// Requests that it may run.
    pub slots: u32,
    /// How it is.
    pub load: Load,
    /// It was sent this prompt's head lately.
    pub warm: bool,
    /// Time to reach it and back, in microseconds, as far as known.
    pub distance_us: u64,
    /// It is to be tried with this one request before it is trusted again.
    pub on_trial: bool,
}

/// What a choice depends on besides the backends.
#[derive(Clone, Copy, Debug, Default)]
pub struct Question {
    /// What the request is expected to use.
    pub demand: Demand,
    /// A hash of the prompt's head.
    pub prefix: Option<u64>,
    /// A hash of the session.
    pub session: Option<u64>,
}

impl Policy {
    /// All of them, the default first.
    pub const ALL: [Self; 6] = [
        Self::Predictive,
        Self::LeastLoad,
        Self::Affinity,
        Self::TwoChoices,
        Self::RoundRobin,
        Self::Random,
    ];

    /// The word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Predictive => "predictive",
            Self::LeastLoad => "least-load",
            Self::Affinity => "affinity",
            Self::TwoChoices => "two-choices",
            Self::RoundRobin => "round-robin",
            Self::Random => "random",
        }
    }

    /// The member that takes the request, by its place; `None` only where there is none. `turn`
    /// counts the choices of one pool.
    pub fn choose(
        self,
        members: &[Member],
        question: &Question,
        turn: &mut u64,
        dice: &mut Dice,
    ) -> Option<usize> {
        *turn = turn.wrapping_add(1);
        // Who is on trial gets what chance would give it, whatever its figures say; it would never
        // be trusted again otherwise.
        let drawn = draw(members, None, dice)?;
        if members[drawn].on_trial {
            return Some(drawn);
        }
        let settled = |member: &Member| !member.on_trial;
        // Nobody else's to take: as `drawn` is drawn by how far everybody has started, somebody who
        // came back gets what he is due, and no longer seems slow only because he starts slowly.
        let furthest = members.iter().map(|member| member.load.ramp_milli).max()?;
        // Where all start at once, nobody is behind.
        let behind = u64::from(members[drawn].load.ramp_milli) * 4 < u64::from(furthest) * 3;
        let starter = behind.then_some(drawn);
        let pool: Vec<usize> =
            (0..members.len()).filter(|place| settled(&members[*place])).collect();
        match self {
            Self::Predictive => predictive(members, &pool, question, (true, starter), dice),
            Self::LeastLoad => predictive(members, &pool, question, (false, starter), dice),
            Self::Affinity => match question.session.or(question.prefix) {
                Some(key) => bounded(members, &pool, key),
                None => two_choices(members, drawn, dice),
            },
            Self::TwoChoices => two_choices(members, drawn, dice),
            Self::RoundRobin => pool.get((*turn % pool.len().max(1) as u64) as usize).copied(),
            Self::Random => Some(drawn),
        }
    }
}

/// The expected wait for the first token of a request, in microseconds, where a token of a backend
/// of unknown speed costs `usual_ns`.
#[must_use]
pub fn expected_wait_us(member: &Member, demand: &Demand, heaviest: u32, usual_ns: u64) -> u64 {
    let Load { backlog, cost_ns, kv_milli, ramp_milli, .. } = member.load;
    let weighed = backlog.saturating_mul(u64::from(heaviest)) / u64::from(member.weight.max(1));
    let tokens = weighed.saturating_add(own_tokens(demand, member.warm));
    let time = tokens.saturating_mul(cost_ns.unwrap_or(usual_ns)) / 1000;
    let ramped = time.saturating_mul(1000) / u64::from(ramp_milli.max(1));
    // From the mark on it grows to three times the wait of a cache that is full.
    let tight = u64::from(kv_milli.saturating_sub(KV_TIGHT_MILLI));
    let span = u64::from(1000 - KV_TIGHT_MILLI);
    let pressed = ramped.saturating_add(ramped.saturating_mul(2 * tight) / span);
    pressed.saturating_add(member.distance_us.saturating_sub(NEAR_US))
}

fn predictive(
    members: &[Member],
    pool: &[usize],
    question: &Question,
    (affine, starter): (bool, Option<usize>),
    dice: &mut Dice,
) -> Option<usize> {
    let heaviest = members.iter().map(|member| member.weight).max()?;
    let usual = usual_ns(members);
    let wait = |place: usize| {
        let member = Member { warm: affine && members[place].warm, ..members[place] };
        expected_wait_us(&member, &question.demand, heaviest, usual)
    };
    let waits: Vec<(usize, u64)> = pool.iter().map(|place| (*place, wait(*place))).collect();
    let best = waits.iter().map(|(_, wait)| *wait).min()?;
    if let Some(starter) = starter.filter(|_| question.session.is_none()) {
        let load = Load { ramp_milli: 1000, ..members[starter].load };
        let started = Member { load, ..members[starter] };
        let started = expected_wait_us(&started, &question.demand, heaviest, usual);
        if started <= best + best / STARTER_DIVISOR {
            return Some(starter);
        }
    }
    let (key, bound) = match (question.session, question.prefix) {
        (Some(session), _) if affine => (Some(session), best.saturating_mul(SESSION_FACTOR)),
        (None, Some(prefix)) if affine => (Some(prefix), best + best / PREFIX_DIVISOR),
        _ => (None, best + best / EVEN_DIVISOR),
    };
    let good = waits.iter().filter(|(_, wait)| *wait <= bound).map(|(place, _)| *place);
    match key {
        Some(key) => ranked(members, good, key).next(),
        None => draw(members, Some(&good.collect::<Vec<_>>()), dice),
    }
}

/// What a token usually costs in this pool: the mean of those who were measured.
fn usual_ns(members: &[Member]) -> u64 {
    let known = || members.iter().filter_map(|member| member.load.cost_ns);
    let sum = known().fold(0_u64, u64::saturating_add);
    sum.checked_div(known().count() as u64).unwrap_or(COST_UNKNOWN_NS)
}

/// The first, in the order that belongs to the key, whose load is within the bound.
fn bounded(members: &[Member], pool: &[usize], key: u64) -> Option<usize> {
    let weight: u64 = pool.iter().map(|place| u64::from(members[*place].weight)).sum();
    let running: u64 = pool.iter().map(|place| u64::from(members[*place].running)).sum();
    let all = running + 1;
    let within = |place: &usize| {
        let member = &members[*place];
        let bound = (all + all / BOUND_DIVISOR) * u64::from(member.weight);
        u64::from(member.running) * weight <= bound
    };
    let mut order = ranked(members, pool.iter().copied(), key);
    order.find(within).or_else(|| pool.first().copied())
}

/// Members in the order that belongs to a key: rendezvous hashing by weight. When one goes, only
/// its own keys move.
fn ranked(
    members: &[Member],
    of: impl Iterator<Item = usize>,
    key: u64,
) -> impl Iterator<Item = usize> {
    let rank = |place: usize| {
        let member = &members[place];
        let drawn = unit(mix(key ^ mix(member.key)));
        // Of an exponential draw by weight; its bits order as its value does.
        let value = f64::from(member.weight.max(1)) / -(drawn.ln().min(-f64::MIN_POSITIVE));
        value.to_bits()
    };
    let mut order: Vec<(u64, usize)> = of.map(|place| (rank(place), place)).collect();
    order.sort_unstable_by_key(|(rank, place)| (Reverse(*rank), *place));
    order.into_iter().map(|(_, place)| place)
}

/// Of two drawn by weight the one with fewer requests for its weight; the first when even.
fn two_choices(members: &[Member], first: usize, dice: &mut Dice) -> Option<usize> {
    let others: Vec<usize> =
        (0..members.len()).filter(|place| *place != first && !members[*place].on_trial).collect();
    let Some(second) = draw(members, Some(&others), dice) else { return Some(first) };
    let (one, other) = (&members[first], &members[second]);
    let load = |of: &Member, by: &Member| u64::from(of.running) * u64::from(by.weight);
    Some(if load(other, one) < load(one, other) { second } else { first })
}

/// One of `among`, or of all, by weight and by how far it has started.
fn draw(members: &[Member], among: Option<&[usize]>, dice: &mut Dice) -> Option<usize> {
    let share = |place: usize| {
        let member = &members[place];
        u64::from(member.weight.max(1)) * u64::from(member.load.ramp_milli.max(1))
    };
    let all: Vec<usize>;
    let among = match among {
        Some(among) => among,
        None => {
            all = (0..members.len()).collect();
            &all
        }
    };
    let total: u64 = among.iter().map(|place| share(*place)).sum();
    let mut left = dice.below(total);
    for place in among {
        let share = share(*place);
        if left < share {
            return Some(*place);
        }
        left -= share;
    }
    among.last().copied()
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Policy {
    type Err = UnknownPolicy;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|policy| policy.as_str() == text).ok_or(UnknownPolicy)
    }
}

impl fmt::Display for UnknownPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = Policy::ALL.map(Policy::as_str).join(", ");
        write!(f, "there is no such policy; there are {known}")
    }
}

impl std::error::Error for UnknownPolicy {}
