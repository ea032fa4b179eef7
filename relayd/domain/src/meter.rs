//! What is counted of one request.

use serde::{Deserialize, Serialize};

/// One kind of counted unit. Meters are disjoint: a token is counted on exactly one of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Meter {
    /// Prompt tokens that no cache served.
    InUncached,
    /// Prompt tokens read from a cache.
    InCacheRead,
    /// Prompt tokens written to a cache that lives 5 minutes.
    #[serde(rename = "in_cache_write_5m")]
    InCacheWrite5m,
    /// Prompt tokens written to a cache that lives 1 hour.
    #[serde(rename = "in_cache_write_1h")]
    InCacheWrite1h,
    /// Answer tokens.
    OutText,
    /// Reasoning tokens, shown or not.
    OutReasoning,
}

impl Meter {
    /// Every meter, in the order of the columns that store them.
    pub const ALL: [Self; 6] = [
        Self::InUncached,
        Self::InCacheRead,
        Self::InCacheWrite5m,
        Self::InCacheWrite1h,
        Self::OutText,
        Self::OutReasoning,
    ];

    /// The name used in configuration, storage and metrics labels.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InUncached => "in_uncached",
            Self::InCacheRead => "in_cache_read",
            Self::InCacheWrite5m => "in_cache_write_5m",
            Self::InCacheWrite1h => "in_cache_write_1h",
            Self::OutText => "out_text",
            Self::OutReasoning => "out_reasoning",
        }
    }
}

/// Quantities of one request, one field a [`Meter`]. All in tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Meters {
    /// See [`Meter::InUncached`].
    pub in_uncached: u64,
    /// See [`Meter::InCacheRead`].
    pub in_cache_read: u64,
    /// See [`Meter::InCacheWrite5m`].
    pub in_cache_write_5m: u64,
    /// See [`Meter::InCacheWrite1h`].
    pub in_cache_write_1h: u64,
    /// See [`Meter::OutText`].
    pub out_text: u64,
    /// See [`Meter::OutReasoning`].
    pub out_reasoning: u64,
}

impl Meters {
    /// The quantity on one meter.
    #[must_use]
    pub const fn get(&self, meter: Meter) -> u64 {
        match meter {
            Meter::InUncached => self.in_uncached,
            Meter::InCacheRead => self.in_cache_read,
            Meter::InCacheWrite5m => self.in_cache_write_5m,
            Meter::InCacheWrite1h => self.in_cache_write_1h,
            Meter::OutText => self.out_text,
            Meter::OutReasoning => self.out_reasoning,
        }
    }

    /// The quantity on one meter, to be written.
    pub const fn get_mut(&mut self, meter: Meter) -> &mut u64 {
        match meter {
            Meter::InUncached => &mut self.in_uncached,
            Meter::InCacheRead => &mut self.in_cache_read,
            Meter::InCacheWrite5m => &mut self.in_cache_write_5m,
            Meter::InCacheWrite1h => &mut self.in_cache_write_1h,
            Meter::OutText => &mut self.out_text,
            Meter::OutReasoning => &mut self.out_reasoning,
        }
    }

    /// The whole prompt: fresh, cached and written to a cache. Saturates.
    #[must_use]
    pub const fn input(&self) -> u64 {
        self.in_uncached
            .saturating_add(self.in_cache_read)
            .saturating_add(self.in_cache_write_5m)
            .saturating_add(self.in_cache_write_1h)
    }

    /// The whole answer: text and reasoning. Saturates.
    #[must_use]
    pub const fn output(&self) -> u64 {
        self.out_text.saturating_add(self.out_reasoning)
    }

    /// The larger quantity on each meter: how cumulative reports of one stream are combined.
    #[must_use]
    pub fn max(&self, other: &Self) -> Self {
        let mut larger = *self;
        for meter in Meter::ALL {
            *larger.get_mut(meter) = self.get(meter).max(other.get(meter));
        }
        larger
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_meter_has_its_own_field() {
        let mut meters = Meters::default();
        for (n, meter) in (1..).zip(Meter::ALL) {
            *meters.get_mut(meter) = n;
        }
        assert_eq!(meters.input(), 1 + 2 + 3 + 4);
        assert_eq!(meters.output(), 5 + 6);
        assert_eq!(meters.max(&Meters { out_text: 9, ..Meters::default() }).out_text, 9);
        for meter in Meter::ALL {
            let json = serde_json::to_value(meters).unwrap();
            assert!(json.get(meter.as_str()).is_some(), "{meter:?}");
        }
    }
}
