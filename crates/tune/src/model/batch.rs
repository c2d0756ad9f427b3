//! What the model reads in one go, what it answers, and what the loss makes of it.

use std::ops::Range;

use crate::TuneError;

/// Sequences of tokens, one behind another without padding. Attention never crosses from one into the next.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Batch {
    /// All tokens.
    pub tokens: Vec<u32>,
    /// Where each sequence begins, and at the end the number of tokens: one more offset than sequences, from 0, rising.
    pub sequence_starts: Vec<usize>,
    /// Whether a token is a target: predicted from the tokens before it in its sequence. A sequence's first token never is.
    pub learn: Vec<bool>,
}

impl Batch {
    /// Puts one more sequence behind the others. Its first token counts as not learned.
    pub fn push(&mut self, tokens: &[u32], learn: &[bool]) {
        if self.sequence_starts.is_empty() {
            self.sequence_starts.push(0);
        }
        let first = self.tokens.len();
        self.tokens.extend_from_slice(tokens);
        self.learn.extend(learn.iter().take(tokens.len()));
        self.learn.resize(self.tokens.len(), false);
        if let Some(learn) = self.learn.get_mut(first) {
            *learn = false;
        }
        self.sequence_starts.push(self.tokens.len());
    }

    /// Number of sequences.
    pub fn sequences(&self) -> usize {
        self.sequence_starts.len().saturating_sub(1)
    }

    /// Number of targets.
    pub fn targets(&self) -> usize {
        self.learn.iter().filter(|&&learn| learn).count()
    }

    /// Which targets belong to each sequence.
    pub(crate) fn targets_of_sequences(&self) -> Vec<Range<usize>> {
        let mut next = 0;
        let span = |pair: &[usize]| {
            let count = self.learn[pair[0]..pair[1]].iter().filter(|&&learn| learn).count();
            next += count;
            next - count..next
        };
        self.sequence_starts.windows(2).map(span).collect()
    }

    /// Checks the offsets, the targets and that every token is below `vocabulary`.
    pub(crate) fn check(&self, vocabulary: usize) -> Result<(), TuneError> {
        let fault = |what: String| Err(TuneError::Internal(format!("a batch {what}")));
        if self.learn.len() != self.tokens.len() {
            return fault(format!("has {} tokens but {} target marks", self.tokens.len(), self.learn.len()));
        }
        let starts = &self.sequence_starts;
        if starts.first() != Some(&0) || starts.last() != Some(&self.tokens.len()) {
            return fault("has sequences that do not cover its tokens".into());
        }
        if starts.windows(2).any(|pair| pair[0] >= pair[1]) {
            return fault("has an empty sequence".into());
        }
        if starts.iter().any(|&start| self.learn.get(start) == Some(&true)) {
            return fault("learns the first token of a sequence, which nothing predicts".into());
        }
        match self.tokens.iter().find(|&&token| token as usize >= vocabulary) {
            Some(token) => fault(format!("holds the token {token}, but the model knows {vocabulary}")),
            None => Ok(()),
        }
    }
}

/// How likely the model found each target.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct BatchScores {
    /// Natural logarithm of each target's probability, in the order of the tokens.
    pub log_probabilities: Vec<f32>,
    /// Whether the target was the likeliest token.
    pub likeliest: Vec<bool>,
    /// Which targets belong to each sequence, as a range into the other two.
    pub targets_of_sequence: Vec<Range<usize>>,
}

/// A loss over a batch and its gradient.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ObjectiveResult {
    /// The loss.
    pub loss: f64,
    /// Its derivative by the log probability of each target.
    pub weights: Vec<f32>,
}

/// What the loss makes of the scores: cross-entropy weighs every target by -1/n, preference optimisation by sequence.
pub trait BatchObjective {
    /// Loss and gradient of these scores.
    fn gradient(&self, scores: &BatchScores) -> ObjectiveResult;
}
