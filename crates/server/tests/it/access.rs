//! Keys, and web pages that would call without one.

use anser_server::ApiKey;
use axum::body::Body;
use axum::http::Request;
use serde_json::json;

use crate::support::{Reply, Service, post};

fn keyed() -> Service {
    Service::with(|options| {
        options.api_keys = vec![ApiKey::from_secret("first").unwrap(), ApiKey::from_secret("second").unwrap()];
    })
}

async fn models_with(service: &Service, header: &str, value: &str) -> Reply {
    service.send(Request::get("/v1/models").header(header, value).body(Body::empty()).unwrap()).await
}

#[tokio::test]
async fn only_callers_with_a_key_come_in() {
    let service = keyed();
    for value in ["Bearer first", "bearer second"] {
        assert_eq!(models_with(&service, "authorization", value).await.status, 200);
    }
    for value in ["Bearer third", "Bearer ", "Basic first", "first"] {
        let reply = models_with(&service, "authorization", value).await;
        assert_eq!(reply.failure(401).1, "invalid_api_key", "{value}");
        assert_eq!(reply.header("www-authenticate"), Some("Bearer"));
    }
    for path in [
        "/v1/models",
        "/v1/collections",
        "/metrics",
        "/v1/files",
        "/v1/files/file-1/content",
        "/v1/fine_tuning/jobs",
        "/v1/fine_tuning/jobs/ftjob-1/events",
        "/v1/responses/resp_1",
    ] {
        service.get(path).await.failure(401);
    }
    for path in [
        "/v1/embeddings",
        "/v1/files",
        "/v1/fine_tuning/jobs",
        "/v1/fine_tuning/jobs/ftjob-1/cancel",
        "/v1/completions",
        "/v1/responses",
        "/v1/moderations",
    ] {
        service.send(post(path, &json!({}))).await.failure(401);
    }
    service.delete("/v1/models/ft:a:b:c:d").await.failure(401);
}

#[tokio::test]
async fn probes_and_the_page_need_no_key() {
    let service = keyed();
    assert_eq!(service.get("/healthz").await.status, 200);
    assert_eq!(service.get("/readyz").await.failure(503).1, "not_ready");
    assert_eq!(service.get("/").await.status, 200);
}

#[tokio::test]
async fn without_keys_foreign_hosts_and_origins_are_refused() {
    let service = Service::with(|options| options.allowed_hosts = vec!["shop.lan".to_owned()]);
    for (header, value) in
        [("host", "evil.example"), ("host", "evil.example:8080"), ("origin", "http://evil.example"), ("origin", "null")]
    {
        let (_, code, message) = models_with(&service, header, value).await.failure(403);
        assert_eq!(code, "foreign_origin");
        assert!(message.contains(value), "{message}");
    }
    for (header, value) in [
        ("host", "localhost:8080"),
        ("host", "[::1]:8080"),
        ("host", "shop.lan:80"),
        ("origin", "http://127.0.0.1:8080"),
        ("origin", "http://localhost:3000"),
    ] {
        assert_eq!(models_with(&service, header, value).await.status, 200, "{value}");
    }
    let page = service.send(Request::get("/").header("host", "evil.example").body(Body::empty()).unwrap()).await;
    page.failure(403);
}

#[tokio::test]
async fn with_keys_any_host_may_be_used() {
    let request = Request::get("/v1/models").header("host", "shop.example").header("authorization", "Bearer first");
    assert_eq!(keyed().send(request.body(Body::empty()).unwrap()).await.status, 200);
}

#[tokio::test]
async fn no_reply_invites_other_origins() {
    let reply = models_with(&Service::new(), "origin", "http://localhost:3000").await;
    assert!(reply.headers.keys().all(|name| !name.as_str().starts_with("access-control-")));
}

#[tokio::test]
async fn what_a_form_can_send_is_no_json() {
    let body = json!({"name": "shop"}).to_string();
    let service = Service::new();
    for content_type in ["text/plain", "application/x-www-form-urlencoded"] {
        let reply = service.post_as("/v1/collections", content_type, body.clone()).await;
        assert_eq!(reply.failure(415).1, "unsupported_media_type");
    }
    let reply = service.post_as("/v1/collections", "application/json; charset=utf-8", body).await;
    assert_eq!(reply.status, 201);
}
