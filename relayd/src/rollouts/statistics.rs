//! The tests of significance, over counts. Pure; the special functions are the crate's.
//!
//! Each gives the chance to see a difference at least this large between two equal revisions: a
//! small value says that it is no chance.

use statrs::function::erf::erfc;
use statrs::function::factorial::ln_binomial;
use statrs::function::gamma::gamma_ur;

/// Least expected count of a column for the approximation by chi-square to hold; rarer columns are
/// taken together.
const EXPECTED_MIN: f64 = 5.0;

/// So many of so many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Share {
    pub(super) of: u64,
    pub(super) hits: u64,
}

impl Share {
    /// Between 0 and 1; 0 of nothing.
    pub(super) fn value(self) -> f64 {
        if self.of == 0 { 0.0 } else { float(self.hits) / float(self.of) }
    }
}

/// Fisher's exact test, one-sided: is the share of `next` larger than that of `live`?
pub(super) fn fisher_larger(next: Share, live: Share) -> f64 {
    let (all, hits) = (next.of + live.of, next.hits + live.hits);
    if next.of == 0 || live.of == 0 || hits == 0 {
        return 1.0;
    }
    let whole = ln_binomial(all, hits);
    let most = next.of.min(hits);
    let chance = |k: u64| {
        let others = hits - k;
        if others > live.of {
            return 0.0;
        }
        (ln_binomial(next.of, k) + ln_binomial(live.of, others) - whole).exp()
    };
    let mut sum = 0.0;
    for k in next.hits..=most {
        let term = chance(k);
        sum += term;
        // Past the mode the terms only fall: what is left cannot matter.
        if term < sum * 1e-12 && k > next.hits {
            break;
        }
    }
    sum.min(1.0)
}

/// Mann and Whitney's test on binned values, one-sided: are the values of `next` larger than those
/// of `live`? Bins are given in their order as (`next`, `live`); values of one bin count as ties,
/// for which the variance is corrected. Approximated by the normal distribution.
pub(super) fn mann_whitney_larger(bins: impl Iterator<Item = (u64, u64)>) -> f64 {
    let (mut below, mut u, mut ties) = (0.0, 0.0, 0.0);
    let (mut n, mut m) = (0.0, 0.0);
    for (next, live) in bins {
        let (next, live) = (float(next), float(live));
        u += next * (below + live / 2.0);
        below += live;
        n += next;
        m += live;
        let both = next + live;
        ties += both * both * both - both;
    }
    let all = n + m;
    if n == 0.0 || m == 0.0 || all < 3.0 {
        return 1.0;
    }
    let variance = n * m / 12.0 * ((all + 1.0) - ties / (all * (all - 1.0)));
    if variance <= 0.0 {
        return 1.0;
    }
    // Half a rank off: the count is whole, the distribution is not.
    let z = (u - n * m / 2.0 - 0.5) / variance.sqrt();
    0.5 * erfc(z / std::f64::consts::SQRT_2)
}

/// Pearson's test of homogeneity: do two revisions spread over these columns alike? Columns are
/// (`next`, `live`).
pub(super) fn chi_square(columns: &[(u64, u64)]) -> f64 {
    let sum = |of: fn(&(u64, u64)) -> u64| float(columns.iter().map(of).sum());
    let (n, m) = (sum(|column| column.0), sum(|column| column.1));
    if n == 0.0 || m == 0.0 {
        return 1.0;
    }
    let smaller = n.min(m) / (n + m);
    let (mut kept, mut rare) = (Vec::new(), (0_u64, 0_u64));
    for &(next, live) in columns {
        if float(next + live) * smaller < EXPECTED_MIN {
            rare = (rare.0 + next, rare.1 + live);
        } else {
            kept.push((next, live));
        }
    }
    // What is rare even together this test is no good for: between two columns there is an exact
    // one, and of more the rarest takes it in.
    if float(rare.0 + rare.1) * smaller >= EXPECTED_MIN {
        kept.push(rare);
    } else if let [one] = kept.as_slice() {
        let share = |rare: u64, often: u64| Share { of: rare + often, hits: rare };
        let (next, live) = (share(rare.0, one.0), share(rare.1, one.1));
        let sided = fisher_larger(next, live).min(fisher_larger(live, next));
        return (2.0 * sided).min(1.0);
    } else if let Some(rarest) = kept.iter_mut().min_by_key(|(next, live)| next + live) {
        *rarest = (rarest.0 + rare.0, rarest.1 + rare.1);
    }
    if kept.len() < 2 {
        return 1.0;
    }
    let mut statistic = 0.0;
    for &(next, live) in &kept {
        let both = float(next + live);
        for (found, of) in [(float(next), n), (float(live), m)] {
            let expected = both * of / (n + m);
            statistic += (found - expected) * (found - expected) / expected;
        }
    }
    if statistic <= 0.0 {
        // Alike to the last one, for which the function has no value.
        return 1.0;
    }
    let freedom = float(u64::try_from(kept.len() - 1).unwrap_or(1));
    gamma_ur(freedom / 2.0, statistic / 2.0)
}

/// The share of answers that would have to end otherwise for both to be alike: half the sum of the
/// differences of all shares.
pub(super) fn distance(columns: &[(u64, u64)]) -> f64 {
    let next = columns.iter().map(|column| column.0).sum();
    let live = columns.iter().map(|column| column.1).sum();
    if next == 0 || live == 0 {
        return 0.0;
    }
    let share = |hits, of| Share { of, hits }.value();
    columns.iter().map(|&(a, b)| (share(a, next) - share(b, live)).abs()).sum::<f64>() / 2.0
}

#[expect(clippy::cast_precision_loss, reason = "counts of requests, far below 2^52")]
pub(super) const fn float(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn share(hits: u64, of: u64) -> Share {
        Share { of, hits }
    }

    fn near(found: f64, expected: f64) {
        assert!((found / expected - 1.0).abs() < 1e-3, "{found} is not {expected}");
    }

    #[test]
    fn fisher_gives_the_published_values() {
        // The lady tasting tea: 3 of 4 right, then 4 of 4.
        near(fisher_larger(share(3, 4), share(1, 4)), 17.0 / 70.0);
        near(fisher_larger(share(4, 4), share(0, 4)), 1.0 / 70.0);
        // Two of ten against none of a thousand: C(10,2) / C(1010,2).
        near(fisher_larger(share(2, 10), share(0, 1_000)), 45.0 / 509_545.0);
        near(fisher_larger(share(0, 10), share(7, 100)), 1.0);
        near(fisher_larger(share(0, 0), share(7, 100)), 1.0);
        assert!(fisher_larger(share(2_000, 10_000), share(1_000, 1_000_000)) < 1e-9);
    }

    #[test]
    fn mann_whitney_sees_a_shift_and_nothing_else() {
        let same = [(10, 10), (20, 20), (10, 10)];
        let p = mann_whitney_larger(same.into_iter());
        assert!((p - 0.5).abs() < 0.01, "{p}");
        let slower = [(0, 10), (10, 20), (20, 10), (10, 0)];
        assert!(mann_whitney_larger(slower.into_iter()) < 1e-4);
        let faster = slower.map(|(next, live)| (live, next));
        assert!(mann_whitney_larger(faster.into_iter()) > 0.999);
        // Interleaved: nothing to see.
        let few = [(0, 1), (1, 0), (0, 1), (1, 0), (0, 1), (1, 0), (1, 0), (0, 1), (1, 0)];
        let p = mann_whitney_larger(few.into_iter());
        assert!(p > 0.15 && p < 0.45, "{p}");
        assert_eq!(mann_whitney_larger([(5, 0)].into_iter()).to_bits(), 1.0_f64.to_bits());
        assert_eq!(mann_whitney_larger([(5, 5)].into_iter()).to_bits(), 1.0_f64.to_bits());
    }

    #[test]
    fn chi_square_gives_the_tabled_values() {
        // One degree of freedom: 3.841 is exceeded in 5 of 100, here 4.0.
        near(chi_square(&[(60, 50), (40, 50)]), 0.155_2);
        near(chi_square(&[(100, 100), (50, 50)]), 1.0);
        // One column is too rare for it: exact, and both sides of it.
        let exact = chi_square(&[(90, 990), (10, 10)]);
        assert!((1e-7..1e-4).contains(&exact), "{exact}");
        near(chi_square(&[(19, 19), (1, 1)]), 1.0);
        // Rare even with the others like it: as if it were one of the rarest that are not.
        near(chi_square(&[(60, 49), (40, 50), (0, 1)]), chi_square(&[(60, 49), (40, 51)]));
        near(chi_square(&[(3, 500), (0, 1)]), 1.0);
        assert!((distance(&[(80, 90), (20, 10)]) - 0.1).abs() < 1e-9);
    }
}
