//! `/healthz`, `/readyz`, `/metrics`, request ids, and what is answered where there is no route.

use axum::body::Body;
use axum::http::Request;
use serde_json::json;

use crate::support::{CHAT, EMBEDDER, Fake, Service};

#[tokio::test]
async fn the_service_is_ready_once_the_embedder_is_loaded() {
    let service = Service::new();
    assert_eq!(service.get("/healthz").await.status, 200);
    let (_, code, message) = service.get("/readyz").await.failure(503);
    assert_eq!((code.as_str(), message.as_str()), ("not_ready", "the embedder is not loaded yet"));
    service.post("/v1/embeddings", &json!({"model": EMBEDDER, "input": "a"})).await;
    assert_eq!(service.get("/readyz").await.json(), json!({"status": "ready"}));
}

#[tokio::test]
async fn a_model_that_cannot_be_loaded_is_said_so_and_tried_again() {
    let fake = Fake::default();
    fake.set_unloadable(true);
    let service = Service::with_fake(fake, |_| {});
    let body = json!({"model": EMBEDDER, "input": "a"});
    let (_, code, message) = service.post("/v1/embeddings", &body).await.failure(503);
    assert_eq!(code, "unavailable");
    assert!(message.contains("not downloaded"), "{message}");
    service.fake.set_unloadable(false);
    assert_eq!(service.post("/v1/embeddings", &body).await.status, 200);
}

#[tokio::test]
async fn requests_are_counted_by_template_and_status() {
    let service = Service::new().with_shop().await;
    service.get("/v1/collections/shop").await;
    service.get("/v1/collections/none").await;
    service.get("/nowhere/at/all").await;
    let found = "anser_http_requests_total{route=\"/v1/collections/{name}\",method=\"GET\",status=\"200\"}";
    assert_eq!(service.metric(found).await, Some(1.0));
    let missing = "anser_http_requests_total{route=\"/v1/collections/{name}\",method=\"GET\",status=\"404\"}";
    assert_eq!(service.metric(missing).await, Some(1.0));
    let unmatched = "anser_http_requests_total{route=\"unmatched\",method=\"GET\",status=\"404\"}";
    assert_eq!(service.metric(unmatched).await, Some(1.0));
    let timed = "anser_http_request_duration_seconds_count{route=\"/v1/collections/{name}\",method=\"GET\"}";
    assert_eq!(service.metric(timed).await, Some(2.0));
    assert_eq!(service.metric("anser_http_requests_in_flight").await, Some(1.0), "the one that asks");
    let text = service.get("/metrics").await;
    assert!(text.header("content-type").unwrap().starts_with("application/openmetrics-text"));
    assert!(text.text().ends_with("# EOF\n"));
}

#[tokio::test]
async fn the_work_of_the_models_is_counted() {
    let service = Service::new().with_shop().await;
    assert_eq!(service.metric("anser_ingested_rows_total").await, Some(3.0));
    let rows = json!([{"id": "x", "text": "one more"}, {"id": "y", "text": ""}]);
    service.post("/v1/collections/shop/documents", &rows).await;
    assert_eq!(service.metric("anser_ingested_rows_total").await, Some(4.0));
    assert_eq!(service.metric("anser_rejected_rows_total").await, Some(1.0));

    service.post("/v1/embeddings", &json!({"model": EMBEDDER, "input": ["one two", "three"]})).await;
    assert_eq!(service.metric("anser_embedding_texts_total").await, Some(2.0));
    assert_eq!(service.metric("anser_embedding_tokens_total").await, Some(3.0));

    for stream in [false, true] {
        let body = json!({"model": CHAT, "messages": [{"role": "user", "content": "hi you"}], "stream": stream});
        service.post("/v1/chat/completions", &body).await;
    }
    assert_eq!(service.metric("anser_generated_tokens_total").await, Some(12.0));
    assert_eq!(service.metric("anser_prompt_tokens_total").await, Some(4.0));

    for (question, stream) in [("When are parcels returned?", false), ("Who won yesterday?", false), ("Who won?", true)]
    {
        service.post("/v1/collections/shop/answers", &json!({"question": question, "stream": stream})).await;
    }
    assert_eq!(service.metric("anser_answers_total").await, Some(3.0));
    assert_eq!(service.metric("anser_answers_abstained_total").await, Some(2.0));
    assert_eq!(service.metric("anser_generated_tokens_total").await, Some(18.0));
}

#[tokio::test]
async fn every_reply_carries_a_request_id() {
    let service = Service::new();
    let with_id = |id: &str| Request::get("/nowhere").header("x-request-id", id).body(Body::empty()).unwrap();
    let kept = service.send(with_id("job-7.a:b_c")).await;
    assert_eq!(kept.header("x-request-id"), Some("job-7.a:b_c"));
    for bad in ["has space", "quote\"", &"x".repeat(129), ""] {
        let given = service.send(with_id(bad)).await.header("x-request-id").unwrap().to_owned();
        assert_eq!(given.len(), 36, "{given}");
        assert_ne!(given, bad);
    }
    let ids = [service.get("/healthz").await, service.get("/").await, service.get("/v1/models").await];
    let ids: std::collections::HashSet<_> = ids.iter().map(|reply| reply.header("x-request-id").unwrap()).collect();
    assert_eq!(ids.len(), 3);
}

#[tokio::test]
async fn unknown_routes_and_methods_are_refused_in_the_same_shape() {
    let service = Service::new();
    let (_, code, message) = service.get("/v1/nothing").await.failure(404);
    assert_eq!(code, "unknown_url");
    assert!(message.contains("GET /v1/nothing"), "{message}");
    let reply = service.delete("/v1/embeddings").await;
    assert_eq!(reply.failure(405).1, "method_not_allowed");
    assert_eq!(reply.header("allow"), Some("POST"));
}
