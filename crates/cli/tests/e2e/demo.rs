//! `anser demo`: indexed, answered with the right citations, declined what the FAQ does not say, clustered.

use serde_json::Value;

use crate::support::{demo, json};

fn answer<'a>(report: &'a Value, part: &str) -> &'a Value {
    let answers = report["answers"].as_array().unwrap();
    &answers.iter().find(|a| a["question"].as_str().unwrap().contains(part)).unwrap()["answer"]
}

#[test]
fn the_demo_answers_with_the_right_citations_and_declines_what_it_cannot_know() {
    let (_, report) = demo();
    for (question, document, fact) in [
        ("free postage", "faq-002", "59"),
        ("customer service", "faq-107", "0800 555 0142"),
        ("gift card", "faq-114", "4 years"),
    ] {
        let answer = answer(report, question);
        assert_eq!(answer["abstained"], false, "{question}");
        assert!(answer["text"].as_str().unwrap().contains(fact), "{question}: {}", answer["text"]);
        let cited = answer["citations"].as_array().unwrap();
        assert!(cited.iter().any(|c| c["document_id"] == document), "{question} is cited from {cited:?}");
    }
    let declined = answer(report, "football");
    assert_eq!(declined["abstained"], true, "{declined}");
    assert_eq!(declined["citations"].as_array().unwrap().len(), 0);
}

#[test]
fn the_demo_indexes_every_row_and_clusters_the_reviews() {
    let (data, report) = demo();
    for ingested in report["ingested"].as_array().unwrap() {
        assert_eq!(ingested["rejected"], 0, "{ingested}");
    }
    let clusters = report["clusters"].as_array().unwrap();
    assert!(clusters.len() >= 4, "{} clusters", clusters.len());
    for cluster in clusters {
        assert!(!cluster["keywords"].as_array().unwrap().is_empty() && cluster["size"].as_u64().unwrap() > 0);
    }
    assert!(report["seconds"].as_f64().unwrap() > 0.0 && report["models_bytes"].as_u64().unwrap() > 100_000_000);
    let collections = json(data, ["collections", "list"]);
    let names: Vec<&str> = collections.as_array().unwrap().iter().map(|c| c["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["shop-faq", "shop-reviews"]);
}
