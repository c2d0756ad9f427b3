//! Diversity: varied documents against repetitive ones, subsets of one collection, and what is too little to measure.

use anser_engine::diversity::{DiversityOptions, DiversityReport};
use anser_engine::{Analysis, AnalysisSource, Filter, JobState};
use serde_json::json;

use super::Bench;
use super::outliers::table;

fn filter(lang: &str) -> Filter {
    serde_json::from_value(json!({"type": "eq", "key": "lang", "value": lang})).unwrap()
}

/// Forty documents about many things (`wide`) and forty that nearly repeat each other (`narrow`).
fn fill(bench: &Bench) {
    let mut rows = Vec::new();
    for at in 0..40 {
        let subject = at % 8;
        rows.push((format!("w{at:02}"), format!("s{subject} t{subject} u{subject} x{at} y{at}"), "wide"));
        rows.push((format!("n{at:02}"), format!("red kettle boils water on the stove x{at}"), "narrow"));
    }
    bench.fill("notes", rows.iter().map(|(id, text, lang)| (id.as_str(), text.as_str(), json!({"lang": lang}))));
}

#[test]
fn varied_documents_measure_as_more_varied_than_repetitive_ones() {
    let bench = Bench::new();
    fill(&bench);
    let options = DiversityOptions {
        subset: Some(filter("narrow")),
        compare: Some(filter("wide")),
        clusters: Some(9),
        resamples: 200,
        ..DiversityOptions::default()
    };
    let report: DiversityReport = bench.report("notes", Analysis::Diversity(options.clone()));
    let (narrow, wide) = (&report.subset, report.compare.as_ref().unwrap());
    assert_eq!((report.documents, narrow.documents, wide.documents), (80, 40, 40));
    assert!(wide.mean_distance > 3.0 * narrow.mean_distance);
    assert!(wide.vendi > 2.0 * narrow.vendi && narrow.vendi >= 1.0 && wide.vendi <= 40.0);
    let interval = narrow.mean_distance_interval.unwrap();
    assert!(interval.low < narrow.mean_distance && narrow.mean_distance < interval.high);
    assert!(wide.coverage.covered >= 7 && narrow.coverage.covered <= 2, "{:?} {:?}", wide.coverage, narrow.coverage);
    assert!(wide.coverage.effective > 6.0 && narrow.coverage.expected > 7.0);
    let comparison = report.comparison.as_ref().unwrap();
    assert!(comparison.significant && comparison.overlap == 0);
    assert!((comparison.mean_distance - (wide.mean_distance - narrow.mean_distance)).abs() < 1e-12);
    assert!(comparison.mean_distance_interval.unwrap().low > 0.0);
    assert_eq!(comparison.vendi_at_equal_size.documents, 40);
    assert!((comparison.vendi_at_equal_size.compare - wide.vendi).abs() < 1e-12, "no draw is needed");
    assert_eq!(report.clusters.len(), 9);
    assert_eq!(report.clusters.iter().map(|c| c.subset).sum::<usize>(), 40);
    let narrow_cluster = report.clusters.iter().find(|c| c.subset > 20).unwrap();
    assert!(narrow_cluster.label.contains("kettle") || narrow_cluster.label.contains("stove"), "{narrow_cluster:?}");
    let again: DiversityReport = bench.report("notes", Analysis::Diversity(options));
    assert_eq!(again, report);
}

#[test]
fn halves_of_the_same_kind_do_not_differ() {
    let bench = Bench::new();
    let rows: Vec<(String, String)> =
        (0..80).map(|at| (format!("d{at:02}"), format!("s{} t{} x{at}", at % 4, at % 4))).collect();
    let half = |at: usize| if at % 8 < 4 { "a" } else { "b" };
    let documents =
        rows.iter().enumerate().map(|(at, (id, text))| (id.as_str(), text.as_str(), json!({"lang": half(at)})));
    bench.fill("notes", documents);
    let options = DiversityOptions {
        subset: Some(filter("a")),
        compare: Some(filter("b")),
        resamples: 200,
        ..DiversityOptions::default()
    };
    let report: DiversityReport = bench.report("notes", Analysis::Diversity(options.clone()));
    assert!(!report.comparison.unwrap().significant);
    let itself = DiversityOptions { compare: Some(filter("a")), ..options };
    let report: DiversityReport = bench.report("notes", Analysis::Diversity(itself));
    let comparison = report.comparison.unwrap();
    assert_eq!((comparison.overlap, comparison.significant), (40, false));
    assert!(comparison.mean_distance.abs() < 1e-12);
}

#[test]
fn all_documents_are_measured_and_the_table_says_where_each_lies() {
    let bench = Bench::new();
    fill(&bench);
    let job =
        bench.run("notes", Analysis::Diversity(DiversityOptions { resamples: 100, ..DiversityOptions::default() }));
    assert_eq!(job.state, JobState::Succeeded, "{:?}", job.failure);
    let report: DiversityReport = bench.engine.job_report(&job.id).unwrap();
    assert!(report.compare.is_none() && report.comparison.is_none() && report.subset.filter.is_none());
    // √(80 / 2) is 6.3.
    assert_eq!(report.clusters.len(), 6);
    assert_eq!(report.subset.coverage.covered, 6);
    assert!((report.subset.coverage.expected - 6.0).abs() < 1e-6);
    let rows = table(&bench, &job.id);
    assert_eq!(rows.len(), 80);
    assert!(rows.iter().all(|row| row["subset"] == true && row.get("compare").is_none()));
    let mean = |lang: &str| {
        let of: Vec<f64> =
            rows.iter().filter(|r| r["lang"] == lang).map(|r| r["mean_distance"].as_f64().unwrap()).collect();
        of.iter().sum::<f64>() / of.len() as f64
    };
    assert!(mean("wide") > mean("narrow"));
    let all = mean("wide").midpoint(mean("narrow"));
    assert!((all - report.subset.mean_distance).abs() < 1e-5, "its mean is the mean over all pairs");
}

#[test]
fn equal_documents_have_no_diversity_and_one_cannot_be_measured() {
    let bench = Bench::new();
    let names: Vec<String> = (0..12).map(|at| at.to_string()).collect();
    bench.fill("notes", names.iter().map(|id| (id.as_str(), "red kettle", json!({"lang": id}))));
    let report: DiversityReport = bench.report("notes", Analysis::Diversity(DiversityOptions::default()));
    assert!(report.subset.mean_distance.abs() < 1e-5 && (report.subset.vendi - 1.0).abs() < 1e-3);
    assert_eq!((report.subset.coverage.covered, report.clusters.len()), (1, 1));
    for (options, message) in [
        (DiversityOptions { subset: Some(filter("3")), ..DiversityOptions::default() }, "only 1 document"),
        (
            DiversityOptions { compare: Some(filter("x")), ..DiversityOptions::default() },
            "satisfies the filter compare",
        ),
        (DiversityOptions { clusters: Some(3), ..DiversityOptions::default() }, "distinct"),
    ] {
        let failure = bench.run("notes", Analysis::Diversity(options)).failure.unwrap();
        assert!(failure.message.contains(message), "{}", failure.message);
    }
    let source = AnalysisSource::Collection { name: "notes".to_owned(), filter: Some(filter("3")) };
    let failure = bench.run_over(source, Analysis::Diversity(DiversityOptions::default())).failure.unwrap();
    assert!(failure.message.contains("2 or more"), "{}", failure.message);
}

#[test]
fn options_out_of_range_name_the_field() {
    let bench = Bench::new();
    bench.fill("notes", [("a", "red kettle", json!({}))]);
    for (options, field) in [
        (json!({"type": "diversity", "clusters": 0}), "clusters"),
        (json!({"type": "diversity", "resamples": 99}), "resamples"),
    ] {
        let analysis: Analysis = serde_json::from_value(options).unwrap();
        let source = AnalysisSource::Collection { name: "notes".to_owned(), filter: None };
        let request = anser_engine::AnalysisRequest { source, analysis };
        assert_eq!(bench.engine.create_analysis_job(&request).unwrap_err().param(), Some(field));
    }
}
