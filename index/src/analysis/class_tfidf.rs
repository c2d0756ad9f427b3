//! Words that tell the classes of a text collection apart.
//!
//! Class-based TF-IDF: Grootendorst, "`BERTopic`: neural topic modeling with a class-based TF-IDF procedure", 2022. The
//! score of term t in class c is tf(t, c) * ln(1 + A / f(t)), where tf is the term's share of the class's terms, f its
//! count over all classes and A the mean number of terms of a class.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::tokens::content_words;
use crate::{IndexError, Result};

/// Most different terms that are counted at a time.
const MOST_TERMS: usize = 1_000_000;

/// Most pairs of a term and a class that uses it.
const MOST_PAIRS: usize = 8_000_000;

/// From this many texts on, terms that only one of them uses come after all others: they are names and typing errors.
const CLASS_WITH_COMMON_TERMS: u64 = 4;

/// A term that a class uses less than this many times as often as all texts together does not set it apart.
const DISTINCTIVE: f64 = 1.5;

/// A word and its plurals are at most this many terms.
const FORMS: usize = 4;

/// A term that sets a class apart.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Keyword {
    /// The term, in lower case: a word, or a pair of Han characters.
    pub term: String,
    /// Its class-based TF-IDF; comparable within one class.
    pub score: f64,
    /// How many texts of the class use it.
    pub documents: usize,
}

/// The terms of classes of texts, counted as the texts come by. Memory is bounded: beyond a million terms (or eight million
/// pairs of term and class) the rarest are forgotten, as in lossy counting (Manku and Motwani 2002), so that only terms too
/// rare to be keywords are counted short. The same texts in the same order give the same keywords.
#[derive(Debug)]
pub struct ClassTfidf {
    terms: HashMap<String, TermCounts>,
    /// Texts of each class.
    texts: Vec<u64>,
    /// Terms of each class, one for each text that uses it.
    used: Vec<u64>,
    pairs: usize,
    most: (usize, usize),
}

/// How many texts use a term.
#[derive(Debug, Default)]
struct TermCounts {
    total: u64,
    /// The classes that use it, in rising order, each with how many of its texts do.
    classes: Vec<(u32, u32)>,
}

impl ClassTfidf {
    /// Nothing is counted yet of `classes` classes.
    pub fn new(classes: usize) -> Self {
        Self {
            terms: HashMap::new(),
            texts: vec![0; classes],
            used: vec![0; classes],
            pairs: 0,
            most: (MOST_TERMS, MOST_PAIRS),
        }
    }

    /// Most memory that counting takes, in bytes.
    pub fn memory_bytes() -> u64 {
        (MOST_TERMS * 120 + MOST_PAIRS * 16) as u64
    }

    /// Counts texts with their classes. A term counts once for each text that uses it, so that one long text cannot speak
    /// for its class. Texts of a call are taken apart on all threads: a few hundred at a time are enough.
    ///
    /// Fails with `InvalidInput`, before anything is counted, when a class does not exist.
    pub fn add<T: AsRef<str> + Sync>(&mut self, texts: &[(u32, T)]) -> Result<()> {
        let classes = self.texts.len();
        if let Some((class, _)) = texts.iter().find(|(class, _)| *class as usize >= classes) {
            return Err(IndexError::invalid(format!("class {class} does not exist; there are {classes}, from 0")));
        }
        let words: Vec<_> = texts.par_iter().map(|(_, text)| content_words(text.as_ref())).collect();
        for (&(class, _), words) in texts.iter().zip(words) {
            self.texts[class as usize] += 1;
            self.used[class as usize] += words.len() as u64;
            for word in words {
                self.count(word, class);
            }
            if self.terms.len() > self.most.0 || self.pairs > self.most.1 {
                self.forget();
            }
        }
        Ok(())
    }

    fn count(&mut self, term: String, class: u32) {
        let counts = match self.terms.entry(term) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => entry.insert(TermCounts::default()),
        };
        counts.total += 1;
        match counts.classes.binary_search_by_key(&class, |(class, _)| *class) {
            Ok(at) => counts.classes[at].1 += 1,
            Err(at) => {
                counts.classes.insert(at, (class, 1));
                self.pairs += 1;
            }
        }
    }

    /// Drops the rarest terms until at most half of what is allowed is left.
    fn forget(&mut self) {
        let (terms, pairs) = (self.most.0 / 2, self.most.1 / 2);
        let mut floor = 1;
        while self.terms.len() > terms || self.pairs > pairs {
            self.terms.retain(|_, counts| counts.total > floor);
            self.pairs = self.terms.values().map(|counts| counts.classes.len()).sum();
            floor *= 2;
        }
    }

    /// At most `wanted` terms for each class, best first; equal scores in alphabetical order. Of a word and its plural only
    /// the better one is kept. Terms of a single text, and terms that a class uses hardly more often than all texts do
    /// ("great", "product"), come after all others. A class without usable terms gets none.
    pub fn keywords(&self, wanted: usize) -> Vec<Vec<Keyword>> {
        let filled = self.texts.iter().filter(|texts| **texts > 0).count().max(1);
        let mean_terms = self.used.iter().sum::<u64>() as f64 / filled as f64;
        let texts = self.texts.iter().sum::<u64>() as f64;
        let kept = wanted * FORMS;
        let mut best: Vec<Vec<Candidate<'_>>> = vec![Vec::new(); self.texts.len()];
        for (term, counts) in &self.terms {
            for &(class, documents) in &counts.classes {
                let (members, used) = (self.texts[class as usize], self.used[class as usize]);
                let expected = counts.total as f64 * (members as f64 / texts);
                let alone = members >= CLASS_WITH_COMMON_TERMS && documents < 2;
                let share = f64::from(documents) / used as f64;
                let candidates = &mut best[class as usize];
                candidates.push(Candidate {
                    // A hair of tolerance for the division: exactly that many times is enough.
                    weak: alone || f64::from(documents) + 1e-9 < DISTINCTIVE * expected,
                    score: share * (mean_terms / counts.total as f64).ln_1p(),
                    term,
                    documents,
                });
                if candidates.len() > 4 * kept + 64 {
                    candidates.sort_unstable_by(Candidate::order);
                    candidates.truncate(kept);
                }
            }
        }
        best.into_iter().map(|candidates| choose(candidates, wanted)).collect()
    }
}

/// A term that may become a keyword of a class.
#[derive(Debug, Clone, Copy)]
struct Candidate<'a> {
    weak: bool,
    score: f64,
    term: &'a str,
    documents: u32,
}

impl Candidate<'_> {
    fn order(&self, other: &Self) -> std::cmp::Ordering {
        self.weak.cmp(&other.weak).then(other.score.total_cmp(&self.score)).then_with(|| self.term.cmp(other.term))
    }
}

/// The first `wanted` by score, those marked weak last, without plurals of one another.
fn choose(mut candidates: Vec<Candidate<'_>>, wanted: usize) -> Vec<Keyword> {
    candidates.sort_unstable_by(Candidate::order);
    let mut kept: Vec<Keyword> = Vec::new();
    for Candidate { score, term, documents, .. } in candidates {
        if kept.len() == wanted {
            break;
        }
        if !kept.iter().any(|k| is_plural(&k.term, term) || is_plural(term, &k.term)) {
            kept.push(Keyword { term: term.to_owned(), score, documents: documents as usize });
        }
    }
    kept
}

/// Whether `long` is `short` with an English plural ending.
fn is_plural(short: &str, long: &str) -> bool {
    let ending = long.strip_prefix(short);
    matches!(ending, Some("s" | "es"))
        || short.strip_suffix('y').is_some_and(|stem| long.strip_suffix("ies") == Some(stem))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keywords(texts: &[&str], classes: &[u32], count: usize, wanted: usize) -> Vec<Vec<Keyword>> {
        let mut counted = ClassTfidf::new(count);
        for (text, &class) in texts.iter().zip(classes) {
            counted.add(&[(class, text)]).unwrap();
        }
        counted.keywords(wanted)
    }

    fn terms(keywords: &[Keyword]) -> Vec<&str> {
        keywords.iter().map(|k| k.term.as_str()).collect()
    }

    #[test]
    fn scores_equal_the_formula_worked_out_by_hand() {
        // Class 0 counts coffee 2, cup 1, price 1 (4 terms); class 1 counts leash 1, price 1 (2 terms). A = 6 / 2 = 3.
        let texts = ["coffee coffee cup", "the coffee price", "leash price"];
        let found = keywords(&texts, &[0, 0, 1], 2, 10);
        let expected = [
            vec![
                ("coffee", 2.0 / 4.0 * (1.0_f64 + 3.0 / 2.0).ln(), 2),
                ("cup", 1.0 / 4.0 * 4.0_f64.ln(), 1),
                ("price", 1.0 / 4.0 * 2.5_f64.ln(), 1),
            ],
            vec![("leash", 1.0 / 2.0 * 4.0_f64.ln(), 1), ("price", 1.0 / 2.0 * 2.5_f64.ln(), 1)],
        ];
        for (found, expected) in found.iter().zip(&expected) {
            assert_eq!(found.len(), expected.len());
            for (found, (term, score, documents)) in found.iter().zip(expected) {
                assert_eq!((found.term.as_str(), found.documents), (*term, *documents));
                assert!((found.score - score).abs() < 1e-12, "{term}: {} against {score}", found.score);
            }
        }
    }

    #[test]
    fn one_long_text_does_not_speak_for_its_class() {
        let long = "banana ".repeat(500);
        let texts = ["kettle boils", "kettle whistles", "kettle leaks", &long, "lamp", "lamp"];
        assert_eq!(terms(&keywords(&texts, &[0, 0, 0, 0, 1, 1], 2, 1)[0]), ["kettle"]);
    }

    #[test]
    fn words_that_every_class_uses_come_last() {
        let texts = ["great kettle", "great kettle lid", "great lid", "great steam steam", "great lamp", "great lamp"];
        let found = keywords(&texts, &[0, 0, 0, 0, 1, 1], 2, 9);
        assert_eq!(
            (terms(&found[0]), terms(&found[1])),
            (vec!["kettle", "lid", "great", "steam"], vec!["lamp", "great"])
        );
    }

    #[test]
    fn a_word_and_its_plural_are_one_keyword() {
        let texts = ["pods berry", "pods berries", "pod berries", "boxes box", "cat", "cat"];
        assert_eq!(terms(&keywords(&texts, &[0, 0, 0, 0, 1, 1], 2, 9)[0]), ["berries", "pods", "box"]);
    }

    #[test]
    fn classes_without_terms_get_none_and_wrong_classes_are_refused() {
        let found = keywords(&["the and", "tea"], &[0, 2], 4, 5);
        assert_eq!(found.iter().map(Vec::len).collect::<Vec<_>>(), [0, 0, 1, 0]);
        let mut counted = ClassTfidf::new(1);
        assert!(counted.add(&[(0, "tea"), (1, "tea")]).unwrap_err().to_string().contains("class 1 does not exist"));
        assert_eq!(counted.keywords(5), [Vec::new()]);
        assert!(ClassTfidf::new(0).keywords(5).is_empty());
    }

    #[test]
    fn texts_that_come_together_or_one_by_one_give_the_same() {
        let texts: Vec<(u32, String)> =
            (0..600_u32).map(|at| (at % 3, format!("topic{} word{} shared", at % 3, at % 17))).collect();
        let (mut together, mut alone) = (ClassTfidf::new(3), ClassTfidf::new(3));
        together.add(&texts).unwrap();
        for text in &texts {
            alone.add(std::slice::from_ref(text)).unwrap();
        }
        assert_eq!(together.keywords(9), alone.keywords(9));
        assert_eq!(together.keywords(1)[2][0].term, "topic2");
    }

    #[test]
    fn rare_terms_are_forgotten_when_there_are_too_many() {
        let mut counted = ClassTfidf { most: (64, 128), ..ClassTfidf::new(2) };
        for at in 0..2000_u32 {
            counted.add(&[(at % 2, format!("kettle{} once{at}", at % 2))]).unwrap();
            assert!(counted.terms.len() <= 64 && counted.pairs <= 128);
        }
        let found = counted.keywords(1);
        assert_eq!((terms(&found[0]), terms(&found[1])), (vec!["kettle0"], vec!["kettle1"]));
        assert_eq!(found[0][0].documents, 1000);
    }
}
