//! Exact match and token F1 of the `SQuAD` benchmark (Rajpurkar et al. 2016, <https://arxiv.org/abs/1606.05250>), with
//! Chinese, Japanese and Korean text read character by character as in CMRC 2018 (Cui et al.,
//! <https://arxiv.org/abs/1810.07366>).

use super::{f1, shared_ngrams};

/// Words that carry no answer.
const ARTICLES: [&str; 3] = ["a", "an", "the"];

/// Whether the normalised texts are equal.
pub fn exact_match(output: &str, reference: &str) -> bool {
    normalize_answer(output) == normalize_answer(reference)
}

/// The harmonic mean of precision and recall of the words (and CJK characters) of the normalised texts, in [0, 1]. When
/// one of them has no words, 1 if the other has none either, else 0.
pub fn token_f1(output: &str, reference: &str) -> f64 {
    let (output, reference) = (normalized_tokens(output), normalized_tokens(reference));
    if output.is_empty() || reference.is_empty() {
        return f64::from(u8::from(output.is_empty() && reference.is_empty()));
    }
    f1(shared_ngrams(&output, &reference, 1), output.len(), reference.len())
}

/// Lower case, without punctuation and English articles, words separated by one space and CJK characters standing alone.
pub fn normalize_answer(text: &str) -> String {
    normalized_tokens(text).join(" ")
}

fn normalized_tokens(text: &str) -> Vec<String> {
    let mut spaced = String::with_capacity(text.len() + text.len() / 4);
    for c in text.to_lowercase().chars().filter(|c| !is_punctuation(*c)) {
        if is_cjk(c) {
            spaced.extend([' ', c, ' ']);
        } else {
            spaced.push(c);
        }
    }
    let words = spaced.split_whitespace().filter(|word| !ARTICLES.contains(word));
    words.map(str::to_owned).collect()
}

/// ASCII punctuation, and that of typographic and CJK text.
fn is_punctuation(c: char) -> bool {
    c.is_ascii_punctuation()
        || matches!(c, '\u{2010}'..='\u{2027}' | '\u{2030}'..='\u{205E}' | '\u{3001}'..='\u{3003}' | '\u{3008}'..='\u{3011}'
            | '\u{3014}'..='\u{301F}' | '\u{30FB}' | '\u{FF01}'..='\u{FF0F}' | '\u{FF1A}'..='\u{FF20}'
            | '\u{FF3B}'..='\u{FF40}' | '\u{FF5B}'..='\u{FF65}' | '«' | '»' | '¿' | '¡')
}

/// Characters of scripts that are written without spaces between words, and Hangul.
pub(super) fn is_cjk(c: char) -> bool {
    matches!(c, '\u{3040}'..='\u{30FF}' | '\u{3400}'..='\u{4DBF}' | '\u{4E00}'..='\u{9FFF}' | '\u{AC00}'..='\u{D7AF}'
        | '\u{F900}'..='\u{FAFF}' | '\u{20000}'..='\u{323AF}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_articles_punctuation_and_spacing_do_not_matter() {
        assert!(exact_match("The  30-day limit!", "a 30day LIMIT"));
        assert!(!exact_match("30 days", "20 days"));
        assert!(exact_match("“Yes”", "yes"));
        assert_eq!(normalize_answer("An apple, the pear"), "apple pear");
    }

    #[test]
    fn f1_is_the_harmonic_mean_of_shared_words() {
        // 2 of 3 words are right, 2 of 4 are found: 2 · (2/3 · 1/2) / (2/3 + 1/2) = 4/7.
        assert!((token_f1("red green blue", "red green white black") - 4.0 / 7.0).abs() < 1e-12);
        assert!((token_f1("yes yes yes", "yes") - 0.5).abs() < 1e-12);
    }

    #[test]
    fn nothing_equals_nothing_only() {
        assert!((token_f1("the", "") - 1.0).abs() < 1e-12);
        assert!(token_f1("word", "the").abs() < 1e-12);
        assert!(token_f1("", "word").abs() < 1e-12);
    }

    #[test]
    fn chinese_is_compared_by_character() {
        assert!(exact_match("三十天。", "三十天"));
        // 3 of 4 characters are shared each way.
        assert!((token_f1("三十天内", "三十天后") - 0.75).abs() < 1e-12);
    }
}
