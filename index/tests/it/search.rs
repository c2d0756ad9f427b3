//! What a search finds, in which order, and how it says it was done.

use anser_core::{Embedding, ErrorKind};
use anser_index::{IndexOptions, SearchMethod, SearchParams};

use crate::support::{Place, direction, document, documents, filled, hits, hits_with, id, options, rng};

#[test]
fn scores_are_cosines_best_first_and_ties_go_by_age() {
    let place = Place::new();
    let store = place.store();
    let unit = |x: f32, y: f32| Embedding::normalize(vec![x, y]).unwrap();
    let collection = filled(
        &store,
        2,
        &[
            document("away", "v1", &[unit(-1.0, 0.0)]),
            document("first", "v1", &[unit(3.0, 4.0)]),
            document("second", "v1", &[unit(3.0, 4.0)]),
            document("same", "v1", &[unit(1.0, 0.0)]),
        ],
    );
    let found = hits(&collection, &unit(1.0, 0.0), 10);
    let names: Vec<&str> = found.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["same", "first", "second", "away"]);
    for ((_, score), expected) in found.iter().zip([1.0, 0.6, 0.6, -1.0]) {
        assert!((score - expected).abs() < 1e-6 && (-1.0..=1.0).contains(score));
    }
    assert_eq!(hits(&collection, &unit(1.0, 0.0), 2).len(), 2);
}

#[test]
fn wrong_queries_are_refused() {
    let place = Place::new();
    let store = place.store();
    let collection = filled(&store, 8, &documents(1, 5, 8));
    let wrong = collection.search(&direction(&mut rng(1), 9), &SearchParams::new(3)).unwrap_err();
    assert_eq!(wrong.kind(), ErrorKind::InvalidInput);
    assert!(wrong.to_string().contains('9') && wrong.to_string().contains('8'), "{wrong}");
    let none = collection.search(&direction(&mut rng(1), 8), &SearchParams::new(0)).unwrap_err();
    assert_eq!(none.kind(), ErrorKind::InvalidInput);
}

#[test]
fn an_empty_collection_finds_nothing() {
    let place = Place::new();
    let store = place.store();
    let collection = filled(&store, 8, &[]);
    collection.seal().unwrap();
    let outcome = collection.search(&direction(&mut rng(1), 8), &SearchParams::new(3)).unwrap();
    assert!(outcome.hits.is_empty());
    assert_eq!((outcome.explain.vectors, outcome.explain.segments), (0, 0));
}

#[test]
fn explain_says_what_was_done() {
    let place = Place::new();
    let store = place.store_with(IndexOptions { exact_below: 1000, ..options() });
    let collection = filled(&store, 8, &documents(1, 900, 8));
    collection.seal().unwrap();
    let query = direction(&mut rng(5), 8);
    let explain = |exact| collection.search(&query, &SearchParams { exact, ..SearchParams::new(5) }).unwrap().explain;
    assert_eq!(explain(None).method, SearchMethod::Exact);
    assert_eq!(explain(Some(false)).method, SearchMethod::Hnsw);
    let mut more = documents(2, 200, 8);
    for (i, new) in more.iter_mut().enumerate() {
        new.document.id = id(format!("more{i}"));
    }
    collection.upsert(&more).unwrap();
    let automatic = explain(None);
    assert_eq!(automatic.method, SearchMethod::Hnsw);
    assert_eq!((automatic.vectors, automatic.segments, automatic.tail), (1100, 1, 200));
    assert!(automatic.ef_search.is_some());
    assert_eq!(explain(Some(true)).method, SearchMethod::Exact);
    assert_eq!(explain(Some(true)).ef_search, None);
}

#[test]
fn duplicate_vectors_are_all_found_through_a_graph() {
    let place = Place::new();
    let store = place.store();
    let same = direction(&mut rng(7), 16);
    let mut all = documents(1, 600, 16);
    all.extend((0..40).map(|i| document(format!("same{i}"), "v1", std::slice::from_ref(&same))));
    let collection = filled(&store, 16, &all);
    collection.seal().unwrap();
    let found = hits_with(&collection, &same, &SearchParams { exact: Some(false), ..SearchParams::new(40) });
    assert_eq!(found.len(), 40);
    assert!(found.iter().all(|(name, score)| name.starts_with("same") && (score - 1.0).abs() < 1e-5), "{found:?}");
}

#[test]
fn removed_rows_of_a_graph_are_never_found_and_cost_no_hits() {
    let place = Place::new();
    let store = place.store();
    let collection = filled(&store, 16, &documents(1, 1000, 16));
    collection.seal().unwrap();
    let query = direction(&mut rng(8), 16);
    let params = SearchParams { exact: Some(false), ..SearchParams::new(20) };
    let best: Vec<_> = hits_with(&collection, &query, &params).into_iter().map(|(name, _)| id(name)).collect();
    collection.delete(&best).unwrap();
    let outcome = collection.search(&query, &params).unwrap();
    assert_eq!(outcome.explain.method, SearchMethod::Hnsw);
    assert_eq!(outcome.hits.len(), 20);
    assert!(outcome.hits.iter().all(|h| !best.contains(&h.chunk.document_id)));
}
