//! Random sequences of operations against a plain list in memory.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use anser_core::{AttributeValue, Attributes};
use anser_index::{Collection, Filter, IndexOptions, NewDocument, Store};
use proptest::prelude::*;
use time::OffsetDateTime;

use crate::support::{Place, compact, direction, embedder, files, id, options, rng, written};
use crate::work::{Model, check_documents, check_search, check_word};

const DIMENSION: usize = 6;
/// How many sequences are tried.
const CASES: &str = "ANSER_TEST_MODEL_CASES";
/// Words that no stemmer changes and that are not left out of indexes.
const WORDS: [&str; 8] = ["amber", "birch", "cobalt", "drum", "elk", "fog", "größe", "水壶"];

#[derive(Debug, Clone)]
enum Step {
    Upsert(Vec<Made>),
    Delete(Vec<u8>),
    SetAttribute {
        documents: Vec<u8>,
        key: &'static str,
        value: Option<AttributeValue>,
    },
    Seal,
    Compact,
    Reopen,
    /// Go on through the other store, which plays another process.
    Switch,
    LoseCaches,
    /// Flip a bit in a file of the caches while nobody has it open.
    Damage {
        file: prop::sample::Index,
        place: prop::sample::Index,
        bit: u8,
    },
}

/// A document to store.
#[derive(Debug, Clone)]
struct Made {
    name: u8,
    /// For each chunk its words.
    chunks: Vec<Vec<usize>>,
    attributes: Attributes,
    seed: u64,
}

/// An attribute: each has values of one type, as far as that can be compared.
fn attribute() -> impl Strategy<Value = (&'static str, AttributeValue)> {
    let lists = prop::collection::vec(prop::sample::select(vec!["a", "b", "c"]).prop_map(str::to_owned), 0..3);
    let times = (0i64..5).prop_map(|days| OffsetDateTime::UNIX_EPOCH + time::Duration::days(days));
    prop_oneof![
        (-3i64..4).prop_map(|v| ("n", AttributeValue::Integer(v))),
        (-4i8..5).prop_map(|v| ("n", AttributeValue::Float(f64::from(v) / 2.0))),
        prop::sample::select(vec!["", "a", "b", "é"]).prop_map(|v| ("s", AttributeValue::String(v.to_owned()))),
        lists.prop_map(|v| ("tags", AttributeValue::StringList(v))),
        times.prop_map(|v| ("at", AttributeValue::Time(v))),
        any::<bool>().prop_map(|v| ("odd key!", AttributeValue::Bool(v))),
    ]
}

fn made() -> impl Strategy<Value = Made> {
    let chunks = prop::collection::vec(prop::collection::vec(0..WORDS.len(), 0..4), 0..4);
    let attributes = prop::collection::vec(attribute(), 0..4);
    (0u8..14, chunks, attributes, any::<u64>()).prop_map(|(name, chunks, attributes, seed)| {
        let attributes = attributes.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
        Made { name, chunks, attributes, seed }
    })
}

fn filter() -> impl Strategy<Value = Filter> {
    let one = (attribute(), prop::collection::vec(attribute(), 0..3), 0u8..8).prop_map(|((key, value), more, kind)| {
        let mut values = vec![value.clone()];
        values.extend(more.into_iter().filter(|(of, _)| *of == key).map(|(_, value)| value));
        let (ordered, key) = (matches!(key, "n" | "s" | "at"), key.to_owned());
        match (kind, value) {
            // Lists are asked for one of their texts, too.
            (0, AttributeValue::StringList(texts)) if !texts.is_empty() => {
                Filter::Eq { key, value: AttributeValue::String(texts[0].clone()) }
            }
            (0, value) => Filter::Eq { key, value },
            (1, value) => Filter::Ne { key, value },
            (2, value) if ordered => Filter::Gt { key, value },
            (3, value) if ordered => Filter::Gte { key, value },
            (4, value) if ordered => Filter::Lt { key, value },
            (5, value) if ordered => Filter::Lte { key, value },
            (6, _) => Filter::In { key, value: values },
            _ => Filter::Nin { key, value: values },
        }
    });
    one.prop_recursive(2, 6, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 1..3).prop_map(|filters| Filter::And { filters }),
            prop::collection::vec(inner.clone(), 1..3).prop_map(|filters| Filter::Or { filters }),
            inner.prop_map(|filter| Filter::Not { filter: Box::new(filter) }),
        ]
    })
}

fn step() -> impl Strategy<Value = Step> {
    let names = || prop::collection::vec(0u8..14, 1..5);
    let damage = (any::<prop::sample::Index>(), any::<prop::sample::Index>(), 0u8..8);
    prop_oneof![
        6 => prop::collection::vec(made(), 1..6).prop_map(Step::Upsert),
        3 => names().prop_map(Step::Delete),
        2 => (names(), attribute(), any::<bool>()).prop_map(|(documents, (key, value), set)| {
            Step::SetAttribute { documents, key, value: set.then_some(value) }
        }),
        2 => Just(Step::Seal),
        1 => Just(Step::Compact),
        1 => Just(Step::Reopen),
        1 => Just(Step::Switch),
        1 => Just(Step::LoseCaches),
        2 => damage.prop_map(|(file, place, bit)| Step::Damage { file, place, bit }),
    ]
}

/// A collection opened twice, and what must be in it.
struct Tried {
    place: Place,
    options: IndexOptions,
    open: [Option<(Store, Arc<Collection>)>; 2],
    current: usize,
    model: Model,
}

impl Tried {
    fn new(seal_threshold: usize) -> Self {
        let (place, options) = (Place::new(), IndexOptions { seal_threshold, ..options() });
        place.store().create("c", &embedder(DIMENSION)).unwrap();
        let mut tried = Self { place, options, open: [None, None], current: 0, model: BTreeMap::new() };
        (0..2).for_each(|which| tried.reopen(which));
        tried
    }

    fn reopen(&mut self, which: usize) {
        let store = self.place.store_with(self.options.clone());
        let collection = store.get("c").unwrap();
        self.open[which] = Some((store, collection));
    }

    fn collection(&self) -> &Collection {
        &self.open[self.current].as_ref().unwrap().1
    }

    fn caches(&self) -> Vec<PathBuf> {
        let mut found = files(&self.place.folder("c"));
        found.retain(|path| {
            let name = path.file_name().unwrap().to_string_lossy();
            !name.starts_with("collection.sqlite") && !name.ends_with(".lock")
        });
        found.sort();
        found
    }

    fn take(&mut self, number: usize, step: Step) {
        match step {
            Step::Upsert(made) => {
                let documents: Vec<NewDocument> =
                    made.into_iter().enumerate().map(|(i, made)| build(made, format!("{number}-{i}"))).collect();
                self.collection().upsert(&documents).unwrap();
                self.model.extend(documents.into_iter().map(|new| (new.document.id.to_string(), new)));
            }
            Step::Delete(names) => {
                let ids: Vec<_> = names.iter().map(|n| id(format!("n{n}"))).collect();
                let gone = ids.iter().filter(|id| self.model.remove(id.as_str()).is_some()).count();
                assert_eq!(self.collection().delete(&ids).unwrap(), gone);
            }
            Step::SetAttribute { documents, key, value } => {
                let ids: Vec<_> = documents.iter().map(|n| id(format!("n{n}"))).collect();
                let changes: Vec<_> = ids.iter().map(|id| (id.clone(), key, value.clone())).collect();
                self.collection().set_attributes(&changes).unwrap();
                for id in &ids {
                    let Some(new) = self.model.get_mut(id.as_str()) else { continue };
                    match &value {
                        Some(value) => drop(new.document.attributes.insert(key.to_owned(), value.clone())),
                        None => drop(new.document.attributes.remove(key)),
                    }
                }
            }
            Step::Seal => self.collection().seal().unwrap(),
            Step::Compact => compact(self.collection()),
            Step::Reopen => self.reopen(self.current),
            Step::Switch => self.current = 1 - self.current,
            // The background may have removed one before.
            Step::LoseCaches => self.caches().iter().for_each(|path| drop(fs::remove_file(path))),
            Step::Damage { file, place, bit } => {
                self.open = [None, None];
                let caches = self.caches();
                if !caches.is_empty() {
                    flip(file.get(&caches), place, bit);
                }
                (0..2).for_each(|which| self.reopen(which));
            }
        }
    }

    fn check(&self, collection: &Collection, seed: u64, filter: &Filter) {
        let query = direction(&mut rng(seed), DIMENSION);
        check_documents(collection, &self.model);
        check_search(collection, &self.model, &query, None);
        check_search(collection, &self.model, &query, Some(filter));
        check_word(collection, &self.model, WORDS[seed as usize % WORDS.len()]);
    }
}

fn build(made: Made, fingerprint: String) -> NewDocument {
    let mut rng = rng(made.seed);
    let pieces: Vec<_> = made
        .chunks
        .iter()
        .map(|words| {
            let words: Vec<&str> = words.iter().map(|word| WORDS[*word]).collect();
            (format!("{} {fingerprint}.", words.join(" ")), direction(&mut rng, DIMENSION))
        })
        .collect();
    let mut new = written(&format!("n{}", made.name), fingerprint, &pieces);
    new.document.attributes = made.attributes;
    new
}

fn flip(path: &PathBuf, place: prop::sample::Index, bit: u8) {
    let mut bytes = fs::read(path).unwrap();
    if !bytes.is_empty() {
        let at = place.index(bytes.len());
        bytes[at] ^= 1 << bit;
        fs::write(path, bytes).unwrap();
    }
}

fn cases() -> u32 {
    std::env::var(CASES).ok().and_then(|cases| cases.parse().ok()).unwrap_or(24)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_sequence_equals_a_plain_list(
        steps in prop::collection::vec((step(), filter()), 1..25),
        seal_threshold in prop_oneof![Just(8usize), Just(100_000)],
    ) {
        let mut tried = Tried::new(seal_threshold);
        for (number, (step, filter)) in steps.into_iter().enumerate() {
            tried.take(number, step);
            tried.check(tried.collection(), number as u64, &filter);
            if number % 5 == 4 {
                let other = &tried.open[1 - tried.current].as_ref().unwrap().1;
                tried.check(other, number as u64 + 1, &filter);
            }
        }
    }
}
