//! What is known of a request before it runs.

/// What a request is expected to use, in tokens. Estimates: nobody is charged by them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Demand {
    /// The prompt.
    pub input_tokens: u64,
    /// The answer.
    pub output_tokens: u64,
}

/// Who gives way to whom when there is not enough for all, the first to give way first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// Work that nobody waits for.
    Batch,
    /// Guests, and tiers that cost nothing.
    Free,
    /// Customers.
    #[default]
    Standard,
    /// Customers of the highest tier, and those with an agreement of their own.
    Priority,
}

/// Whom a request is counted to where those of one class share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Customer {
    /// A hash of its name, the same for all requests of one.
    pub id: u64,
    /// Its share against the others of its class, from 1: one of 4 gets four times as much done as
    /// one of 1 while both wait.
    pub weight: u32,
}

impl Demand {
    /// What is left of it where nothing is answered: the prompt, which was read for it.
    #[must_use]
    pub const fn unanswered(&self) -> Self {
        Self { input_tokens: self.input_tokens, output_tokens: 0 }
    }
}

impl Customer {
    /// What work of its counts for, at least 1.
    pub(crate) fn charge(self, demand: &Demand) -> u64 {
        demand.work().div_ceil(u64::from(self.weight.max(1)))
    }
}

impl From<u64> for Customer {
    /// One of weight 1.
    fn from(id: u64) -> Self {
        Self { id, weight: 1 }
    }
}

impl Class {
    /// All of them, the first to give way first.
    pub const ALL: [Self; 4] = [Self::Batch, Self::Free, Self::Standard, Self::Priority];

    /// Its place in [`Self::ALL`].
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }

    /// The word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Batch => "batch",
            Self::Free => "free",
            Self::Standard => "standard",
            Self::Priority => "priority",
        }
    }
}

impl Demand {
    /// What an output token costs an engine in prompt tokens: an answer is made token by token, a
    /// prompt is read many at once.
    pub const OUTPUT_WEIGHT: u64 = 4;

    /// Both kinds as one number, in prompt tokens; at least 1.
    #[must_use]
    pub const fn work(&self) -> u64 {
        let output = self.output_tokens.saturating_mul(Self::OUTPUT_WEIGHT);
        let work = self.input_tokens.saturating_add(output);
        if work == 0 { 1 } else { work }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_give_way_in_order_and_work_is_never_nothing() {
        assert!(Class::ALL.is_sorted());
        for (index, class) in Class::ALL.iter().enumerate() {
            assert_eq!(class.index(), index);
        }
        assert_eq!(Demand::default().work(), 1);
        assert_eq!(Demand { input_tokens: 10, output_tokens: 5 }.work(), 30);
        assert_eq!(Demand { input_tokens: 10, output_tokens: u64::MAX }.work(), u64::MAX);
    }
}
