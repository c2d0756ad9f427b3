//! How long examples are in a model's own tokens.

use anser_generate::ChatCodec;
use serde::{Deserialize, Serialize};

use super::example::TrainingExample;

/// Length of one example.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ExampleTokens {
    /// Tokens that training reads.
    pub total: usize,
    /// Those of them that the loss counts.
    pub learned: usize,
}

/// Counts an example's tokens as training will see them.
pub trait TokenCounter {
    /// Length of one example; of a preference, the longer of its two conversations.
    ///
    /// # Errors
    ///
    /// When the model's chat template does not accept the messages.
    fn count(&self, example: &TrainingExample) -> anser_core::Result<ExampleTokens>;
}

impl TokenCounter for ChatCodec {
    fn count(&self, example: &TrainingExample) -> anser_core::Result<ExampleTokens> {
        let chat = |turns: &[_]| self.encode_example(turns);
        let encoded = match example {
            TrainingExample::Chat { turns } => vec![chat(turns)?],
            TrainingExample::PromptCompletion { prompt, completion } => {
                vec![self.encode_completion(prompt, completion)?]
            }
            TrainingExample::Preference { prompt, preferred, other } => {
                let whole = |answer: &[anser_core::ChatMessage]| -> Vec<_> {
                    let before = prompt.iter().map(|message| (message.clone(), false));
                    before.chain(answer.iter().map(|message| (message.clone(), true))).collect()
                };
                vec![chat(&whole(preferred))?, chat(&whole(other))?]
            }
        };
        let length = |example: &anser_generate::EncodedExample| ExampleTokens {
            total: example.tokens.len(),
            learned: example.learn.iter().filter(|learn| **learn).count(),
        };
        Ok(encoded.iter().map(length).max_by_key(|tokens| tokens.total).unwrap_or_default())
    }
}

/// Lengths of all examples.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct TokenStatistics {
    /// Tokens of the training examples.
    pub training: u64,
    /// Those of them that the loss counts.
    pub learned: u64,
    /// Tokens of the validation examples.
    pub validation: u64,
    /// The shortest example's.
    pub least: usize,
    /// Half of the examples are no longer than this (nearest rank, as all percentiles).
    pub median: usize,
    /// 90 % are no longer.
    pub p90: usize,
    /// 99 % are no longer.
    pub p99: usize,
    /// The longest example's.
    pub most: usize,
}

impl TokenStatistics {
    /// Figures over both parts; `None` without examples.
    pub(super) fn of(training: &[ExampleTokens], validation: &[ExampleTokens]) -> Option<Self> {
        let mut lengths: Vec<usize> = training.iter().chain(validation).map(|tokens| tokens.total).collect();
        lengths.sort_unstable();
        let rank = |percent: usize| lengths.get((lengths.len() * percent).div_ceil(100).saturating_sub(1)).copied();
        let sum = |part: &[ExampleTokens], of: fn(&ExampleTokens) -> usize| part.iter().map(|t| of(t) as u64).sum();
        Some(Self {
            training: sum(training, |t| t.total),
            learned: sum(training, |t| t.learned),
            validation: sum(validation, |t| t.total),
            least: *lengths.first()?,
            median: rank(50)?,
            p90: rank(90)?,
            p99: rank(99)?,
            most: *lengths.last()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_nearest_ranks() {
        let tokens = |total| ExampleTokens { total, learned: 1 };
        let training: Vec<ExampleTokens> = (1..=90).map(tokens).collect();
        let validation: Vec<ExampleTokens> = (91..=100).map(tokens).collect();
        let figures = TokenStatistics::of(&training, &validation).unwrap();
        assert_eq!((figures.least, figures.median, figures.p90, figures.p99, figures.most), (1, 50, 90, 99, 100));
        assert_eq!((figures.training, figures.learned, figures.validation), (4095, 90, 955));
        assert_eq!(TokenStatistics::of(&[], &[]), None);
    }
}
