//! Where to draw the line between harmless and harmful.

/// The weight of recall beside precision, squared: precision counts more, because a harmless text that is refused costs a
/// filter its users' trust.
const BETA_SQUARED: f64 = 0.5;

/// A threshold stays this far from 0 and 1, which no examples could justify.
const MARGIN: f64 = 0.02;

/// The probability from which a text should count as positive: half way between the two neighbouring scores whose
/// separation has the highest F; of equal ones the lowest, which finds most.
pub(super) fn threshold(scores: &[f64], labels: &[bool]) -> f64 {
    let mut ranked: Vec<(f64, bool)> = scores.iter().copied().zip(labels.iter().copied()).collect();
    ranked.sort_by(|a, b| b.0.total_cmp(&a.0));
    let positive = labels.iter().filter(|label| **label).count() as f64;
    let mut best = (0.0, 0.5);
    let mut right = 0.0;
    for (count, pair) in (1..).zip(ranked.windows(2)) {
        let [(score, label), (next, _)] = pair else { continue };
        right += f64::from(u8::from(*label));
        // F with β: (1 + β²) · right / (β² · positive + predicted).
        let f = (1.0 + BETA_SQUARED) * right / (BETA_SQUARED * positive + f64::from(count));
        if score > next && f >= best.0 && right > 0.0 {
            best = (f, f64::midpoint(*score, *next));
        }
    }
    best.1.clamp(MARGIN, 1.0 - MARGIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn separable_scores_are_separated_in_the_middle() {
        let found = threshold(&[0.9, 0.2, 0.8, 0.4], &[true, false, true, false]);
        assert!((found - 0.6).abs() < 1e-12);
    }

    #[test]
    fn precision_outweighs_recall() {
        // Taking the fifth score too finds the last positive at the price of two errors.
        let found = threshold(&[0.9, 0.8, 0.6, 0.5, 0.4, 0.1], &[true, true, false, false, true, false]);
        assert!((found - 0.7).abs() < 1e-12, "{found}");
    }

    #[test]
    fn without_positives_the_middle_remains() {
        assert!((threshold(&[0.3, 0.2], &[false, false]) - 0.5).abs() < 1e-12);
        assert!((threshold(&[], &[]) - 0.5).abs() < 1e-12);
    }
}
