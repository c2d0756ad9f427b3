//! What the loss rewards: the likelihood of the learned tokens, or the preferred of two outputs.

use crate::model::{BatchObjective, BatchScores, ObjectiveResult};

/// Mean cross-entropy over the learned tokens of a whole step.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CrossEntropy {
    /// Learned tokens of the step, over all its parts.
    pub(crate) targets: usize,
}

impl BatchObjective for CrossEntropy {
    fn gradient(&self, scores: &BatchScores) -> ObjectiveResult {
        let share = 1.0 / self.targets.max(1) as f64;
        let sum: f64 = scores.log_probabilities.iter().map(|value| f64::from(*value)).sum();
        ObjectiveResult { loss: -sum * share, weights: vec![-share as f32; scores.log_probabilities.len()] }
    }
}

/// Direct preference optimisation (Rafailov et al. 2023, equation 7): `-log σ(β · margin)`, where the margin of a pair
/// is how much more the model has moved towards the preferred output than towards the other one, since the reference.
///
/// The batch's sequences are pairs: the preferred output, then the other one.
#[derive(Debug, Clone)]
pub(crate) struct DirectPreference<'a> {
    /// Strength of the pull towards the reference.
    pub(crate) beta: f64,
    /// Pairs of the step, over all its parts.
    pub(crate) pairs: usize,
    /// Log-probability of each sequence of the batch under the reference.
    pub(crate) reference: &'a [f64],
}

impl DirectPreference<'_> {
    /// Of each pair: `log π(preferred)/π_ref(preferred) - log π(other)/π_ref(other)`, in nats.
    pub(crate) fn margins(&self, scores: &BatchScores) -> Vec<f64> {
        let moved: Vec<f64> = sequence_sums(scores).iter().zip(self.reference).map(|(now, was)| now - was).collect();
        moved.chunks_exact(2).map(|pair| pair.iter().sum::<f64>() - 2.0 * pair.last().copied().unwrap_or(0.0)).collect()
    }
}

impl BatchObjective for DirectPreference<'_> {
    fn gradient(&self, scores: &BatchScores) -> ObjectiveResult {
        let share = 1.0 / self.pairs.max(1) as f64;
        let mut loss = 0.0;
        let mut weights = vec![0.0; scores.log_probabilities.len()];
        let margins = self.margins(scores);
        for (pair, margin) in scores.targets_of_sequence.chunks_exact(2).zip(margins) {
            let pull = self.beta * margin;
            loss += softplus(-pull) * share;
            // d/dx -log σ(βx) = -β σ(-βx), for the preferred output; the other one gets the opposite.
            let slope = -self.beta * sigmoid(-pull) * share;
            for (targets, slope) in pair.iter().zip([slope, -slope]) {
                if let Some(weights) = weights.get_mut(targets.clone()) {
                    weights.fill(slope as f32);
                }
            }
        }
        ObjectiveResult { loss, weights }
    }
}

/// Log-probability of each sequence: the sum over its learned tokens.
pub(crate) fn sequence_sums(scores: &BatchScores) -> Vec<f64> {
    let sum = |targets: &std::ops::Range<usize>| -> f64 {
        let values = scores.log_probabilities.get(targets.clone()).unwrap_or_default();
        values.iter().map(|value| f64::from(*value)).sum()
    };
    scores.targets_of_sequence.iter().map(sum).collect()
}

/// `log(1 + eˣ)` without overflow.
fn softplus(x: f64) -> f64 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}

fn sigmoid(x: f64) -> f64 {
    if x >= 0.0 { 1.0 / (1.0 + (-x).exp()) } else { x.exp() / (1.0 + x.exp()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scores(sequences: &[&[f32]]) -> BatchScores {
        let mut scores =
            BatchScores { log_probabilities: Vec::new(), likeliest: Vec::new(), targets_of_sequence: Vec::new() };
        for sequence in sequences {
            let start = scores.log_probabilities.len();
            scores.log_probabilities.extend_from_slice(sequence);
            scores.likeliest.extend(sequence.iter().map(|_| false));
            scores.targets_of_sequence.push(start..scores.log_probabilities.len());
        }
        scores
    }

    #[test]
    fn cross_entropy_is_the_mean_over_the_whole_step() {
        let result = CrossEntropy { targets: 6 }.gradient(&scores(&[&[-1.0, -2.0], &[-3.0]]));
        assert!((result.loss - 1.0).abs() < 1e-12);
        assert_eq!(result.weights, [-1.0 / 6.0; 3]);
    }

    #[test]
    fn at_the_reference_every_pair_costs_log_two() {
        let scores = scores(&[&[-1.0, -2.0], &[-4.0], &[-0.5], &[-0.25, -0.25]]);
        let reference = sequence_sums(&scores);
        assert_eq!(reference, [-3.0, -4.0, -0.5, -0.5]);
        let result = DirectPreference { beta: 0.1, pairs: 2, reference: &reference }.gradient(&scores);
        assert!((result.loss - 2.0_f64.ln()).abs() < 1e-12);
        // β/2 a pair, shared by two pairs.
        assert_eq!(result.weights, [-0.025, -0.025, 0.025, -0.025, 0.025, 0.025]);
    }

    #[test]
    fn the_slope_is_the_derivative_of_the_loss() {
        let reference = [-2.5, -3.75, -1.0, -0.5];
        let start = [-1.0_f32, -2.0, -4.0, -0.5, -0.25];
        let loss = |values: &[f32]| {
            let scores = scores(&[&values[..2], &values[2..3], &values[3..4], &values[4..]]);
            DirectPreference { beta: 0.7, pairs: 2, reference: &reference }.gradient(&scores)
        };
        let slopes = loss(&start).weights;
        for index in 0..start.len() {
            let moved = |by: f32| {
                let mut values = start;
                values[index] += by;
                loss(&values).loss
            };
            let slope = (moved(0.01) - moved(-0.01)) / 0.02;
            assert!((slope - f64::from(slopes[index])).abs() < 1e-5, "{index}: {slope} {}", slopes[index]);
        }
    }

    #[test]
    fn the_margin_is_the_movement_towards_the_preferred_output() {
        let scores = scores(&[&[-1.0], &[-5.0]]);
        let objective = DirectPreference { beta: 0.1, pairs: 1, reference: &[-2.0, -3.0] };
        assert_eq!(objective.margins(&scores), [3.0]);
    }

    #[test]
    fn far_margins_neither_overflow_nor_lose_their_slope() {
        for (preferred, expected) in [(-2000.0_f32, 2000.0), (2000.0, 0.0)] {
            let scores = scores(&[&[preferred], &[0.0]]);
            let result = DirectPreference { beta: 1.0, pairs: 1, reference: &[0.0, 0.0] }.gradient(&scores);
            assert!((result.loss - expected).abs() < 1e-9 && result.weights.iter().all(|weight| weight.is_finite()));
        }
    }
}
