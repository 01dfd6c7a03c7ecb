//! What can be said from a handful of repeats: median and spread, and whether two sets differ.

use serde::{Deserialize, Serialize};

/// The repeats of one figure.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    pub median: f64,
    pub min: f64,
    pub max: f64,
    /// Each repeat, in the order in which they ran: what a later run is compared with.
    pub all: Vec<f64>,
}

impl Spread {
    /// `None` without a repeat.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Spread> {
        let all: Vec<f64> = values.into_iter().collect();
        let min = all.iter().copied().reduce(f64::min)?;
        let max = all.iter().copied().reduce(f64::max)?;
        Some(Spread { median: median(&all)?, min, max, all })
    }

    /// The distance between the extremes as a share of the median.
    pub fn width(&self) -> f64 {
        if self.median == 0.0 { 0.0 } else { (self.max - self.min) / self.median }
    }
}

/// The middle value; the mean of the middle two of an even number.
pub fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let upper = *sorted.get(sorted.len() / 2)?;
    Some(if sorted.len() % 2 == 1 { upper } else { (sorted[sorted.len() / 2 - 1] + upper) / 2.0 })
}

/// The Mann-Whitney U test of two sets of repeats. It asks nothing of their distribution.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MannWhitney {
    /// Pairs in which the first set's value is the larger one; a tie counts half.
    pub u: f64,
    /// Probability of a difference at least as large, in either direction, if there is none.
    pub p: f64,
    /// The smallest `p` that sets of these sizes can have at all.
    pub p_smallest: f64,
}

/// Beyond so many arrangements of the values the normal approximation is good, and faster.
const ARRANGEMENTS_MAX: f64 = 200_000.0;

/// Tests whether `a` tends to be larger or smaller than `b`. `None` if one of them is empty.
pub fn mann_whitney(a: &[f64], b: &[f64]) -> Option<MannWhitney> {
    if a.is_empty() || b.is_empty() {
        return None;
    }
    let ranks = ranks(a, b);
    let own: f64 = ranks[..a.len()].iter().sum();
    let lowest = (a.len() * (a.len() + 1)) as f64 / 2.0;
    let u = own - lowest;
    let arrangements = choose(a.len() + b.len(), a.len());
    let p = if arrangements <= ARRANGEMENTS_MAX {
        exact_p(&ranks, a.len(), own)
    } else {
        normal_p(&ranks, a.len(), u)
    };
    Some(MannWhitney { u, p, p_smallest: (2.0 / arrangements).min(1.0) })
}

/// Ranks of all values from 1; those that are equal share the mean of theirs.
fn ranks(a: &[f64], b: &[f64]) -> Vec<f64> {
    let all: Vec<f64> = a.iter().chain(b).copied().collect();
    all.iter()
        .map(|value| {
            let below = all.iter().filter(|other| *other < value).count();
            let equal = all.iter().filter(|other| *other == value).count();
            below as f64 + (equal as f64 + 1.0) / 2.0
        })
        .collect()
}

/// The share of all ways to deal the ranks that are at least as far from the mean as `own`. Exact
/// with ties as well, because the ranks that are there are dealt.
fn exact_p(ranks: &[f64], len: usize, own: f64) -> f64 {
    let mean = ranks.iter().sum::<f64>() * len as f64 / ranks.len() as f64;
    let limit = (own - mean).abs() - 1e-9;
    let (mut extreme, mut all) = (0u64, 0u64);
    deal(ranks, len, 0.0, &mut |sum| {
        all += 1;
        extreme += u64::from((sum - mean).abs() >= limit);
    });
    extreme as f64 / all as f64
}

/// Calls `each` with the sum of every selection of `len` ranks.
fn deal(ranks: &[f64], len: usize, sum: f64, each: &mut impl FnMut(f64)) {
    if len == 0 {
        each(sum);
    } else if ranks.len() >= len {
        deal(&ranks[1..], len - 1, sum + ranks[0], each);
        deal(&ranks[1..], len, sum, each);
    }
}

fn choose(n: usize, k: usize) -> f64 {
    (1..=k).map(|i| (n - k + i) as f64 / i as f64).product()
}

/// The normal approximation, corrected for ties and continuity.
fn normal_p(ranks: &[f64], len: usize, u: f64) -> f64 {
    let (n, n1) = (ranks.len() as f64, len as f64);
    let n2 = n - n1;
    let mut sorted = ranks.to_vec();
    sorted.sort_by(f64::total_cmp);
    let ties: f64 = sorted
        .chunk_by(|a, b| a == b)
        .map(|tied| (tied.len() as f64).powi(3) - tied.len() as f64)
        .sum();
    let variance = n1 * n2 / 12.0 * (n + 1.0 - ties / (n * (n - 1.0)));
    if variance <= 0.0 {
        return 1.0;
    }
    let z = ((u - n1 * n2 / 2.0).abs() - 0.5).max(0.0) / variance.sqrt();
    erfc(z / std::f64::consts::SQRT_2)
}

/// Complementary error function of a non-negative number, to 1.5e-7: Abramowitz and Stegun, 7.1.26.
fn erfc(x: f64) -> f64 {
    let t = 1.0 / (1.0 + 0.327_591_1 * x);
    let polynomial = t
        * (0.254_829_592
            + t * (-0.284_496_736
                + t * (1.421_413_741 + t * (-1.453_152_027 + t * 1.061_405_429))));
    polynomial * (-x * x).exp()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_or_the_mean_of_the_middle_two() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0]), Some(3.0));
        assert_eq!(median(&[9.0, 1.0, 5.0]), Some(5.0));
        assert_eq!(median(&[4.0, 1.0, 9.0, 2.0]), Some(3.0));
        let spread = Spread::of([4.0, 2.0, 3.0]).unwrap();
        assert_eq!((spread.min, spread.median, spread.max), (2.0, 3.0, 4.0));
        assert_eq!(spread.all, [4.0, 2.0, 3.0]);
        assert!(Spread::of([]).is_none());
    }

    /// Tables of the exact two-sided distribution, as in every textbook.
    #[test]
    fn exact_probabilities_are_those_of_the_tables() {
        let apart = mann_whitney(&[1.0, 2.0, 3.0, 4.0, 5.0], &[6.0, 7.0, 8.0, 9.0, 10.0]).unwrap();
        assert_eq!(apart.u, 0.0);
        assert!((apart.p - 2.0 / 252.0).abs() < 1e-12);
        assert_eq!(apart.p, apart.p_smallest);

        let close = mann_whitney(&[1.0, 2.0, 4.0], &[3.0, 5.0, 6.0, 7.0]).unwrap();
        assert_eq!(close.u, 1.0);
        assert!((close.p - 4.0 / 35.0).abs() < 1e-12);

        let mixed = mann_whitney(&[1.0, 4.0], &[2.0, 3.0]).unwrap();
        assert_eq!((mixed.u, mixed.p), (2.0, 1.0));
    }

    #[test]
    fn ties_share_their_rank() {
        assert_eq!(ranks(&[1.0, 2.0], &[2.0, 3.0]), [1.0, 2.5, 2.5, 4.0]);
        let same = mann_whitney(&[5.0; 4], &[5.0; 4]).unwrap();
        assert_eq!((same.u, same.p), (8.0, 1.0));
    }

    /// z = (200 - 105 - 0.5) / sqrt(20 * 20 * 41 / 12), and p = erfc(z / sqrt 2) = 0.010581.
    #[test]
    fn many_repeats_take_the_normal_approximation() {
        let a: Vec<f64> = (1..=20).map(f64::from).collect();
        let b: Vec<f64> = a.iter().map(|value| value + 5.5).collect();
        let test = mann_whitney(&a, &b).unwrap();
        assert_eq!(test.u, 105.0);
        assert!((test.p - 0.010_581).abs() < 1e-5, "{}", test.p);
    }

    #[test]
    fn both_ways_round_say_the_same() {
        let (a, b) = ([1.0, 5.0, 2.0, 9.0], [3.0, 3.5, 8.0]);
        let (ab, ba) = (mann_whitney(&a, &b).unwrap(), mann_whitney(&b, &a).unwrap());
        assert!((ab.p - ba.p).abs() < 1e-12);
        assert_eq!(ab.u + ba.u, 12.0);
    }
}
