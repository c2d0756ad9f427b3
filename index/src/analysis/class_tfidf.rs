//! Words that tell the classes of a text collection apart.
//!
//! Class-based TF-IDF: Grootendorst, "`BERTopic`: neural topic modeling with a class-based TF-IDF procedure", 2022. The
//! score of term t in class c is tf(t, c) * ln(1 + A / f(t)), where tf is the term's share of the class's terms, f its
//! count over all classes and A the mean number of terms of a class.

use std::collections::HashMap;

use anser_core::CancelToken;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::tokens::content_words;
use crate::{IndexError, Result};

/// Texts read between two looks at the cancel token.
const BLOCK: usize = 512;

/// From this many texts on, terms that only one of them uses come after all others: they are names and typing errors.
const CLASS_WITH_COMMON_TERMS: usize = 4;

/// A term that a class uses less than this many times as often as all texts together does not set it apart.
const DISTINCTIVE: f64 = 1.5;

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

/// How many texts use each term.
type Counts = HashMap<String, usize>;

/// At most `keywords` terms for each of `classes` classes, best first; equal scores in alphabetical order. `assignments`
/// names the class of each text. A term counts once for each text that uses it, so that one long text cannot speak for
/// its class, and of a word and its plural only the better one is kept. Terms of a single text, and terms that a class uses
/// hardly more often than all texts do ("great", "product"), come after all others. A class without usable terms gets none.
///
/// Fails with `InvalidInput` when there is not one assignment for each text or one is not below `classes`.
pub fn class_tfidf<T: AsRef<str> + Sync>(
    texts: &[T],
    assignments: &[u32],
    classes: usize,
    keywords: usize,
    cancel: &CancelToken,
) -> Result<Vec<Vec<Keyword>>> {
    if texts.len() != assignments.len() {
        return Err(IndexError::invalid(format!(
            "{} texts cannot have {} class assignments; give one for each",
            texts.len(),
            assignments.len()
        )));
    }
    let mut members: Vec<Vec<&T>> = vec![Vec::new(); classes];
    for (text, &class) in texts.iter().zip(assignments) {
        let Some(members) = members.get_mut(class as usize) else {
            return Err(IndexError::invalid(format!("class {class} does not exist; there are {classes}, from 0")));
        };
        members.push(text);
    }
    let counts: Vec<Counts> = members.iter().map(|members| count_terms(members, cancel)).collect::<Result<_>>()?;
    let mut everywhere: HashMap<&str, usize> = HashMap::new();
    for (term, count) in counts.iter().flatten() {
        *everywhere.entry(term).or_default() += count;
    }
    let used = members.iter().filter(|members| !members.is_empty()).count().max(1);
    let mean_terms = everywhere.values().sum::<usize>() as f64 / used as f64;
    let rank = |(members, counts): (&Vec<&T>, &Counts)| {
        let terms = counts.values().sum::<usize>() as f64;
        let score = |term: &str, count: usize| {
            let total = everywhere.get(term).copied().unwrap_or(count) as f64;
            count as f64 / terms * (mean_terms / total).ln_1p()
        };
        let share = members.len() as f64 / texts.len() as f64;
        let weak = |term: &str, documents: usize| {
            let expected = everywhere.get(term).copied().unwrap_or(documents) as f64 * share;
            let alone = members.len() >= CLASS_WITH_COMMON_TERMS && documents < 2;
            // A hair of tolerance for the division: exactly that many times is enough.
            alone || documents as f64 + 1e-9 < DISTINCTIVE * expected
        };
        let scored = counts.iter().map(|(term, &documents)| {
            let keyword = Keyword { score: score(term, documents), term: term.clone(), documents };
            (weak(term, documents), keyword)
        });
        best(scored.collect(), keywords)
    };
    Ok(members.par_iter().zip(&counts).map(rank).collect())
}

/// How many of `texts` use each term.
fn count_terms<T: AsRef<str> + Sync>(texts: &[&T], cancel: &CancelToken) -> Result<Counts> {
    let count = |texts: &[&T]| -> anser_core::Result<Counts> {
        cancel.check()?;
        let mut counts = Counts::new();
        for term in texts.iter().flat_map(|text| content_words((*text).as_ref())) {
            *counts.entry(term).or_default() += 1;
        }
        Ok(counts)
    };
    Ok(texts.par_chunks(BLOCK).map(count).try_reduce(Counts::new, |a, b| Ok(merge(a, b)))?)
}

fn merge(a: Counts, b: Counts) -> Counts {
    let (mut into, from) = if a.len() >= b.len() { (a, b) } else { (b, a) };
    for (term, count) in from {
        *into.entry(term).or_default() += count;
    }
    into
}

/// The first `wanted` by score, those marked weak last, without plurals of one another.
fn best(mut scored: Vec<(bool, Keyword)>, wanted: usize) -> Vec<Keyword> {
    scored.sort_by(|(a_weak, a), (b_weak, b)| {
        a_weak.cmp(b_weak).then(b.score.total_cmp(&a.score)).then_with(|| a.term.cmp(&b.term))
    });
    let mut kept: Vec<Keyword> = Vec::new();
    for (_, keyword) in scored {
        if kept.len() == wanted {
            break;
        }
        if !kept.iter().any(|k| is_plural(&k.term, &keyword.term) || is_plural(&keyword.term, &k.term)) {
            kept.push(keyword);
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
        class_tfidf(texts, classes, count, wanted, &CancelToken::new()).unwrap()
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
        assert!(class_tfidf(&["a"], &[1], 1, 5, &CancelToken::new()).is_err());
        assert!(class_tfidf(&["a"], &[], 1, 5, &CancelToken::new()).is_err());
        let nothing: [&str; 0] = [];
        assert!(class_tfidf(&nothing, &[], 0, 5, &CancelToken::new()).unwrap().is_empty());
    }
}
