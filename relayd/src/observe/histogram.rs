//! Durations in buckets that grow with the value.

/// Each power of two is cut into eight: a percentile is off by at most one sixteenth.
const CUTS_BITS: u32 = 3;
const CUTS: usize = 1 << CUTS_BITS;
/// Larger values count as this one: 2^20 ms are 17 minutes, longer than any first token.
const TOP_BIT: u32 = 19;
const BUCKETS: usize = CUTS * (TOP_BIT as usize - CUTS_BITS as usize + 2);

/// Counts of durations in milliseconds; 576 bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Histogram {
    counts: Box<[u32; BUCKETS]>,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { counts: Box::new([0; BUCKETS]) }
    }
}

impl Histogram {
    pub(super) fn record(&mut self, ms: u32) {
        let count = &mut self.counts[bucket(ms)];
        *count = count.saturating_add(1);
    }

    pub(super) fn merge(&mut self, other: &Self) {
        for (mine, theirs) in self.counts.iter_mut().zip(other.counts.iter()) {
            *mine = mine.saturating_add(*theirs);
        }
    }

    /// The value below which this many percent lie, by nearest rank; 0 when nothing was recorded.
    pub(super) fn percentile(&self, percent: u64) -> u32 {
        let total: u64 = self.counts.iter().map(|&count| u64::from(count)).sum();
        let rank = (total * percent).div_ceil(100).max(1);
        let mut seen = 0;
        for (index, &count) in self.counts.iter().enumerate() {
            seen += u64::from(count);
            if count > 0 && seen >= rank {
                return middle(index);
            }
        }
        0
    }
}

fn bucket(ms: u32) -> usize {
    let ms = ms.min((1 << (TOP_BIT + 1)) - 1);
    if ms < CUTS as u32 {
        return ms as usize;
    }
    let top = ms.ilog2();
    let shift = top - CUTS_BITS;
    CUTS * (shift as usize + 1) + ((ms >> shift) as usize & (CUTS - 1))
}

fn middle(index: usize) -> u32 {
    if index < CUTS {
        return index as u32;
    }
    let shift = (index / CUTS - 1) as u32;
    let low = ((CUTS + index % CUTS) as u32) << shift;
    low + (1 << shift) / 2
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn percentiles_by_nearest_rank() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.percentile(50), 0);
        for ms in [1, 2, 3, 4] {
            histogram.record(ms);
        }
        assert_eq!([1, 25, 50, 75, 95, 100].map(|p| histogram.percentile(p)), [1, 1, 2, 3, 4, 4]);
        histogram.record(u32::MAX);
        assert!(histogram.percentile(100) > 900_000);
    }

    proptest! {
        #[test]
        fn a_bucket_is_close_to_its_values(ms in 0u32..(1 << 20)) {
            let shown = middle(bucket(ms));
            prop_assert!(shown.abs_diff(ms) <= ms / 16 + 1, "{ms} shown as {shown}");
        }
    }
}
