//! Made traces of the shapes that public ones have: bursts, long tails, shared heads, churn.
//!
//! Arrival rates, sizes and their spreads follow what is published of conversation and code traces:
//! prompts of a thousand tokens in the middle and ten times that in the tail, answers of some
//! hundred, heads shared by popularity. Each follows from its seed.

use relay_balance::{Demand, Dice};

use super::sim::{Machine, Request, Trace};

const S: u64 = 1_000_000;

/// Every trace.
#[must_use]
pub fn all(seed: u64) -> [Trace; 4] {
    [bursty(seed), long_tailed(seed), shared_heads(seed), churning(seed)]
}

/// Machines of one, two and four times a speed.
fn mixed(count: usize) -> Vec<Machine> {
    let of = |n: usize| {
        let faster = [1, 2, 4][n % 3];
        Machine { prompt_ns: 240_000 / faster, answer_us: 20_000 / faster, slots: 16 }
    };
    (0..count).map(of).collect()
}

fn exponential(dice: &mut Dice, mean: f64) -> f64 {
    -dice.unit().ln() * mean
}

/// A normal draw, by Box and Muller.
fn normal(dice: &mut Dice) -> f64 {
    (-2.0 * dice.unit().ln()).sqrt() * (std::f64::consts::TAU * dice.unit()).cos()
}

fn log_normal(dice: &mut Dice, median: f64, spread: f64, most: f64) -> u64 {
    (median * (spread * normal(dice)).exp()).clamp(8.0, most) as u64
}

/// Customers by popularity: the first asks as often as the next two together.
fn zipf(dice: &mut Dice, of: u64) -> u64 {
    let place = (of as f64).powf(dice.unit()) as u64;
    place.clamp(1, of)
}

struct Shape {
    median: (f64, f64),
    spread: (f64, f64),
    heads: Option<u64>,
}

fn request(dice: &mut Dice, at: u64, shape: &Shape) -> Request {
    let input = log_normal(dice, shape.median.0, shape.spread.0, 16_000.0);
    let output_tokens = log_normal(dice, shape.median.1, shape.spread.1, 2_000.0);
    let (head, head_tokens) = match shape.heads {
        Some(heads) => (zipf(dice, heads), 1_500),
        None => (dice.roll() | 1, 0),
    };
    let demand = Demand { input_tokens: input + head_tokens, output_tokens };
    Request { at, customer: zipf(dice, 50), demand, head, head_tokens }
}

fn arrivals(
    dice: &mut Dice,
    seconds: u64,
    rate: impl Fn(u64) -> f64,
    shape: &Shape,
) -> Vec<Request> {
    let (mut at, mut requests) = (0, Vec::new());
    while at < seconds * S {
        at += (exponential(dice, 1e6 / rate(at))).max(1.0) as u64;
        requests.push(request(dice, at, shape));
    }
    requests
}

/// Half a minute of quiet, ten seconds of five times as much, again and again.
fn bursty(seed: u64) -> Trace {
    let mut dice = Dice::new(seed ^ 1);
    let shape = Shape { median: (500.0, 120.0), spread: (0.6, 0.6), heads: None };
    let rate = |at: u64| if at / S % 40 < 30 { 6.0 } else { 30.0 };
    let requests = arrivals(&mut dice, 400, rate, &shape);
    Trace { name: "bursty", machines: mixed(6), requests, deaths: Vec::new() }
}

/// Sizes over three orders of magnitude.
fn long_tailed(seed: u64) -> Trace {
    let mut dice = Dice::new(seed ^ 2);
    let shape = Shape { median: (600.0, 100.0), spread: (1.4, 1.2), heads: None };
    let requests = arrivals(&mut dice, 400, |_| 9.0, &shape);
    Trace { name: "long-tailed", machines: mixed(6), requests, deaths: Vec::new() }
}

/// Two hundred heads of 1,500 tokens, by popularity, on machines alike.
fn shared_heads(seed: u64) -> Trace {
    let mut dice = Dice::new(seed ^ 3);
    let shape = Shape { median: (150.0, 100.0), spread: (0.8, 0.8), heads: Some(200) };
    let requests = arrivals(&mut dice, 400, |_| 16.0, &shape);
    let machine = Machine { prompt_ns: 120_000, answer_us: 10_000, slots: 16 };
    Trace { name: "shared-heads", machines: vec![machine; 6], requests, deaths: Vec::new() }
}

/// Machines that die every half a minute and come back after fifteen seconds.
fn churning(seed: u64) -> Trace {
    let mut dice = Dice::new(seed ^ 4);
    let shape = Shape { median: (500.0, 100.0), spread: (0.8, 0.8), heads: None };
    let requests = arrivals(&mut dice, 400, |_| 9.0, &shape);
    let machines = mixed(6);
    let mut deaths = Vec::new();
    for machine in 0..machines.len() {
        let mut at = exponential(&mut dice, 30.0 * S as f64) as u64;
        while at < 400 * S {
            deaths.push((machine, at, at + 15 * S));
            at += 15 * S + 5 * S + exponential(&mut dice, 40.0 * S as f64) as u64;
        }
    }
    Trace { name: "churning", machines, requests, deaths }
}
