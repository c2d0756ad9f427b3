//! How far the mean distance would move with other documents of the same kind.

use anser_core::CancelToken;
use anser_index::analysis::Vectors;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use statrs::distribution::{ContinuousCDF, Normal};

use super::Interval;
use crate::EngineError;

/// Fewest documents whose spread says anything.
const FEWEST: usize = 10;

/// Up to this many documents are resampled one by one; of more the mean follows its normal limit.
const RESAMPLED: usize = 10_000;

/// What the mean distance of a subset might have been.
#[derive(Debug)]
pub(super) struct Spread {
    /// One mean distance for each resample; empty when there are too few documents.
    means: Vec<f64>,
}

impl Spread {
    /// Resamples of `vectors`, whose mean distance is `mean` and whose documents lie at `distances` from the others of them on
    /// average.
    ///
    /// Up to 10,000 documents: a bootstrap (Efron and Tibshirani 1993). Each resample draws as many documents with
    /// replacement; pairs of a document with itself are left out, for they say nothing about the distance of two. The
    /// mean of a resample with weights w is 1 - (|Σ w v|² - Σ w²) / (n² - Σ w²). More documents: the mean over all pairs is
    /// a U-statistic and follows a normal distribution with 4/n times the variance of `distances` (Hoeffding, "A Class of
    /// Statistics with Asymptotically Normal Distribution", 1948); resamples are drawn from that.
    pub(super) fn new(
        vectors: &Vectors,
        (mean, distances): (f64, &[f32]),
        (resamples, seed): (usize, u64),
        cancel: &CancelToken,
    ) -> Result<Self, EngineError> {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let count = vectors.len();
        if count < FEWEST {
            return Ok(Self { means: Vec::new() });
        }
        let mut means = Vec::with_capacity(resamples);
        if count > RESAMPLED {
            let deviation = 2.0 * standard_deviation(distances) / (count as f64).sqrt();
            let normal = Normal::standard();
            means
                .extend((0..resamples).map(|_| mean + deviation * normal.inverse_cdf(random.random_range(1e-12..1.0))));
            return Ok(Self { means });
        }
        for _ in 0..resamples {
            cancel.check()?;
            let mut weights = vec![0_u32; count];
            (0..count).for_each(|_| weights[random.random_range(0..count)] += 1);
            means.extend(weighted_mean(vectors, &weights));
        }
        Ok(Self { means })
    }

    /// The middle 95 % of the resamples.
    pub(super) fn interval(&self) -> Option<Interval> {
        middle(self.means.clone())
    }

    /// The middle 95 % of the differences between resamples of `other` and of this.
    pub(super) fn interval_of_difference(&self, other: &Self) -> Option<Interval> {
        middle(self.means.iter().zip(&other.means).map(|(here, there)| there - here).collect())
    }
}

/// Mean distance of pairs of different documents, each counted as often as its weight says; `None` when all weight is on
/// one.
fn weighted_mean(vectors: &Vectors, weights: &[u32]) -> Option<f64> {
    let mut sum = vec![0.0_f32; vectors.dimension()];
    let (mut own, mut lengths) = (0.0, 0.0);
    for (vector, &weight) in vectors.iter().zip(weights).filter(|(_, weight)| **weight > 0) {
        let weight = weight as f32;
        let mut length = 0.0_f32;
        for (total, value) in sum.iter_mut().zip(vector) {
            *total += weight * value;
            length += value * value;
        }
        own += f64::from(weight * weight);
        lengths += f64::from(weight * weight * length);
    }
    let total: f64 = weights.iter().map(|weight| f64::from(*weight)).sum();
    let pairs = total * total - own;
    let cosines: f64 = sum.iter().map(|value| f64::from(*value) * f64::from(*value)).sum::<f64>() - lengths;
    (pairs > 0.0).then(|| 1.0 - cosines / pairs)
}

fn standard_deviation(values: &[f32]) -> f64 {
    let count = values.len() as f64;
    let mean = values.iter().map(|value| f64::from(*value)).sum::<f64>() / count;
    let squares: f64 = values.iter().map(|value| (f64::from(*value) - mean).powi(2)).sum();
    (squares / (count - 1.0)).sqrt()
}

fn middle(mut values: Vec<f64>) -> Option<Interval> {
    values.sort_by(f64::total_cmp);
    let at = |share: f64| values.get((share * (values.len().saturating_sub(1)) as f64).round() as usize).copied();
    Some(Interval { low: at(0.025)?, high: at(0.975)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `count` directions in four dimensions, spread around one of them.
    fn cloud(count: usize, spread: f32, seed: u64) -> Vectors {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let mut values = Vec::new();
        for _ in 0..count {
            let row = [1.0, 0.0, 0.0, 0.0].map(|v: f32| v + spread * (random.random::<f32>() - 0.5));
            let length = row.iter().map(|v| v * v).sum::<f32>().sqrt();
            values.extend(row.map(|v| v / length));
        }
        Vectors::new(values, 4).unwrap()
    }

    fn figures(vectors: &Vectors) -> (f64, Vec<f32>) {
        let count = vectors.len();
        let cosine =
            |a: usize, b: usize| -> f32 { vectors.row(a).iter().zip(vectors.row(b)).map(|(x, y)| x * y).sum() };
        let distances: Vec<f32> = (0..count)
            .map(|a| (0..count).filter(|b| *b != a).map(|b| 1.0 - cosine(a, b)).sum::<f32>() / (count - 1) as f32)
            .collect();
        (distances.iter().map(|d| f64::from(*d)).sum::<f64>() / count as f64, distances)
    }

    fn interval(vectors: &Vectors, seed: u64) -> Interval {
        let (mean, distances) = figures(vectors);
        Spread::new(vectors, (mean, &distances), (1000, seed), &CancelToken::new()).unwrap().interval().unwrap()
    }

    #[test]
    fn equal_weights_give_the_mean_over_all_pairs() {
        let vectors = cloud(30, 2.0, 1);
        let (mean, _) = figures(&vectors);
        assert!((weighted_mean(&vectors, &[1; 30]).unwrap() - mean).abs() < 1e-5);
        let mut one = [0; 30];
        one[3] = 30;
        assert_eq!(weighted_mean(&vectors, &one), None);
    }

    #[test]
    fn intervals_hold_the_mean_shrink_with_more_documents_and_follow_the_seed() {
        let (few, many) = (cloud(40, 2.0, 1), cloud(640, 2.0, 2));
        let (wide, narrow) = (interval(&few, 1), interval(&many, 1));
        let mean = figures(&few).0;
        assert!(wide.low < mean && mean < wide.high);
        let ratio = (wide.high - wide.low) / (narrow.high - narrow.low);
        assert!((2.0..8.0).contains(&ratio), "16 times the documents, so about a quarter of the width: {ratio}");
        assert_eq!(interval(&few, 1), wide);
        assert_ne!(interval(&few, 2), wide);
    }

    #[test]
    fn the_normal_limit_agrees_with_the_bootstrap() {
        let vectors = cloud(600, 2.0, 3);
        let (mean, distances) = figures(&vectors);
        let resampled = interval(&vectors, 5);
        let reach = 1.96 * 2.0 * standard_deviation(&distances) / 600_f64.sqrt();
        assert!((resampled.low - (mean - reach)).abs() < 0.15 * reach, "{resampled:?} {mean} {reach}");
        assert!((resampled.high - (mean + reach)).abs() < 0.15 * reach, "{resampled:?} {mean} {reach}");
    }

    #[test]
    fn a_handful_of_documents_has_no_interval() {
        let vectors = cloud(9, 2.0, 1);
        let (mean, distances) = figures(&vectors);
        let spread = Spread::new(&vectors, (mean, &distances), (100, 1), &CancelToken::new()).unwrap();
        assert_eq!(spread.interval(), None);
        assert_eq!(spread.interval_of_difference(&spread), None);
    }
}
