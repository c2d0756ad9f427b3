//! Figures that say how near a written text comes to a reference: one file for each family of them.
//!
//! All are the field's own definitions and agree with the packages that the field quotes; `tests/fixtures/text_metrics.json`
//! and `ranking_metrics.json` beside it hold what those packages say.

mod bleu;
mod classification;
mod likelihood;
pub mod ranking;
mod rouge;
mod squad;

pub use bleu::{Bleu, corpus_bleu, sentence_bleu};
pub use classification::{ClassScores, Classification, Labels};
pub use likelihood::Likelihood;
pub use rouge::{Rouge, RougeTokens};
use serde::{Deserialize, Serialize};
pub use squad::{exact_match, normalize_answer, token_f1};

/// The text metrics of one output against one reference.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct TextScores {
    /// Whether both are the same answer once normalised, see [`exact_match`].
    pub exact_match: bool,
    /// Harmonic mean of the precision and recall of words, in [0, 1], see [`token_f1`].
    pub token_f1: f64,
    /// Sentence BLEU, in [0, 100], see [`sentence_bleu`].
    pub bleu: f64,
    /// F1 of shared words, in [0, 1].
    pub rouge_1: f64,
    /// F1 of shared pairs of neighbouring words, in [0, 1].
    pub rouge_2: f64,
    /// F1 of the longest common subsequence of words, in [0, 1].
    pub rouge_l: f64,
}

impl TextScores {
    /// Compares `output` with `reference`. ROUGE reads each Chinese, Japanese or Korean character as a word when the
    /// reference holds any, since the original definition would read nothing of it.
    pub fn of(output: &str, reference: &str) -> Self {
        let tokens = if reference.chars().any(squad::is_cjk) { RougeTokens::WithCjk } else { RougeTokens::Latin };
        let rouge = Rouge::of(output, reference, tokens);
        Self {
            exact_match: exact_match(output, reference),
            token_f1: token_f1(output, reference),
            bleu: sentence_bleu(output, reference).score,
            rouge_1: rouge.rouge_1,
            rouge_2: rouge.rouge_2,
            rouge_l: rouge.rouge_l,
        }
    }
}

/// Counts of the n-grams of `tokens`.
fn ngrams<'a>(tokens: &'a [String], n: usize) -> std::collections::HashMap<&'a [String], usize> {
    let mut counts: std::collections::HashMap<&'a [String], usize> = std::collections::HashMap::new();
    for gram in tokens.windows(n) {
        *counts.entry(gram).or_default() += 1;
    }
    counts
}

/// How many n-grams both have in common, each counted as often as in the text that has it less often.
fn shared_ngrams(a: &[String], b: &[String], n: usize) -> usize {
    let (a, b) = (ngrams(a, n), ngrams(b, n));
    a.iter().map(|(gram, count)| b.get(gram).map_or(0, |other| *count.min(other))).sum()
}

/// The harmonic mean of precision and recall, from what is shared and what each side has; 0 when nothing is shared.
fn f1(shared: usize, output: usize, reference: usize) -> f64 {
    if shared == 0 {
        return 0.0;
    }
    let precision = shared as f64 / output.max(1) as f64;
    let recall = shared as f64 / reference.max(1) as f64;
    2.0 * precision * recall / (precision + recall)
}
