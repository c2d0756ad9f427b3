//! Collections for vectors that the caller makes, and exports.

use serde_json::{Value, json};

use crate::support::Service;

const DOCUMENTS: &str = "/v1/collections/mine/documents";

/// A service without any model, with a collection of vectors of two numbers.
async fn service() -> Service {
    let service = Service::new().with_unloadable_models();
    let body = json!({"name": "mine", "embedding": {"name": "my-model", "dimension": 2}});
    let created = service.post("/v1/collections", &body).await;
    assert_eq!(created.status, 201, "{}", created.text());
    assert_eq!(created.json()["embedder"]["model"], "my-model");
    service
}

fn row(id: &str, embedding: &Value) -> Value {
    json!({"id": id, "text": format!("text of {id}"), "n": 1, "embedding": embedding})
}

#[tokio::test]
async fn documents_bring_their_vectors_and_are_found_by_vector_without_a_model() {
    let service = service().await;
    let rows =
        json!([row("a", &json!([3, 4])), row("b", &json!([0, -1])), row("c", &json!([1])), row("d", &json!(null))]);
    let report = service.post(DOCUMENTS, &rows).await;
    assert_eq!(report.status, 200, "{}", report.text());
    let report = report.json();
    assert_eq!((&report["inserted"], &report["rejected"]), (&json!(2), &json!(2)), "{report:#}");
    assert_eq!(report["errors"][0]["row"], 3);
    assert!(report["errors"][1]["message"].as_str().unwrap().contains("add a column \"embedding\""), "{report:#}");

    let found = service.post("/v1/collections/mine/search", &json!({"vector": [0.6, 0.8], "limit": 2})).await;
    assert_eq!(found.status, 200, "{}", found.text());
    let found = found.json();
    assert_eq!(found["hits"][0]["chunk"]["document_id"], "a", "{found:#}");
    assert!((found["hits"][0]["score"].as_f64().unwrap() - 1.0).abs() < 1e-6);
}

#[tokio::test]
async fn an_impossible_collection_is_refused() {
    let service = Service::new();
    for embedding in [json!({"name": "m", "dimension": 0}), json!({"name": " ", "dimension": 3})] {
        let refused = service.post("/v1/collections", &json!({"name": "x", "embedding": embedding})).await;
        assert_eq!(refused.bad_param(), "embedding");
    }
}

#[tokio::test]
async fn an_export_holds_what_was_stored_and_can_be_stored_again() {
    let service = service().await;
    service.post(DOCUMENTS, &json!([row("a", &json!([3, 4])), row("b", &json!([0, -1]))])).await;
    let export = service.get("/v1/collections/mine/export?vectors=true&where=n%20%3D%201").await;
    assert_eq!(export.status, 200, "{}", export.text());
    assert_eq!(export.header("content-type"), Some("application/x-ndjson"));
    let lines = export.text();
    let first: Value = serde_json::from_str(lines.lines().next().unwrap()).unwrap();
    assert_eq!((&first["id"], &first["attributes"]), (&json!("a"), &json!({"n": 1})));
    assert!((first["embedding"][0].as_f64().unwrap() - 0.6).abs() < 1e-6);
    let report = service.post_as(DOCUMENTS, "application/x-ndjson", lines).await.json();
    assert_eq!(report["unchanged"], 2, "{report:#}");

    assert_eq!(service.get("/v1/collections/mine/export?format=xml").await.bad_param(), "format");
    assert_eq!(service.get("/v1/collections/mine/export?format=csv&vectors=true").await.bad_param(), "vectors");
    assert_eq!(service.get("/v1/collections/none/export").await.status, 404);
    let csv = service.get("/v1/collections/mine/export?format=csv").await;
    assert!(csv.text().starts_with("id,title,text,n\na,,text of a,1\n"), "{}", csv.text());
}
