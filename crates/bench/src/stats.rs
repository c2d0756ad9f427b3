//! What many measurements say together.

use std::collections::HashSet;

use serde::Serialize;

/// The middle and the ends of several measurements.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
    pub(crate) runs: usize,
}

impl Spread {
    /// `None` of no measurements. The median of an even number is the mean of the two in the middle.
    pub(crate) fn of(values: &[f64]) -> Option<Self> {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let (min, max) = (*sorted.first()?, *sorted.last()?);
        let upper = *sorted.get(sorted.len() / 2)?;
        let lower = *sorted.get((sorted.len() - 1) / 2)?;
        Some(Self { median: f64::midpoint(lower, upper), min, max, runs: sorted.len() })
    }
}

/// The smallest value that so large a share of all values does not exceed; `None` of no values.
pub(crate) fn percentile(values: &[f64], share: f64) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.max(1) - 1).copied()
}

/// Share of the true neighbours that were found, over all queries; order does not matter. 0 when there are none.
pub(crate) fn recall(found: &[Vec<usize>], truth: &[Vec<usize>]) -> f64 {
    let wanted: usize = truth.iter().map(Vec::len).sum();
    let hits: usize = truth
        .iter()
        .zip(found)
        .map(|(truth, found)| {
            let truth: HashSet<_> = truth.iter().collect();
            found.iter().collect::<HashSet<_>>().intersection(&truth).count()
        })
        .sum();
    hits as f64 / wanted.max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_ignores_order_and_outliers() {
        let spread = Spread::of(&[9.0, 1.0, 1000.0]).unwrap();
        assert_eq!(spread, Spread { median: 9.0, min: 1.0, max: 1000.0, runs: 3 });
        assert!((Spread::of(&[4.0, 1.0, 2.0, 3.0]).unwrap().median - 2.5).abs() < 1e-12);
        assert_eq!(Spread::of(&[]), None);
    }

    #[test]
    fn a_percentile_is_one_of_the_values() {
        let values: Vec<f64> = (1..=200).rev().map(f64::from).collect();
        assert_eq!(
            [0.0, 0.5, 0.99, 1.0].map(|share| percentile(&values, share)),
            [Some(1.0), Some(100.0), Some(198.0), Some(200.0)]
        );
        assert_eq!(percentile(&[7.0], 0.99), Some(7.0));
        assert_eq!(percentile(&[], 0.5), None);
    }

    #[test]
    fn recall_counts_each_true_neighbour_once() {
        let truth = [vec![1, 2, 3, 4], vec![5, 6, 7, 8]];
        assert!((recall(&[vec![4, 3, 2, 1], vec![8, 7, 6, 5]], &truth) - 1.0).abs() < 1e-12);
        assert!((recall(&[vec![1, 1, 1, 9], vec![5, 6, 7, 0]], &truth) - 0.5).abs() < 1e-12);
        // A query without an answer found nothing.
        assert!((recall(&[vec![1, 2, 3, 4]], &truth) - 0.5).abs() < 1e-12);
        assert!(recall(&[], &[]).abs() < 1e-12);
    }
}
