//! The words of a text that can name its subject: lower-cased, without stop words, numbers, single letters and web debris.
//!
//! Words are those of Unicode Standard Annex 29. Chinese has no spaces, so a run of Han characters gives its overlapping
//! pairs. Languages that are written without spaces in other scripts (Thai, Lao, Khmer) give no words here.

use std::collections::{BTreeSet, HashMap};
use std::sync::LazyLock;

use unicode_segmentation::UnicodeSegmentation;

/// Longest word that is taken for one, in characters.
const LONGEST_WORD: usize = 40;

/// How many more stop words of another language than of English a text must have to be taken for that language.
const CLEARLY_FOREIGN: usize = 2;

/// Words the English list lacks though they name no subject, and what is left of web addresses and HTML.
const MORE_STOP_WORDS: &str = "\
    a's able also although always another anything around back br came cannot can't com come comes could \
    couldn't could've done either else enough etc even ever every everything gave get gets getting give \
    go goes going gone got gotten href html http https i'm i'd keep knew know least less let let's like \
    liked lot lots made make makes many may maybe might much must never nothing one ones perhaps put \
    quite rather really said say see seem seems several since someone something sometimes still sure \
    take tell that's there's thing things think though thought took try two upon us use used using want \
    wanted way well went what's whether within without won't would wouldn't would've www yet";

/// Chinese particles and function words of one character: a pair that holds one straddles two words.
const HAN_FUNCTION_CHARACTERS: &str =
    "的了吗嗎呢吧啊呀嘛么麼着著之也都就很太和与與及或被把让讓给給这這那我你他她它们們是在有又";

/// Bit of a language in a stop word's mask.
type Languages = u64;

struct StopWords {
    /// For each stop word of any language the languages it belongs to; bit 0 is English.
    languages: HashMap<&'static str, Languages>,
    /// Chinese stop words, of any length.
    chinese: BTreeSet<&'static str>,
}

static STOP_WORDS: LazyLock<StopWords> = LazyLock::new(|| {
    let mut languages: HashMap<&'static str, Languages> = HashMap::new();
    // Chinese is compared pair by pair; the list of Hindi in Latin letters is full of English content words.
    let others = stop_words::available_languages().iter().filter(|code| !matches!(**code, "en" | "zh" | "hinglish"));
    for (bit, code) in std::iter::once(&"en").chain(others).take(Languages::BITS as usize).enumerate() {
        for word in stop_words::lookup(code).unwrap_or_default() {
            *languages.entry(word).or_default() |= 1 << bit;
        }
    }
    for word in MORE_STOP_WORDS.split_whitespace() {
        *languages.entry(word).or_default() |= 1;
    }
    StopWords { languages, chinese: stop_words::lookup("zh").unwrap_or_default().iter().copied().collect() }
});

/// The different content words of `text`, each once, in order. Stop words are those of English and, when the text has
/// clearly more stop words of another language, of that one too: a union of all lists would drop "hat" and "die".
pub(super) fn content_words(text: &str) -> BTreeSet<String> {
    let mut words = BTreeSet::new();
    let mut han: Option<(usize, char)> = None;
    let mut hits = [0_usize; Languages::BITS as usize];
    for (start, word) in text.unicode_word_indices() {
        if let Some(character) = lone_han(word) {
            if let Some((end, before)) = han
                && end == start
                && let Some(pair) = han_pair(before, character)
            {
                words.insert(pair);
            }
            han = Some((start + word.len(), character));
            continue;
        }
        let word = word.to_lowercase().replace('\u{2019}', "'");
        if let Some(&mask) = STOP_WORDS.languages.get(word.as_str()) {
            for (language, hits) in hits.iter_mut().enumerate() {
                *hits += usize::from(mask >> language & 1 == 1);
            }
        }
        words.insert(word);
    }
    let dropped = 1 | foreign_language(&hits).map_or(0, |language| 1 << language);
    words.into_iter().filter_map(|word| content_word(&word, dropped)).collect()
}

/// The one character of `word` when that is Han.
fn lone_han(word: &str) -> Option<char> {
    let mut characters = word.chars();
    let first = characters.next()?;
    (characters.next().is_none() && is_han(first)).then_some(first)
}

fn is_han(c: char) -> bool {
    matches!(c, '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}' | '\u{f900}'..='\u{faff}' | '\u{20000}'..='\u{323af}')
}

/// Two neighbouring Han characters as a term, unless they are a stop word or hold a function word.
fn han_pair(first: char, second: char) -> Option<String> {
    if [first, second].iter().any(|c| HAN_FUNCTION_CHARACTERS.contains(*c)) {
        return None;
    }
    let pair: String = [first, second].into_iter().collect();
    (!STOP_WORDS.chinese.contains(pair.as_str())).then_some(pair)
}

/// The language, other than English, whose stop words clearly outnumber the English ones.
fn foreign_language(hits: &[usize]) -> Option<usize> {
    let (english, others) = hits.split_first()?;
    // `max_by_key` keeps the last of equals; counted from the back that is the first.
    let (language, most) = others.iter().enumerate().rev().max_by_key(|(_, hits)| **hits)?;
    (*most >= english + CLEARLY_FOREIGN).then_some(language + 1)
}

/// The word without a possessive ending, unless it is a stop word of a `dropped` language, a number, a single letter, or
/// no word at all.
fn content_word(word: &str, dropped: Languages) -> Option<String> {
    let is_stop = |word: &str| STOP_WORDS.languages.get(word).is_some_and(|mask| mask & dropped != 0);
    if is_stop(word) {
        return None;
    }
    let word = word.strip_suffix("'s").unwrap_or(word);
    let length = word.chars().count();
    let is_word = (2..=LONGEST_WORD).contains(&length) && word.chars().any(char::is_alphabetic) && !word.contains('.');
    (is_word && !is_stop(word)).then(|| word.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        content_words(text).into_iter().collect()
    }

    #[test]
    fn stop_words_numbers_letters_and_debris_are_left_out() {
        assert_eq!(
            words("The dog's BOWL, isn’t it 12 x 3.5 cm? I'd buy 2 more bowls.<br/>See https://www.shop.com"),
            ["bowl", "bowls", "buy", "cm", "dog"]
        );
        assert_eq!(words("1234 5 a . -- \u{1f436}"), Vec::<String>::new());
        assert_eq!(words(&"x".repeat(200)), Vec::<String>::new());
    }

    #[test]
    fn words_of_another_language_are_dropped_only_in_its_texts() {
        assert_eq!(
            words("Die Katze hat das Futter nicht gemocht und ist zu dem Napf"),
            ["futter", "gemocht", "katze", "napf"]
        );
        assert_eq!(words("A red hat that may die in the sun"), ["die", "hat", "red", "sun"]);
    }

    #[test]
    fn chinese_gives_pairs_that_do_not_cross_function_words_or_punctuation() {
        assert_eq!(words("咖啡的味道，很好喝"), ["味道", "咖啡", "好喝"]);
        assert_eq!(words("买iPhone手机"), ["iphone", "手机"]);
        assert_eq!(words("好"), Vec::<String>::new());
        assert!(!words("因为我们咖啡").contains(&"因为".to_owned()));
    }
}
