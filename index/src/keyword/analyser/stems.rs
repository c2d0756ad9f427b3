//! Stems of words, by script.

use std::collections::HashMap;

use tantivy::tokenizer::{Language, RawTokenizer, Stemmer, TokenFilter, TokenStream, Tokenizer};

use super::script::Script;

type StemOfOne = <Stemmer as TokenFilter>::Tokenizer<RawTokenizer>;

/// Shorter words, in characters, are their own stems.
const SHORTEST: usize = 3;
/// Stems that are remembered; most of a text is a few thousand words.
const REMEMBERED: usize = 20_000;

/// The Snowball stemmers (Porter 2001) of the languages that stand for their scripts.
#[derive(Clone)]
pub(super) struct Stems {
    english: StemOfOne,
    russian: StemOfOne,
    greek: StemOfOne,
    arabic: StemOfOne,
    tamil: StemOfOne,
    /// Words with their stems.
    known: HashMap<String, String>,
}

impl Stems {
    pub(super) fn new() -> Self {
        let of = |language| Stemmer::new(language).transform(RawTokenizer::default());
        Self {
            english: of(Language::English),
            russian: of(Language::Russian),
            greek: of(Language::Greek),
            arabic: of(Language::Arabic),
            tamil: of(Language::Tamil),
            known: HashMap::new(),
        }
    }

    /// The stem of a folded word; `None` when its script has no stemmer, or it is a code or short.
    pub(super) fn of(&mut self, word: &str) -> Option<&str> {
        let stemmer = match Script::of_word(word) {
            Script::Latin => &mut self.english,
            Script::Cyrillic => &mut self.russian,
            Script::Greek => &mut self.greek,
            Script::Arabic => &mut self.arabic,
            Script::Tamil => &mut self.tamil,
            Script::Ideographic | Script::Hangul | Script::Other => return None,
        };
        if word.chars().nth(SHORTEST - 1).is_none() || word.chars().any(char::is_numeric) {
            return None;
        }
        if !self.known.contains_key(word) {
            let mut stream = stemmer.token_stream(word);
            let stem = if stream.advance() { stream.token().text.clone() } else { return None };
            if self.known.len() >= REMEMBERED {
                self.known.clear();
            }
            self.known.insert(word.to_owned(), stem);
        }
        self.known.get(word).map(String::as_str)
    }
}
