//! Random operations against a plain list that is scored anew for each query.

use std::collections::{BTreeMap, HashMap, HashSet};

use anser_core::CancelToken;
use proptest::prelude::*;
use tantivy::fieldnorm::FieldNormReader;

use super::*;
use crate::keyword::analyser::Analyser;
use crate::keyword::query::{KeywordQuery, PART_WEIGHT};
use crate::keyword::score::TITLE_WEIGHT;

const WORDS: [&str; 12] =
    ["red", "Reds", "cat", "cats", "wi-fi", "sky", "running", "run", "咖啡馆", "喜欢", "학교에서", "AB-12x"];

#[derive(Debug, Clone)]
enum Step {
    /// Documents by number, each with a title and a text of these words.
    Upsert(Vec<(u8, Vec<u8>, Vec<u8>)>),
    Delete(Vec<u8>),
    Seal,
    Compact,
    /// Go on as another process.
    Switch,
    Reopen,
    LoseIndex,
    /// Forget the changes that only the keyword index still needs.
    Trim,
}

fn step() -> impl Strategy<Value = Step> {
    let words = || prop::collection::vec(0u8..12, 0..6);
    prop_oneof![
        6 => prop::collection::vec((0u8..10, words(), words()), 1..6).prop_map(Step::Upsert),
        3 => prop::collection::vec(0u8..10, 1..4).prop_map(Step::Delete),
        2 => Just(Step::Seal),
        1 => Just(Step::Compact),
        2 => Just(Step::Switch),
        1 => Just(Step::Reopen),
        1 => Just(Step::LoseIndex),
        1 => Just(Step::Trim),
    ]
}

type Model = BTreeMap<String, (String, String)>;

fn said(words: &[u8]) -> String {
    words.iter().map(|word| WORDS[usize::from(*word)]).collect::<Vec<_>>().join(" ")
}

/// A text as the formula sees it.
#[derive(Default)]
struct Counted {
    /// How often each term occurs.
    terms: HashMap<String, f64>,
    /// Where the terms lie that phrases are made of.
    places: HashSet<(String, u32)>,
    /// How many terms there are, as the index stores it.
    length: f64,
}

impl Counted {
    fn of(text: &str) -> Self {
        let (mut counted, mut length) = (Self::default(), 0);
        Analyser::new().each(text, &mut |token| {
            *counted.terms.entry(token.text.to_owned()).or_default() += 1.0;
            if token.links {
                counted.places.insert((token.text.to_owned(), token.position));
            }
            length += 1;
        });
        counted.length = f64::from(FieldNormReader::id_to_fieldnorm(FieldNormReader::fieldnorm_to_id(length)));
        counted
    }

    /// How often the terms follow each other.
    fn follow(&self, terms: &[(String, u32)]) -> f64 {
        let starts = self.places.iter().filter(|(term, _)| *term == terms[0].0);
        let held = |start: u32| terms.iter().all(|(term, at)| self.places.contains(&(term.clone(), start + at)));
        starts.filter(|(_, start)| held(*start)).count() as f64
    }
}

/// The scores of all documents that match, by the formula.
fn naive(model: &Model, query: &str) -> BTreeMap<String, f64> {
    let query = KeywordQuery::parse(query, &mut Analyser::new());
    let mut scores = BTreeMap::new();
    for field in 0..2 {
        let texts: BTreeMap<&String, Counted> =
            model.iter().map(|(id, (title, text))| (id, Counted::of(if field == 0 { title } else { text }))).collect();
        let filled = texts.values().filter(|text| text.length > 0.0).count() as f64;
        let average = (texts.values().map(|text| text.length).sum::<f64>() / filled.max(1.0)).max(1.0);
        let idf = |term: &String| {
            let holding = texts.values().filter(|text| text.terms.contains_key(term)).count() as f64;
            (1.0 + (filled - holding + 0.5) / (holding + 0.5)).ln()
        };
        let mut add = |weight: f64, count: &dyn Fn(&Counted) -> f64| {
            for (id, text) in &texts {
                let count = count(text);
                if count > 0.0 {
                    let share = count * 2.2 / (count + 1.2 * (0.25 + 0.75 * text.length / average));
                    let boost = if field == 0 { TITLE_WEIGHT } else { 1.0 };
                    *scores.entry((*id).clone()).or_default() += boost * weight * share;
                }
            }
        };
        for clause in &query.clauses {
            let count = |text: &Counted| text.terms.get(&clause.term).copied().unwrap_or_default();
            add(f64::from(clause.weight) * idf(&clause.term), &count);
        }
        for code in &query.codes {
            let weight: f64 = code.0.iter().map(|(term, _)| idf(term)).sum();
            add(f64::from(PART_WEIGHT) * weight, &|text| text.follow(&code.0));
        }
    }
    scores
}

fn check(collection: &Collection, model: &Model) {
    for query in ["red cat", "Running wi-fi", "咖啡 喜欢", "학교 sky", "AB-12x cats reds"] {
        let expected = naive(model, query);
        let found = hits(collection, query);
        assert_eq!(found.len(), expected.len(), "{query}: {found:?} {expected:?}");
        for (id, score) in &found {
            assert!((f64::from(*score) - expected[id]).abs() < 1e-3, "{query}: {id} {score} {}", expected[id]);
        }
        assert!(found.is_sorted_by(|a, b| a.1 >= b.1));
    }
}

fn run(steps: Vec<Step>) {
    let place = Place::new();
    let mut collections = [place.create(), place.open()];
    let mut current = 0;
    let mut model = Model::new();
    for (number, step) in steps.into_iter().enumerate() {
        let c = Arc::clone(&collections[current]);
        match step {
            Step::Upsert(documents) => {
                for (id, title, text) in documents {
                    let (id, title, text) = (format!("n{id}"), said(&title), said(&text));
                    let mut new = document(&id, Some(&title), &text);
                    new.fingerprint = format!("{number}-{}", new.fingerprint);
                    c.upsert(&[new]).unwrap();
                    model.insert(id, (title, text));
                }
            }
            Step::Delete(documents) => {
                let gone: Vec<_> = documents.iter().map(|id| DocumentId::new(format!("n{id}")).unwrap()).collect();
                c.delete(&gone).unwrap();
                for id in &gone {
                    model.remove(id.as_str());
                }
            }
            Step::Seal => drop(c.keywords.seal(&c.upkeep.database, true).unwrap()),
            Step::Compact => c.keywords.compact(&c.upkeep.database, &CancelToken::new()).unwrap(),
            Step::Switch => current = 1 - current,
            Step::Reopen => collections[current] = place.open(),
            Step::LoseIndex => drop(std::fs::remove_dir_all(place.folder())),
            Step::Trim => {
                c.upkeep.database.cache_dropped("keywords").unwrap();
                c.seal().unwrap();
            }
        }
        check(&collections[current], &model);
    }
    check(&collections[1 - current], &model);
    // The same scores to the last bit as if everything had been put in at once, but for the order of equal ones.
    let fresh = Place::new();
    let c = fresh.create();
    let all: Vec<_> = model.iter().map(|(id, (title, text))| document(id, Some(title), text)).collect();
    c.upsert(&all).unwrap();
    let sorted = |c: &Collection| {
        let mut found = hits(c, "red cat sky run");
        found.sort_by(|a, b| a.0.cmp(&b.0));
        found
    };
    assert_eq!(sorted(&c), sorted(&collections[current]));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_sequence_scores_as_the_formula_does(steps in prop::collection::vec(step(), 1..16)) {
        run(steps);
    }
}
