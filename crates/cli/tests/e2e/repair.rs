//! `anser doctor --repair`: damage is named, nothing is changed unasked, and what can be read is saved.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::support::{Server, assert_failed, json, run, stderr};

/// A data folder with the collections `notes`, of 300 rows, and `good`, of one.
fn two_collections() -> tempfile::TempDir {
    let data = tempfile::tempdir().unwrap();
    let file = data.path().join("rows.jsonl");
    let mut lines = String::new();
    for row in 0..300 {
        writeln!(lines, "{}", json!({"id": format!("row-{row}"), "text": format!("note {row} of a green kettle")}))
            .unwrap();
    }
    fs::write(&file, lines).unwrap();
    json(data.path(), ["ingest", file.to_str().unwrap(), "--collection", "notes"]);
    fs::write(&file, "{\"id\":\"a\",\"text\":\"The lamp is dim.\"}\n").unwrap();
    json(data.path(), ["ingest", file.to_str().unwrap(), "--collection", "good"]);
    data
}

fn database(data: &Path, collection: &str) -> PathBuf {
    data.join("collections").join(collection).join("collection.sqlite")
}

/// Makes noise of the bytes from `from` to `to`, given as shares of the file.
fn spoil(path: &Path, from: f64, to: f64) {
    let mut bytes = fs::read(path).unwrap();
    let page = |share: f64| (bytes.len() as f64 * share) as usize / 8192 * 8192;
    let (start, end) = (page(from), page(to));
    for (at, byte) in bytes[start..end].iter_mut().enumerate() {
        *byte = (at * 7 + 13) as u8 | 1;
    }
    fs::write(path, bytes).unwrap();
}

/// What the doctor says of one collection.
fn of<'a>(report: &'a Value, collection: &str) -> &'a Value {
    let all = report["collections"].as_array().unwrap();
    all.iter().find(|found| found["collection"] == collection).unwrap_or_else(|| panic!("{report}"))
}

#[test]
fn rows_that_can_be_read_are_salvaged_when_told_so() {
    let data = two_collections();
    let path = database(data.path(), "notes");
    let sound = json(data.path(), ["doctor", "--repair", "report"]);
    assert_eq!((&of(&sound, "notes")["action"], &of(&sound, "good")["action"]), (&json!("sound"), &json!("sound")));
    spoil(&path, 0.4, 0.5);
    let damaged = fs::read(&path).unwrap();

    let output = run(data.path(), ["doctor", "--repair", "report", "--json"]);
    assert_failed(&output, 1, &["1 collection is damaged", "--repair salvage", "--repair delete"]);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(of(&report, "notes")["action"], "left");
    assert_eq!(of(&report, "notes")["database"], path.canonicalize().unwrap().to_str().unwrap());
    assert!(!of(&report, "notes")["faults"].as_array().unwrap().is_empty(), "{report}");
    assert_eq!(of(&report, "good")["action"], "sound");
    // Nobody can be asked here, so nothing happens.
    for words in [&["--repair"][..], &["--repair", "salvage"], &["--repair", "delete"]] {
        assert_failed(&run(data.path(), [&["doctor"], words].concat()), 1, &["notes was left as it is", "--yes"]);
    }
    assert_eq!(fs::read(&path).unwrap(), damaged);

    let report = json(data.path(), ["doctor", "--repair", "salvage", "--yes"]);
    let salvage = &of(&report, "notes")["salvage"];
    let saved = salvage["documents"].as_u64().unwrap();
    assert!((1..300).contains(&saved), "{report}");
    assert_eq!(fs::read(salvage["damaged"].as_str().unwrap()).unwrap(), damaged, "the damaged file is kept");
    let found = json(data.path(), ["search", "notes", "green kettle", "--limit", "5"]);
    assert_eq!(found["hits"].as_array().unwrap().len(), 5);
    let sound = json(data.path(), ["doctor", "--repair", "report"]);
    assert_eq!(of(&sound, "notes")["action"], "sound");
    assert_eq!(json(data.path(), ["collections", "show", "good"])["documents"], 1);
}

#[test]
fn a_hopeless_collection_is_named_by_every_command_and_can_be_deleted() {
    let data = two_collections();
    let path = database(data.path(), "notes");
    spoil(&path, 0.0, 1.0);
    let shown = path.to_str().unwrap().to_owned();
    for command in [&["search", "notes", "kettle"][..], &["collections", "show", "notes"]] {
        assert_failed(&run(data.path(), command), 1, &[&shown, "anser doctor --repair"]);
    }
    assert_eq!(json(data.path(), ["collections", "list"]).as_array().unwrap().len(), 1, "the other is not hidden");
    let output = run(data.path(), ["doctor", "--json"]);
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    let checks: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
    let check = checks.iter().find(|check| check["name"] == "collection notes").expect("it is told");
    assert_eq!((&check["state"], &check["mend"]), (&json!("failed"), &json!("anser doctor --repair")));

    let salvage = run(data.path(), ["doctor", "--repair", "salvage", "--yes", "--collection", "notes"]);
    assert_eq!(salvage.status.code(), Some(1), "there is nothing to save");
    assert!(path.exists());
    let report = json(data.path(), ["doctor", "--repair", "delete", "--yes"]);
    assert_eq!((&of(&report, "notes")["action"], &of(&report, "good")["action"]), (&json!("deleted"), &json!("sound")));
    assert!(!path.exists());
    assert_failed(&run(data.path(), ["doctor", "--repair", "report", "--collection", "none"]), 1, &["none"]);
    assert_eq!(run(data.path(), ["doctor", "--yes"]).status.code(), Some(2));
}

#[test]
fn nothing_is_repaired_under_a_running_server() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path());
    let process = format!("process {}", server.pid());
    assert_failed(&run(data.path(), ["doctor", "--repair", "salvage", "--yes"]), 1, &[&process]);
    let report = json(data.path(), ["doctor", "--repair", "report"]);
    assert_eq!(report["collections"], json!([]));
}
