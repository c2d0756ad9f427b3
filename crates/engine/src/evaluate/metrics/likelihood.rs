//! How likely a model finds the reference: perplexity and token accuracy.

use anser_core::TokenScores;
use serde::{Deserialize, Serialize};

/// Sums over the tokens of one reference or of many.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Likelihood {
    /// Tokens scored.
    pub tokens: usize,
    /// Sum of their negative log probabilities, in nats.
    pub negative_log_likelihood: f64,
    /// Tokens that the model found the likeliest of all.
    pub likeliest: usize,
}

impl Likelihood {
    /// Of one reference.
    pub fn of(scores: &TokenScores) -> Self {
        Self {
            tokens: scores.log_probabilities.len(),
            negative_log_likelihood: -scores.log_probabilities.iter().map(|p| f64::from(*p)).sum::<f64>(),
            likeliest: scores.likeliest.iter().filter(|likeliest| **likeliest).count(),
        }
    }

    /// Of this and another together.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            tokens: self.tokens + other.tokens,
            negative_log_likelihood: self.negative_log_likelihood + other.negative_log_likelihood,
            likeliest: self.likeliest + other.likeliest,
        }
    }

    /// Mean negative log probability of a token, in nats; `None` without tokens.
    pub fn mean_negative_log_likelihood(&self) -> Option<f64> {
        (self.tokens > 0).then(|| self.negative_log_likelihood / self.tokens as f64)
    }

    /// The exponential of that mean: from how many equally likely tokens the model seems to choose; at least 1.
    pub fn perplexity(&self) -> Option<f64> {
        self.mean_negative_log_likelihood().map(f64::exp)
    }

    /// Share of tokens that the model would have chosen itself, in [0, 1].
    pub fn token_accuracy(&self) -> Option<f64> {
        (self.tokens > 0).then(|| self.likeliest as f64 / self.tokens as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fair_choice_between_four_has_perplexity_four() {
        let scores = TokenScores { log_probabilities: vec![0.25f32.ln(); 3], likeliest: vec![true, false, false] };
        let one = Likelihood::of(&scores);
        let two = one.plus(one);
        assert_eq!(two.tokens, 6);
        assert!((two.perplexity().unwrap() - 4.0).abs() < 1e-5);
        assert!((two.token_accuracy().unwrap() - 1.0 / 3.0).abs() < 1e-12);
        assert_eq!(Likelihood::default().perplexity(), None);
    }
}
