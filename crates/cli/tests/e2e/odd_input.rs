//! Documents and queries that nobody expects, over HTTP and on the command line: refused in one sentence or kept exactly.

use std::fs;

use serde_json::{Value, json};

use crate::support::{Server, json, run, stderr};

const DOCUMENTS: &str = "/v1/collections/odd/documents";

#[test]
fn odd_documents_and_queries_over_http_are_kept_or_refused() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path());
    assert_eq!(server.post("/v1/collections", &json!({"name": "odd"})).0, 201);
    let kept = ["a/b/../c", "..", "\u{1f980}", "'; DROP TABLE documents; --", "%2F", "水壶"];
    for id in kept {
        let (status, report) = server.post(DOCUMENTS, &json!([{"id": id, "text": format!("a document called {id}")}]));
        assert_eq!((status, &report["inserted"]), (200, &json!(1)), "{id}: {report}");
    }
    for id in [" ", "a\nb", "a\u{0}b", &"x".repeat(513)] {
        let (status, report) = server.post(DOCUMENTS, &json!([{"id": id, "text": "never stored"}]));
        assert!(status == 400 || (status == 200 && report["rejected"] == 1), "{id:?}: {status} {report}");
    }
    for text in ["", "   ", "\u{0}"] {
        let (status, report) = server.post(DOCUMENTS, &json!([{"id": "nothing", "text": text}]));
        assert!(status < 500, "{text:?}: {status} {report}");
    }
    let (status, report) = server.post(DOCUMENTS, &json!([{"id": "n", "text": "t", "x": "1e999", "y": [], "": 1}]));
    assert!(status < 500, "{report}");
    assert_eq!(
        server.post_bytes(DOCUMENTS, "application/json", b"[{\"id\":\"inf\",\"text\":\"t\",\"x\":1e999}]").0,
        400
    );
    // A vector of nothing, of another length, and numbers that are none.
    let zero = vec![0.0; 384];
    for vector in [json!([]), json!([1.0]), json!(zero), json!([null, 1.0]), json!(["NaN"]), json!("NaN")] {
        let (status, reply) = server.post("/v1/collections/odd/search", &json!({"vector": vector}));
        assert!(status == 400 && reply["error"]["message"].is_string(), "{status} {reply}");
    }
    for query in ["\"", "AND OR NOT", "* : \\ / [", "\u{0}", "\u{1f980}", &"kettle ".repeat(20_000)] {
        let (status, reply) = server.post("/v1/collections/odd/search", &json!({"query": query}));
        assert!(status < 500, "{:?}: {status} {reply}", query.chars().take(20).collect::<String>());
    }
    let listed = server.get(&format!("{DOCUMENTS}?limit=100")).1;
    let listed: Vec<&Value> = listed["data"].as_array().unwrap().iter().map(|document| &document["id"]).collect();
    for id in kept {
        assert!(listed.contains(&&json!(id)), "{id} is missing in {listed:?}");
    }
    assert_eq!(server.post(&format!("{DOCUMENTS}/delete"), &json!({"ids": kept})).1["deleted"], kept.len());
    assert_eq!(server.get("/healthz").0, 200);
}

#[test]
fn odd_rows_of_files_are_kept_or_named() {
    let data = tempfile::tempdir().unwrap();
    let file = data.path().join("odd.jsonl");
    let rows = [
        json!({"id": "a/b", "text": "slashes"}),
        json!({"id": "\u{1f980}", "text": "a crab"}),
        json!({"id": "line\nbreak", "text": "never stored"}),
        json!({"id": "empty", "text": ""}),
        json!({"id": "last", "text": "the last row"}),
    ];
    fs::write(&file, rows.map(|row| format!("{row}\n")).concat()).unwrap();
    let output = run(data.path(), ["ingest", file.to_str().unwrap(), "--collection", "odd", "--json"]);
    assert!(!stderr(&output).contains("panicked"), "{}", stderr(&output));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(report[0]["rejected"].as_u64().unwrap() >= 1, "{report}");
    let found = json(data.path(), ["search", "odd", "\"last row", "--limit", "3"]);
    assert_eq!(found["hits"][0]["chunk"]["document_id"], "last", "{found}");
    for query in ["\u{1f980}", "*", "--", "a\tb"] {
        let output = run(data.path(), ["search", "odd", "--json", "--", query]);
        assert!(output.status.code().is_some_and(|code| code < 2) && !stderr(&output).contains("panicked"), "{query}");
    }
}
