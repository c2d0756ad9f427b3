//! What was deleted is in no file of the data folder, and its words were in no log.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;

use crate::support::{Server, anser, json, stderr};

/// Words that no model, option or other document has.
const TEXT: &str = "The zyzzyvaquokka sings for exactly four hundred euros.";
const CANARIES: [&str; 5] = ["zyzzyvaquokka", "xylotitle", "balalaikaattribute", "quetzalid", "zyzzyvaquokk"];

/// All files below a folder that hold one of the canaries, in any mixture of cases.
fn traces(folder: &Path, found: &mut Vec<(PathBuf, &'static str)>) {
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let path = entry.path();
        if path.is_dir() {
            traces(&path, found);
            continue;
        }
        let bytes = fs::read(&path).unwrap().to_ascii_lowercase();
        let held =
            CANARIES.into_iter().filter(|word| bytes.windows(word.len()).any(|window| window == word.as_bytes()));
        found.extend(held.map(|word| (path.clone(), word)));
    }
}

fn all_traces(folder: &Path) -> Vec<(PathBuf, &'static str)> {
    let mut found = Vec::new();
    traces(folder, &mut found);
    found
}

/// Runs a command with every log line there is and returns what it logged.
fn logged(data: &Path, arguments: &[&str]) -> String {
    let mut command: Command = anser(data);
    let output = command.args(["--log", "debug"]).args(arguments).arg("--json").output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    stderr(&output)
}

#[test]
fn a_deleted_document_is_in_no_file_of_the_data_folder() {
    let (data, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let file = outside.path().join("rows.jsonl");
    let mut lines = String::new();
    for row in 0..50 {
        writeln!(lines, "{}", json!({"id": format!("row-{row}"), "text": format!("A green kettle, number {row}.")}))
            .unwrap();
    }
    let canary = json!({"id": "quetzalid", "title": "Xylotitle", "text": TEXT, "secret": "balalaikaattribute"});
    writeln!(lines, "{canary}").unwrap();
    fs::write(&file, lines).unwrap();
    let mut log = logged(data.path(), &["ingest", file.to_str().unwrap(), "--collection", "notes"]);
    for mode in ["vector", "keyword", "hybrid"] {
        log += &logged(data.path(), &["search", "notes", "who sings for euros?", "--mode", mode]);
    }
    log += &logged(data.path(), &["ask", "notes", "who sings for four hundred euros?"]);
    let server = Server::start(data.path());
    let (status, found) = server.post("/v1/collections/notes/search", &json!({"query": "zyzzyvaquokka"}));
    assert_eq!((status, &found["hits"][0]["chunk"]["document_id"]), (200, &json!("quetzalid")), "{found}");
    let before = all_traces(data.path());
    for word in ["zyzzyvaquokka", "xylotitle", "balalaikaattribute", "quetzalid"] {
        assert!(before.iter().any(|(_, held)| *held == word), "{word} would not be found if it were there");
    }
    let (status, report) = server.post("/v1/collections/notes/documents/delete", &json!({"ids": ["quetzalid"]}));
    assert_eq!((status, &report["deleted"]), (200, &json!(1)), "{report}");
    let (_, found) = server.post("/v1/collections/notes/search", &json!({"query": "zyzzyvaquokka"}));
    assert!(!found.to_string().contains("sings for exactly"), "{found}");
    server.kill();
    json(data.path(), ["collections", "compact", "notes"]);
    assert_eq!(all_traces(data.path()), []);
    let log = log.to_lowercase();
    for word in ["zyzzyvaquokka", "balalaikaattribute"] {
        assert!(!log.contains(word), "{log}");
    }
}
