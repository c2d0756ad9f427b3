//! Everything that can be wrong with what a user gives: one sentence, the right exit code, nothing lost.

use std::fs;
use std::net::TcpListener;
use std::path::Path;

use crate::support::{anser, assert_failed, json, run, stderr};

/// Ingests `bytes` as a file called `name` and returns how it ended.
fn ingest(data: &Path, name: &str, bytes: &[u8]) -> std::process::Output {
    let file = data.join(name);
    fs::write(&file, bytes).unwrap();
    run(data, ["ingest", file.to_str().unwrap(), "--collection", "bad"])
}

#[test]
fn an_empty_file_is_refused() {
    let data = tempfile::tempdir().unwrap();
    assert_failed(&ingest(data.path(), "empty.csv", b""), 1, &["empty.csv", "empty"]);
}

#[test]
fn rows_before_and_after_bad_ones_are_kept() {
    let data = tempfile::tempdir().unwrap();
    let file = data.path().join("mixed.csv");
    let mut bytes =
        b"id,text\na,first good row\nb,second\xff\xfe bad bytes\nc,third,too,many,fields\nd,last good row\n".to_vec();
    fs::write(&file, &bytes).unwrap();
    let report = json(data.path(), ["ingest", file.to_str().unwrap(), "--collection", "mixed"]);
    assert_eq!((report[0]["inserted"].as_u64(), report[0]["rejected"].as_u64()), (Some(2), Some(2)), "{report}");
    let lines: Vec<u64> = report[0]["errors"].as_array().unwrap().iter().map(|e| e["line"].as_u64().unwrap()).collect();
    assert_eq!(lines, [3, 4]);

    // A quote that is never closed.
    bytes.extend(b"e,\"this quote never ends\nf,not swallowed\n");
    fs::write(&file, &bytes).unwrap();
    let report = json(data.path(), ["ingest", file.to_str().unwrap(), "--collection", "mixed"]);
    assert_eq!(report[0]["unchanged"], 2, "{report}");
    assert_eq!((report[0]["inserted"].as_u64(), report[0]["rejected"].as_u64()), (Some(1), Some(3)), "{report}");
    assert_eq!(report[0]["errors"][2]["line"], 6, "the quote opens in line 6: {report}");
    let info = json(data.path(), ["collections", "show", "mixed"]);
    assert_eq!(info["documents"], 3, "{info}");
}

#[test]
fn a_file_that_holds_no_usable_row_fails_and_says_why() {
    let data = tempfile::tempdir().unwrap();
    let output = ingest(data.path(), "broken.csv", b"id,text\n\"a,never closed\n");
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert!(!stderr(&output).contains("panicked"));
    assert_failed(&ingest(data.path(), "noise.csv", &[0xff, 0xd8, 0x00, 0x10, 0x0a, 0x00, 0xff].repeat(100)), 1, &[]);
    assert_failed(&ingest(data.path(), "nothing.jsonl", b"{\"id\": 1\n[[[\n"), 1, &[]);
    assert_failed(&ingest(data.path(), "unknown.xyz", b"text"), 1, &["xyz"]);
}

#[test]
fn a_line_of_50_mb_is_rejected_and_the_rest_is_kept() {
    let data = tempfile::tempdir().unwrap();
    let file = data.path().join("long.jsonl");
    let long = "word ".repeat(10 << 20);
    let text = format!(
        "{{\"id\":\"a\",\"text\":\"good\"}}\n{{\"id\":\"b\",\"text\":\"{long}\"}}\n{{\"id\":\"c\",\"text\":\"also good\"}}\n"
    );
    fs::write(&file, text).unwrap();
    let report = json(data.path(), ["ingest", file.to_str().unwrap(), "--collection", "long"]);
    assert_eq!((report[0]["inserted"].as_u64(), report[0]["rejected"].as_u64()), (Some(2), Some(1)), "{report}");
    assert_eq!(report[0]["errors"][0]["line"], 2, "{report}");
}

#[test]
fn a_data_folder_that_cannot_be_written_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a-file");
    fs::write(&file, b"").unwrap();
    let output = run(&file.join("data"), ["collections", "list"]);
    assert_failed(&output, 1, &["a-file", "data folder"]);
    let output = run(&file.join("data"), ["doctor"]);
    assert_failed(&output, 1, &["checks failed"]);
}

#[test]
fn a_port_in_use_is_named() {
    let data = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let port = address.rsplit(':').next().unwrap();
    assert_failed(&run(data.path(), ["serve", "--listen", &address]), 1, &[port, "in use", "--listen"]);
}

#[test]
fn a_server_that_others_can_reach_needs_keys() {
    let data = tempfile::tempdir().unwrap();
    assert_failed(&run(data.path(), ["serve", "--listen", "0.0.0.0:0"]), 1, &["ANSER_API_KEYS"]);
}

#[test]
fn a_truncated_chat_model_is_one_clear_error() {
    let data = tempfile::tempdir().unwrap();
    let local = data.path().join("local/SmolLM2-135M-Instruct");
    fs::create_dir_all(&local).unwrap();
    fs::write(local.join("model.gguf"), b"GGUF\x03\x00\x00\x00truncated").unwrap();
    let file = data.path().join("one.jsonl");
    fs::write(&file, "{\"id\":\"a\",\"text\":\"The shop opens at nine.\"}\n").unwrap();
    json(data.path(), ["ingest", file.to_str().unwrap(), "--collection", "one"]);
    let output = anser(data.path())
        .args(["ask", "one", "when does the shop open?", "--reranker", "none"])
        .arg("--local-models")
        .arg(data.path().join("local"))
        .output()
        .unwrap();
    assert_failed(&output, 1, &["model.gguf"]);
}

#[test]
fn wrong_usage_ends_with_2_and_a_missing_collection_with_1() {
    let data = tempfile::tempdir().unwrap();
    assert_eq!(run(data.path(), ["search", "only-a-collection"]).status.code(), Some(2));
    assert_eq!(run(data.path(), ["no-such-command"]).status.code(), Some(2));
    assert_failed(&run(data.path(), ["search", "missing", "query"]), 1, &["missing", "anser collections list"]);
    assert_failed(&run(data.path(), ["search", "../escape", "query"]), 1, &["../escape"]);
    assert_failed(&run(data.path(), ["ingest", "no-such-file.csv", "--collection", "x"]), 1, &["no-such-file.csv"]);
}
