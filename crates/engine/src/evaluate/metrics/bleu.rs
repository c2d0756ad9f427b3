//! BLEU (Papineni et al. 2002, <https://aclanthology.org/P02-1040>) as sacreBLEU defines it (Post 2018,
//! <https://arxiv.org/abs/1804.08771>): mteval-v13a tokens, case kept, n-grams up to 4, exponential smoothing, one reference.

use std::borrow::Cow;
use std::sync::LazyLock;

use regex::Regex;
use serde::{Deserialize, Serialize};

use super::shared_ngrams;

/// Longest n-gram counted.
const MAX_ORDER: usize = 4;

/// BLEU and what it is made of.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Bleu {
    /// The score, in [0, 100].
    pub score: f64,
    /// Precision of the n-grams of 1 to 4 words, smoothed, in [0, 100].
    pub precisions: [f64; MAX_ORDER],
    /// Factor for outputs shorter than their references, in [0, 1].
    pub brevity_penalty: f64,
    /// Tokens of the outputs.
    pub output_tokens: usize,
    /// Tokens of the references.
    pub reference_tokens: usize,
}

/// BLEU of one output. Orders for which the output is too short are left out of the mean ("effective order"), as
/// sacreBLEU does for sentences.
pub fn sentence_bleu(output: &str, reference: &str) -> Bleu {
    let mut counts = Counts::default();
    counts.add(output, reference);
    counts.bleu(true)
}

/// BLEU of a set of pairs of output and reference: n-grams are counted over all of them together.
pub fn corpus_bleu<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Bleu {
    let mut counts = Counts::default();
    for (output, reference) in pairs {
        counts.add(output, reference);
    }
    counts.bleu(false)
}

#[derive(Default)]
struct Counts {
    correct: [usize; MAX_ORDER],
    total: [usize; MAX_ORDER],
    output_tokens: usize,
    reference_tokens: usize,
}

impl Counts {
    fn add(&mut self, output: &str, reference: &str) {
        let (output, reference) = (tokens(output), tokens(reference));
        for (n, (correct, total)) in (1..).zip(self.correct.iter_mut().zip(&mut self.total)) {
            *correct += shared_ngrams(&output, &reference, n);
            *total += (output.len() + 1).saturating_sub(n);
        }
        self.output_tokens += output.len();
        self.reference_tokens += reference.len();
    }

    fn bleu(&self, effective_order: bool) -> Bleu {
        let (output, reference) = (self.output_tokens as f64, self.reference_tokens as f64);
        let brevity_penalty = match self.output_tokens {
            0 if self.reference_tokens > 0 => 0.0,
            _ if output < reference => (1.0 - reference / output).exp(),
            _ => 1.0,
        };
        let mut bleu = Bleu {
            brevity_penalty,
            output_tokens: self.output_tokens,
            reference_tokens: self.reference_tokens,
            ..Bleu::default()
        };
        if self.correct.iter().all(|&correct| correct == 0) {
            return bleu;
        }
        let mut orders = MAX_ORDER;
        // Each order without a match is given half the precision of the one before it (Chen and Cherry 2014, method 3).
        let mut smoothing = 1.0;
        for (n, (&correct, &total)) in (1..).zip(self.correct.iter().zip(&self.total)) {
            if total == 0 {
                break;
            }
            if effective_order {
                orders = n;
            }
            bleu.precisions[n - 1] = if correct == 0 {
                smoothing *= 2.0;
                100.0 / (smoothing * total as f64)
            } else {
                100.0 * correct as f64 / total as f64
            };
        }
        let logarithms = bleu.precisions[..orders].iter().map(|p| p.ln());
        bleu.score = brevity_penalty * (logarithms.sum::<f64>() / orders as f64).exp();
        bleu
    }
}

/// The substitutions of mteval-v13a, in their order.
static SUBSTITUTIONS: LazyLock<Vec<(Regex, &'static str)>> = LazyLock::new(|| {
    let patterns = [
        // Symbols stand alone; apostrophe, comma, hyphen and full stop are not among them.
        (r"([{-~\[-` -&(-+:-@/])", " $1 "),
        // A comma or full stop stands alone unless there are digits on both sides.
        (r"([^0-9])([.,])", "$1 $2 "),
        (r"([.,])([^0-9])", " $1 $2"),
        // A hyphen stands alone behind a digit.
        (r"([0-9])(-)", "$1 $2 "),
    ];
    patterns.into_iter().filter_map(|(pattern, with)| Some((Regex::new(pattern).ok()?, with))).collect()
});

/// Splits a text as mteval-v13a does.
fn tokens(text: &str) -> Vec<String> {
    let text = text.trim_end_matches(is_space);
    let text = text.replace("<skipped>", "").replace("-\n", "").replace('\n', " ");
    let text = text.replace("&quot;", "\"").replace("&amp;", "&").replace("&lt;", "<").replace("&gt;", ">");
    let mut text = format!(" {text} ");
    for (pattern, with) in SUBSTITUTIONS.iter() {
        if let Cow::Owned(changed) = pattern.replace_all(&text, *with) {
            text = changed;
        }
    }
    text.split(is_space).filter(|token| !token.is_empty()).map(str::to_owned).collect()
}

/// White space as the reference implementation's language sees it: Unicode's, and the four separators of ASCII.
fn is_space(c: char) -> bool {
    c.is_whitespace() || matches!(c, '\u{1c}'..='\u{1f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_substitutions_compile() {
        assert_eq!(SUBSTITUTIONS.len(), 4);
    }

    #[test]
    fn numbers_keep_their_points_and_words_lose_theirs() {
        assert_eq!(tokens("It costs 1,250.50 (net)."), ["It", "costs", "1,250.50", "(", "net", ")", "."]);
        assert_eq!(tokens("2-3 well-known &amp; don't"), ["2", "-", "3", "well-known", "&", "don't"]);
    }

    #[test]
    fn equal_texts_score_100_and_strangers_0() {
        assert!((sentence_bleu("one two", "one two").score - 100.0).abs() < 1e-9);
        assert!(sentence_bleu("one", "two").score.abs() < 1e-12);
        assert!(sentence_bleu("", "two").score.abs() < 1e-12);
        assert!(corpus_bleu([]).score.abs() < 1e-12);
    }

    #[test]
    fn a_short_output_pays_the_brevity_penalty() {
        let bleu = sentence_bleu("a b c d", "a b c d e f g h");
        assert!((bleu.brevity_penalty - (-1f64).exp()).abs() < 1e-12);
        assert!((bleu.score - 100.0 * (-1f64).exp()).abs() < 1e-9);
    }
}
