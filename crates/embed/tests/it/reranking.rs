//! What the default reranker makes of queries and passages.

use std::thread;

use anser_core::{CancelToken, ErrorKind, Reranker};

use crate::models::{reranker, strings};

const QUERY: &str = "how many people live in Berlin?";
const PASSAGES: [&str; 3] = [
    "New York City is famous for the Metropolitan Museum of Art.",
    "Berlin has a population of 3,520,031 registered inhabitants in an area of 891.82 square kilometers.",
    "Berlin is well known for its museums.",
];

fn rerank<T: AsRef<str>>(query: &str, passages: &[T]) -> Vec<f32> {
    reranker().rerank(query, &strings(passages), &CancelToken::new()).unwrap()
}

#[test]
fn logits_agree_with_an_independent_implementation() {
    // What Python's onnxruntime and tokenizers give for the same files. Int8 kernels round differently on different
    // processors.
    for (score, expected) in rerank(QUERY, &PASSAGES).into_iter().zip([-11.191, 9.391, -4.132]) {
        assert!((score - expected).abs() < 0.5, "{score} {expected}");
    }
}

#[test]
fn scores_come_in_the_order_of_the_passages_and_do_not_depend_on_their_company() {
    let mut passages: Vec<String> = (1..30).map(|n| "Something about a lighthouse. ".repeat(n)).collect();
    passages.insert(11, PASSAGES[1].to_owned());
    let scores = rerank(QUERY, &passages);
    assert_eq!(scores.len(), passages.len());
    assert!(scores.iter().zip(0..).all(|(score, at)| at == 11 || *score < scores[11]), "{scores:?}");
    assert_eq!(rerank(QUERY, &PASSAGES)[1].to_bits(), scores[11].to_bits());
}

#[test]
fn several_queries_at_once_do_not_mix() {
    let expected: Vec<f32> = PASSAGES.iter().map(|passage| rerank(passage, &PASSAGES)[1]).collect();
    thread::scope(|scope| {
        for (query, expected) in PASSAGES.iter().zip(&expected) {
            scope.spawn(move || {
                for _ in 0..5 {
                    assert_eq!(rerank(query, &PASSAGES)[1].to_bits(), expected.to_bits());
                }
            });
        }
    });
}

#[test]
fn endless_queries_and_passages_are_cut_rather_than_refused() {
    let endless = "Berlin has many inhabitants. ".repeat(50_000);
    let scores = rerank(QUERY, &[endless.as_str(), PASSAGES[0]]);
    assert!(scores[0] > scores[1], "{scores:?}");
    assert!(rerank(&endless, &PASSAGES).iter().all(|score| score.is_finite()));
}

#[test]
fn blank_queries_and_passages_are_refused_by_name() {
    let error =
        |query: &str, passages: &[&str]| reranker().rerank(query, &strings(passages), &CancelToken::new()).unwrap_err();
    assert_eq!(error(" ", &PASSAGES).kind(), ErrorKind::InvalidInput);
    let blank = error(QUERY, &["fine", ""]);
    assert_eq!(blank.kind(), ErrorKind::InvalidInput);
    assert!(blank.to_string().starts_with("text 1 (counted from 0) is empty"), "{blank}");
    assert!(rerank::<&str>(QUERY, &[]).is_empty());
    let cancelled = CancelToken::new();
    cancelled.cancel();
    assert_eq!(reranker().rerank(QUERY, &strings(&PASSAGES), &cancelled).unwrap_err().kind(), ErrorKind::Cancelled);
}
