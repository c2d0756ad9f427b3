//! One server for a data folder; any number of other commands beside it.

use std::fs;

use serde_json::{Value, json};

use crate::support::{Server, anser, assert_failed, json, run, stderr};

#[test]
fn a_second_server_on_a_folder_is_refused_with_the_first_ones_process() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path());
    let holder = format!("process {}", server.pid());
    for command in ["serve", "demo"] {
        let output = run(data.path(), [command, "--listen", "127.0.0.1:0"]);
        assert_failed(&output, 1, &[&holder, data.path().to_str().unwrap(), "--data-dir"]);
        assert_eq!(stderr(&output).lines().count(), 1, "{}", stderr(&output));
    }
    assert_eq!(server.get("/healthz").0, 200, "the first one is not disturbed");
    // What a killed server leaves is no obstacle.
    server.kill();
    let next = Server::start(data.path());
    assert_eq!(fs::read_to_string(data.path().join("serve.lock")).unwrap().trim(), next.pid().to_string());
    drop(next);
    // Nor is the number of a process that never served.
    fs::write(data.path().join("serve.lock"), "1\n").unwrap();
    drop(Server::start(data.path()));
}

#[test]
fn other_commands_work_beside_a_server_and_both_see_what_either_did() {
    let data = tempfile::tempdir().unwrap();
    let file = data.path().join("notes.jsonl");
    fs::write(&file, "{\"id\":\"a\",\"text\":\"The kettle boils quickly.\"}\n").unwrap();
    let ingest = ["ingest", file.to_str().unwrap(), "--collection", "notes"];
    let server = Server::start(data.path());
    json(data.path(), ingest);
    let search = |query: &str| -> Vec<(Value, Value)> {
        let body = json!({"query": query, "limit": 10});
        let (status, over_http) = server.post("/v1/collections/notes/search", &body);
        assert_eq!(status, 200, "{over_http}");
        let typed = json(data.path(), ["search", "notes", query, "--limit", "10"]);
        let ids = |found: &Value| -> Vec<Value> {
            found["hits"].as_array().unwrap().iter().map(|hit| hit["chunk"]["document_id"].clone()).collect()
        };
        assert_eq!(ids(&over_http), ids(&typed));
        let hits = typed["hits"].as_array().unwrap();
        hits.iter().map(|hit| (hit["chunk"]["document_id"].clone(), hit["chunk"]["text"].clone())).collect()
    };
    assert_eq!(search("hot water"), [(json!("a"), json!("The kettle boils quickly."))]);
    // The server writes, commands see it.
    let report = server.post("/v1/collections/notes/documents", &json!([{"id": "b", "text": "The lamp is dim."}])).1;
    assert_eq!(report["inserted"], 1, "{report}");
    assert_eq!(search("light").len(), 2);
    // A command replaces, the server sees it.
    fs::write(&file, "{\"id\":\"a\",\"text\":\"The kettle is loud.\"}\n").unwrap();
    json(data.path(), ingest);
    assert_eq!(search("kettle")[0], (json!("a"), json!("The kettle is loud.")));
    // Both write at the same time.
    let rows =
        |name: &'static str| (0..200).map(move |i| json!({"id": format!("{name}{i}"), "text": format!("row {i}")}));
    let lines: Vec<String> = rows("typed").map(|row| row.to_string()).collect();
    fs::write(&file, lines.join("\n")).unwrap();
    let typing = anser(data.path()).args(ingest).stdout(std::process::Stdio::null()).spawn().unwrap();
    for row in rows("sent").step_by(10) {
        let (status, report) = server.post("/v1/collections/notes/documents", &json!([row]));
        assert_eq!((status, &report["inserted"]), (200, &json!(1)), "{report}");
    }
    assert!(typing.wait_with_output().unwrap().status.success());
    assert_eq!(server.get("/v1/collections/notes").1["documents"], 2 + 200 + 20);
    let deleted = server.post("/v1/collections/notes/documents/delete", &json!({"ids": ["a", "typed7"]})).1;
    assert_eq!(deleted["deleted"], 2, "{deleted}");
    assert_eq!(json(data.path(), ["collections", "show", "notes"])["documents"], 220);
    // Deleted by a command under the server's feet.
    json(data.path(), ["collections", "delete", "notes", "--yes"]);
    assert_eq!(server.get("/v1/collections/notes").0, 404);
}
