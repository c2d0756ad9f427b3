//! Near-duplicates: planted groups are found, the right document stays, and only what was compared is deleted.

use anser_core::DocumentId;
use anser_engine::duplicates::{DeletedDuplicates, DuplicateOptions, DuplicateReport, KeepRule};
use anser_engine::{Analysis, AnalysisSource, FieldMapping, JobState};
use serde_json::json;

use super::Bench;
use super::outliers::table;

/// Three that say nearly the same, two equal ones, and two of their own.
fn fill(bench: &Bench) {
    let base = "the kettle boils water fast and looks good on the stove in our kitchen";
    let longer = format!("{base} today");
    let shorter = base.replace("our ", "");
    bench.fill(
        "notes",
        [
            ("a1", base, json!({"year": 2021, "lang": "en"})),
            ("a2", longer.as_str(), json!({"year": 2019, "lang": "en"})),
            ("a3", shorter.as_str(), json!({"year": 2023, "lang": "en"})),
            ("b1", "coffee beans with dark roast aroma", json!({"year": 2020, "lang": "en"})),
            ("b2", "coffee beans with dark roast aroma", json!({"year": 2018, "lang": "en"})),
            ("c1", "puppy treats", json!({"lang": "en"})),
            ("c2", "ledger audit", json!({"lang": "en"})),
        ],
    );
}

fn options(keep: KeepRule) -> DuplicateOptions {
    let newest_by = (keep == KeepRule::Newest).then(|| "year".to_owned());
    DuplicateOptions { threshold: 0.9, keep, newest_by, ..DuplicateOptions::default() }
}

fn ids(bench: &Bench) -> Vec<String> {
    let documents = bench.engine.collection("notes").unwrap().documents(None, 100).unwrap();
    documents.into_iter().map(|document| document.id.to_string()).collect()
}

#[test]
fn planted_groups_are_found_and_the_rule_says_which_document_stays() {
    let bench = Bench::new();
    fill(&bench);
    for (keep, kept) in [(KeepRule::Longest, "a2"), (KeepRule::First, "a1"), (KeepRule::Newest, "a3")] {
        let report: DuplicateReport = bench.report("notes", Analysis::Duplicates(options(keep)));
        assert_eq!((report.documents, report.groups, report.grouped, report.redundant), (7, 2, 5, 3));
        assert_eq!((report.exact, report.exact_copies), (true, 1));
        let [large, small] = &report.largest[..] else { panic!("{:?}", report.largest) };
        assert_eq!((large.documents, large.redundant, large.exact_copies), (3, 2, 0));
        assert_eq!((small.documents, small.redundant, small.exact_copies), (2, 1, 1));
        assert!(large.members[0].keep && large.members[0].document.id == kept, "{keep:?}");
        assert!(large.members[1..].iter().all(|m| !m.keep && m.kept_id == kept && m.similarity >= 0.9));
        assert!(small.members[0].document.id == "b1" && small.members[1].exact_copy);
        assert!((small.members[1].similarity - 1.0).abs() < 1e-5);
    }
}

#[test]
fn the_table_has_the_groups_and_nothing_else() {
    let bench = Bench::new();
    fill(&bench);
    let job = bench.run("notes", Analysis::Duplicates(options(KeepRule::First)));
    let rows = table(&bench, &job.id);
    let row = |at: usize, column: &str| rows[at][column].clone();
    let shown: Vec<_> = (0..rows.len()).map(|at| (row(at, "id"), row(at, "group"), row(at, "keep"))).collect();
    assert_eq!(shown.len(), 5);
    assert_eq!((&shown[0].0, &shown[0].2), (&json!("a1"), &json!(true)));
    assert_eq!(&shown[3..], [(json!("b1"), json!(1), json!(true)), (json!("b2"), json!(1), json!(false))]);
    assert_eq!((row(4, "kept_id"), row(4, "exact_copy"), row(4, "lang")), (json!("b1"), json!(true), json!("en")));
}

#[test]
fn a_deletion_removes_exactly_the_redundant_ones_and_a_second_one_nothing() {
    let bench = Bench::new();
    fill(&bench);
    let job = bench.run("notes", Analysis::Duplicates(options(KeepRule::Longest)));
    assert_eq!(ids(&bench).len(), 7, "looking deletes nothing");
    let done = bench.engine.delete_duplicates(&job.id).unwrap();
    assert_eq!(done, DeletedDuplicates { collection: "notes".to_owned(), deleted: 3, left: 0 });
    assert_eq!(ids(&bench), ["a2", "b1", "c1", "c2"]);
    assert_eq!(bench.engine.delete_duplicates(&job.id).unwrap().deleted, 0);
    let again: DuplicateReport = bench.report("notes", Analysis::Duplicates(options(KeepRule::Longest)));
    assert_eq!((again.groups, again.redundant), (0, 0));
}

#[test]
fn what_changed_since_it_was_compared_is_left_alone() {
    let bench = Bench::new();
    fill(&bench);
    let job = bench.run("notes", Analysis::Duplicates(options(KeepRule::Longest)));
    // a1 says something else now; so does b1, which was to stand for b2; a new document is as near as a3 was.
    bench.fill(
        "notes",
        [
            ("a1", "an entirely new opinion", json!({})),
            ("b1", "tea leaves instead", json!({})),
            ("a4", "the kettle boils water fast and looks good on the stove in kitchen", json!({})),
        ],
    );
    let done = bench.engine.delete_duplicates(&job.id).unwrap();
    assert_eq!((done.deleted, done.left), (1, 2));
    assert_eq!(ids(&bench), ["a1", "a2", "a4", "b1", "b2", "c1", "c2"]);

    // Nor does anything go whose kept document is gone.
    let job = bench.run("notes", Analysis::Duplicates(options(KeepRule::Longest)));
    bench.engine.collection("notes").unwrap().delete(&[DocumentId::new("a2").unwrap()]).unwrap();
    let done = bench.engine.delete_duplicates(&job.id).unwrap();
    assert_eq!((done.deleted, done.left), (0, 1));
    assert!(ids(&bench).contains(&"a4".to_owned()));
}

#[test]
fn attributes_may_change_without_keeping_a_duplicate() {
    let bench = Bench::new();
    fill(&bench);
    let job = bench.run("notes", Analysis::Duplicates(options(KeepRule::First)));
    bench.fill("notes", [("b2", "coffee beans with dark roast aroma", json!({"seen": true}))]);
    assert_eq!(bench.engine.delete_duplicates(&job.id).unwrap().deleted, 3);
}

#[test]
fn only_a_finished_duplicates_job_over_a_collection_deletes() {
    let bench = Bench::new();
    fill(&bench);
    let other = bench.run("notes", Analysis::Outliers(anser_engine::outliers::OutlierOptions::default()));
    let error = bench.engine.delete_duplicates(&other.id).unwrap_err();
    assert!(error.to_string().contains("of the kind outliers"), "{error}");

    let path = bench.folder.path().join("rows.csv");
    std::fs::write(&path, "id,text\n1,red kettle\n2,red kettle\n3,blue pan\n").unwrap();
    let source = AnalysisSource::Path { path, format: None, fields: FieldMapping::default(), filter: None };
    let job = bench.run_over(source, Analysis::Duplicates(DuplicateOptions::default()));
    assert_eq!(job.state, JobState::Succeeded, "{:?}", job.failure);
    assert_eq!(bench.engine.job_report::<DuplicateReport>(&job.id).unwrap().redundant, 1);
    let error = bench.engine.delete_duplicates(&job.id).unwrap_err();
    assert!(error.to_string().contains("nothing is deleted from files"), "{error}");

    let missing =
        DuplicateOptions { keep: KeepRule::Newest, newest_by: Some("age".to_owned()), ..options(KeepRule::First) };
    let failed = bench.run("notes", Analysis::Duplicates(missing));
    let message = failed.failure.unwrap().message;
    assert!(message.contains("no document has the attribute \"age\""), "{message}");
    assert!(bench.engine.delete_duplicates(&failed.id).unwrap_err().to_string().contains("is failed"));
    let text =
        DuplicateOptions { keep: KeepRule::Newest, newest_by: Some("lang".to_owned()), ..options(KeepRule::First) };
    let message = bench.run("notes", Analysis::Duplicates(text)).failure.unwrap().message;
    assert!(message.contains("neither a time nor a number"), "{message}");
    assert!(bench.engine.delete_duplicates("job_nobody").is_err());
}

#[test]
fn equal_and_single_documents_are_defined() {
    let bench = Bench::new();
    let names: Vec<String> = (0..1500).map(|at| format!("d{at:04}")).collect();
    bench.fill("notes", names.iter().map(|id| (id.as_str(), "red kettle", json!({}))));
    let whole = DuplicateOptions { threshold: 1.0, ..DuplicateOptions::default() };
    let job = bench.run("notes", Analysis::Duplicates(whole));
    let report: DuplicateReport = bench.engine.job_report(&job.id).unwrap();
    assert_eq!((report.groups, report.redundant, report.exact_copies), (1, 1499, 1499));
    assert_eq!(report.largest[0].members.len(), 10);
    assert_eq!(bench.engine.delete_duplicates(&job.id).unwrap().deleted, 1499);
    assert_eq!(ids(&bench), ["d0000"]);
    let job = bench.run("notes", Analysis::Duplicates(DuplicateOptions::default()));
    assert_eq!(bench.engine.job_report::<DuplicateReport>(&job.id).unwrap().groups, 0);
    assert!(table(&bench, &job.id).is_empty());
}

#[test]
fn options_that_contradict_each_other_name_the_field() {
    let bench = Bench::new();
    fill(&bench);
    for (options, field) in [
        (json!({"type": "duplicates", "threshold": 0}), "threshold"),
        (json!({"type": "duplicates", "threshold": 1.1}), "threshold"),
        (json!({"type": "duplicates", "keep": "newest"}), "newest_by"),
        (json!({"type": "duplicates", "newest_by": "year"}), "newest_by"),
        (json!({"type": "duplicates", "limit": 0}), "limit"),
    ] {
        let analysis: Analysis = serde_json::from_value(options).unwrap();
        let source = AnalysisSource::Collection { name: "notes".to_owned(), filter: None };
        let request = anser_engine::AnalysisRequest { source, analysis };
        assert_eq!(bench.engine.create_analysis_job(&request).unwrap_err().param(), Some(field));
    }
}
