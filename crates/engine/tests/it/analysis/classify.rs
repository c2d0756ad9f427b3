//! Classifiers: planted classes are found, figures are of unseen documents, and labels that nothing can be learnt from are
//! refused by name.

use anser_core::{CancelToken, NoProgress};
use anser_engine::classify::{
    ClassBalance, ClassifierMethod, ClassifierOptions, ClassifierReport, EvaluationMethod, FewShotRequest,
    ZeroShotLabel,
};
use anser_engine::{Analysis, AnalysisSource, FieldMapping, JobState, ResultFormat};
use serde_json::{Value, json};

use super::Bench;

const KITCHEN: [&str; 6] = ["kettle", "pan", "oven", "spoon", "plate", "fork"];
const GARDEN: [&str; 6] = ["spade", "rake", "hedge", "lawn", "seed", "hose"];
const GARAGE: [&str; 6] = ["wrench", "tyre", "engine", "bolt", "oil", "jack"];

/// Texts of three words from one of the lists, so that a list's texts are like each other.
pub(super) fn planted(count: usize) -> Vec<(String, String, &'static str)> {
    let lists = [(KITCHEN, "kitchen"), (GARDEN, "garden"), (GARAGE, "garage")];
    (0..count)
        .map(|at| {
            let (words, label) = lists[at % 3];
            let word = |step: usize| words[(at / 3 * step + at / 18 + step) % 6];
            (format!("d{at:03}"), format!("{} {} {}", word(1), word(2), word(5)), label)
        })
        .collect()
}

fn fill(bench: &Bench, rows: &[(String, String, &'static str)], attributes: impl Fn(usize, &str) -> Value) {
    let rows = rows.iter().enumerate();
    bench.fill("things", rows.map(|(at, (id, text, label))| (id.as_str(), text.as_str(), attributes(at, label))));
}

fn logistic() -> ClassifierOptions {
    ClassifierOptions { label: Some("room".to_owned()), ..ClassifierOptions::default() }
}

fn failure(bench: &Bench, options: ClassifierOptions) -> String {
    let job = bench.run("things", Analysis::TrainClassifier(options));
    assert_eq!(job.state, JobState::Failed);
    job.failure.unwrap().message
}

fn rows(bench: &Bench, job: &str) -> Vec<Value> {
    let mut out = Vec::new();
    bench.engine.write_job_table(job, "documents", ResultFormat::Json, &mut out).unwrap();
    serde_json::from_slice(&out).unwrap()
}

#[test]
fn planted_classes_are_found_by_every_method_that_learns() {
    let bench = Bench::new();
    let planted = planted(90);
    fill(&bench, &planted, |at, label| if at % 10 == 9 { json!({}) } else { json!({"room": label}) });
    for method in [ClassifierMethod::Logistic, ClassifierMethod::Nearest] {
        let options = ClassifierOptions { method, k: 5, ..logistic() };
        let job = bench.run("things", Analysis::TrainClassifier(options.clone()));
        assert_eq!(job.state, JobState::Succeeded, "{:?}", job.failure);
        let report: ClassifierReport = bench.engine.job_report(&job.id).unwrap();
        let evaluation = report.evaluation.as_ref().unwrap();
        assert!(evaluation.accuracy.mean > 0.9, "{method:?}: {evaluation:?}");
        assert!(
            evaluation.accuracy.low <= evaluation.accuracy.mean && evaluation.accuracy.mean <= evaluation.accuracy.high
        );
        assert!(evaluation.majority.accuracy < 0.4 && evaluation.majority.macro_f1 < 0.25);
        assert_eq!((report.documents, report.labelled, report.unlabelled, evaluation.documents), (90, 81, 9, 81));
        let labels: Vec<&str> = report.labels.iter().map(|label| label.label.as_str()).collect();
        assert_eq!(labels, ["garage", "garden", "kitchen"]);
        assert_eq!(evaluation.confusion.counts.iter().flatten().sum::<u64>(), 81);
        let tried = &report.settings.tried;
        assert_eq!(tried.len() >= 2, method == ClassifierMethod::Logistic);
        let best = tried.iter().min_by(|a, b| a.loss.total_cmp(&b.loss)).map(|tried| tried.inverse_regularization);
        assert_eq!(report.settings.inverse_regularization, best);

        let names: Vec<String> = bench.engine.job_results(&job.id).unwrap().into_iter().map(|r| r.name).collect();
        assert_eq!(names, ["report.json", "documents.parquet", "calibration.svg", "confusion.svg"]);
        let rows = rows(&bench, &job.id);
        assert_eq!(rows.len(), 81);
        let right = rows.iter().filter(|row| row["label"] == row["predicted"]).count();
        assert!((right as f64 / 81.0 - evaluation.accuracy.mean).abs() < 1e-9);
        for fold in 0..5 {
            assert!(rows.iter().filter(|row| row["fold"] == fold).count() >= 16, "folds are level");
        }
        let again: ClassifierReport = bench.report("things", Analysis::TrainClassifier(options));
        assert_eq!(again, report, "the same seed gives the same report");
    }
}

#[test]
fn a_held_out_split_predicts_its_share_and_abstention_is_counted() {
    let bench = Bench::new();
    fill(&bench, &planted(60), |at, label| json!({"room": if at % 12 == 0 { "garden" } else { label }}));
    let options = ClassifierOptions {
        evaluation: EvaluationMethod::HeldOut(0.25),
        abstain_below: Some(0.8),
        class_weights: ClassBalance::Balanced,
        inverse_regularization: vec![1.0],
        seed: 3,
        ..logistic()
    };
    let job = bench.run("things", Analysis::TrainClassifier(options));
    let report: ClassifierReport = bench.engine.job_report(&job.id).unwrap();
    let evaluation = report.evaluation.unwrap();
    assert_eq!(evaluation.documents, 15);
    assert!(report.settings.tried.is_empty() && report.settings.inverse_regularization == Some(1.0));
    let point = evaluation.abstention.unwrap();
    let rows = rows(&bench, &job.id);
    assert_eq!(rows.len(), 60);
    let predicted: Vec<&Value> = rows.iter().filter(|row| row.get("predicted").is_some_and(|v| !v.is_null())).collect();
    assert_eq!(predicted.len(), 15);
    let answered = predicted.iter().filter(|row| row["abstained"] == false).count();
    assert!((point.coverage - answered as f64 / 15.0).abs() < 1e-9);
    assert!(predicted.iter().all(|row| (row["probability"].as_f64().unwrap() < 0.8) == (row["abstained"] == true)));
}

#[test]
fn labels_alone_classify_and_are_measured_where_there_is_an_attribute() {
    let bench = Bench::new();
    fill(&bench, &planted(60), |at, label| json!({"room": if at == 0 { "attic" } else { label }}));
    let label =
        |name: &str, words: [&str; 6]| ZeroShotLabel { name: name.to_owned(), description: Some(words.join(" ")) };
    let labels = vec![label("kitchen", KITCHEN), label("garden", GARDEN), label("garage", GARAGE)];
    let options = ClassifierOptions { method: ClassifierMethod::ZeroShot, label: None, labels, ..logistic() };
    let alone: ClassifierReport = bench.report("things", Analysis::TrainClassifier(options.clone()));
    assert_eq!((alone.evaluation.is_none(), alone.unlabelled, alone.labelled), (true, 60, 0));
    assert_eq!(alone.labels.iter().map(|label| label.documents).sum::<usize>(), 60);
    assert!(alone.labels.iter().all(|label| label.documents >= 18), "{:?}", alone.labels);

    let measured = ClassifierOptions { label: Some("room".to_owned()), ..options };
    let report: ClassifierReport = bench.report("things", Analysis::TrainClassifier(measured));
    let evaluation = report.evaluation.unwrap();
    assert!(evaluation.accuracy.mean > 0.95 && evaluation.method.is_none());
    assert_eq!((report.labelled, report.left_out[0].label.as_str(), report.left_out[0].documents), (59, "attic", 1));
    let stars = ClassifierOptions {
        label: Some("stars".to_owned()),
        ..ClassifierOptions {
            method: ClassifierMethod::ZeroShot,
            labels: vec![label("1", KITCHEN), label("2", GARDEN)],
            ..logistic()
        }
    };
    assert!(failure(&bench, stars).contains("no document of \"things\" has one of the labels"));
}

#[test]
fn labels_that_nothing_can_be_learnt_from_are_refused_by_name() {
    let bench = Bench::new();
    fill(
        &bench,
        &planted(30),
        |at, label| json!({"room": if at == 7 { "attic" } else { label }, "one": "same", "unique": at, "tags": [label], "two": [label, "x"]}),
    );
    let with = |label: &str| ClassifierOptions { label: Some(label.to_owned()), ..logistic() };
    let said = failure(&bench, with("room"));
    assert!(said.contains("\"attic\"") && said.contains("min_examples"), "{said}");
    let said = failure(&bench, with("nothing"));
    assert!(said.contains("no document of \"things\" has the attribute \"nothing\""), "{said}");
    let said = failure(&bench, with("one"));
    assert!(said.contains("the same \"one\", \"same\""), "{said}");
    let said = failure(&bench, with("unique"));
    assert!(said.contains("and 25 more"), "{said}");
    assert!(failure(&bench, with("two")).contains("no document"));
    let unique = ClassifierOptions { min_examples: Some(2), ..with("unique") };
    assert!(failure(&bench, unique).contains("lower min_examples"));

    let report: ClassifierReport =
        bench.report("things", Analysis::TrainClassifier(ClassifierOptions { min_examples: Some(3), ..with("room") }));
    assert_eq!((report.left_out.len(), report.left_out[0].label.as_str(), report.labelled), (1, "attic", 29));
    let tagged: ClassifierReport = bench.report("things", Analysis::TrainClassifier(with("tags")));
    assert_eq!(tagged.labels.len(), 3, "a list of one text is a label");
}

#[test]
fn options_out_of_range_are_refused_before_a_job_is_made() {
    let bench = Bench::new();
    fill(&bench, &planted(6), |_, label| json!({"room": label}));
    let label = |name: &str| ZeroShotLabel { name: name.to_owned(), description: None };
    let zero =
        |labels| ClassifierOptions { method: ClassifierMethod::ZeroShot, labels, ..ClassifierOptions::default() };
    for (options, param) in [
        (ClassifierOptions::default(), "label"),
        (ClassifierOptions { k: 0, ..logistic() }, "k"),
        (ClassifierOptions { evaluation: EvaluationMethod::Folds(1), ..logistic() }, "evaluation"),
        (ClassifierOptions { evaluation: EvaluationMethod::HeldOut(1.0), ..logistic() }, "evaluation"),
        (ClassifierOptions { inverse_regularization: vec![0.0], ..logistic() }, "inverse_regularization"),
        (ClassifierOptions { inverse_regularization: Vec::new(), ..logistic() }, "inverse_regularization"),
        (ClassifierOptions { min_examples: Some(1), ..logistic() }, "min_examples"),
        (ClassifierOptions { abstain_below: Some(1.5), ..logistic() }, "abstain_below"),
        (ClassifierOptions { temperature: 0.0, ..logistic() }, "temperature"),
        (ClassifierOptions { labels: vec![label("a"), label("b")], ..logistic() }, "labels"),
        (zero(vec![label("a")]), "labels"),
        (zero(vec![label("a"), label("a")]), "labels"),
        (zero(vec![label("a"), label(" ")]), "labels"),
        (ClassifierOptions { save_as: Some("no/slash".to_owned()), ..logistic() }, "save_as"),
    ] {
        let source = AnalysisSource::Collection { name: "things".to_owned(), filter: None };
        let request = anser_engine::AnalysisRequest { source, analysis: Analysis::TrainClassifier(options) };
        let error = bench.engine.create_analysis_job(&request).unwrap_err();
        assert_eq!(error.param(), Some(param), "{error}");
    }
    let unknown: Result<ClassifierOptions, _> = serde_json::from_value(json!({"labels_of": "x"}));
    assert!(unknown.is_err());
    let options: ClassifierOptions =
        serde_json::from_value(json!({"evaluation": {"folds": 3}, "label": "room"})).unwrap();
    assert_eq!(options.evaluation, EvaluationMethod::Folds(3));
}

#[test]
fn a_labelled_file_is_learnt_from_without_a_collection() {
    let bench = Bench::new();
    let path = bench.folder.path().join("rows.csv");
    let lines: Vec<String> = planted(45).iter().map(|(id, text, label)| format!("{id},{text},{label}")).collect();
    std::fs::write(&path, format!("id,text,room\n{}\n", lines.join("\n"))).unwrap();
    let source =
        || AnalysisSource::Path { path: path.clone(), format: None, fields: FieldMapping::default(), filter: None };
    let job = bench.run_over(source(), Analysis::TrainClassifier(logistic()));
    assert_eq!(job.state, JobState::Succeeded, "{:?}", job.failure);
    let report: ClassifierReport = bench.engine.job_report(&job.id).unwrap();
    assert!(report.evaluation.unwrap().accuracy.mean > 0.85 && report.source == "rows.csv");

    let mut request = FewShotRequest::new(source(), source(), "room");
    (request.shots, request.draws) = (4, 3);
    let run = |request: &FewShotRequest| bench.engine.evaluate_few_shot(request, &NoProgress, &CancelToken::new());
    let found = run(&request).unwrap();
    assert_eq!((found.classes, found.test, found.accuracies.len()), (3, 45, 3));
    assert!(found.accuracy > 0.7 && (found.accuracies.iter().sum::<f64>() / 3.0 - found.accuracy).abs() < 1e-12);
    assert_eq!(run(&request).unwrap(), found);
    request.seed += 1;
    assert_ne!(run(&request).unwrap().accuracies, found.accuracies);
    request.draws = 0;
    assert!(run(&request).is_err());
}

#[test]
fn copies_of_a_document_are_measured_together() {
    let bench = Bench::new();
    let mut copied = Vec::new();
    for (id, text, label) in planted(36) {
        copied.push((format!("{id}-1"), text.clone(), label));
        copied.push((format!("{id}-2"), text, label));
    }
    fill(&bench, &copied, |_, label| json!({"room": label}));
    for evaluation in [EvaluationMethod::Folds(5), EvaluationMethod::HeldOut(0.3)] {
        let options = ClassifierOptions { evaluation, ..logistic() };
        let job = bench.run("things", Analysis::TrainClassifier(options));
        assert_eq!(job.state, JobState::Succeeded, "{:?}", job.failure);
        let mut folds: std::collections::HashMap<String, Value> = std::collections::HashMap::new();
        for row in rows(&bench, &job.id) {
            let text = row["text"].as_str().unwrap().to_owned();
            let fold = folds.entry(text).or_insert_with(|| row["fold"].clone());
            assert_eq!(*fold, row["fold"], "{evaluation:?}: {row}");
        }
        assert!(folds.values().collect::<std::collections::HashSet<_>>().len() > 1);
    }
}
