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
    assert!(failure.message.contains("the filter lets through; widen it"), "{}", failure.message);
    let misspelt: Filter = "price > 1 and nn = 2".parse().unwrap();
    let source = AnalysisSource::Collection { name: "notes".to_owned(), filter: Some(misspelt.clone()) };
    let failure = bench.run_over(source, analysis()).failure.unwrap();
    let remark = "no document has an attribute \"nn\"; did you mean \"n\"?; no document has an attribute \"price\"";
    assert!(failure.message.ends_with(remark), "{}", failure.message);
    assert_eq!((failure.code.as_str(), failure.param.as_deref()), ("invalid_request", Some("source")));

    let path = bench.folder.path().join("rows.csv");
    std::fs::write(&path, "id,text,n\n1,red kettle,3\n2,blue kettle,7\n3,green pan,9\n").unwrap();
    let source = AnalysisSource::Path { path, format: None, fields: FieldMapping::default(), filter: Some(filter) };
    let mut misspelt_in_file = source.clone();
    if let AnalysisSource::Path { filter, .. } = &mut misspelt_in_file {
        *filter = Some(misspelt);
    }
    let failure = bench.run_over(misspelt_in_file, analysis()).failure.unwrap();
    assert!(failure.message.contains("\"nn\"; did you mean \"n\"?"), "{}", failure.message);
    let job = bench.run_over(source, analysis());
    assert_eq!(job.state, JobState::Succeeded, "{:?}", job.failure);
    assert!(bench.engine.collections().unwrap().iter().all(|c| c.name == "notes"), "nothing is kept of the file");
}
