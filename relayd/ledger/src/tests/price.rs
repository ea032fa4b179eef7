//! Laws of quotes.

use proptest::prelude::*;
use relay_domain::{Meter, Meters, Ncr};

use crate::{Ceiling, LongContext, Price, Rates};

/// Cases per law: they are cheap.
const CASES: u32 = 100_000;
/// A trillion tokens: far above any request.
const QUANTITY_MAX: u64 = 1 << 40;
/// 1,000 USD per million tokens: far above any rate.
const RATE_MAX: i64 = 1_000_000_000_000;

fn price(rates: Rates, long: Option<LongContext>, provider_bps: u16) -> Price {
    Price {
        id: "price_0000000000000001".parse().unwrap(),
        scope: "direct.openai.m".parse().unwrap(),
        rates,
        long,
        provider_bps,
        valid_from_ms: 0,
    }
}

fn rates() -> impl Strategy<Value = Rates> {
    prop::array::uniform6(0..RATE_MAX).prop_map(|values| {
        let mut rates = Rates::default();
        for (meter, value) in Meter::ALL.into_iter().zip(values) {
            rates.set(meter, value);
        }
        rates
    })
}

fn meters(max: u64) -> impl Strategy<Value = Meters> {
    // Small and large quantities alike.
    prop::array::uniform6((0..max, 0_u32..41)).prop_map(|values| {
        let mut meters = Meters::default();
        for (meter, (value, shift)) in Meter::ALL.into_iter().zip(values) {
            *meters.get_mut(meter) = value >> shift;
        }
        meters
    })
}

fn prices() -> impl Strategy<Value = Price> {
    (rates(), prop::option::of((0_u64..1_000_000, rates())), 0_u16..=10_000).prop_map(
        |(base, long, bps)| {
            let long =
                long.map(|(above_input_tokens, rates)| LongContext { above_input_tokens, rates });
            price(base, long, bps)
        },
    )
}

fn sum(a: &Meters, b: &Meters) -> Meters {
    let mut sum = *a;
    for meter in Meter::ALL {
        *sum.get_mut(meter) += b.get(meter);
    }
    sum
}

#[test]
fn a_quote_is_price_times_usage_rounded_up_once() {
    let rates = Rates { in_uncached: 50_000_000, out_text: 150_000_001, ..Rates::default() };
    let flat = price(rates, None, 0);
    let quote = |input, output| {
        let meters = Meters { in_uncached: input, out_text: output, ..Meters::default() };
        flat.quote(&meters).unwrap().get()
    };
    assert_eq!(quote(0, 0), 0);
    assert_eq!(quote(1, 0), 50);
    assert_eq!(quote(0, 1), 151);
    assert_eq!(quote(10, 3), 500 + 451);
    assert_eq!(quote(1_000_000, 1_000_000), 200_000_001);
}

#[test]
fn a_long_prompt_is_priced_long_as_a_whole() {
    let base = Rates { in_uncached: 1_000_000, out_text: 2_000_000, ..Rates::default() };
    let dear = Rates { in_uncached: 3_000_000, out_text: 5_000_000, ..Rates::default() };
    let long = LongContext { above_input_tokens: 100, rates: dear };
    let tiered = price(base, Some(long), 0);
    let quote = |cached| {
        let meters =
            Meters { in_uncached: 60, in_cache_read: cached, out_text: 10, ..Meters::default() };
        tiered.quote(&meters).unwrap().get()
    };
    assert_eq!(quote(40), 60 + 20);
    assert_eq!(quote(41), 180 + 50);
}

#[test]
fn beyond_the_range_is_no_quote() {
    let rates = Rates { out_text: i64::MAX, ..Rates::default() };
    let meters = Meters { out_text: u64::MAX, ..Meters::default() };
    assert_eq!(price(rates, None, 0).quote(&meters), None);
    let ceiling = Ceiling { input: u64::MAX, output: u64::MAX };
    assert_eq!(price(rates, None, 0).quote_ceiling(ceiling), None);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(CASES))]

    /// What is held covers whatever can be charged.
    #[test]
    fn no_request_costs_more_than_its_ceiling(price in prices(), used in meters(QUANTITY_MAX), more in (0..QUANTITY_MAX, 0..QUANTITY_MAX)) {
        let ceiling = Ceiling { input: used.input() + more.0, output: used.output() + more.1 };
        prop_assert!(price.quote(&used).unwrap() <= price.quote_ceiling(ceiling).unwrap());
    }

    #[test]
    fn more_of_any_meter_never_costs_less(base in rates(), used in meters(QUANTITY_MAX), more in meters(QUANTITY_MAX)) {
        let flat = price(base, None, 0);
        for meter in Meter::ALL {
            let mut larger = used;
            *larger.get_mut(meter) += more.get(meter);
            prop_assert!(flat.quote(&used).unwrap() <= flat.quote(&larger).unwrap());
        }
    }

    /// Two requests cost what one of both would, or one nano-credit more.
    #[test]
    fn splitting_costs_at_most_one_nano_credit(base in rates(), a in meters(QUANTITY_MAX), b in meters(QUANTITY_MAX)) {
        let flat = price(base, None, 0);
        let apart = flat.quote(&a).unwrap().get() + flat.quote(&b).unwrap().get();
        let together = flat.quote(&sum(&a, &b)).unwrap().get();
        prop_assert!((0..=1).contains(&(apart - together)));
    }

    #[test]
    fn an_overcharge_is_below_one_nano_credit(price in prices(), used in meters(QUANTITY_MAX)) {
        let charged = i128::from(price.quote(&used).unwrap().get()) * 1_000_000;
        let rates = match &price.long {
            Some(long) if used.input() > long.above_input_tokens => &long.rates,
            _ => &price.rates,
        };
        let exact: i128 = Meter::ALL.iter().map(|m| i128::from(used.get(*m)) * i128::from(rates.get(*m))).sum();
        prop_assert!((0..1_000_000).contains(&(charged - exact)));
    }

    #[test]
    fn the_legs_of_a_charge_sum_to_it(price in prices(), charge in 0..i64::MAX) {
        let share = price.provider_share(Ncr::new(charge));
        let fee = Ncr::new(charge).checked_sub(share).unwrap();
        prop_assert!(!share.is_negative() && !fee.is_negative());
        prop_assert_eq!(share.checked_add(fee), Some(Ncr::new(charge)));
        let ten_thousandths = i128::from(charge) * i128::from(price.provider_bps);
        prop_assert_eq!(i128::from(share.get()), ten_thousandths / 10_000);
    }
}
