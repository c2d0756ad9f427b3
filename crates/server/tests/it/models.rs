//! `GET /v1/models` and `GET /v1/models/{id}`.

use serde_json::json;

use crate::support::{CHAT, EMBEDDER, RERANKER, Service};

#[tokio::test]
async fn models_are_listed_with_their_roles() {
    let service = Service::new();
    let list = service.get("/v1/models").await.json();
    assert_eq!((&list["object"], &list["has_more"]), (&json!("list"), &json!(false)));
    let models = list["data"].as_array().unwrap();
    let found: Vec<_> = models.iter().map(|m| (m["id"].as_str().unwrap(), m["role"].as_str().unwrap())).collect();
    assert_eq!(found, [(EMBEDDER, "embedder"), (CHAT, "chat"), (RERANKER, "reranker")]);
    assert!(models.iter().all(|m| m["object"] == "model" && m["owned_by"] == "anser" && m["loaded"] == false));
    assert!(models[0]["created"].as_i64().unwrap() > 1_700_000_000);
}

#[tokio::test]
async fn one_model_is_found_by_its_id_whatever_it_holds() {
    let service = Service::new();
    for path in ["/v1/models/org/fake:chat", "/v1/models/org%2Ffake%3Achat"] {
        assert_eq!(service.get(path).await.json()["id"], CHAT);
    }
    let (param, code, message) = service.get("/v1/models/gpt-9").await.failure(404);
    assert_eq!((param.as_deref(), code.as_str()), (Some("model"), "model_not_found"));
    assert!(message.contains("gpt-9"));
    service.get("/v1/models/%ff").await.failure(400);
}
