//! Recommendations from a real store, against a plain loop over all documents.

#![expect(clippy::unwrap_used, reason = "what the tests share ends the test that called it")]

use anser_core::{AttributeValue, Attributes, CancelToken, Document, DocumentId, Embedding, ErrorKind, NoProgress};
use anser_engine::recommend::{Example, ExampleKind, RecommendRequest, RecommendStrategy};
use anser_engine::{AnswerRequest, Collection, Engine, SearchRequest};

use crate::analysis::Bench;

const RED: &str = "red kettle of steel";

fn id(text: &str) -> DocumentId {
    DocumentId::new(text).unwrap()
}

/// Kettles and pans in colours, each with its price; `long` has many chunks.
fn shop() -> Bench {
    let bench = Bench::new();
    let colours = ["red", "blue", "green", "black"];
    let things = ["kettle", "pan", "knife"];
    let mut documents = Vec::new();
    for (i, colour) in colours.iter().enumerate() {
        for (j, thing) in things.iter().enumerate() {
            let attributes: Attributes = [
                ("price".to_owned(), AttributeValue::Integer((10 * i + j) as i64)),
                ("colour".to_owned(), AttributeValue::String((*colour).to_owned())),
            ]
            .into();
            let text = format!("{colour} {thing} of steel");
            documents.push(Document { id: id(&format!("{colour}-{thing}")), title: None, text, attributes });
        }
    }
    let sentences: Vec<String> =
        (0..80).map(|i| format!("Sentence number {i} speaks of gardens and kettles alike.")).collect();
    documents.push(Document { id: id("long"), title: None, text: sentences.join(" "), attributes: Attributes::new() });
    bench.engine.ingest_documents("shop", documents, &NoProgress, &CancelToken::new()).unwrap();
    bench
}

fn names(engine: &Engine, request: &RecommendRequest) -> Vec<String> {
    let reply = engine.recommend("shop", request, &CancelToken::new()).unwrap();
    reply.hits.into_iter().map(|hit| hit.id.to_string()).collect()
}

/// Every document of one chunk with its score, best first.
fn naive(collection: &Collection, score: impl Fn(&Embedding) -> f32) -> Vec<(String, f32)> {
    // All documents but `long` have one chunk, whose vector is the document's.
    let mut found: Vec<(String, f32)> = Vec::new();
    collection
        .scan(None, &mut |scanned| {
            if scanned.document.id.as_str() != "long" {
                found.push((scanned.document.id.to_string(), score(&scanned.embedding)));
            }
            Ok(())
        })
        .unwrap();
    found.sort_by(|a, b| b.1.total_cmp(&a.1));
    found
}

#[test]
fn more_like_this_leaves_the_example_out() {
    let bench = shop();
    let reply = bench.engine.recommend("shop", &RecommendRequest::like(id("red-kettle")), &CancelToken::new()).unwrap();
    assert_eq!(reply.hits.len(), 10);
    let ids: Vec<&str> = reply.hits.iter().map(|hit| hit.id.as_str()).collect();
    assert!(!ids.contains(&"red-kettle"), "{ids:?}");
    assert!(ids[0].starts_with("red-") || ids[0].ends_with("-kettle"), "{ids:?}");
    assert!(reply.hits.windows(2).all(|pair| pair[0].score >= pair[1].score));
    let first = &reply.hits[0];
    assert_eq!(
        (first.nearest.kind, first.nearest.index, first.nearest.id.as_ref()),
        (ExampleKind::Positive, 0, Some(&id("red-kettle")))
    );
    assert!((first.nearest.similarity - first.score).abs() < 1e-5, "one example: its similarity is the score");
    assert!(first.text.contains("steel") && first.attributes.contains_key("price"));
    assert_eq!(reply.explain.vectors, bench.engine.collection("shop").unwrap().info().unwrap().chunks as usize);
}

#[test]
fn both_strategies_score_as_their_formulas_say() {
    let bench = shop();
    let collection = bench.engine.collection("shop").unwrap();
    let vector = |name: &str| collection.vector(&id(name)).unwrap().unwrap();
    let positive = [vector("red-kettle"), vector("blue-pan")];
    let negative = [vector("green-knife")];
    let request = RecommendRequest {
        positive: vec![
            Example::Id(id("red-kettle")),
            Example::Vector(positive[1].as_slice().iter().map(|v| v * 3.0).collect()),
        ],
        negative: vec![Example::Id(id("green-knife"))],
        limit: 100,
        ..RecommendRequest::default()
    };
    let query: Vec<f32> = (0..positive[0].dimension())
        .map(|i| positive[0].as_slice()[i] + positive[1].as_slice()[i] - negative[0].as_slice()[i])
        .collect();
    let query = Embedding::normalize(query).unwrap();
    let best = |examples: &[Embedding], vector: &Embedding| {
        examples.iter().map(|e| e.cosine(vector).unwrap()).fold(f32::NEG_INFINITY, f32::max)
    };
    for (strategy, expected) in [
        (RecommendStrategy::AverageVector, naive(&collection, |vector| query.cosine(vector).unwrap())),
        (RecommendStrategy::BestScore, naive(&collection, |vector| best(&positive, vector) - best(&negative, vector))),
    ] {
        let request = RecommendRequest { strategy, ..request.clone() };
        let reply = bench.engine.recommend("shop", &request, &CancelToken::new()).unwrap();
        let found: Vec<_> = reply.hits.iter().filter(|hit| hit.id.as_str() != "long").collect();
        let expected: Vec<_> =
            expected.iter().filter(|(name, _)| name != "red-kettle" && name != "green-knife").collect();
        assert_eq!(found.len(), expected.len());
        for (hit, (name, score)) in found.iter().zip(expected) {
            assert!((hit.score - score).abs() < 1e-5, "{strategy:?}: {} {} {name} {score}", hit.id, hit.score);
        }
        let near_negative = reply.hits.iter().find(|hit| hit.id.as_str() == "green-pan").unwrap();
        assert!(["positive", "negative"].contains(&near_negative.nearest.kind.as_str()));
    }
}

#[test]
fn negative_examples_alone_are_for_best_score() {
    let bench = shop();
    let request = RecommendRequest { negative: vec![Example::Text(RED.into())], ..RecommendRequest::default() };
    let error = bench.engine.recommend("shop", &request, &CancelToken::new()).unwrap_err();
    assert_eq!((error.kind(), error.param()), (ErrorKind::InvalidInput, Some("positive")));
    assert!(error.to_string().contains("best_score"), "{error}");
    let request = RecommendRequest { strategy: RecommendStrategy::BestScore, limit: 100, ..request };
    let found = names(&bench.engine, &request);
    assert_eq!(found.last().map(String::as_str), Some("red-kettle"), "what is most like it comes last: {found:?}");
}

#[test]
fn filters_exclusions_thresholds_and_limits_hold() {
    let bench = shop();
    let like = RecommendRequest { positive: vec![Example::Text(RED.into())], ..RecommendRequest::default() };
    let request = RecommendRequest { filter: Some("price < 10".parse().unwrap()), ..like.clone() };
    assert_eq!(names(&bench.engine, &request).len(), 3);
    let request = RecommendRequest { exclude: vec![id("red-kettle"), id("gone")], ..request };
    let found = names(&bench.engine, &request);
    assert!(found.len() == 2 && !found.contains(&"red-kettle".to_owned()), "{found:?}");
    assert_eq!(names(&bench.engine, &RecommendRequest { limit: 1, ..like.clone() }), ["red-kettle"]);
    let strict = RecommendRequest { min_score: Some(0.999), ..like.clone() };
    assert_eq!(names(&bench.engine, &strict), ["red-kettle"]);
    let nothing = RecommendRequest { filter: Some("prise < 10".parse().unwrap()), ..like };
    let reply = bench.engine.recommend("shop", &nothing, &CancelToken::new()).unwrap();
    assert!(reply.hits.is_empty());
    assert_eq!(reply.explain.filter.unwrap().unknown_keys[0].near, ["price"]);
}

#[test]
fn diversity_chooses_by_marginal_relevance() {
    let bench = shop();
    let collection = bench.engine.collection("shop").unwrap();
    let request = RecommendRequest {
        positive: vec![Example::Id(id("red-kettle"))],
        filter: Some("price >= 0".parse().unwrap()),
        limit: 6,
        ..RecommendRequest::default()
    };
    let plain = names(&bench.engine, &request);
    assert_eq!(names(&bench.engine, &RecommendRequest { diversity: Some(0.0), ..request.clone() }), plain);
    let found = names(&bench.engine, &RecommendRequest { diversity: Some(0.7), ..request });
    assert_ne!(found, plain);
    // The definition, candidate by candidate.
    let query = collection.vector(&id("red-kettle")).unwrap().unwrap();
    let vector = |name: &str| collection.vector(&id(name)).unwrap().unwrap();
    let open: Vec<(String, f32)> = naive(&collection, |vector| query.cosine(vector).unwrap());
    let mut open: Vec<(String, f32)> = open.into_iter().filter(|(name, _)| name != "red-kettle").collect();
    let mut expected: Vec<String> = Vec::new();
    while expected.len() < 6 {
        let gain = |(name, relevance): &(String, f32)| {
            let similar = expected.iter().map(|other| vector(other).cosine(&vector(name)).unwrap()).reduce(f32::max);
            0.3 * relevance - 0.7 * similar.unwrap_or(0.0)
        };
        let best = (0..open.len()).reduce(|best, i| if gain(&open[i]) > gain(&open[best]) + 1e-6 { i } else { best });
        expected.push(open.remove(best.unwrap()).0);
    }
    assert_eq!(found, expected);
}

#[test]
fn examples_that_cannot_be_used_are_named() {
    let bench = shop();
    let with = |positive: Vec<Example>, negative: Vec<Example>| {
        let request = RecommendRequest { positive, negative, ..RecommendRequest::default() };
        bench.engine.recommend("shop", &request, &CancelToken::new()).unwrap_err()
    };
    let text = || Example::Text(RED.into());
    let unknown = with(vec![text()], vec![text(), Example::Id(id("nobody"))]);
    assert_eq!((unknown.kind(), unknown.param()), (ErrorKind::NotFound, Some("negative[1].id")));
    assert!(unknown.to_string().contains("\"nobody\""), "{unknown}");
    let short = with(vec![Example::Vector(vec![1.0; 3])], vec![]);
    assert_eq!((short.kind(), short.param()), (ErrorKind::InvalidInput, Some("positive[0].vector")));
    assert!(short.to_string().contains('3') && short.to_string().contains("64"), "{short}");
    let zero = with(vec![Example::Vector(vec![0.0; 64])], vec![]);
    assert_eq!((zero.kind(), zero.param()), (ErrorKind::InvalidInput, Some("positive[0].vector")));
    assert_eq!(with(vec![Example::Text(" ".into())], vec![]).param(), Some("positive[0].text"));
    let opposite = with(vec![Example::Vector(one_hot(1.0)), Example::Vector(one_hot(-1.0))], vec![]);
    assert_eq!(opposite.kind(), ErrorKind::InvalidInput);
    assert!(opposite.to_string().contains("cancel each other out"), "{opposite}");
}

fn one_hot(value: f32) -> Vec<f32> {
    let mut vector = vec![0.0; 64];
    vector[0] = value;
    vector
}

#[test]
fn an_empty_collection_recommends_nothing_and_an_unknown_one_is_not_found() {
    let bench = shop();
    bench.engine.create_collection("empty").unwrap();
    let request = RecommendRequest { positive: vec![Example::Text(RED.into())], ..RecommendRequest::default() };
    let reply = bench.engine.recommend("empty", &request, &CancelToken::new()).unwrap();
    assert!(reply.hits.is_empty());
    let error = bench.engine.recommend("nowhere", &request, &CancelToken::new()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    let cancel = CancelToken::new();
    cancel.cancel();
    assert_eq!(bench.engine.recommend("shop", &request, &cancel).unwrap_err().kind(), ErrorKind::Cancelled);
}

#[test]
fn searches_and_answers_look_only_at_what_the_filter_lets_through() {
    let bench = shop();
    let search = |filter: Option<&str>| {
        let filter = filter.map(|text| text.parse().unwrap());
        let request = SearchRequest { query: RED.into(), limit: 20, filter, ..SearchRequest::default() };
        bench.engine.search("shop", &request, &CancelToken::new()).unwrap()
    };
    assert!(search(None).explain.filter.is_none());
    let reply = search(Some("colour in [blue, green] and price < 21"));
    let mut found: Vec<&str> = reply.hits.iter().map(|hit| hit.chunk.document_id.as_str()).collect();
    found.sort_unstable();
    assert_eq!(found, ["blue-kettle", "blue-knife", "blue-pan", "green-kettle"]);
    assert_eq!(reply.explain.filter.unwrap().documents, 4);
    let request = AnswerRequest { filter: Some("price > 1000".parse().unwrap()), ..AnswerRequest::new("red kettle?") };
    let answer = bench.engine.answer("shop", &request, &CancelToken::new(), &mut |_| {}).unwrap();
    assert!(answer.abstained && answer.passages.is_empty(), "{answer:?}");
}
