//! `anser duplicates --delete`: asks where somebody can be asked, refuses where not, and deletes what was found.

use std::fs;

use crate::support::{assert_failed, json, run};

#[test]
fn duplicates_are_deleted_only_when_told_so() {
    let data = tempfile::tempdir().unwrap();
    let file = data.path().join("notes.csv");
    let rows =
        "id,text\n1,The kettle boils water fast.\n2,The kettle boils water fast.\n3,My dog loves these treats.\n";
    fs::write(&file, rows).unwrap();
    let path = file.to_str().unwrap();
    json(data.path(), ["ingest", path, "--collection", "notes"]);
    let documents = || json(data.path(), ["collections", "show", "notes"])["documents"].clone();

    assert_failed(&run(data.path(), ["duplicates", "notes", "--delete"]), 1, &["nothing was deleted", "--yes"]);
    assert_eq!(documents(), 3);
    assert_failed(&run(data.path(), ["duplicates", path, "--delete", "--yes"]), 1, &["nothing is deleted from files"]);
    assert_failed(&run(data.path(), ["duplicates", "notes", "--yes"]), 2, &["required arguments"]);

    let report = json(data.path(), ["duplicates", "notes", "--delete", "--yes"]);
    assert_eq!((&report["redundant"], &report["exact_copies"]), (&1.into(), &1.into()), "{report}");
    assert_eq!((&report["deletion"]["deleted"], &report["deletion"]["left"]), (&1.into(), &0.into()), "{report}");
    assert_eq!(documents(), 2);
    let out = data.path().join("left.csv");
    let again = run(data.path(), ["duplicates", "notes", "--delete", "--yes", "--out", out.to_str().unwrap()]);
    let text = String::from_utf8_lossy(&again.stdout).into_owned();
    assert!(text.contains("no near-duplicates among 2 documents") && text.contains("nothing to delete"), "{text}");
    assert!(fs::read_to_string(&out).unwrap().starts_with("id,group,keep,kept_id,similarity,exact_copy,title,text"));
}
