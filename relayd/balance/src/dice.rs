//! Chance that replays: a small generator whose whole sequence follows from its seed.

use crate::hash::mix;

/// Splitmix64. For spreading load; worthless for secrets.
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    /// A sequence of its own for each seed.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Any number.
    pub const fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// A number below `bound`; 0 for a bound of 0. Biased by less than one in 2^64 / `bound`.
    pub const fn below(&mut self, bound: u64) -> u64 {
        ((self.roll() as u128 * bound as u128) >> 64) as u64
    }

    /// A number from 0 to 1, never 0.
    pub fn unit(&mut self) -> f64 {
        unit(self.roll())
    }
}

/// A hash as a number above 0 and at most 1.
pub(crate) fn unit(hash: u64) -> f64 {
    ((hash >> 11) + 1) as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_replays_and_stays_below() {
        let rolls = |seed| {
            let mut dice = Dice::new(seed);
            (0..1000).map(|_| dice.below(7)).collect::<Vec<_>>()
        };
        assert_eq!(rolls(1), rolls(1));
        assert_ne!(rolls(1), rolls(2));
        for face in 0..7 {
            let seen = rolls(1).iter().filter(|roll| **roll == face).count();
            assert!((100..190).contains(&seen), "{face}: {seen}");
        }
        assert_eq!(Dice::new(3).below(0), 0);
        assert!((0.0..=1.0).contains(&unit(u64::MAX)) && unit(0) > 0.0);
    }
}
