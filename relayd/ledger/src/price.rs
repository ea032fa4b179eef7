//! What a request costs.

use relay_domain::{Meter, Meters, Ncr, PriceId, Scope};
use serde::{Deserialize, Serialize};

/// Units in one priced unit: rates are for a million tokens.
const MEGA: i128 = 1_000_000;
/// Basis points in one whole.
const BPS: i128 = 10_000;

/// Prices of a million units on each meter, in nano-credits (so 1 USD per million tokens is
/// 1,000,000,000). Never negative.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Rates {
    /// Prompt tokens that no cache served.
    pub in_uncached: i64,
    /// Prompt tokens read from a cache.
    pub in_cache_read: i64,
    /// Prompt tokens written to a cache that lives 5 minutes.
    pub in_cache_write_5m: i64,
    /// Prompt tokens written to a cache that lives 1 hour.
    pub in_cache_write_1h: i64,
    /// Answer tokens.
    pub out_text: i64,
    /// Reasoning tokens.
    pub out_reasoning: i64,
}

/// Dearer rates for long prompts. They apply to the whole request, not to the part above.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LongContext {
    /// They apply when the whole prompt has more than this many tokens.
    pub above_input_tokens: u64,
    /// The rates.
    pub rates: Rates,
}

/// One price row. Immutable once written: a new price is a new row with a later `valid_from_ms`,
/// and a hold keeps the id of the row it was priced by.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Price {
    /// The row's id.
    pub id: PriceId,
    /// What it prices.
    pub scope: Scope,
    /// Rates for every prompt that is not long.
    pub rates: Rates,
    /// Rates for long prompts, if they differ.
    pub long: Option<LongContext>,
    /// A provider's share of the charge, in basis points, 0 to 10,000.
    pub provider_bps: u16,
    /// From when it applies, in milliseconds since the epoch.
    pub valid_from_ms: i64,
}

/// An upper bound of what a request can use, before it ran: how the tokens fall on the meters is
/// not known yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ceiling {
    /// Most prompt tokens, cached ones included.
    pub input: u64,
    /// Most answer tokens, reasoning included.
    pub output: u64,
}

impl Rates {
    /// The rate of one meter.
    #[must_use]
    pub const fn get(&self, meter: Meter) -> i64 {
        match meter {
            Meter::InUncached => self.in_uncached,
            Meter::InCacheRead => self.in_cache_read,
            Meter::InCacheWrite5m => self.in_cache_write_5m,
            Meter::InCacheWrite1h => self.in_cache_write_1h,
            Meter::OutText => self.out_text,
            Meter::OutReasoning => self.out_reasoning,
        }
    }

    /// Sets the rate of one meter.
    pub const fn set(&mut self, meter: Meter, ncr_per_mega: i64) {
        *match meter {
            Meter::InUncached => &mut self.in_uncached,
            Meter::InCacheRead => &mut self.in_cache_read,
            Meter::InCacheWrite5m => &mut self.in_cache_write_5m,
            Meter::InCacheWrite1h => &mut self.in_cache_write_1h,
            Meter::OutText => &mut self.out_text,
            Meter::OutReasoning => &mut self.out_reasoning,
        } = ncr_per_mega;
    }

    /// The rate of the dearest prompt meter: nobody knows in advance what a cache will serve.
    fn dearest_input(&self) -> i64 {
        self.in_uncached
            .max(self.in_cache_read)
            .max(self.in_cache_write_5m)
            .max(self.in_cache_write_1h)
    }

    fn dearest_output(&self) -> i64 {
        self.out_text.max(self.out_reasoning)
    }
}

impl Price {
    /// Whether every rate is at least zero and the provider's share at most the whole.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        let fine = |rates: &Rates| Meter::ALL.iter().all(|meter| rates.get(*meter) >= 0);
        fine(&self.rates)
            && self.long.is_none_or(|long| fine(&long.rates))
            && i128::from(self.provider_bps) <= BPS
    }

    /// The price of these quantities: summed exactly, divided once, rounded up, so that a request
    /// is overcharged by less than one nano-credit. `None` when it is beyond the range of [`Ncr`].
    ///
    /// A prompt above the long-context threshold is priced by the long rates as a whole.
    #[must_use]
    pub fn quote(&self, meters: &Meters) -> Option<Ncr> {
        let rates = match &self.long {
            Some(long) if meters.input() > long.above_input_tokens => &long.rates,
            _ => &self.rates,
        };
        let mut total: i128 = 0;
        for meter in Meter::ALL {
            let part = i128::from(meters.get(meter)).checked_mul(i128::from(rates.get(meter)))?;
            total = total.checked_add(part)?;
        }
        divide_up(total)
    }

    /// The most that any request under this ceiling can cost: the dearest meter on each side, and
    /// the dearer of the tiers that it can reach. `None` when beyond the range of [`Ncr`].
    #[must_use]
    pub fn quote_ceiling(&self, ceiling: Ceiling) -> Option<Ncr> {
        let under = |rates: &Rates| -> Option<Ncr> {
            let input = i128::from(ceiling.input).checked_mul(i128::from(rates.dearest_input()))?;
            let output =
                i128::from(ceiling.output).checked_mul(i128::from(rates.dearest_output()))?;
            divide_up(input.checked_add(output)?)
        };
        let base = under(&self.rates)?;
        match &self.long {
            Some(long) if ceiling.input > long.above_input_tokens => {
                Some(base.max(under(&long.rates)?))
            }
            _ => Some(base),
        }
    }

    /// A provider's share of a charge, rounded down; the rest is the platform's, so that the two
    /// always sum to the charge.
    #[must_use]
    pub fn provider_share(&self, charge: Ncr) -> Ncr {
        // A share of at most the whole fits where the whole fitted.
        part(charge, self.provider_bps).unwrap_or(charge)
    }
}

/// Basis points of an amount, rounded down. `None` for more than the whole and beyond the range
/// of [`Ncr`].
pub(crate) fn part(amount: Ncr, bps: u16) -> Option<Ncr> {
    if i128::from(bps) > BPS {
        return None;
    }
    let part = i128::from(amount.get()) * i128::from(bps) / BPS;
    i64::try_from(part).ok().map(Ncr::new)
}

fn divide_up(total: i128) -> Option<Ncr> {
    let whole = total / MEGA;
    let rounded = if total % MEGA > 0 { whole.checked_add(1)? } else { whole };
    i64::try_from(rounded).ok().map(Ncr::new)
}
