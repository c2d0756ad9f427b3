//! Sentences of a text and the words in them, as citation alignment compares them.

use std::collections::HashSet;

use anser_core::ByteSpan;
use unicode_segmentation::UnicodeSegmentation;

/// English words that carry no content of their own. Negations are not among them: they change what is said.
const STOP_WORDS: &[&str] = &[
    "a", "about", "also", "am", "an", "and", "any", "are", "as", "at", "be", "been", "being", "but", "by", "can",
    "could", "did", "do", "does", "for", "from", "had", "has", "have", "he", "her", "here", "his", "how", "i", "if",
    "in", "into", "is", "it", "its", "just", "may", "me", "might", "must", "my", "of", "on", "one", "or", "our",
    "ours", "please", "s", "shall", "she", "should", "so", "some", "such", "sure", "t", "than", "that", "the", "their",
    "them", "then", "there", "these", "they", "this", "those", "to", "up", "us", "was", "we", "were", "what", "when",
    "where", "which", "who", "will", "with", "would", "yes", "you", "your", "yours",
];

/// Words that deny.
const NEGATIONS: &[&str] = &["no", "not", "never", "cannot", "without", "neither", "nor", "none", "nothing"];

/// Small numbers written as words. "One" is left out: it is a pronoun more often than a number.
const NUMBER_WORDS: &[(&str, &str)] = &[
    ("two", "2"),
    ("three", "3"),
    ("four", "4"),
    ("five", "5"),
    ("six", "6"),
    ("seven", "7"),
    ("eight", "8"),
    ("nine", "9"),
    ("ten", "10"),
    ("eleven", "11"),
    ("twelve", "12"),
    ("fifteen", "15"),
    ("twenty", "20"),
    ("thirty", "30"),
    ("sixty", "60"),
    ("ninety", "90"),
    ("hundred", "100"),
];

/// What alignment knows of one sentence.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Words {
    /// Stems of content words, numbers, and pairs of Han characters.
    pub(super) terms: HashSet<String>,
    /// Numbers in one spelling ("1,000.50" is "1000.5") and codes that mix letters and digits.
    pub(super) numbers: HashSet<String>,
    /// Stems of capitalised words that do not begin the sentence.
    pub(super) names: HashSet<String>,
    /// Whether it denies something.
    pub(super) negated: bool,
}

impl Words {
    /// Reads the words of a sentence.
    pub(super) fn of(sentence: &str) -> Self {
        let mut words = Self::default();
        for (position, run) in runs(without_marker(sentence)).into_iter().enumerate() {
            match run {
                Run::Number(number) => words.add_number(number),
                Run::Han(characters) => words.add_han(&characters),
                Run::Word(word) => words.add_word(word, position == 0),
            }
        }
        words
    }

    fn add_number(&mut self, number: String) {
        self.terms.insert(number.clone());
        self.numbers.insert(number);
    }

    fn add_han(&mut self, characters: &[char]) {
        if let [single] = characters {
            self.terms.insert(single.to_string());
        }
        for pair in characters.windows(2) {
            self.terms.insert(pair.iter().collect());
        }
    }

    fn add_word(&mut self, word: &str, first: bool) {
        let capitalised = word.chars().next().is_some_and(char::is_uppercase);
        let lower = word.to_lowercase().replace('\u{2019}', "'");
        if NEGATIONS.contains(&lower.as_str()) || lower.ends_with("n't") {
            self.negated = true;
            return;
        }
        if let Some((_, number)) = NUMBER_WORDS.iter().find(|(word, _)| *word == lower) {
            self.add_number((*number).to_owned());
            return;
        }
        let bare = lower.split('\'').next().unwrap_or(&lower);
        if bare.is_empty() || STOP_WORDS.contains(&bare) {
            return;
        }
        if bare.chars().any(|c| c.is_ascii_digit()) {
            self.numbers.insert(bare.to_owned());
        }
        let stem = stem(bare);
        if capitalised && !first {
            self.names.insert(stem.clone());
        }
        self.terms.insert(stem);
    }

    /// Adds the words of `other`, as when sentences are read as one.
    pub(super) fn extend(&mut self, other: &Self) {
        self.terms.extend(other.terms.iter().cloned());
        self.numbers.extend(other.numbers.iter().cloned());
        self.names.extend(other.names.iter().cloned());
        self.negated |= other.negated;
    }
}

/// A sentence without the number of a list item ("2. ", "3) ") or passage ("[1] ") before it.
fn without_marker(sentence: &str) -> &str {
    let trimmed = sentence.trim_start();
    let inner = trimmed.strip_prefix('[').unwrap_or(trimmed);
    let rest = inner.trim_start_matches(|c: char| c.is_ascii_digit());
    let digits = inner.len() - rest.len();
    match rest.strip_prefix(['.', ')', ']']) {
        Some(text) if (1..=2).contains(&digits) && !text.starts_with(|c: char| c.is_ascii_digit()) => text,
        _ => sentence,
    }
}

/// The sentences of `text` (Unicode's rules, so Chinese ones too), without surrounding white space; pieces without a
/// letter or digit are left out.
pub(super) fn sentences(text: &str) -> Vec<ByteSpan> {
    text.split_sentence_bound_indices()
        .filter(|(_, piece)| piece.chars().any(char::is_alphanumeric))
        .map(|(at, piece)| {
            let start = at + (piece.len() - piece.trim_start().len());
            ByteSpan { start, end: start + piece.trim().len() }
        })
        .collect()
}

/// Text in lower case with every run of white space made one space: how texts are compared loosely.
pub(crate) fn normalized(text: &str) -> String {
    text.to_lowercase().split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Whether the text holds a Chinese character.
pub(super) fn has_han(text: &str) -> bool {
    text.chars().any(is_han)
}

fn is_han(c: char) -> bool {
    matches!(c, '\u{3400}'..='\u{4DBF}' | '\u{4E00}'..='\u{9FFF}' | '\u{F900}'..='\u{FAFF}' | '\u{20000}'..='\u{323AF}')
}

/// A maximal piece of one kind.
enum Run<'a> {
    Word(&'a str),
    Number(String),
    Han(Vec<char>),
}

/// Cuts a sentence into words, numbers and stretches of Han characters. Letters after digits ("24h") begin a new word,
/// digits after letters ("x200") belong to it.
fn runs(sentence: &str) -> Vec<Run<'_>> {
    let characters: Vec<(usize, char)> = sentence.char_indices().collect();
    let at = |i: usize| characters.get(i).map(|(_, c)| *c);
    let mut runs = Vec::new();
    let mut i = 0;
    while let Some(c) = at(i) {
        let begin = i;
        if digit(c).is_some() {
            let mut raw = String::new();
            while let Some(c) = at(i) {
                if let Some(digit) = digit(c) {
                    raw.push(digit);
                } else if matches!(c, '.' | ',' | ':') && at(i + 1).is_some_and(|next| digit(next).is_some()) {
                    raw.push(c);
                } else {
                    break;
                }
                i += 1;
            }
            runs.push(Run::Number(one_spelling(&raw)));
        } else if is_han(c) {
            while at(i).is_some_and(is_han) {
                i += 1;
            }
            runs.push(Run::Han(characters[begin..i].iter().map(|(_, c)| *c).collect()));
        } else if c.is_alphanumeric() {
            while at(i).is_some_and(|c| (c.is_alphanumeric() && !is_han(c)) || matches!(c, '\'' | '\u{2019}')) {
                i += 1;
            }
            let end = characters.get(i).map_or(sentence.len(), |(at, _)| *at);
            runs.push(Run::Word(&sentence[characters[begin].0..end]));
        } else {
            i += 1;
        }
    }
    runs
}

/// The ASCII form of a decimal digit, full-width ones included.
fn digit(c: char) -> Option<char> {
    match c {
        '0'..='9' => Some(c),
        '\u{FF10}'..='\u{FF19}' => char::from_digit(u32::from(c) - 0xFF10, 10),
        _ => None,
    }
}

/// One spelling for a number: no separators of thousands, a point before decimals, no trailing zeros after it.
fn one_spelling(raw: &str) -> String {
    let decimal = raw.rfind(['.', ',']).filter(|&at| raw.len() - at - 1 != 3 || raw[..at].starts_with('0'));
    let mut number: String = raw
        .char_indices()
        .filter_map(|(at, c)| match c {
            '.' | ',' if Some(at) == decimal => Some('.'),
            '.' | ',' => None,
            other => Some(other),
        })
        .collect();
    if number.contains('.') {
        number.truncate(number.trim_end_matches('0').trim_end_matches('.').len());
    }
    number
}

/// A light English stem: plural, past, -ing, -ly, and a final e or y fall away. Both sides of a comparison go through
/// it, so it need not be a word. Words of other scripts stay as they are.
fn stem(word: &str) -> String {
    if !word.bytes().all(|b| b.is_ascii_lowercase()) || word.len() <= 3 {
        return word.to_owned();
    }
    let mut stem = word;
    if let Some(rest) = stem.strip_suffix("ies").filter(|rest| rest.len() >= 3) {
        stem = rest;
    } else if !stem.ends_with("ss") && !stem.ends_with("us") && !stem.ends_with("is") {
        stem = stem.strip_suffix('s').unwrap_or(stem);
    }
    for suffix in ["ing", "ed", "ly"] {
        if let Some(rest) = stem.strip_suffix(suffix).filter(|rest| rest.len() >= 3) {
            stem = rest;
            break;
        }
    }
    let bytes = stem.as_bytes();
    if let [.., a, b] = bytes
        && a == b
        && !matches!(b, b'a' | b'e' | b'i' | b'o' | b'u' | b'l' | b's')
    {
        stem = &stem[..stem.len() - 1];
    }
    if stem.len() >= 4 {
        stem = stem.strip_suffix(['e', 'y', 'i']).unwrap_or(stem);
    }
    stem.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(words: &[&str]) -> HashSet<String> {
        words.iter().map(|w| (*w).to_owned()).collect()
    }

    #[test]
    fn sentences_are_found_in_english_and_chinese() {
        let text = "It costs 4.90 euros. Is that all?\n- Yes!\n\n退货需在30天内。运费由我们承担！";
        let found: Vec<&str> = sentences(text).into_iter().map(|s| s.slice(text).unwrap()).collect();
        assert_eq!(found, ["It costs 4.90 euros.", "Is that all?", "- Yes!", "退货需在30天内。", "运费由我们承担！"]);
    }

    #[test]
    fn numbers_have_one_spelling() {
        for (raw, want) in
            [("1,000", "1000"), ("1,000.50", "1000.5"), ("4,90", "4.9"), ("4.90", "4.9"), ("0.125", "0.125")]
        {
            assert_eq!(one_spelling(raw), want, "{raw}");
        }
        assert_eq!(Words::of("Open 10:30 to 18h, ３0 days, two weeks.").numbers, set(&["10:30", "18", "30", "2"]));
        assert_eq!(Words::of("The X200 lamp").numbers, set(&["x200"]));
    }

    #[test]
    fn markers_of_lists_and_passages_are_no_numbers() {
        for sentence in ["1. Open the account", "2) Open the account", "[1] Open the account", "3. "] {
            assert!(Words::of(sentence).numbers.is_empty(), "{sentence}");
        }
        assert_eq!(Words::of("4.90 euros").numbers, set(&["4.9"]));
        assert_eq!(Words::of("30 days").numbers, set(&["30"]));
    }

    #[test]
    fn inflections_share_a_stem() {
        for forms in [
            &["ship", "ships", "shipped", "shipping"][..],
            &["deliver", "delivery", "deliveries", "delivered"],
            &["charge", "charges", "charged", "charging"],
            &["return", "returns", "returned"],
        ] {
            let stems: HashSet<String> = forms.iter().map(|f| stem(f)).collect();
            assert_eq!(stems.len(), 1, "{forms:?} gave {stems:?}");
        }
    }

    #[test]
    fn names_negations_and_han_pairs_are_seen() {
        let words = Words::of("We don't ship to Norway.");
        assert!(words.negated);
        assert_eq!(words.names, set(&["norwa"]));
        assert_eq!(words.terms, set(&["ship", "norwa"]));
        assert_eq!(Words::of("退货期30天").terms, set(&["退货", "货期", "30", "天"]));
    }
}
