//! Who of those who wait goes next: classes in order, customers by the tokens they used.
//!
//! Start-time fair queueing. Every customer has a counter of virtual time that each of its requests
//! pushes on by its work over its weight; a request's place is the counter before it. Whoever
//! returns from idle starts at the present, so that silence earns no credit, and whoever sent much
//! waits behind those who sent little. Within one customer and class the order is that of arrival.
//!
//! The present is where the service is: at the start of what was served last, but never beyond
//! somebody who still waits. There are several servers and not everybody may go to each: what passes
//! by an idle one would otherwise put newcomers behind all that its customer sent to a busy one.

use std::cmp::Reverse;
use std::collections::HashMap;

use crate::{Class, Customer, Demand, Load};

/// Customers whose counters are kept at most: those ahead of the present come first. One is some
/// 40 bytes.
pub const COUNTERS_MAX: usize = 16_384;

/// A place in line; the least is served first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rank {
    class: Reverse<Class>,
    start: u64,
    number: u64,
}

/// The virtual time of all customers.
#[derive(Clone, Debug, Default)]
pub struct Shares {
    next: u64,
    /// The present of each class.
    present: [u64; 4],
    counters: HashMap<(Class, u64), u64>,
}

impl Rank {
    /// No place of a class is before this one.
    #[must_use]
    pub const fn first_of(class: Class) -> Self {
        Self { class: Reverse(class), start: 0, number: 0 }
    }

    /// The class.
    #[must_use]
    pub const fn class(&self) -> Class {
        self.class.0
    }
}

impl Shares {
    /// Nobody has used anything.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The place of a request that comes now; its customer is charged for it.
    pub fn join(&mut self, class: Class, customer: Customer, demand: &Demand) -> Rank {
        let present = self.present[class.index()];
        let known = self.counters.get(&(class, customer.id));
        let start = known.map_or(present, |at| present.max(*at));
        self.charge(class, customer.id, start.saturating_add(customer.charge(demand)));
        let number = self.next;
        self.next += 1;
        Rank { class: Reverse(class), start, number }
    }

    /// The request of that place is served; `waiting` is the first of its class that is not.
    pub fn served(&mut self, rank: &Rank, waiting: Option<&Rank>) {
        let present = &mut self.present[rank.class().index()];
        let reached = waiting.map_or(rank.start, |waiting| rank.start.min(waiting.start));
        *present = reached.max(*present);
    }

    /// The request of that place left before it was served.
    pub fn left(&mut self, rank: &Rank, customer: Customer, demand: &Demand) {
        self.corrected(rank.class(), customer, demand, &Demand::default());
    }

    /// A request has used something else than was expected.
    pub fn corrected(
        &mut self,
        class: Class,
        customer: Customer,
        expected: &Demand,
        used: &Demand,
    ) {
        if let Some(at) = self.counters.get_mut(&(class, customer.id)) {
            *at =
                at.saturating_sub(customer.charge(expected)).saturating_add(customer.charge(used));
        }
    }

    /// Counters that are kept.
    #[must_use]
    pub fn len(&self) -> usize {
        self.counters.len()
    }

    /// Whether none is kept.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.counters.is_empty()
    }

    fn charge(&mut self, class: Class, customer: u64, at: u64) {
        let known = self.counters.contains_key(&(class, customer));
        if !known && self.counters.len() >= COUNTERS_MAX {
            // Who is not ahead of the present would be lifted to it anyway.
            let present = self.present;
            self.counters.retain(|(class, _), at| *at > present[class.index()]);
        }
        if known || self.counters.len() < COUNTERS_MAX {
            self.counters.insert((class, customer), at);
        }
    }
}

/// How long somebody waits at most, in thousandths of what is predicted before he is told that it
/// is in vain: predictions err.
const DOUBT_MILLI: u64 = 1_500;

/// The expected wait of somebody behind `ahead` of work, in microseconds, for backends with so many
/// places each. `None` before any of them has shown how fast it works.
#[must_use]
pub fn queue_wait_us(backends: &[(Load, u32)], ahead: u64) -> Option<u64> {
    let known: Vec<u64> = backends.iter().filter_map(|(load, _)| load.rate).collect();
    let usual = known.iter().sum::<u64>().checked_div(known.len() as u64)?;
    let rate: u64 = backends
        .iter()
        .map(|(load, places)| load.rate.unwrap_or(usual).saturating_mul(u64::from(*places)))
        .fold(0, u64::saturating_add);
    let places: u64 = backends.iter().map(|(_, places)| u64::from(*places)).sum();
    let running = backends.iter().map(|(load, _)| load.work).fold(0, u64::saturating_add);
    // The first place that comes free does so after a share of what runs.
    let first = running.checked_div(places)?;
    let work = u128::from(ahead.saturating_add(first)) * 1_000_000;
    work.checked_div(u128::from(rate)).map(|wait| u64::try_from(wait).unwrap_or(u64::MAX))
}

/// Whether a wait is so much longer than the time left that it is in vain.
#[must_use]
pub const fn is_in_vain(wait_us: u64, left_us: u64) -> bool {
    wait_us > left_us.saturating_mul(DOUBT_MILLI) / 1000
}

/// Whole seconds after which to come again, of a wait: 1 to 60.
#[must_use]
pub fn retry_after_s(wait_us: u64) -> u32 {
    u32::try_from(wait_us.div_ceil(1_000_000)).unwrap_or(u32::MAX).clamp(1, 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: Demand = Demand { input_tokens: 100, output_tokens: 0 };

    fn order(places: &[(Rank, &'static str)]) -> Vec<&'static str> {
        let mut places = places.to_vec();
        places.sort();
        places.into_iter().map(|(_, name)| name).collect()
    }

    #[test]
    fn classes_go_in_order_and_one_customer_in_its_own() {
        let mut shares = Shares::new();
        let names = ["batch", "free", "standard", "priority"];
        let mut places: Vec<_> = Class::ALL
            .into_iter()
            .zip(names)
            .map(|(class, name)| (shares.join(class, 1.into(), &ONE), name))
            .collect();
        places.push((shares.join(Class::Standard, 1.into(), &ONE), "again"));
        assert_eq!(order(&places), ["priority", "standard", "again", "free", "batch"]);
    }

    #[test]
    fn one_who_sent_much_does_not_keep_others_waiting() {
        let mut shares = Shares::new();
        let mut line: Vec<(Rank, u64)> =
            (0..1000).map(|_| (shares.join(Class::Standard, 0.into(), &ONE), 0)).collect();
        line.extend((1..=100).map(|who| (shares.join(Class::Standard, who.into(), &ONE), who)));
        line.sort();
        let last = line.iter().rposition(|(_, who)| *who != 0).unwrap();
        assert_eq!(last, 100, "each of them once, after the first of the one who sent much");
    }

    #[test]
    fn who_weighs_four_gets_four_times_as_much_done() {
        let mut shares = Shares::new();
        let (light, heavy) = (Customer { id: 1, weight: 1 }, Customer { id: 2, weight: 4 });
        let mut line = Vec::new();
        for _ in 0..100 {
            line.push((shares.join(Class::Standard, light, &ONE), light.id));
            line.push((shares.join(Class::Standard, heavy, &ONE), heavy.id));
        }
        line.sort();
        let of_heavy = line[..100].iter().filter(|(_, who)| *who == heavy.id).count();
        assert_eq!(of_heavy, 80);
    }

    #[test]
    fn silence_earns_no_credit_and_leaving_costs_nothing() {
        let mut shares = Shares::new();
        for _ in 0..10 {
            let rank = shares.join(Class::Standard, 1.into(), &ONE);
            shares.served(&rank, None);
        }
        let late = shares.join(Class::Standard, 2.into(), &ONE);
        let present = shares.join(Class::Standard, 1.into(), &ONE);
        assert_eq!(late.start, 900, "lifted to the present");
        assert_eq!(present.start, 1000);
        shares.left(&present, 1.into(), &ONE);
        shares.corrected(
            Class::Standard,
            1.into(),
            &ONE,
            &Demand { input_tokens: 400, output_tokens: 0 },
        );
        assert!(shares.join(Class::Standard, 1.into(), &ONE).start >= 1300);
    }

    #[test]
    fn what_goes_elsewhere_does_not_pass_those_who_wait() {
        let mut shares = Shares::new();
        let waiting: Vec<_> =
            (0..10).map(|_| shares.join(Class::Standard, 1.into(), &ONE)).collect();
        let elsewhere = shares.join(Class::Standard, 1.into(), &ONE);
        shares.served(&elsewhere, waiting.first());
        assert_eq!(
            shares.join(Class::Standard, 2.into(), &ONE).start,
            0,
            "before the second of them"
        );
        shares.served(&waiting[0], waiting.get(1));
        shares.served(&waiting[1], waiting.get(2));
        assert_eq!(shares.join(Class::Standard, 3.into(), &ONE).start, 100);
    }

    #[test]
    fn counters_are_bounded_and_the_heavy_ones_stay() {
        let mut shares = Shares::new();
        let heavy = Demand { input_tokens: 1 << 40, output_tokens: 0 };
        shares.join(Class::Standard, u64::MAX.into(), &heavy);
        for who in 0..3 * COUNTERS_MAX as u64 {
            let rank = shares.join(Class::Standard, who.into(), &ONE);
            shares.served(&rank, None);
            let far = Rank { start: rank.start + 1000, ..rank };
            shares.served(&far, None);
        }
        assert!(shares.len() <= COUNTERS_MAX);
        assert!(shares.join(Class::Standard, u64::MAX.into(), &ONE).start >= 1 << 40);
    }

    #[test]
    fn waits_follow_work_and_speed() {
        let load = |work, rate| Load {
            backlog: 0,
            cost_ns: None,
            work,
            rate,
            kv_milli: 0,
            ramp_milli: 1000,
        };
        assert_eq!(queue_wait_us(&[(load(0, None), 4)], 1000), None);
        assert_eq!(queue_wait_us(&[], 1000), None);
        // Two places of 100 a second, 400 running, 1000 ahead: (1000 + 200) / 200.
        assert_eq!(queue_wait_us(&[(load(400, Some(100)), 2)], 1000), Some(6_000_000));
        let two = [(load(0, Some(100)), 1), (load(0, None), 1)];
        assert_eq!(queue_wait_us(&two, 1000), Some(5_000_000));
        assert!(is_in_vain(31, 20) && !is_in_vain(30, 20));
        assert_eq!([0, 1, 1_000_001, u64::MAX].map(retry_after_s), [1, 1, 2, 60]);
    }
}
