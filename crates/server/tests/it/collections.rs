//! `/v1/collections`, and clustering one.

use serde_json::json;

use crate::support::{EMBEDDER, Service};

#[tokio::test]
async fn a_collection_is_created_listed_shown_and_deleted() {
    let service = Service::new();
    let created = service.post("/v1/collections", &json!({"name": "shop"})).await;
    assert_eq!(created.status, 201);
    let created = created.json();
    assert_eq!(
        (&created["object"], &created["name"], &created["documents"]),
        (&json!("collection"), &json!("shop"), &json!(0))
    );
    assert_eq!(created["embedder"]["model"], EMBEDDER);
    assert!(created["created_at"].as_str().unwrap().starts_with("20"));

    let list = service.get("/v1/collections").await.json();
    assert_eq!((&list["object"], &list["data"][0]["name"]), (&json!("list"), &json!("shop")));
    assert_eq!(service.get("/v1/collections/shop").await.json()["name"], "shop");
    assert_eq!(
        service.delete("/v1/collections/shop").await.json(),
        json!({"id": "shop", "object": "collection", "deleted": true})
    );
    service.delete("/v1/collections/shop").await.failure(404);
    service.get("/v1/collections/shop").await.failure(404);
    assert_eq!(service.get("/v1/collections").await.json()["data"], json!([]));
}

#[tokio::test]
async fn a_taken_name_is_a_conflict_that_is_not_retried() {
    let service = Service::new();
    service.post("/v1/collections", &json!({"name": "shop"})).await;
    let again = service.post("/v1/collections", &json!({"name": "shop"})).await;
    assert_eq!(again.failure(409).1, "conflict");
    assert_eq!(again.header("x-should-retry"), Some("false"));
}

#[tokio::test]
async fn names_and_keys_are_checked() {
    let service = Service::new();
    assert_eq!(service.post("/v1/collections", &json!({"name": "../x"})).await.bad_param(), "name");
    let (param, code, message) =
        service.post("/v1/collections", &json!({"name": "shop", "colour": "red"})).await.failure(400);
    assert_eq!((param.as_deref(), code.as_str()), (Some("colour"), "unknown_parameter"));
    assert!(message.contains("colour"), "{message}");
    service.get("/v1/collections/..%2Fx").await.failure(400);
}

#[tokio::test]
async fn a_collection_is_clustered() {
    let service = Service::new();
    service.post("/v1/collections", &json!({"name": "mixed"})).await;
    let documents: Vec<_> = (0..12)
        .map(|at| {
            let text = if at % 2 == 0 { format!("coffee beans roast {at}") } else { format!("dogs bones leash {at}") };
            json!({"id": format!("d{at}"), "text": text})
        })
        .collect();
    assert_eq!(service.post("/v1/collections/mixed/documents", &json!(documents)).await.status, 200);
    let report = service.post("/v1/collections/mixed/cluster", &json!({"k": 2, "keywords": 2})).await;
    assert_eq!(report.status, 200, "{}", report.text());
    let report = report.json();
    assert_eq!((&report["k"], &report["documents"]), (&json!(2), &json!(12)));
    assert_eq!(report["clusters"][0]["size"], 6);
    assert_eq!(report["clusters"][0]["keywords"].as_array().unwrap().len(), 2);

    let searched = service.post("/v1/collections/mixed/cluster", &json!({"k_min": 2, "k_max": 3})).await;
    assert!((2..=3).contains(&searched.json()["k"].as_u64().unwrap()));
    let both = json!({"k": 2, "k_max": 3});
    assert_eq!(service.post("/v1/collections/mixed/cluster", &both).await.bad_param(), "k");
    assert_eq!(service.post("/v1/collections/mixed/cluster", &json!({"kk": 2})).await.bad_param(), "kk");
    for (body, param) in [
        (json!({"k": "five"}), "k"),
        (json!({"k": -1}), "k"),
        (json!({"seed": 1.5}), "seed"),
        (json!({"attributes": ["a", 3]}), "attributes[1]"),
        (json!({"filter": 3}), "filter"),
        (json!({"filter": {"type": "eq", "key": "a", "valeu": 1}}), "filter"),
    ] {
        let reply = service.post("/v1/collections/mixed/cluster", &body).await;
        let found = reply.bad_param();
        assert!(found == param || found.starts_with(&format!("{param}.")), "{body}: {found}: {}", reply.text());
    }
    assert_eq!(service.post("/v1/collections/mixed/cluster", &json!(["k"])).await.status, 400);
    service.post("/v1/collections/none/cluster", &json!({})).await.failure(404);
}
