//! The server as a process: what a client without any library sees.

use serde_json::json;

use crate::support::{Server, demo_copy};

#[test]
fn a_collection_lives_its_whole_life_over_http() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path());
    let base = "/v1/collections";
    assert_eq!(server.post(base, &json!({"name": "notes"})).0, 201);
    assert_eq!(server.post(base, &json!({"name": "notes"})).0, 409);
    let (status, unknown) = server.post(base, &json!({"name": "x", "colour": "red"}));
    assert_eq!(status, 400);
    assert!(unknown["error"]["message"].as_str().unwrap().contains("colour"), "{unknown}");

    let (status, report) = server.post(
        "/v1/collections/notes/documents",
        &json!({"documents": [{"id": "c", "text": "The hose has a leak.", "attributes": {"score": 1}}]}),
    );
    assert_eq!((status, report["inserted"].as_u64()), (200, Some(1)), "{report}");
    let (_, stored) = server.get("/v1/collections/notes/documents/c");
    assert_eq!(stored["attributes"], json!({"score": 1}), "{stored}");

    let csv = b"id,text,score\na,The kettle boils quickly.,5\nb,The lamp is dim.,2\nd,broken,row,here\n";
    let (status, report) = server.post_bytes("/v1/collections/notes/documents", "text/csv", csv);
    assert_eq!((status, report["inserted"].as_u64(), report["rejected"].as_u64()), (200, Some(2), Some(1)), "{report}");
    let (_, found) = server.post("/v1/collections/notes/search", &json!({"query": "hot water", "limit": 1}));
    assert_eq!(found["hits"][0]["chunk"]["document_id"], "a", "{found}");
    let (_, embedded) = server.post(
        "/v1/embeddings",
        &json!({"model": "bge-small-en-v1.5", "input": "The lamp is dim.", "encoding_format": "float"}),
    );
    let vector = &embedded["data"][0]["embedding"];
    let (_, near) = server.post("/v1/collections/notes/search", &json!({"vector": vector, "limit": 1}));
    assert_eq!(near["hits"][0]["chunk"]["document_id"], "b", "{near}");
    let (status, wrong) = server.post("/v1/collections/notes/search", &json!({"vector": [0.6, 0.8]}));
    let message = wrong["error"]["message"].as_str().unwrap();
    assert!(status == 400 && message.contains('2') && message.contains("384"), "{wrong}");

    assert_eq!(server.post("/v1/collections/notes/documents/delete", &json!({"ids": ["a"]})).0, 200);
    let (_, found) = server.post("/v1/collections/notes/search", &json!({"query": "hot water", "limit": 5}));
    assert_eq!(found["hits"].as_array().unwrap().len(), 2, "{found}");
    assert_eq!(server.get("/v1/collections/missing").0, 404);
    let (_, metrics) = server.get("/metrics");
    assert!(metrics.as_str().unwrap().contains("/v1/collections/{name}/search"), "{metrics}");
}

#[test]
fn a_change_by_the_command_line_is_seen_by_a_running_server() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path());
    let file = data.path().join("late.jsonl");
    std::fs::write(&file, "{\"id\":\"late\",\"text\":\"The shop opens at nine.\"}\n").unwrap();
    crate::support::json(data.path(), ["ingest", file.to_str().unwrap(), "--collection", "late"]);
    let (_, found) = server.post("/v1/collections/late/search", &json!({"query": "opening hours"}));
    assert_eq!(found["hits"][0]["chunk"]["document_id"], "late", "{found}");
}

#[test]
fn an_answer_over_http_equals_the_one_on_the_command_line() {
    let data = demo_copy();
    let data = data.path();
    let question = "until when is a gift card valid?";
    let typed = crate::support::json(data, ["ask", "shop-faq", question]);
    let server = Server::start(data);
    let (status, sent) = server.post("/v1/collections/shop-faq/answers", &json!({"question": question}));
    assert_eq!(status, 200);
    assert_eq!(sent["text"], typed["text"]);
    assert_eq!(sent["citations"], typed["citations"]);
}

#[cfg(unix)]
#[test]
fn sigterm_ends_the_server_cleanly() {
    let data = tempfile::tempdir().unwrap();
    let mut server = Server::start(data.path());
    let killed = std::process::Command::new("kill").arg(server.pid().to_string()).status().unwrap();
    assert!(killed.success());
    assert_eq!(server.wait(), Some(0));
}
