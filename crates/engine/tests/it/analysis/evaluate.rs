//! Clusters against known labels.

use anser_core::ErrorKind;
use anser_engine::{Analysis, AnalysisRequest, AnalysisSource, ClusterEvaluation, ClusterEvaluationOptions};
use serde_json::json;

use super::Bench;

/// Notes of three topics, a few of them without a label.
fn notes() -> Bench {
    let bench = Bench::new();
    let topics = ["coffee roast beans", "kitten whiskers litter", "bicycle chain saddle"];
    let rows: Vec<(String, String, serde_json::Value)> = (0..45)
        .map(|at| {
            let attributes = if at < 42 { json!({"topic": at % 3}) } else { json!({}) };
            (format!("n{at:02}"), format!("{} note {}", topics[at % 3], at / 3), attributes)
        })
        .collect();
    bench.fill("notes", rows.iter().map(|(id, text, attributes)| (id.as_str(), text.as_str(), attributes.clone())));
    bench
}

#[test]
fn clusters_that_are_the_labels_agree_wholly_and_too_few_do_not() {
    let bench = notes();
    let evaluate = |k| {
        let options = ClusterEvaluationOptions { truth: "topic".to_owned(), k, seeds: 3 };
        bench.report::<ClusterEvaluation>("notes", Analysis::EvaluateClusters(options))
    };
    let found = evaluate(None);
    assert_eq!((found.documents, found.left_out, found.classes, found.k, found.runs.len()), (42, 3, 3, 3, 3));
    assert!((found.mean_v_measure - 1.0).abs() < 1e-9 && found.sd_v_measure < 1e-9, "{found:?}");
    assert!(found.runs.iter().all(|run| (run.adjusted_rand - 1.0).abs() < 1e-9));
    let coarse = evaluate(Some(2));
    assert!(coarse.mean_v_measure < 0.9 && coarse.runs.iter().all(|run| run.completeness > run.homogeneity));
}

#[test]
fn a_label_must_be_named_and_be_there() {
    let bench = notes();
    let source = || AnalysisSource::Collection { name: "notes".to_owned(), filter: None };
    for options in [
        ClusterEvaluationOptions::default(),
        ClusterEvaluationOptions { truth: "topic".to_owned(), seeds: 0, ..ClusterEvaluationOptions::default() },
    ] {
        let request = AnalysisRequest { source: source(), analysis: Analysis::EvaluateClusters(options) };
        assert_eq!(bench.engine.create_analysis_job(&request).unwrap_err().kind(), ErrorKind::InvalidInput);
    }
    let options = ClusterEvaluationOptions { truth: "topics".to_owned(), ..ClusterEvaluationOptions::default() };
    let failure = bench.run("notes", Analysis::EvaluateClusters(options)).failure.unwrap();
    assert!(failure.message.contains("has the attribute \"topics\""), "{}", failure.message);
}
