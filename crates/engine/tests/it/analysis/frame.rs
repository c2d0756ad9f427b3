//! What every analysis has in common.

use anser_engine::{Analysis, AnalysisSource, FieldMapping, Filter, JobState};
use serde_json::json;

use super::Bench;

#[test]
fn a_source_is_a_collection_or_a_file_each_with_a_filter() {
    let bench = Bench::new();
    bench.fill("notes", [("a", "red kettle", json!({"n": 1})), ("b", "blue kettle", json!({"n": 2}))]);
    let analysis = || Analysis::Diversity(anser_engine::diversity::DiversityOptions::default());
    assert_eq!(bench.run("notes", analysis()).state, JobState::Succeeded);
    let filter: Filter = serde_json::from_value(json!({"type": "gt", "key": "n", "value": 5})).unwrap();
    let source = AnalysisSource::Collection { name: "notes".to_owned(), filter: Some(filter.clone()) };
    let failure = bench.run_over(source, analysis()).failure.unwrap();
    assert!(failure.message.contains("the filter lets through"), "{}", failure.message);

    let path = bench.folder.path().join("rows.csv");
    std::fs::write(&path, "id,text,n\n1,red kettle,3\n2,blue kettle,7\n3,green pan,9\n").unwrap();
    let source = AnalysisSource::Path { path, format: None, fields: FieldMapping::default(), filter: Some(filter) };
    let job = bench.run_over(source, analysis());
    assert_eq!(job.state, JobState::Succeeded, "{:?}", job.failure);
    assert!(bench.engine.collections().unwrap().iter().all(|c| c.name == "notes"), "nothing is kept of the file");
}
