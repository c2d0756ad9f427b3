//! The other commands: what they print for people and for machines.

use std::fs;
use std::process::Command;

use crate::support::{anser, assert_failed, demo, example, json, run, stderr, tool};

#[test]
fn ingest_search_cluster_and_export_work_on_a_csv_file() {
    let data = tempfile::tempdir().unwrap();
    let reviews = example("reviews.csv");
    let args = ["ingest", reviews.to_str().unwrap(), "--collection", "reviews", "--text-field", "text"];
    let report = json(data.path(), args);
    assert_eq!(report[0]["rejected"], 0, "{report}");
    let again = json(data.path(), args);
    assert_eq!(again[0]["unchanged"], report[0]["inserted"], "a second run changes nothing: {again}");

    let hits = json(data.path(), ["search", "reviews", "coffee pods leak in the machine", "--limit", "3", "--rerank"]);
    let first = &hits["hits"][0];
    assert_eq!(first["attributes"]["product"], "coffee pods", "{first}");
    assert!(first["attributes"]["score"].is_i64(), "the score is an integer: {first}");
    assert!(first["rerank_score"].is_number(), "{first}");

    let (map, out) = (data.path().join("map.svg"), data.path().join("clusters.parquet"));
    let paths = ["--map", map.to_str().unwrap(), "--out", out.to_str().unwrap()];
    let output = run(data.path(), ["cluster", "reviews", "--k", "5"].into_iter().chain(paths));
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(String::from_utf8_lossy(&output.stdout).contains("5 clusters"));
    assert!(fs::read_to_string(&map).unwrap().contains("<svg"));
    if let Some(python) = tool("ANSER_TEST_PYTHON", "python3-with-pyarrow") {
        let script = "import sys, pyarrow.parquet as pq; t = pq.read_table(sys.argv[1]); \
                      print(t.num_rows, len(set(t['cluster'].to_pylist())))";
        let read = Command::new(python).args(["-c", script]).arg(&out).output().unwrap();
        assert_eq!(
            String::from_utf8_lossy(&read.stdout).trim(),
            format!("{} 5", report[0]["inserted"]),
            "{}",
            stderr(&read)
        );
    }
}

#[test]
fn tables_for_people_hold_no_colour_off_a_terminal() {
    let (data, _) = demo();
    let output = run(data, ["search", "shop-faq", "gift card", "--limit", "2"]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("faq-") && !text.contains('\u{1b}'), "{text}");
}

#[test]
fn a_collection_is_deleted_only_when_told_so() {
    let data = tempfile::tempdir().unwrap();
    let file = data.path().join("one.txt");
    fs::write(&file, "One short text.").unwrap();
    json(data.path(), ["ingest", file.to_str().unwrap(), "--collection", "one"]);
    assert_eq!(run(data.path(), ["collections", "delete", "one"]).status.code(), Some(1));
    assert_eq!(json(data.path(), ["collections", "list"]).as_array().unwrap().len(), 1);
    json(data.path(), ["collections", "delete", "one", "--yes"]);
    assert_eq!(json(data.path(), ["collections", "list"]).as_array().unwrap().len(), 0);
}

#[test]
fn doctor_finds_nothing_wrong_after_the_demo() {
    let (data, _) = demo();
    let checks = json(data, ["doctor"]);
    for check in checks.as_array().unwrap() {
        assert_ne!(check["state"], "failed", "{check}");
    }
    assert!(checks.as_array().unwrap().iter().any(|c| c["name"] == "ONNX Runtime" && c["state"] == "ok"), "{checks}");
}

#[test]
fn models_are_listed_with_state_and_licence() {
    let (data, _) = demo();
    let models = json(data, ["models", "list"]);
    let chat = models.as_array().unwrap().iter().find(|m| m["role"] == "chat").unwrap();
    assert_eq!(chat["licence"], "Apache-2.0");
    assert!(chat["path"].is_string(), "{chat}");
}

#[test]
fn offline_a_missing_model_is_named_with_the_command_that_gets_it() {
    let data = tempfile::tempdir().unwrap();
    let output = anser(data.path())
        .args(["models", "pull", "bge-small-en-v1.5"])
        .env("ANSER_OFFLINE", "1")
        .env("ANSER_MODELS_DIR", data.path().join("empty"))
        .output()
        .unwrap();
    assert_failed(&output, 1, &["bge-small-en-v1.5", "anser models pull"]);
}

#[test]
fn an_insult_is_flagged_and_a_greeting_is_not() {
    let (data, _) = demo();
    let found = json(data, ["moderate", "You are a worthless idiot and everybody hates you.", "Have a nice day!"]);
    assert_eq!((&found[0]["flagged"], &found[1]["flagged"]), (&true.into(), &false.into()), "{found}");
}

#[test]
fn every_shell_gets_a_completion_script() {
    let data = tempfile::tempdir().unwrap();
    for shell in ["bash", "zsh", "fish"] {
        let output = run(data.path(), ["completions", shell]);
        assert!(String::from_utf8_lossy(&output.stdout).contains("cluster"), "{shell}");
    }
}
