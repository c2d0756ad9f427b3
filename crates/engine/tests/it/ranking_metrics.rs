//! The figures of rankings say what `trec_eval` says; `fixtures/record_ranking_metrics.py` recorded that.

use anser_engine::metrics::ranking::{Grades, average_precision, ndcg, recall, reciprocal_rank};
use serde::Deserialize;

#[derive(Deserialize)]
struct Fixture {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    grades: Grades,
    ranking: Vec<String>,
    expected: Expected,
}

#[derive(Deserialize)]
struct Expected {
    ndcg: std::collections::BTreeMap<usize, f64>,
    recall: std::collections::BTreeMap<usize, f64>,
    map: f64,
    reciprocal_rank_10: f64,
}

#[test]
fn every_figure_agrees_with_trec_eval() {
    let fixture: Fixture = serde_json::from_str(include_str!("../fixtures/ranking_metrics.json")).unwrap();
    assert!(fixture.cases.len() > 100);
    for case in &fixture.cases {
        let ranking: Vec<&str> = case.ranking.iter().map(String::as_str).collect();
        let near = |found: f64, expected: f64, what: &str| {
            assert!((found - expected).abs() < 1e-9, "{what}: {found} instead of {expected} for {:?}", case.grades);
        };
        for (cutoff, expected) in &case.expected.ndcg {
            near(ndcg(&ranking, &case.grades, *cutoff), *expected, "nDCG");
        }
        for (cutoff, expected) in &case.expected.recall {
            near(recall(&ranking, &case.grades, *cutoff), *expected, "recall");
        }
        near(average_precision(&ranking, &case.grades), case.expected.map, "MAP");
        near(reciprocal_rank(&ranking, &case.grades, 10), case.expected.reciprocal_rank_10, "reciprocal rank");
    }
}
