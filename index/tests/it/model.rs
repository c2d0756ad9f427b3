//! Random sequences of operations against a plain list in memory.

use std::collections::BTreeMap;
use std::sync::Arc;

use anser_core::Embedding;
use anser_index::{Collection, IndexOptions, SearchParams, Store};
use proptest::prelude::*;

use crate::support::{Place, direction, document, embedder, id, options, rng};

const DIMENSION: usize = 6;

#[derive(Debug, Clone)]
enum Step {
    /// Documents (by number) with so many chunks each; the seed makes their vectors.
    Upsert {
        documents: Vec<(u8, u8)>,
        seed: u64,
    },
    Delete {
        documents: Vec<u8>,
    },
    Seal,
    Reopen,
    /// Go on through the other store, which plays another process.
    Switch,
    LoseCache,
}

fn step() -> impl Strategy<Value = Step> {
    let name = 0u8..12;
    prop_oneof![
        6 => (prop::collection::vec((name.clone(), 0u8..5), 1..6), any::<u64>())
            .prop_map(|(documents, seed)| Step::Upsert { documents, seed }),
        3 => prop::collection::vec(name, 1..5).prop_map(|documents| Step::Delete { documents }),
        2 => Just(Step::Seal),
        1 => Just(Step::Reopen),
        1 => Just(Step::Switch),
        1 => Just(Step::LoseCache),
    ]
}

/// What must be stored: for each document its version and vectors.
type Model = BTreeMap<String, (u64, Vec<Embedding>)>;

fn check(collection: &Collection, model: &Model, seed: u64) {
    let query = direction(&mut rng(seed), DIMENSION);
    let mut expected: Vec<(f32, String, u32)> = model
        .iter()
        .flat_map(|(name, (_, vectors))| {
            vectors.iter().enumerate().map(|(i, v)| (query.cosine(v).unwrap(), name.clone(), i as u32))
        })
        .collect();
    expected.sort_by(|a, b| b.0.total_cmp(&a.0));
    let params = SearchParams { exact: Some(true), ..SearchParams::new(1000) };
    let outcome = collection.search(&query, &params).unwrap();
    assert_eq!(outcome.explain.vectors, expected.len());
    assert_eq!(outcome.hits.len(), expected.len());
    for (hit, (score, name, ordinal)) in outcome.hits.iter().zip(&expected) {
        assert!((hit.score - score).abs() < 1e-5);
        assert_eq!((hit.chunk.document_id.as_str(), hit.chunk.ordinal), (name.as_str(), *ordinal));
        let version = model[name].0;
        assert!(hit.chunk.text.contains(&format!("v{version}.")));
    }
    assert!(collection.search(&query, &SearchParams { exact: Some(false), ..SearchParams::new(3) }).is_ok());
    let info = collection.info().unwrap();
    assert_eq!((info.documents as usize, info.chunks as usize), (model.len(), expected.len()));
}

fn run(steps: Vec<Step>, seal_threshold: usize) {
    let place = Place::new();
    let options = IndexOptions { seal_threshold, ..options() };
    let open = |_: usize| place.store_with(options.clone());
    let mut stores: [Store; 2] = std::array::from_fn(open);
    stores[0].create("c", &embedder(DIMENSION)).unwrap();
    let mut collections: [Arc<Collection>; 2] = std::array::from_fn(|i| stores[i].get("c").unwrap());
    let mut current = 0;
    let mut model = Model::new();
    for (number, step) in steps.into_iter().enumerate() {
        let version = number as u64;
        match step {
            Step::Upsert { documents, seed } => {
                let mut rng = rng(seed);
                let made: Vec<_> = documents
                    .iter()
                    .map(|(name, chunks)| {
                        let vectors: Vec<_> = (0..*chunks).map(|_| direction(&mut rng, DIMENSION)).collect();
                        model.insert(format!("n{name}"), (version, vectors.clone()));
                        let mut new = document(format!("n{name}"), &format!("v{version}"), &vectors);
                        new.document.text.push('.');
                        new.fingerprint = format!("{version}-{seed}-{name}-{chunks}");
                        new
                    })
                    .collect();
                // Of equal fingerprints in one call the first is kept, so make them differ.
                let made = made.into_iter().enumerate().map(|(i, mut new)| {
                    new.fingerprint = format!("{}-{i}", new.fingerprint);
                    new
                });
                collections[current].upsert(&made.collect::<Vec<_>>()).unwrap();
            }
            Step::Delete { documents } => {
                let ids: Vec<_> = documents.iter().map(|n| id(format!("n{n}"))).collect();
                let gone = ids.iter().filter(|id| model.remove(id.as_str()).is_some()).count();
                assert_eq!(collections[current].delete(&ids).unwrap(), gone);
            }
            Step::Seal => collections[current].seal().unwrap(),
            Step::Reopen => {
                stores[current] = place.store_with(options.clone());
                collections[current] = stores[current].get("c").unwrap();
            }
            Step::Switch => current = 1 - current,
            Step::LoseCache => drop(std::fs::remove_dir_all(place.cache("c"))),
        }
        check(&collections[current], &model, version);
    }
    check(&collections[1 - current], &model, 7);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_sequence_equals_a_plain_list(
        steps in prop::collection::vec(step(), 1..25),
        seal_threshold in prop_oneof![Just(8usize), Just(100_000)],
    ) {
        run(steps, seal_threshold);
    }
}
