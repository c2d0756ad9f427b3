//! Is a difference between two systems on the same questions more than chance, and how small a difference could have been
//! seen at all?

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use statrs::distribution::{Binomial, ContinuousCDF, DiscreteCDF, Normal};

/// Resamples of a bootstrap. With these a p-value of 0.05 is known to within 0.005.
pub const RESAMPLES: usize = 10_000;

/// Below this p-value a difference counts as real.
pub const SIGNIFICANCE_LEVEL: f64 = 0.05;

/// Chance with which a difference of the detectable size is found.
const POWER: f64 = 0.8;

/// A mean with the range in which the true one lies with 95 % confidence.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Estimate {
    /// The mean of the sample.
    pub mean: f64,
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

/// How the p-value was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TestKind {
    /// [`paired_bootstrap`].
    PairedBootstrap,
    /// [`mcnemar`].
    McNemar,
}

/// Two systems compared on the same questions.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct PairedTest {
    /// How the p-value was found.
    pub kind: TestKind,
    /// Questions.
    pub count: usize,
    /// Mean of the second minus mean of the first, with its 95 % interval.
    pub difference: Estimate,
    /// Chance of a difference at least this large, in either direction, if there were none in truth.
    pub p_value: f64,
    /// The smallest true difference that a sample of this size and spread finds four times in five, at the 5 % level;
    /// `None` with fewer than two questions.
    pub detectable: Option<f64>,
}

impl PairedTest {
    /// Whether the p-value lies below 0.05.
    pub fn significant(&self) -> bool {
        self.p_value < SIGNIFICANCE_LEVEL
    }
}

/// The mean of `values` with its 95 % interval: percentiles of the means of 10,000 resamples. Zeros for no values.
pub fn bootstrap_mean(values: &[f64], seed: u64) -> Estimate {
    if values.is_empty() {
        return Estimate::default();
    }
    let mut means = resampled_means(values, seed);
    means.sort_by(f64::total_cmp);
    Estimate { mean: mean(values), low: percentile(&means, 0.025), high: percentile(&means, 0.975) }
}

/// Compares `second` with `first`, question by question, by resampling the differences (Efron and Tibshirani 1993,
/// sections 13.3 and 16.4): the interval is that of the resampled means, the two-sided p-value the share of resamples of
/// the centred differences whose mean lies as far from 0 as the observed one. The same seed gives the same result.
///
/// Values beyond the shorter of both slices are ignored.
pub fn paired_bootstrap(first: &[f64], second: &[f64], seed: u64) -> PairedTest {
    let differences: Vec<f64> = first.iter().zip(second).map(|(first, second)| second - first).collect();
    let difference = bootstrap_mean(&differences, seed);
    let centred: Vec<f64> = differences.iter().map(|value| value - difference.mean).collect();
    let p_value = if difference.mean == 0.0 {
        1.0
    } else {
        // Equal up to rounding counts as equal: the same resample summed in another order must not change the answer.
        let reach = difference.mean.abs() * (1.0 - 1e-9);
        let extreme = resampled_means(&centred, seed).iter().filter(|mean| mean.abs() >= reach).count();
        // The sample itself counts as one of the resamples, so that no p-value is 0.
        (extreme + 1) as f64 / (RESAMPLES + 1) as f64
    };
    PairedTest {
        kind: TestKind::PairedBootstrap,
        count: differences.len(),
        difference,
        p_value,
        detectable: detectable_difference(&differences),
    }
}

/// Compares `second` with `first` where each question is right or wrong: McNemar's test in its exact form (McNemar 1947),
/// two-sided. Only questions on which both disagree count, and without a difference each side wins half of them.
///
/// Values beyond the shorter of both slices are ignored.
pub fn mcnemar(first: &[bool], second: &[bool], seed: u64) -> PairedTest {
    let pairs = || first.iter().zip(second);
    let won = pairs().filter(|(first, second)| !**first && **second).count();
    let lost = pairs().filter(|(first, second)| **first && !**second).count();
    let differences: Vec<f64> =
        pairs().map(|(first, second)| f64::from(i8::from(*second) - i8::from(*first))).collect();
    PairedTest {
        kind: TestKind::McNemar,
        count: differences.len(),
        difference: bootstrap_mean(&differences, seed),
        p_value: exact_binomial(won, lost),
        detectable: detectable_difference(&differences),
    }
}

/// The two-sided p-value of a fair coin that fell `heads` times on one side and `tails` times on the other.
pub fn exact_binomial(heads: usize, tails: usize) -> f64 {
    let Ok(coin) = Binomial::new(0.5, (heads + tails) as u64) else { return 1.0 };
    (2.0 * coin.cdf(heads.min(tails) as u64)).min(1.0)
}

/// The smallest true mean difference that a paired test at the 5 % level, two-sided, finds with 80 % power when the
/// differences spread as these do: (z₀.₉₇₅ + z₀.₈) · s / √n (Cohen 1988, section 2.3). `None` for fewer than two.
pub fn detectable_difference(differences: &[f64]) -> Option<f64> {
    if differences.len() < 2 {
        return None;
    }
    let normal = Normal::standard();
    let reach = normal.inverse_cdf(1.0 - SIGNIFICANCE_LEVEL / 2.0) + normal.inverse_cdf(POWER);
    let (mean, count) = (mean(differences), differences.len() as f64);
    let variance = differences.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (count - 1.0);
    Some(reach * (variance / count).sqrt())
}

fn mean(values: &[f64]) -> f64 {
    if values.is_empty() { 0.0 } else { values.iter().sum::<f64>() / values.len() as f64 }
}

fn resampled_means(values: &[f64], seed: u64) -> Vec<f64> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let count = values.len();
    if count == 0 {
        return Vec::new();
    }
    (0..RESAMPLES).map(|_| (0..count).map(|_| values[rng.random_range(0..count)]).sum::<f64>() / count as f64).collect()
}

/// The range between the 2.5 % and 97.5 % percentiles of `resampled`, around `mean`; `mean` itself when there are none.
pub(crate) fn interval(mean: f64, mut resampled: Vec<f64>) -> Estimate {
    if resampled.is_empty() {
        return Estimate { mean, low: mean, high: mean };
    }
    resampled.sort_by(f64::total_cmp);
    Estimate { mean, low: percentile(&resampled, 0.025), high: percentile(&resampled, 0.975) }
}

/// The value below which this share of the sorted, non-empty `values` lies, interpolated.
fn percentile(values: &[f64], share: f64) -> f64 {
    let position = share * (values.len() - 1) as f64;
    let below = position.floor();
    let (low, high) = (values[below as usize], values[position.ceil() as usize]);
    low + (high - low) * (position - below)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exact_binomial_agrees_with_the_coin() {
        // 1 of 10: 2 · (1 + 10) / 1024.
        assert!((exact_binomial(1, 9) - 22.0 / 1024.0).abs() < 1e-9);
        assert!((exact_binomial(0, 5) - 0.0625).abs() < 1e-12);
        assert!((exact_binomial(0, 6) - 0.03125).abs() < 1e-12);
        assert!((exact_binomial(5, 5) - 1.0).abs() < 1e-12);
        assert!((exact_binomial(0, 0) - 1.0).abs() < 1e-12);
    }

    #[test]
    fn mcnemar_looks_only_at_disagreements() {
        // The table of 10 against 0 disagreements among 40: 2 / 2¹⁰.
        let first: Vec<bool> = (0..40).map(|i| i < 15).collect();
        let second: Vec<bool> = (0..40).map(|i| i < 25).collect();
        let test = mcnemar(&first, &second, 1);
        assert!((test.p_value - 2.0 / 1024.0).abs() < 1e-9);
        assert!((test.difference.mean - 0.25).abs() < 1e-12);
        assert!(test.significant() && test.difference.low > 0.0);
        assert!((mcnemar(&second, &first, 1).p_value - test.p_value).abs() < 1e-12);
    }

    #[test]
    fn the_bootstrap_agrees_with_the_t_test_where_that_holds() {
        // Student's sleep data: paired t = 4.0621 on 9 degrees of freedom, p = 0.00283; the mean difference is 1.58.
        let first = [0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0];
        let second = [1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4];
        let test = paired_bootstrap(&first, &second, 7);
        assert!((test.difference.mean - 1.58).abs() < 1e-9);
        assert!(test.p_value < 0.01, "{}", test.p_value);
        // Standard deviation 1.2300: the normal interval is 1.58 ± 1.96 · 0.389 · √(9/10).
        assert!((test.difference.low - 0.86).abs() < 0.12 && (test.difference.high - 2.30).abs() < 0.2, "{test:?}");
        // 2.8016 · 1.2300 / √10.
        assert!((test.detectable.unwrap() - 1.0897).abs() < 1e-3);
        assert_eq!(test, paired_bootstrap(&first, &second, 7));
    }

    #[test]
    fn without_a_difference_nothing_is_significant() {
        let same = [0.1, 0.5, 0.9];
        let test = paired_bootstrap(&same, &same, 3);
        assert!((test.p_value - 1.0).abs() < 1e-12 && !test.significant());
        let noise: Vec<f64> = (0..50).map(|i| f64::from(i * 37 % 11) / 11.0).collect();
        let turned: Vec<f64> = noise.iter().rev().copied().collect();
        assert!(paired_bootstrap(&noise, &turned, 3).p_value > 0.2);
    }

    #[test]
    fn the_p_value_of_a_bootstrap_is_right_under_the_null() {
        // Differences without any true effect: p < 0.05 should come up for about one set in twenty.
        let mut rng = ChaCha8Rng::seed_from_u64(5);
        let sets = 200;
        let found = (0..sets)
            .filter(|&set| {
                let zeros = vec![0.0; 40];
                let noise: Vec<f64> =
                    (0..40).map(|_| (0..6).map(|_| rng.random_range(-1.0..1.0)).sum::<f64>()).collect();
                paired_bootstrap(&zeros, &noise, set).significant()
            })
            .count();
        assert!((3..=20).contains(&found), "{found} of {sets}");
    }

    #[test]
    fn nothing_to_compare_is_no_difference() {
        let test = paired_bootstrap(&[], &[], 1);
        assert!((test.p_value - 1.0).abs() < 1e-12 && test.detectable.is_none());
        assert_eq!(bootstrap_mean(&[], 1), Estimate::default());
        let one = bootstrap_mean(&[0.5], 1);
        assert!((one.low - 0.5).abs() < 1e-12 && (one.high - 0.5).abs() < 1e-12);
    }
}
