//! The last minutes of one number, sampled by the console itself.

use std::collections::VecDeque;

/// Ten minutes at one sample a second.
pub(crate) const SAMPLES_MAX: usize = 600;

/// A ring of samples, one a second. `None` is a second that the console was cut off in: charts
/// leave it blank and never join over it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Series {
    samples: VecDeque<Option<f32>>,
    /// Samples that ever came: columns are cut by it, so that a sample stays with its neighbours
    /// while the chart moves on.
    count: usize,
}

/// Samples of one column, so that all columns show at least so many seconds.
pub(crate) fn per_column(columns: usize, seconds: usize) -> usize {
    seconds.div_ceil(columns.max(1)).max(1)
}

impl Series {
    pub(crate) fn push(&mut self, sample: Option<f32>) {
        if self.samples.len() == SAMPLES_MAX {
            self.samples.pop_front();
        }
        self.samples.push_back(sample);
        self.count += 1;
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.samples.len()
    }

    /// `columns` values, the newest last: each is the greatest of [`per_column`] samples, or `None`
    /// where nothing was seen. Missing history is blank on the left.
    pub(crate) fn columns(&self, columns: usize, seconds: usize) -> Vec<Option<f32>> {
        let per_column = per_column(columns, seconds);
        let mut out: Vec<Option<f32>> = vec![None; columns];
        let newest = self.count.saturating_sub(1);
        for (index, sample) in self.samples.iter().rev().enumerate() {
            let column = newest / per_column - (newest - index) / per_column;
            if column >= columns {
                break;
            }
            let cell = &mut out[columns - 1 - column];
            *cell = match (*cell, *sample) {
                (Some(a), Some(b)) => Some(a.max(b)),
                (a, b) => a.or(b),
            };
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_never_grows_beyond_ten_minutes() {
        let mut series = Series::default();
        for second in 0..2_000_u16 {
            series.push(Some(f32::from(second)));
        }
        assert_eq!(series.len(), SAMPLES_MAX);
        assert_eq!(series.columns(1, 60), [Some(1999.0)]);
    }

    #[test]
    fn a_cut_stays_blank_and_the_newest_is_right() {
        let mut series = Series::default();
        for sample in [Some(1.0), None, Some(3.0)] {
            series.push(sample);
        }
        assert_eq!(series.columns(5, 5), [None, None, Some(1.0), None, Some(3.0)]);
        assert_eq!(series.columns(2, 4), [Some(1.0), Some(3.0)]);
        assert_eq!(series.columns(0, 60), []);
    }
}
