//! Regressions: a planted number is found again, figures are of unseen documents, and attributes without numbers are
//! refused by name.

use anser_engine::classify::EvaluationMethod;
use anser_engine::regress::{RegressorOptions, RegressorReport};
use anser_engine::{Analysis, JobState, ResultFormat};
use serde_json::{Value, json};

use super::Bench;

const WORDS: [&str; 8] = ["awful", "poor", "dull", "plain", "fair", "nice", "great", "superb"];

/// Texts of three words, each of which is worth its place in the list; the number is their mean.
fn fill(bench: &Bench, count: usize, attributes: impl Fn(usize, f64) -> Value) {
    let rows: Vec<(String, String, Value)> = (0..count)
        .map(|at| {
            let words = [at % 8, (at / 8 + 3 * at) % 8, (at / 3 + 5) % 8];
            let value = words.iter().map(|word| *word as f64).sum::<f64>() / 3.0;
            (format!("d{at:03}"), words.map(|word| WORDS[word]).join(" "), attributes(at, value))
        })
        .collect();
    bench.fill("reviews", rows.iter().map(|(id, text, attributes)| (id.as_str(), text.as_str(), attributes.clone())));
}

fn options() -> RegressorOptions {
    RegressorOptions { target: "score".to_owned(), ..RegressorOptions::default() }
}

#[test]
fn a_planted_number_is_found_and_beats_the_mean() {
    let bench = Bench::new();
    fill(&bench, 120, |at, value| match at {
        3 => json!({}),
        4 => json!({"score": "unknown"}),
        5 => json!({"score": true}),
        _ => json!({"score": value}),
    });
    for evaluation in [EvaluationMethod::Folds(5), EvaluationMethod::Folds(2), EvaluationMethod::HeldOut(0.25)] {
        let options = RegressorOptions { evaluation, ..options() };
        let job = bench.run("reviews", Analysis::TrainRegressor(options.clone()));
        assert_eq!(job.state, JobState::Succeeded, "{:?}", job.failure);
        let report: RegressorReport = bench.engine.job_report(&job.id).unwrap();
        let found = &report.evaluation;
        assert!(found.r_squared > 0.6 && found.improvement_percent > 60.0, "{evaluation:?}: {found:?}");
        assert!(found.mean_squared_error.low < found.mean_squared_error.mean);
        assert_eq!((report.documents, report.labelled), (120, 117));
        assert_eq!(report.missing + report.not_numeric, 3);
        assert_eq!(
            (report.tried.len(), report.tried.iter().any(|tried| (tried.alpha - report.alpha).abs() < 1e-12)),
            (11, true)
        );

        let mut out = Vec::new();
        bench.engine.write_job_table(&job.id, "documents", ResultFormat::Json, &mut out).unwrap();
        let rows: Vec<Value> = serde_json::from_slice(&out).unwrap();
        assert_eq!(rows.len(), 117);
        let residuals: Vec<f64> = rows.iter().filter_map(|row| row.get("residual")?.as_f64()).collect();
        assert_eq!(residuals.len(), found.documents);
        let mean = residuals.iter().map(|r| r * r).sum::<f64>() / residuals.len() as f64;
        assert!((mean - found.mean_squared_error.mean).abs() < 1e-9);
        assert_eq!(found.documents, if evaluation == EvaluationMethod::HeldOut(0.25) { 29 } else { 117 });
        let names: Vec<String> = bench.engine.job_results(&job.id).unwrap().into_iter().map(|r| r.name).collect();
        assert_eq!(names, ["report.json", "documents.parquet", "predicted.svg"]);
        let again: RegressorReport = bench.report("reviews", Analysis::TrainRegressor(options));
        assert_eq!(again, report, "the same seed gives the same report");
    }
}

#[test]
fn predictions_are_clipped_when_asked_for() {
    let bench = Bench::new();
    fill(&bench, 60, |_, value| json!({"score": if value > 3.5 { 5 } else { 1 }}));
    let run = |clip: bool| -> RegressorReport {
        bench.report("reviews", Analysis::TrainRegressor(RegressorOptions { clip, alpha: vec![0.001], ..options() }))
    };
    let (free, clipped) = (run(false), run(true));
    assert!(clipped.evaluation.mean_squared_error.mean < free.evaluation.mean_squared_error.mean);
    assert!(free.tried.is_empty() && (free.values.low, free.values.high) == (1.0, 5.0));
}

#[test]
fn attributes_without_numbers_to_learn_are_refused_by_name() {
    let bench = Bench::new();
    fill(&bench, 12, |at, _| match at {
        0..3 => json!({"same": 4, "few": at, "text": "good"}),
        _ => json!({"same": 4, "text": "good"}),
    });
    for (target, said) in [
        ("same", "\"same\" is 4 in all documents"),
        ("few", "3 of 12 documents of \"reviews\" have a number in \"few\""),
        ("text", "12 of 12 values of \"text\""),
        ("nothing", "0 of 12 documents"),
    ] {
        let options = RegressorOptions { target: target.to_owned(), ..options() };
        let job = bench.run("reviews", Analysis::TrainRegressor(options));
        let failure = job.failure.unwrap();
        assert!(failure.message.contains(said), "{}", failure.message);
        assert_eq!((job.state, failure.param.as_deref()), (JobState::Failed, Some("target")));
    }
    for (options, param) in [
        (RegressorOptions::default(), "target"),
        (RegressorOptions { alpha: vec![-1.0], ..options() }, "alpha"),
        (RegressorOptions { alpha: Vec::new(), ..options() }, "alpha"),
        (RegressorOptions { evaluation: EvaluationMethod::Folds(100), ..options() }, "evaluation"),
    ] {
        let source = anser_engine::AnalysisSource::Collection { name: "reviews".to_owned(), filter: None };
        let request = anser_engine::AnalysisRequest { source, analysis: Analysis::TrainRegressor(options) };
        assert_eq!(bench.engine.create_analysis_job(&request).unwrap_err().param(), Some(param));
    }
}

#[test]
fn four_documents_are_enough() {
    let bench = Bench::new();
    fill(&bench, 4, |at, _| json!({"score": at}));
    for evaluation in [EvaluationMethod::Folds(5), EvaluationMethod::Folds(2), EvaluationMethod::HeldOut(0.9)] {
        let report: RegressorReport =
            bench.report("reviews", Analysis::TrainRegressor(RegressorOptions { evaluation, ..options() }));
        assert!(report.evaluation.documents >= 2, "{evaluation:?}");
    }
}
