//! Filtered searches and rankings against plain loops over everything.

use anser_core::{AttributeValue, Embedding, ErrorKind};
use anser_index::{
    Collection, Filter, FilterExplain, FilterStrategy, IndexOptions, NewDocument, RankParams, RankQuery, SearchMethod,
    SearchMode, SearchParams, UnknownKey,
};
use rand::Rng;

use crate::support::{Place, direction, document, filled, id, options, rng};

const DIMENSION: usize = 8;

/// `count` documents of one to four chunks; `n` is their number, `group` one of seven, `even` some have.
fn made(seed: u64, count: usize) -> Vec<NewDocument> {
    let mut rng = rng(seed);
    (0..count)
        .map(|i| {
            let vectors: Vec<Embedding> = (0..rng.random_range(1..5)).map(|_| direction(&mut rng, DIMENSION)).collect();
            let mut new = document(format!("d{i}"), &format!("v{seed}"), &vectors);
            let attributes = &mut new.document.attributes;
            attributes.insert("n".into(), AttributeValue::Integer(i as i64));
            attributes.insert("group".into(), AttributeValue::String(format!("g{}", i % 7)));
            if i % 2 == 0 {
                attributes.insert("even".into(), AttributeValue::Bool(true));
            }
            new
        })
        .collect()
}

fn filter(text: &str) -> Filter {
    text.parse().unwrap()
}

/// Every chunk of `documents` that the filter lets through with its cosine, best first.
fn expected(documents: &[NewDocument], query: &Embedding, filter: &Filter) -> Vec<(String, u32, f32)> {
    let mut found = Vec::new();
    for new in documents.iter().filter(|new| filter.matches(&new.document.attributes)) {
        for (ordinal, chunk) in new.chunks.iter().enumerate() {
            found.push((new.document.id.to_string(), ordinal as u32, query.cosine(&chunk.embedding).unwrap()));
        }
    }
    found.sort_by(|a, b| b.2.total_cmp(&a.2));
    found
}

fn check(collection: &Collection, documents: &[NewDocument], text: &str, k: usize) {
    let (query, filter) = (direction(&mut rng(k as u64), DIMENSION), filter(text));
    let expected = expected(documents, &query, &filter);
    for exact in [None, Some(true)] {
        let params = SearchParams { exact, filter: Some(filter.clone()), ..SearchParams::new(k) };
        let outcome = collection.search(&query, &params).unwrap();
        let explain = outcome.explain.filter.unwrap();
        assert_eq!((outcome.explain.method, explain.strategy), (SearchMethod::Exact, Some(FilterStrategy::ExactScan)));
        assert_eq!(explain.vectors, expected.len(), "{text}");
        let passing = documents.iter().filter(|new| filter.matches(&new.document.attributes)).count();
        assert_eq!((explain.documents, &explain.unknown_keys[..]), (passing, &[][..]));
        assert_eq!(outcome.hits.len(), expected.len().min(k), "{text}");
        for (hit, (name, ordinal, score)) in outcome.hits.iter().zip(&expected) {
            assert!((hit.score - score).abs() < 1e-5);
            assert_eq!((hit.chunk.document_id.as_str(), hit.chunk.ordinal), (name.as_str(), *ordinal));
        }
    }
}

#[test]
fn a_filtered_search_finds_what_a_loop_over_everything_finds() {
    let place = Place::new();
    let store = place.store();
    let documents = made(1, 600);
    let collection = filled(&store, DIMENSION, &documents[..500]);
    collection.seal().unwrap();
    // The last hundred lie in the tail, some of the first are gone.
    collection.upsert(&documents[500..]).unwrap();
    let gone: Vec<_> = (0..20).map(|i| id(format!("d{}", i * 29))).collect();
    collection.delete(&gone).unwrap();
    let left: Vec<NewDocument> = documents.into_iter().filter(|new| !gone.contains(&new.document.id)).collect();
    for text in [
        "n >= 0",
        "group = g3",
        "even = true and n > 300",
        "n in [1, 2, 502, 29]",
        "not (group in [g1, g2]) or n < 5",
        "n < 0",
        "even != true",
    ] {
        for k in [1, 10, 5000] {
            check(&collection, &left, text, k);
        }
    }
}

/// Ids of the ten best that `text` lets through, and how they were found.
fn ten_best(
    collection: &Collection,
    query: &Embedding,
    text: &str,
    exact: Option<bool>,
) -> (Vec<String>, Option<FilterStrategy>) {
    let mode = Some(SearchMode::Vector);
    let params = SearchParams { mode, exact, filter: Some(filter(text)), ..SearchParams::new(10) };
    let outcome = collection.search(query, &params).unwrap();
    let ids = outcome.hits.into_iter().map(|hit| hit.chunk.document_id.to_string()).collect();
    (ids, outcome.explain.filter.unwrap().strategy)
}

#[test]
fn walks_among_allowed_rows_find_what_a_scan_of_them_finds() {
    const ROWS: usize = 12_000;
    const WIDE: usize = 24;
    let place = Place::new();
    let store = place.store_with(IndexOptions { exact_below: 10, ..options() });
    let mut rng = rng(21);
    let centres: Vec<Embedding> = (0..60).map(|_| direction(&mut rng, WIDE)).collect();
    let near = |rng: &mut rand_chacha::ChaCha8Rng, centre: &Embedding| {
        let noise = direction(rng, WIDE);
        let sum = centre.as_slice().iter().zip(noise.as_slice()).map(|(c, n)| c + 0.7 * n).collect();
        Embedding::normalize(sum).unwrap()
    };
    let documents: Vec<NewDocument> = (0..ROWS)
        .map(|i| {
            let topic = rng.random_range(0..centres.len());
            let vector = near(&mut rng, &centres[topic]);
            let mut new = document(format!("d{i}"), "v1", &[vector]);
            new.document.attributes.insert("n".into(), AttributeValue::Integer((i % 100) as i64));
            new.document.attributes.insert("topic".into(), AttributeValue::Integer(topic as i64));
            new
        })
        .collect();
    let collection = filled(&store, WIDE, &documents);
    collection.seal().unwrap();
    collection.delete(&(0..ROWS / 10).map(|i| id(format!("d{}", i * 10 + 3))).collect::<Vec<_>>()).unwrap();
    let queries: Vec<Embedding> = (0..40).map(|i| near(&mut rng, &centres[i % centres.len()])).collect();
    // The last two conditions have to do with where the rows lie.
    for text in ["n < 1", "n < 10", "n < 50", "n >= 0", "topic = 7", "topic < 30"] {
        for exact in [None, Some(false)] {
            let (mut found, mut walked) = (0, 0);
            for query in &queries {
                let (expected, scanned) = ten_best(&collection, query, text, Some(true));
                assert_eq!((expected.len(), scanned), (10, Some(FilterStrategy::ExactScan)));
                let (hits, strategy) = ten_best(&collection, query, text, exact);
                assert_eq!(hits.len(), 10, "{text}");
                found += hits.iter().filter(|hit| expected.contains(hit)).count();
                walked += usize::from(strategy == Some(FilterStrategy::FilteredGraph));
            }
            let recall = found as f64 / (10 * queries.len()) as f64;
            println!("{text}, {exact:?}: recall@10 {recall:.3}, {walked} of {} walked", queries.len());
            assert!(recall >= 0.97, "{text}: recall@10 is {recall}");
            match (text, exact) {
                ("n < 1" | "n < 10", None) => assert_eq!(walked, 0, "few rows are scanned"),
                ("n >= 0", _) | ("n < 50", Some(false)) => assert_eq!(walked, queries.len(), "many rows are walked to"),
                _ => {}
            }
        }
    }
}

#[test]
fn changed_attributes_count_at_once_whoever_changed_them() {
    let place = Place::new();
    let (here, there) = (place.store(), place.store());
    let mut documents = made(2, 40);
    let collection = filled(&here, DIMENSION, &documents);
    let other = there.get("c").unwrap();
    check(&collection, &documents, "group = g0", 5);
    check(&other, &documents, "group = g0", 5);
    for new in documents.iter_mut().skip(30) {
        new.document.attributes.insert("group".into(), AttributeValue::String("g0".into()));
        new.fingerprint.push_str("-changed");
    }
    other.upsert(&documents[30..]).unwrap();
    check(&collection, &documents, "group = g0", 5);
    check(&other, &documents, "group = g0", 5);
    collection.delete(&[id("d0")]).unwrap();
    check(&other, &documents[1..], "group = g0", 5);
}

#[test]
fn attributes_that_no_document_has_are_told_with_near_names() {
    let place = Place::new();
    let store = place.store();
    let collection = filled(&store, DIMENSION, &made(3, 10));
    let query = direction(&mut rng(1), DIMENSION);
    let params = SearchParams { filter: Some(filter("gruop = g1 and n < 3 and colour = red")), ..SearchParams::new(3) };
    let outcome = collection.search(&query, &params).unwrap();
    assert!(outcome.hits.is_empty());
    let unknown = [
        UnknownKey { key: "colour".into(), near: Vec::new() },
        UnknownKey { key: "gruop".into(), near: vec!["group".into()] },
    ];
    assert_eq!(outcome.explain.filter.as_ref().unwrap().unknown_keys, unknown);
    // Explaining a filter searches nothing, so it has no strategy to tell.
    let explained = collection.explain_filter(params.filter.as_ref().unwrap()).unwrap();
    assert_eq!(
        FilterExplain { strategy: Some(FilterStrategy::ExactScan), ..explained },
        outcome.explain.filter.unwrap()
    );
    let wrong = collection.search(&direction(&mut rng(1), 3), &params).unwrap_err();
    assert_eq!(wrong.kind(), ErrorKind::InvalidInput);
}

#[test]
fn documents_rank_by_their_best_chunk() {
    let place = Place::new();
    let store = place.store();
    let documents = made(4, 300);
    let collection = filled(&store, DIMENSION, &documents[..250]);
    collection.seal().unwrap();
    collection.upsert(&documents[250..]).unwrap();
    let mut rng = rng(9);
    let mut example = || direction(&mut rng, DIMENSION);
    let queries = [
        RankQuery::Nearest(example()),
        RankQuery::BestExample { positives: vec![example(), example()], negatives: vec![example(), example()] },
        RankQuery::BestExample { positives: vec![example()], negatives: vec![] },
        RankQuery::BestExample { positives: vec![], negatives: vec![example(), example()] },
    ];
    let (without, filter) = ([id("d3"), id("d77"), id("unknown")], filter("n != 100"));
    for query in &queries {
        let score = |vector: &Embedding| {
            let best = |examples: &[Embedding]| {
                examples.iter().map(|e| e.cosine(vector).unwrap()).fold(f32::NEG_INFINITY, f32::max)
            };
            match query {
                RankQuery::Nearest(query) => query.cosine(vector).unwrap(),
                RankQuery::BestExample { positives, negatives } => {
                    (if positives.is_empty() { 0.0 } else { best(positives) })
                        - (if negatives.is_empty() { 0.0 } else { best(negatives) })
                }
            }
        };
        let mut expected: Vec<(f32, &str, &Embedding)> = documents
            .iter()
            .filter(|new| !without.contains(&new.document.id) && new.document.id.as_str() != "d100")
            .map(|new| {
                let chunks = new.chunks.iter().map(|chunk| (score(&chunk.embedding), &chunk.embedding));
                let (most, vector) = chunks.reduce(|a, b| if b.0 > a.0 { b } else { a }).unwrap();
                (most, new.document.id.as_str(), vector)
            })
            .collect();
        expected.sort_by(|a, b| b.0.total_cmp(&a.0));
        for k in [1, 40, 1000] {
            let params = RankParams { k, filter: Some(&filter), without: &without };
            let found = collection.rank(query, &params).unwrap().documents;
            assert_eq!(found.len(), k.min(297));
            for (ranked, (score, name, vector)) in found.iter().zip(&expected) {
                assert_eq!((ranked.best.chunk.document_id.as_str(), &&ranked.vector), (*name, vector));
                assert!((ranked.best.score - score).abs() < 1e-5);
            }
        }
    }
}

#[test]
fn a_document_of_many_good_chunks_does_not_push_others_out() {
    let place = Place::new();
    let store = place.store();
    let query = Embedding::normalize(vec![1.0, 0.0]).unwrap();
    let near = |i: u16| Embedding::normalize(vec![1.0, f32::from(i) * 1e-3]).unwrap();
    let far = Embedding::normalize(vec![0.0, 1.0]).unwrap();
    let many: Vec<Embedding> = (0..200).map(near).collect();
    let collection = filled(
        &store,
        2,
        &[document("many", "v1", &many), document("b", "v1", &[near(500)]), document("c", "v1", &[far])],
    );
    let names = |k, without: &[anser_core::DocumentId]| -> Vec<String> {
        let params = RankParams { k, filter: None, without };
        let found = collection.rank(&RankQuery::Nearest(query.clone()), &params).unwrap();
        assert_eq!(found.explain.method, SearchMethod::Exact);
        found.documents.into_iter().map(|d| d.best.chunk.document_id.to_string()).collect()
    };
    assert_eq!(names(2, &[]), ["many", "b"]);
    assert_eq!(names(9, &[]), ["many", "b", "c"]);
    assert_eq!(names(2, &[id("many")]), ["b", "c"]);
    let mean = collection.vector(&id("many")).unwrap().unwrap();
    assert!((mean.as_slice()[1] / mean.as_slice()[0] - 0.0995).abs() < 1e-2, "{mean:?}");
    assert_eq!(collection.vector(&id("none")).unwrap(), None);
    let bad = RankParams { k: 1, ..RankParams::default() };
    let wrong = collection.rank(&RankQuery::Nearest(direction(&mut rng(1), 3)), &bad).unwrap_err();
    assert_eq!(wrong.kind(), ErrorKind::InvalidInput);
    let none = RankQuery::BestExample { positives: vec![], negatives: vec![] };
    assert_eq!(collection.rank(&none, &bad).unwrap_err().kind(), ErrorKind::InvalidInput);
}
