//! What a user types, understood as words and phrases. Nothing is a mistake: what cannot be understood is a word.

use std::collections::{BTreeMap, HashSet};

use super::analyser::{Analyser, Form, Token};
use crate::search::KeywordExplain;

/// Most different terms of a query that are looked up, and most terms of all its phrases and codes; the first count.
const MOST_TERMS: usize = 256;
/// Most bytes of a query that are read.
const MOST_BYTES: usize = 32 << 10;
/// Weight of a word as it is written, beside its stem's 1.
pub(super) const EXACT_WEIGHT: f32 = 0.5;
/// Weight of several parts in one piece, beside the parts' 1.
pub(super) const WHOLE_WEIGHT: f32 = 1.0;
/// Weight of a pair of characters, beside a word's 1.
pub(super) const PAIR_WEIGHT: f32 = 0.5;

/// Weight of a longer word in a code, and of all parts of it in order, beside the 1 of the code in one piece.
pub(super) const PART_WEIGHT: f32 = 0.5;
/// Shorter parts of a code, in characters, count only in it.
const SHORTEST_PART: usize = 4;

/// A term that counts where it occurs.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Clause {
    pub(super) term: String,
    pub(super) weight: f32,
}

/// Terms that must follow each other, each with its distance from the first. Never empty.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Phrase(pub(super) Vec<(String, u32)>);

/// A query. A text matches when it holds every phrase and, where there are none, any of the terms or codes.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct KeywordQuery {
    pub(super) clauses: Vec<Clause>,
    pub(super) phrases: Vec<Phrase>,
    /// The parts of codes that are not quoted.
    pub(super) codes: Vec<Phrase>,
}

impl KeywordQuery {
    /// Understands `text`. Straight and curly quotation marks and the corner brackets of Chinese and Japanese enclose
    /// phrases; one that is not closed encloses nothing.
    pub(super) fn parse(text: &str, analyser: &mut Analyser) -> Self {
        let text = text.get(..text.floor_char_boundary(MOST_BYTES)).unwrap_or(text);
        let mut query = Self::default();
        let mut seen: HashSet<String> = HashSet::new();
        let mut phrases: HashSet<Phrase> = HashSet::new();
        // Terms of phrases and codes so far.
        let mut linked = 0;
        for piece in pieces(text) {
            match piece {
                Piece::Words(words) => {
                    let mut codes: BTreeMap<u32, Vec<(String, u32)>> = BTreeMap::new();
                    analyser.each(words, &mut |token| {
                        if let Form::Part(of) = token.form {
                            codes.entry(of).or_default().push((token.text.to_owned(), token.position - of));
                        }
                        let weight = weight(token);
                        if weight > 0.0 && seen.len() < MOST_TERMS && !seen.contains(token.text) {
                            seen.insert(token.text.to_owned());
                            query.clauses.push(Clause { term: token.text.to_owned(), weight });
                        }
                    });
                    for mut terms in codes.into_values() {
                        terms.truncate(MOST_TERMS - linked);
                        let code = Phrase(terms);
                        if !code.0.is_empty() && !query.codes.contains(&code) {
                            linked += code.0.len();
                            query.codes.push(code);
                        }
                    }
                }
                Piece::Quoted(words) => {
                    let mut terms: Vec<(String, u32)> = Vec::new();
                    analyser.each(words, &mut |token| {
                        if token.links && linked + terms.len() < MOST_TERMS {
                            terms.push((token.text.to_owned(), token.position));
                        }
                    });
                    let first = terms.first().map_or(0, |(_, position)| *position);
                    for (_, position) in &mut terms {
                        *position -= first;
                    }
                    let phrase = Phrase(terms);
                    if !phrase.0.is_empty() && phrases.insert(phrase.clone()) {
                        linked += phrase.0.len();
                        query.phrases.push(phrase);
                    }
                }
            }
        }
        query
    }

    /// Whether there is nothing to look up.
    pub(super) fn is_empty(&self) -> bool {
        self.clauses.is_empty() && self.phrases.is_empty() && self.codes.is_empty()
    }

    /// What it became, without what it found.
    pub(super) fn explain(&self) -> KeywordExplain {
        KeywordExplain {
            terms: self.clauses.iter().map(|clause| clause.term.clone()).collect(),
            phrases: self.phrases.iter().map(|p| p.0.iter().map(|(term, _)| term.clone()).collect()).collect(),
            matched: 0,
        }
    }
}

fn weight(token: Token<'_>) -> f32 {
    match token.form {
        Form::Part(_) => {
            let short = token.text.chars().nth(SHORTEST_PART - 1).is_none();
            if short || token.text.contains(char::is_numeric) { 0.0 } else { PART_WEIGHT }
        }
        Form::Word => 1.0,
        Form::Exact => EXACT_WEIGHT,
        Form::Whole => WHOLE_WEIGHT,
        Form::Pair => PAIR_WEIGHT,
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Piece<'a> {
    Words(&'a str),
    Quoted(&'a str),
}

/// The mark that closes what `c` opens.
fn closing(c: char) -> Option<&'static [char]> {
    Some(match c {
        '"' | '\u{ff02}' => &['"', '\u{ff02}'],
        '\u{201c}' | '\u{201d}' => &['\u{201d}', '\u{201c}', '"'],
        '\u{201e}' => &['\u{201c}', '\u{201d}', '"'],
        '\u{ab}' => &['\u{bb}'],
        '\u{bb}' => &['\u{ab}'],
        '\u{300c}' => &['\u{300d}'],
        '\u{300e}' => &['\u{300f}'],
        _ => return None,
    })
}

/// The parts of a query in order, quoted or not.
fn pieces(text: &str) -> Vec<Piece<'_>> {
    let mut found = Vec::new();
    let (mut plain, mut at) = (0, 0);
    while let Some(opened) = text.get(at..).and_then(|rest| rest.find(|c| closing(c).is_some())).map(|i| at + i) {
        let rest = text.get(opened..).unwrap_or_default();
        let open = rest.chars().next().unwrap_or_default();
        let inside = opened + open.len_utf8();
        let within = text.get(inside..).unwrap_or_default();
        at = inside;
        // A mark after a digit is an inch, not a quotation: 27" monitor.
        let inch = open == '"' && text.get(..opened).unwrap_or_default().ends_with(|c: char| c.is_ascii_digit());
        let Some(length) = closing(open).filter(|_| !inch).and_then(|closing| within.find(closing)) else { continue };
        found.push(Piece::Words(text.get(plain..opened).unwrap_or_default()));
        found.push(Piece::Quoted(within.get(..length).unwrap_or_default()));
        let close = within.get(length..).and_then(|rest| rest.chars().next()).map_or(0, char::len_utf8);
        plain = inside + length + close;
        at = plain;
    }
    found.push(Piece::Words(text.get(plain..).unwrap_or_default()));
    found.retain(|piece| !matches!(piece, Piece::Words("")));
    found
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> KeywordQuery {
        KeywordQuery::parse(text, &mut Analyser::new())
    }

    fn terms(query: &KeywordQuery) -> Vec<&str> {
        query.clauses.iter().map(|clause| clause.term.as_str()).collect()
    }

    fn phrases(query: &KeywordQuery) -> Vec<Vec<(&str, u32)>> {
        query.phrases.iter().map(|p| p.0.iter().map(|(term, at)| (term.as_str(), *at)).collect()).collect()
    }

    #[test]
    fn words_and_phrases_are_told_apart() {
        let query = parse("cheap \"running shoes\" for the “trail” 「登山靴」");
        assert_eq!(terms(&query), ["cheap", "for", "the"]);
        assert_eq!(phrases(&query)[0], [("run", 0), ("shoe", 1)]);
        assert_eq!(phrases(&query)[1], [("trail", 0)]);
        assert_eq!(phrases(&query)[2], [("登山", 0), ("山靴", 1)]);
    }

    #[test]
    fn what_is_not_a_quotation_is_words() {
        assert_eq!(terms(&parse("an \"unclosed quotation")), ["an", "unclos", "unclosed", "quotat", "quotation"]);
        let inches = parse("27\" monitor and 24\" monitor");
        assert!(inches.phrases.is_empty());
        assert_eq!(terms(&inches), ["27", "monitor", "and", "24"]);
        assert!(parse("\"\" ?! \" \"").is_empty());
        assert_eq!(
            terms(&parse("a AND (b OR title:c) -d +e ~f^2 [g TO *] \\")),
            ["a", "and", "b", "or", "titl", "title", "c", "d", "e", "f", "2", "g", "to"]
        );
    }

    #[test]
    fn codes_count_as_such_and_not_by_their_letters() {
        let query = parse("AB-1234x order-77 wi-fi");
        assert_eq!(terms(&query), ["ab1234x", "1234x", "order77", "order", "wifi", "wi", "fi"]);
        let codes: Vec<Vec<&str>> =
            query.codes.iter().map(|code| code.0.iter().map(|(term, _)| term.as_str()).collect()).collect();
        assert_eq!(codes, [vec!["ab", "1234", "x"], vec!["order", "77"]]);
    }

    #[test]
    fn a_term_counts_once_and_a_long_query_is_cut() {
        assert_eq!(terms(&parse("dog Dog DOGS dog's")), ["dog", "dogs"]);
        let long: String = (0..5000).map(|i| format!("w{i}x ")).collect::<Vec<_>>().concat();
        assert_eq!(parse(&long).clauses.len(), MOST_TERMS);
    }

    #[test]
    fn the_terms_of_all_phrases_and_codes_together_are_limited() {
        let of = |query: &KeywordQuery| query.phrases.iter().chain(&query.codes).map(|p| p.0.len()).sum::<usize>();
        let codes: String = (0..3000).map(|i| format!("a{i}-b ")).collect::<Vec<_>>().concat();
        let phrases: String = (0..3000).map(|i| format!("\"dog number{i}\" ")).collect::<Vec<_>>().concat();
        for long in ["a1_".repeat(10_000), codes, phrases, format!("\"{}\"", "dog ".repeat(5000))] {
            assert_eq!(of(&parse(&long)), MOST_TERMS);
        }
        let repeated = parse(&"ab-12 \"red cat\" ".repeat(500));
        assert_eq!(of(&repeated), 4, "what is said again takes no room");
    }

    proptest! {
        #[test]
        fn nothing_typed_is_an_error(text in "\\PC*") {
            let query = parse(&text);
            prop_assert!(query.phrases.iter().all(|phrase| phrase.0.first().is_some_and(|(_, at)| *at == 0)));
            prop_assert!(query.clauses.iter().all(|clause| !clause.term.is_empty() && clause.weight > 0.0));
        }

        #[test]
        fn quotes_lose_no_text(text in "[ab \"“”„«»「」]{0,40}") {
            let of = |text: &str| text.matches(|c: char| c.is_ascii_alphabetic()).count();
            let kept: usize = pieces(&text).iter().map(|(Piece::Words(t) | Piece::Quoted(t))| of(t)).sum();
            prop_assert_eq!(kept, of(&text));
        }
    }
}
