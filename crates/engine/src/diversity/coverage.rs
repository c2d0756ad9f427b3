//! How many clusters some documents touch, how evenly, and how many a random draw would.

use statrs::function::gamma::ln_gamma;

use super::Coverage;

/// Coverage of clusters of `sizes` documents by a subset with `counts` documents in each of them.
pub(super) fn coverage(sizes: &[usize], counts: &[usize]) -> Coverage {
    let total: usize = counts.iter().sum();
    let shares = counts.iter().filter(|count| **count > 0).map(|count| *count as f64 / total as f64);
    let entropy: f64 = shares.map(|share| -share * share.ln()).sum();
    Coverage {
        covered: counts.iter().filter(|count| **count > 0).count(),
        clusters: sizes.len(),
        expected: expected(sizes, total),
        effective: entropy.exp(),
    }
}

/// Mean number of clusters that `drawn` documents touch, drawn without replacement: for each cluster one minus the chance
/// that all come from the others.
fn expected(sizes: &[usize], drawn: usize) -> f64 {
    let all: usize = sizes.iter().sum();
    let missed = |size: usize| {
        if all - size < drawn { 0.0 } else { (ln_choose(all - size, drawn) - ln_choose(all, drawn)).exp() }
    };
    sizes.iter().map(|size| 1.0 - missed(*size)).sum()
}

/// Logarithm of the number of ways to choose `k` of `n`.
fn ln_choose(n: usize, k: usize) -> f64 {
    let ln_factorial = |m: usize| ln_gamma(m as f64 + 1.0);
    ln_factorial(n) - ln_factorial(k) - ln_factorial(n - k)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn coverage_agrees_with_counting_by_hand() {
        let even = coverage(&[4, 4, 2], &[2, 2, 0]);
        assert_eq!((even.covered, even.clusters), (2, 3));
        assert!((even.effective - 2.0).abs() < 1e-12);
        let skewed = coverage(&[4, 4, 2], &[4, 1, 0]).effective;
        // exp(-0.8 ln 0.8 - 0.2 ln 0.2)
        assert!((skewed - 1.649_384_888_4).abs() < 1e-9, "{skewed}");
        // Two drawn of {a, a, b}: both a in 1 of 3 draws.
        assert!((expected(&[2, 1], 2) - (1.0 + 2.0 / 3.0)).abs() < 1e-9);
        assert!((expected(&[3, 2, 1], 6) - 3.0).abs() < 1e-9);
        assert!((expected(&[900_000, 100_000], 1) - 1.0).abs() < 1e-6);
    }
}
