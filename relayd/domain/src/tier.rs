//! Tiers: what a class of customers may do.

use std::cmp::Ordering;

use serde::{Deserialize, Serialize};

use crate::{Mode, Scope};

/// The tier of callers without a credential.
pub const GUEST_TIER: &str = "guest";

/// Largest weight of a tier.
pub const TIER_WEIGHT_MAX: u32 = 100;

/// Requests a minute. `None` means without limit; on a key, as its tier.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RateLimits {
    /// In mode direct.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub direct: Option<u32>,
    /// In mode opengpu.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub opengpu: Option<u32>,
    /// Over all modes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub global: Option<u32>,
}

/// A class of customers (contract section 1.3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tier {
    /// Its name, `basic` say.
    pub name: String,
    /// Its place in the public list, lowest first.
    pub level: u32,
    /// An agreement with one customer: never listed, and its first key is a superkey.
    pub custom: bool,
    /// Active keys a customer may have.
    pub max_keys: u32,
    /// Its customers' share of a busy model against others that give way as they do, 1 to
    /// [`TIER_WEIGHT_MAX`].
    pub weight: u32,
    /// Requests a minute of one customer.
    pub limits: RateLimits,
    /// Scopes that the tier may not use.
    pub denied_scopes: Vec<Scope>,
}

impl RateLimits {
    /// No limit at all.
    pub const NONE: Self = Self { direct: None, opengpu: None, global: None };

    /// The limit of a mode.
    #[must_use]
    pub const fn of(&self, mode: Mode) -> Option<u32> {
        match mode {
            Mode::Direct => self.direct,
            Mode::Opengpu => self.opengpu,
        }
    }

    /// Whether no limit here is above the one in `tier`.
    #[must_use]
    pub fn within(&self, tier: &Self) -> bool {
        let fits = |own: Option<u32>, tier: Option<u32>| match (own, tier) {
            (Some(own), Some(tier)) => own <= tier,
            _ => true,
        };
        fits(self.direct, tier.direct)
            && fits(self.opengpu, tier.opengpu)
            && fits(self.global, tier.global)
    }
}

impl Tier {
    /// The order of the public list: by level, then by name.
    #[must_use]
    pub fn by_level(&self, other: &Self) -> Ordering {
        self.level.cmp(&other.level).then_with(|| self.name.cmp(&other.name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_keys_limits_stay_within_its_tier() {
        let tier = RateLimits { direct: Some(3), opengpu: Some(3), global: Some(4) };
        let lower = RateLimits { direct: Some(2), opengpu: None, global: Some(4) };
        assert!(lower.within(&tier));
        assert!(!RateLimits { direct: Some(4), ..lower }.within(&tier));
        assert!(RateLimits { direct: Some(9), ..lower }.within(&RateLimits::NONE));
    }
}
