//! How good retrieval and answers are on the shop's questions. The figures are printed with every miss.

use std::path::Path;

use serde_json::Value;

use crate::support::{demo, example, json};

fn evaluate(data: &Path, what: &str, more: &[&str]) -> Value {
    let questions = example("questions.jsonl");
    let mut args = vec!["eval", what, "--collection", "shop-faq", "--questions", questions.to_str().unwrap()];
    args.extend(more);
    json(data, args)
}

#[test]
fn the_answering_entry_is_among_the_first_five() {
    let found = evaluate(demo().0, "retrieval", &["--k", "5"]);
    println!("{found:#}");
    let methods = found["methods"].as_array().unwrap();
    let names: Vec<_> = methods.iter().map(|figures| figures["method"].as_str().unwrap()).collect();
    assert_eq!(names, ["vector", "keyword", "hybrid", "hybrid_reranked"]);
    let reranked = methods[3]["recall_at_k"]["mean"].as_f64().unwrap();
    assert!(reranked >= 0.95, "{found:#}");
}

#[test]
fn answers_hold_the_key_fact_and_cite_only_what_was_shown() {
    let found = evaluate(demo().0, "answers", &[]);
    println!("{found:#}");
    assert!(found["questions"].as_u64().unwrap() >= 60);
    assert_eq!(found["invalid_citations"], 0, "{found:#}");
    assert!(found["key_fact_rate"].as_f64().unwrap() >= 0.75, "{found:#}");
}
