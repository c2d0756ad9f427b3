//! ROUGE-1, ROUGE-2 and ROUGE-L (Lin 2004, <https://aclanthology.org/W04-1013>) as the rouge-score package computes them
//! without stemming: the F1 of what both texts share.

use serde::{Deserialize, Serialize};

use super::squad::is_cjk;
use super::{f1, shared_ngrams};

/// What counts as a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RougeTokens {
    /// Runs of a to z and 0 to 9 after lower-casing; everything else separates, as in the rouge-score package.
    #[default]
    Latin,
    /// The same, and each Chinese, Japanese or Korean character by itself.
    WithCjk,
}

/// F1 scores, each in [0, 1].
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Rouge {
    /// Of words.
    pub rouge_1: f64,
    /// Of pairs of neighbouring words.
    pub rouge_2: f64,
    /// Of the longest common subsequence.
    pub rouge_l: f64,
}

impl Rouge {
    /// Compares `output` with `reference`.
    pub fn of(output: &str, reference: &str, tokens: RougeTokens) -> Self {
        let (output, reference) = (split(output, tokens), split(reference, tokens));
        let of_order = |n: usize| {
            let grams = |tokens: &[String]| (tokens.len() + 1).saturating_sub(n);
            f1(shared_ngrams(&output, &reference, n), grams(&output), grams(&reference))
        };
        let common = longest_common_subsequence(&output, &reference);
        Self { rouge_1: of_order(1), rouge_2: of_order(2), rouge_l: f1(common, output.len(), reference.len()) }
    }
}

fn split(text: &str, tokens: RougeTokens) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    for c in text.to_lowercase().chars() {
        if c.is_ascii_alphanumeric() {
            word.push(c);
            continue;
        }
        if !word.is_empty() {
            words.push(std::mem::take(&mut word));
        }
        if tokens == RougeTokens::WithCjk && is_cjk(c) {
            words.push(c.to_string());
        }
    }
    if !word.is_empty() {
        words.push(word);
    }
    words
}

/// Its length. Time is the product of the lengths, memory the length of `b`.
fn longest_common_subsequence(a: &[String], b: &[String]) -> usize {
    // row[j]: of what was read of `a` and the first j of `b`.
    let mut row = vec![0_usize; b.len() + 1];
    for x in a {
        let mut diagonal = 0;
        for (j, y) in (1..).zip(b) {
            let above = row[j];
            row[j] = if x == y { diagonal + 1 } else { above.max(row[j - 1]) };
            diagonal = above;
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_the_paper() {
        // Section 3.1: "police kill the gunman" shares 3 of 4 words in order with the reference, "the gunman kill police" 2.
        let near = Rouge::of("police kill the gunman", "police killed the gunman", RougeTokens::Latin);
        let far = Rouge::of("the gunman kill police", "police killed the gunman", RougeTokens::Latin);
        assert!((near.rouge_l - 0.75).abs() < 1e-12);
        assert!((far.rouge_l - 0.5).abs() < 1e-12);
        assert!((near.rouge_2 - far.rouge_2).abs() < 1e-12);
    }

    #[test]
    fn chinese_is_nothing_unless_asked_for() {
        assert!(Rouge::of("三十天", "三十天", RougeTokens::Latin).rouge_1.abs() < 1e-12);
        let chinese = Rouge::of("三十天内", "三十天后", RougeTokens::WithCjk);
        assert!((chinese.rouge_1 - 0.75).abs() < 1e-12 && (chinese.rouge_2 - 2.0 / 3.0).abs() < 1e-12);
    }
}
