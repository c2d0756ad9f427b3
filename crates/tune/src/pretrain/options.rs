//! What a model from scratch looks like and how it is trained.

use std::path::PathBuf;
use std::str::FromStr;

use anser_core::{Device, Precision};
use anser_generate::LlamaConfig;

use super::tokenizer::SMALLEST;
use crate::TuneError;

/// Sizes that work on ordinary processors, by their number of weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PretrainSize {
    /// One million.
    M1,
    /// Five million.
    M5,
    /// Fifteen million.
    M15,
    /// Thirty million.
    M30,
}

impl FromStr for PretrainSize {
    type Err = TuneError;

    fn from_str(text: &str) -> Result<Self, TuneError> {
        match text {
            "1m" => Ok(Self::M1),
            "5m" => Ok(Self::M5),
            "15m" => Ok(Self::M15),
            "30m" => Ok(Self::M30),
            _ => Err(TuneError::hyperparameter("size", "is one of 1m, 5m, 15m and 30m")),
        }
    }
}

/// A training from scratch as asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct PretrainOptions {
    /// Plain text files in UTF-8; each is one document.
    pub texts: Vec<PathBuf>,
    /// Tokens of the tokenizer at most; a short text may not give that many.
    pub vocabulary: usize,
    /// Width of the residual stream.
    pub hidden: usize,
    /// Transformer blocks.
    pub blocks: usize,
    /// Attention heads; `hidden / heads` is even.
    pub heads: usize,
    /// Tokens that the model sees at once.
    pub context: usize,
    /// Passes over the text.
    pub epochs: usize,
    /// Tokens to train on in all, in whole passes; replaces `epochs`.
    pub tokens: Option<u64>,
    /// Sequences of `context` tokens a step.
    pub batch_size: usize,
    /// Peak learning rate.
    pub learning_rate: f64,
    /// Share of all steps in which the learning rate climbs to its peak, in [0, 1).
    pub warmup_ratio: f64,
    /// Share of the tokens, from the end, that is measured on and not learned; in [0, 0.5].
    pub validation_share: f64,
    /// Everything random comes from it.
    pub seed: u64,
    /// Number format; `None` takes 16 bits where the processor multiplies them.
    pub precision: Option<Precision>,
    /// Threads of the matrix products; 0 takes as many as the machine has cores.
    pub threads: usize,
    /// What multiplies.
    pub device: Device,
}

impl PretrainOptions {
    /// A model of this size on these texts, with settings that suit it.
    pub fn preset(size: PretrainSize, texts: Vec<PathBuf>) -> Self {
        // Wider models take smaller steps (Yang et al. 2022): the rate falls as the width grows.
        let (vocabulary, hidden, blocks, heads, context, learning_rate) = match size {
            PretrainSize::M1 => (1024, 128, 4, 4, 256, 4e-3),
            PretrainSize::M5 => (4096, 256, 5, 8, 256, 2e-3),
            PretrainSize::M15 => (8192, 384, 7, 6, 512, 1.5e-3),
            PretrainSize::M30 => (8192, 512, 8, 8, 512, 1e-3),
        };
        Self {
            texts,
            vocabulary,
            hidden,
            blocks,
            heads,
            context,
            epochs: 10,
            tokens: None,
            batch_size: 8,
            learning_rate,
            warmup_ratio: 0.05,
            validation_share: 0.05,
            seed: 1,
            precision: None,
            threads: 0,
            device: Device::Cpu,
        }
    }

    /// Names the first value that is out of range.
    pub(super) fn check(&self) -> Result<(), TuneError> {
        let head = self.hidden.checked_div(self.heads).unwrap_or(0);
        let rules = [
            (!self.texts.is_empty(), "texts", "needs at least one text file".to_owned()),
            (
                (SMALLEST..=65_536).contains(&self.vocabulary),
                "vocabulary",
                format!("is a whole number from {SMALLEST} to 65536"),
            ),
            ((16..=4096).contains(&self.hidden), "hidden", "is a whole number from 16 to 4096".to_owned()),
            ((1..=64).contains(&self.blocks), "blocks", "is a whole number from 1 to 64".to_owned()),
            (
                head >= 2 && head.is_multiple_of(2) && head * self.heads == self.hidden,
                "heads",
                format!("divides hidden ({}) into even parts", self.hidden),
            ),
            ((8..=8192).contains(&self.context), "context", "is a whole number from 8 to 8192".to_owned()),
            ((1..=10_000).contains(&self.epochs), "epochs", "is a whole number from 1 to 10000".to_owned()),
            (self.tokens != Some(0), "tokens", "is a whole number from 1".to_owned()),
            ((1..=256).contains(&self.batch_size), "batch_size", "is a whole number from 1 to 256".to_owned()),
            (
                self.learning_rate.is_finite() && self.learning_rate > 0.0,
                "learning_rate",
                "is a number above 0".to_owned(),
            ),
            ((0.0..1.0).contains(&self.warmup_ratio), "warmup_ratio", "is a number from 0 to below 1".to_owned()),
            ((0.0..=0.5).contains(&self.validation_share), "validation_share", "is a number from 0 to 0.5".to_owned()),
        ];
        match rules.into_iter().find(|(holds, ..)| !holds) {
            Some((_, param, reason)) => Err(TuneError::hyperparameter(param, reason)),
            None => Ok(()),
        }
    }

    /// The model's shape, with a tokenizer of `vocabulary` tokens.
    pub(super) fn config(&self, vocabulary: usize) -> LlamaConfig {
        LlamaConfig {
            blocks: self.blocks,
            hidden: self.hidden,
            // Two thirds of the usual four times the width, as the gate is a third matrix (Shazeer 2020).
            feed_forward: (self.hidden * 8 / 3).next_multiple_of(32),
            heads: self.heads,
            kv_heads: self.heads,
            head_dim: self.hidden / self.heads,
            vocabulary,
            context: self.context,
            norm_epsilon: 1e-5,
            rope_base: 10_000.0,
            tied_embeddings: true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_about_the_weights_of_their_names() {
        for (name, millions) in [("1m", 1.0), ("5m", 5.0), ("15m", 15.0), ("30m", 30.0)] {
            let options = PretrainOptions::preset(name.parse().unwrap(), vec!["a.txt".into()]);
            options.check().unwrap();
            let weights = options.config(options.vocabulary).parameters() as f64 / 1e6;
            assert!((weights / millions - 1.0).abs() < 0.12, "{name}: {weights}");
        }
        assert!("2m".parse::<PretrainSize>().is_err());
    }

    #[test]
    fn each_value_out_of_range_is_named() {
        let fault = |change: fn(&mut PretrainOptions)| {
            let mut options = PretrainOptions::preset(PretrainSize::M1, vec!["a.txt".into()]);
            change(&mut options);
            anser_core::Error::from(options.check().unwrap_err()).param().unwrap().to_owned()
        };
        assert_eq!(fault(|options| options.texts.clear()), "texts");
        assert_eq!(fault(|options| options.vocabulary = 100), "vocabulary");
        assert_eq!(fault(|options| options.hidden = 8), "hidden");
        assert_eq!(fault(|options| options.heads = 0), "heads");
        assert_eq!(fault(|options| options.heads = 3), "heads");
        assert_eq!(fault(|options| options.heads = 128), "heads");
        assert_eq!(fault(|options| options.blocks = 0), "blocks");
        assert_eq!(fault(|options| options.context = 4), "context");
        assert_eq!(fault(|options| options.epochs = 0), "epochs");
        assert_eq!(fault(|options| options.tokens = Some(0)), "tokens");
        assert_eq!(fault(|options| options.batch_size = 0), "batch_size");
        assert_eq!(fault(|options| options.learning_rate = 0.0), "learning_rate");
        assert_eq!(fault(|options| options.warmup_ratio = 1.0), "warmup_ratio");
        assert_eq!(fault(|options| options.validation_share = 0.9), "validation_share");
    }
}
