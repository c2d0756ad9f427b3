//! Outliers: planted ones come first, with reasons; data without any has none.

use anser_engine::outliers::{OutlierMethod, OutlierOptions, OutlierReport};
use anser_engine::{Analysis, EngineError, JobState, ResultFormat};
use serde_json::{Value, json};

use super::Bench;

/// Thirty documents about three subjects, and two about nothing that others are about.
fn fill(bench: &Bench) {
    let subjects =
        ["kettle boils water quickly here", "coffee beans roast dark aroma", "puppy chews treats happily daily"];
    let mut rows: Vec<(String, String)> = Vec::new();
    for at in 0..30 {
        rows.push((format!("d{at:02}"), format!("{} w{at} v{}", subjects[at % 3], at / 2)));
    }
    rows.push(("odd1".to_owned(), "ledger invoice audit quarterly depreciation surplus".to_owned()));
    rows.push(("odd2".to_owned(), "glacier moraine basalt tectonic fjord sediment".to_owned()));
    bench.fill("notes", rows.iter().map(|(id, text)| (id.as_str(), text.as_str(), json!({"n": text.len()}))));
}

pub(super) fn table(bench: &Bench, job: &str) -> Vec<Value> {
    let mut out = Vec::new();
    bench.engine.write_job_table(job, "documents", ResultFormat::JsonLines, &mut out).unwrap();
    String::from_utf8(out).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn planted_outliers_come_first_with_reasons_by_both_methods() {
    let bench = Bench::new();
    fill(&bench);
    for method in [OutlierMethod::Lof, OutlierMethod::KnnDistance] {
        let options = OutlierOptions { k: 6, method, limit: 5, ..OutlierOptions::default() };
        let report: OutlierReport = bench.report("notes", Analysis::Outliers(options));
        assert_eq!((report.documents, report.k, report.exact, report.recall), (32, 6, true, None));
        let mut first: Vec<&str> = report.ranked[..2].iter().map(|o| o.document.id.as_str()).collect();
        first.sort_unstable();
        assert_eq!(first, ["odd1", "odd2"], "{method:?}");
        assert_eq!(report.ranked.len(), 5);
        let (odd, typical) = (&report.ranked[0], &report.typical);
        assert!(odd.outlier && report.outliers >= 2 && report.outliers < 10, "{}", report.outliers);
        assert!(odd.lof > 1.3 && typical.lof < 1.2, "{} {}", odd.lof, typical.lof);
        assert!(f64::from(odd.nearest_distance) > 2.0 * typical.nearest_distance);
        let expected =
            format!("{:.2} from its nearest (typical {:.2})", odd.nearest_distance, typical.nearest_distance);
        assert!(odd.reason.starts_with(&expected) && odd.reason.contains("from its 6th nearest"), "{}", odd.reason);
        assert_eq!(odd.neighbours.len(), 3);
        assert!((1.0 - odd.neighbours[0].similarity - odd.nearest_distance).abs() < 1e-6);
        assert!(odd.neighbours.windows(2).all(|pair| pair[0].similarity >= pair[1].similarity));
    }
}

#[test]
fn the_table_lists_all_documents_by_rank_beside_their_nearest() {
    let bench = Bench::new();
    fill(&bench);
    let options = OutlierOptions { k: 6, limit: 1, ..OutlierOptions::default() };
    let job = bench.run("notes", Analysis::Outliers(options));
    let rows = table(&bench, &job.id);
    assert_eq!(rows.len(), 32);
    let columns: Vec<&String> = rows[0].as_object().unwrap().keys().collect();
    let mut expected =
        ["id", "rank", "outlier", "lof", "distance", "nearest_id", "nearest_similarity", "title", "text", "n"];
    expected.sort_unstable();
    assert_eq!(columns.len(), expected.len(), "{columns:?}");
    assert!(expected.iter().all(|name| rows[0].get(name).is_some()), "{columns:?}");
    for (at, row) in rows.iter().enumerate() {
        assert_eq!(row["rank"], at + 1);
        assert_ne!(row["id"], row["nearest_id"]);
        assert_eq!(row["n"], row["text"].as_str().unwrap().len());
    }
    let lof: Vec<f64> = rows.iter().map(|row| row["lof"].as_f64().unwrap()).collect();
    assert!(lof.windows(2).all(|pair| pair[0] >= pair[1]));
    let report: OutlierReport = bench.engine.job_report(&job.id).unwrap();
    assert_eq!(rows.iter().filter(|row| row["outlier"] == true).count(), report.outliers);
    let picture = std::fs::read_to_string(bench.engine.job_result_path(&job.id, "scores.svg").unwrap()).unwrap();
    let mut reader = quick_xml::Reader::from_str(&picture);
    while reader.read_event().unwrap() != quick_xml::events::Event::Eof {}
    assert!(picture.contains("of 32 documents above"));
}

#[test]
fn an_outlier_that_was_posted_twice_is_listed_once_with_its_copies() {
    let bench = Bench::new();
    fill(&bench);
    bench.fill("notes", [("odd3", "glacier moraine basalt tectonic fjord sediment", json!({}))]);
    for method in [OutlierMethod::Lof, OutlierMethod::KnnDistance] {
        let options = OutlierOptions { k: 6, method, limit: 4, ..OutlierOptions::default() };
        let report: OutlierReport = bench.report("notes", Analysis::Outliers(options));
        let glaciers: Vec<_> = report.ranked.iter().filter(|o| o.document.text.starts_with("glacier")).collect();
        let [one] = &glaciers[..] else { panic!("{glaciers:?}") };
        assert_eq!((one.document.id.as_str(), one.copies), ("odd2", 1));
        assert!(one.reason.contains("not its one copy") && one.nearest_distance > 0.5, "{}", one.reason);
        assert!(one.neighbours.iter().all(|near| near.document.id != "odd3"));
        assert_eq!(report.ranked.len(), 4);
    }
}

#[test]
fn documents_that_are_all_alike_have_no_outliers() {
    let bench = Bench::new();
    let ids: Vec<String> = (0..12).map(|at| at.to_string()).collect();
    bench.fill("same", ids.iter().map(|id| (id.as_str(), "red kettle", json!({}))));
    let report: OutlierReport = bench.report("same", Analysis::Outliers(OutlierOptions::default()));
    assert_eq!((report.k, report.outliers), (11, 0));
    let [one] = &report.ranked[..] else { panic!("{:?}", report.ranked) };
    assert!(!one.outlier && one.copies == 11 && (one.lof - 1.0).abs() < 1e-3 && one.distance < 1e-5);

    bench.fill("pair", [("a", "red kettle", json!({})), ("b", "blue pan", json!({}))]);
    let report: OutlierReport = bench.report("pair", Analysis::Outliers(OutlierOptions::default()));
    assert_eq!((report.k, report.outliers, report.ranked.len()), (1, 0, 2));

    bench.fill("one", [("a", "red kettle", json!({}))]);
    let job = bench.run("one", Analysis::Outliers(OutlierOptions::default()));
    assert_eq!(job.state, JobState::Failed);
    assert!(job.failure.unwrap().message.contains("need others to differ from"));
}

#[test]
fn options_out_of_range_name_the_field() {
    let bench = Bench::new();
    bench.fill("notes", [("a", "red kettle", json!({}))]);
    for (options, field) in [
        (json!({"type": "outliers", "k": 0}), "k"),
        (json!({"type": "outliers", "k": 1001}), "k"),
        (json!({"type": "outliers", "limit": 0}), "limit"),
    ] {
        let analysis: Analysis = serde_json::from_value(options).unwrap();
        let source = anser_engine::AnalysisSource::Collection { name: "notes".to_owned(), filter: None };
        let error: EngineError =
            bench.engine.create_analysis_job(&anser_engine::AnalysisRequest { source, analysis }).unwrap_err();
        assert_eq!(error.param(), Some(field));
    }
    let wire: Analysis = serde_json::from_value(json!({"type": "outliers", "method": "knn_distance"})).unwrap();
    let expected = OutlierOptions { method: OutlierMethod::KnnDistance, ..OutlierOptions::default() };
    assert_eq!(wire, Analysis::Outliers(expected));
}
