//! Maps of documents.

use anser_engine::projection::{ProjectionMethod, ProjectionOptions, ProjectionReport};
use anser_engine::{Analysis, JobState, ResultFormat};
use serde_json::{Value, json};

use super::Bench;

const TOPICS: [&str; 3] = ["kettle boils water steam", "violin plays music loud", "garden grows roses green"];

/// Documents of three topics, each with a word of its own.
fn bench(each: usize) -> Bench {
    let bench = Bench::new();
    let ids: Vec<String> = (0..each * 3).map(|at| format!("d{at:03}")).collect();
    let texts: Vec<String> = (0..each * 3).map(|at| format!("{} word{at}", TOPICS[at % 3])).collect();
    let rows = ids.iter().zip(&texts).enumerate().map(|(at, (id, text))| {
        let attributes = match at % 10 {
            9 => json!({ "topic": at % 3 }),
            _ => json!({"topic": at % 3, "name": format!("</script><b>{}", at % 3), "day": format!("2024-05-{:02}T00:00:00Z", at % 28 + 1)}),
        };
        (id.as_str(), text.as_str(), attributes)
    });
    bench.fill("notes", rows.collect::<Vec<_>>());
    bench
}

fn options(colour_by: Option<&str>) -> ProjectionOptions {
    ProjectionOptions { epochs: 150, colour_by: colour_by.map(str::to_owned), ..ProjectionOptions::default() }
}

fn rows(bench: &Bench, job: &str) -> Vec<Value> {
    let mut out = Vec::new();
    bench.engine.write_job_table(job, "documents", ResultFormat::Json, &mut out).unwrap();
    serde_json::from_slice(&out).unwrap()
}

#[test]
fn a_map_by_clusters_keeps_topics_together_and_makes_all_files() {
    let bench = bench(20);
    let job = bench.run("notes", Analysis::Projection(ProjectionOptions { k: Some(3), ..options(Some("cluster")) }));
    assert_eq!(job.state, JobState::Succeeded, "{:?}", job.failure);
    let report: ProjectionReport = bench.engine.job_report(&job.id).unwrap();
    assert_eq!((report.documents, report.method), (60, ProjectionMethod::Tsne));
    let tsne = report.tsne.unwrap();
    assert!(tsne.laid_out == 60 && (tsne.perplexity - 59.0 / 3.0).abs() < 1e-3, "{tsne:?}");
    assert!(report.trustworthiness.unwrap() > 0.8, "{:?}", report.trustworthiness);
    let by = report.coloured_by.unwrap();
    assert_eq!(by.groups.iter().map(|group| group.documents).collect::<Vec<_>>(), [20, 20, 20]);
    assert!(by.groups.iter().any(|group| group.label.contains("kettle")), "{by:?}");

    let names: Vec<String> = bench.engine.job_results(&job.id).unwrap().into_iter().map(|r| r.name).collect();
    assert_eq!(names, ["report.json", "documents.parquet", "map.html", "map.png", "map.svg"]);
    let read = |name: &str| std::fs::read(bench.engine.job_result_path(&job.id, name).unwrap()).unwrap();
    assert!(read("map.png").starts_with(b"\x89PNG"));
    let svg = String::from_utf8(read("map.svg")).unwrap();
    assert!(svg.contains("kettle") && svg.contains("notes: 60 documents, coloured by cluster"), "{svg}");
    let html = String::from_utf8(read("map.html")).unwrap();
    assert!(html.contains("d059") && html.contains("word17"));

    let rows = rows(&bench, &job.id);
    assert_eq!(rows.len(), 60);
    let place = |row: &Value| [row["x"].as_f64().unwrap(), row["y"].as_f64().unwrap()];
    for (at, row) in rows.iter().enumerate() {
        assert_eq!(row["id"], format!("d{at:03}"));
        assert!(row["text"].as_str().unwrap().contains("word") && row["topic"].is_i64());
        assert_eq!(row["colour"], rows[at % 3]["colour"]);
        let distance = |other: &Value| {
            let (a, b) = (place(row), place(other));
            (a[0] - b[0]).hypot(a[1] - b[1])
        };
        let nearest =
            (0..60).filter(|other| *other != at).min_by(|a, b| distance(&rows[*a]).total_cmp(&distance(&rows[*b])));
        assert_eq!(nearest.unwrap() % 3, at % 3, "document {at} lies beside another topic");
    }
}

#[test]
fn attributes_colour_a_map_as_scale_or_groups() {
    let bench = bench(10);
    let run = |name: &str| {
        let job = bench.run("notes", Analysis::Projection(options(Some(name))));
        assert_eq!(job.state, JobState::Succeeded, "{:?}", job.failure);
        let report: ProjectionReport = bench.engine.job_report(&job.id).unwrap();
        (report.coloured_by.unwrap(), rows(&bench, &job.id), job.id)
    };
    let (by, documents, _) = run("topic");
    assert_eq!((by.scale, by.missing), (Some([0.0, 2.0]), 0));
    assert_eq!(documents[4]["colour"], json!(1.0));
    let (by, documents, job) = run("name");
    assert_eq!((by.groups.len(), by.missing), (3, 3));
    assert_eq!(documents[4]["colour"], "</script><b>1");
    assert!(documents[9].get("colour").is_none_or(Value::is_null));
    let page = std::fs::read_to_string(bench.engine.job_result_path(&job, "map.html").unwrap()).unwrap();
    assert!(!page.contains("</script><b>"));
    assert_eq!(run("day").0.scale, Some([0.0, 27.0]));
}

#[test]
fn principal_components_need_no_colours() {
    let bench = bench(8);
    let options = ProjectionOptions { method: ProjectionMethod::Pca, ..options(None) };
    let job = bench.run("notes", Analysis::Projection(options));
    let report: ProjectionReport = bench.engine.job_report(&job.id).unwrap();
    assert!(report.tsne.is_none() && report.coloured_by.is_none());
    assert!(report.explained_variance[0] >= report.explained_variance[1] && report.explained_variance[1] > 0.1);
    assert_eq!(report.trustworthiness, report.pca_trustworthiness);
    assert!(rows(&bench, &job.id)[0].get("colour").is_none());
}

#[test]
fn one_document_and_equal_documents_have_a_map() {
    let bench = Bench::new();
    bench.fill("one", [("a", "red kettle", json!({}))]);
    let report: ProjectionReport = bench.report("one", Analysis::Projection(options(Some("cluster"))));
    assert_eq!((report.documents, report.trustworthiness), (1, None));
    let ids: Vec<String> = (0..12).map(|at| at.to_string()).collect();
    bench.fill("same", ids.iter().map(|id| (id.as_str(), "red kettle", json!({}))));
    let job = bench.run("same", Analysis::Projection(options(Some("cluster"))));
    assert_eq!(job.state, JobState::Succeeded, "{:?}", job.failure);
    assert!(rows(&bench, &job.id).iter().all(|row| row["x"].is_f64() && row["y"].is_f64()));
}

#[test]
fn what_cannot_be_drawn_is_refused_with_a_reason() {
    let bench = bench(3);
    let job = bench.run("notes", Analysis::Projection(options(Some("colour"))));
    let failure = job.failure.unwrap();
    assert_eq!(failure.param.as_deref(), Some("colour_by"));
    assert!(failure.message.contains("\"colour\"") && failure.message.contains("\"topic\""), "{}", failure.message);
    let refused = |options: Value| {
        let analysis: Result<ProjectionOptions, _> = serde_json::from_value(options);
        let source = anser_engine::AnalysisSource::Collection { name: "notes".to_owned(), filter: None };
        let request = anser_engine::AnalysisRequest { source, analysis: Analysis::Projection(analysis.unwrap()) };
        bench.engine.create_analysis_job(&request).unwrap_err().param().unwrap().to_owned()
    };
    assert_eq!(refused(json!({"perplexity": 0.5})), "perplexity");
    assert_eq!(refused(json!({"epochs": 3})), "epochs");
    assert_eq!(refused(json!({"k": 0})), "k");
    assert_eq!(refused(json!({"k": 4, "colour_by": null})), "k");
    assert!(serde_json::from_value::<ProjectionOptions>(json!({"color": "x"})).is_err());
}
