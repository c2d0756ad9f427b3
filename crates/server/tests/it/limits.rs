//! Bodies, time, and how many at once.

use std::time::Duration;

use axum::body::Body;
use axum::http::Request;
use serde_json::{Value, json};

use crate::support::wire::frames;
use crate::support::{CHAT, EMBEDDER, Service, eventually, post};

fn chat(content: &str, stream: bool) -> Value {
    json!({"model": CHAT, "messages": [{"role": "user", "content": content}], "stream": stream})
}

#[tokio::test]
async fn bodies_have_limits_by_route() {
    let service = Service::with(|options| {
        options.max_json_bytes = 200;
        options.max_body_bytes = 1000;
    });
    service.post("/v1/collections", &json!({"name": "shop"})).await;
    let long = "x".repeat(300);
    for (path, body) in
        [("/v1/chat/completions", chat(&long, false)), ("/v1/collections/shop/search", json!({"query": long}))]
    {
        let (_, code, message) = service.post(path, &body).await.failure(413);
        assert_eq!(code, "body_too_large");
        assert!(message.contains("200 bytes"), "{message}");
    }
    let texts = |count| json!({"model": EMBEDDER, "input": vec!["xxxxxxxx"; count]});
    assert_eq!(service.post("/v1/embeddings", &texts(50)).await.status, 200);
    assert!(service.post("/v1/embeddings", &texts(100)).await.failure(413).2.contains("1000 bytes"));
    let rows = json!([{"text": "x".repeat(1000)}]);
    service.post("/v1/collections/shop/documents", &rows).await.failure(413);
}

#[tokio::test]
async fn a_body_of_unknown_length_is_cut_off_at_the_limit() {
    let service = Service::with(|options| options.max_json_bytes = 100);
    let pieces = (0..50).map(|_| Ok::<_, std::io::Error>("0123456789"));
    let request = Request::post("/v1/collections").header("content-type", "application/json");
    let request = request.body(Body::from_stream(tokio_stream::iter(pieces))).unwrap();
    assert_eq!(service.send(request).await.failure(413).1, "body_too_large");
}

#[tokio::test]
async fn malformed_json_is_refused_with_its_place() {
    let service = Service::new();
    let reply = service.post_as("/v1/embeddings", "application/json", "{\n \"model\": nope}").await;
    let (_, code, message) = reply.failure(400);
    assert_eq!(code, "invalid_json");
    assert!(message.contains("line 2 column"), "{message}");
    service.post_as("/v1/embeddings", "application/json", &b"{\"model\": \"\xff\"}"[..]).await.failure(400);
}

#[tokio::test]
async fn more_requests_than_allowed_are_asked_to_come_back() {
    let service = Service::with(|options| options.max_in_flight = 1);
    let waiting = service.begin(post("/v1/chat/completions", &chat("WAIT", true)));
    let waiting = tokio::join!(waiting, async {
        eventually("the first request runs", || service.fake.running() == 1).await;
        let refused = service.get("/v1/models").await;
        let (_, code, message) = refused.failure(429);
        assert_eq!((code.as_str(), refused.header("retry-after")), ("overloaded", Some("1")));
        assert!(message.contains('1'), "{message}");
        assert_eq!(service.get("/healthz").await.status, 200, "probes are not counted");
        service.fake.release();
    })
    .0;
    assert_eq!(waiting.status(), 200);
    drop(waiting);
    eventually("the place is free again", || service.fake.running() == 0).await;
    for _ in 0..1000 {
        if service.get("/v1/models").await.status == 200 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the place was never given back");
}

#[tokio::test]
async fn a_request_that_takes_too_long_is_stopped() {
    let service = Service::with(|options| options.request_timeout = Duration::from_millis(300));
    let reply = service.post("/v1/chat/completions", &chat("SLOW", false)).await;
    assert_eq!(reply.failure(504).1, "timeout");
    assert_eq!(reply.header("x-should-retry"), Some("false"));
    eventually("the generation is cancelled", || service.fake.cancelled() == 1).await;
}

#[tokio::test]
async fn a_stream_that_takes_too_long_ends_with_an_error() {
    let service = Service::with(|options| options.request_timeout = Duration::from_millis(300));
    let reply = service.post("/v1/chat/completions", &chat("SLOW", true)).await;
    assert_eq!(reply.status, 200);
    let frames = frames(&reply.text());
    assert!(frames.len() > 2);
    assert_eq!(frames[frames.len() - 1].json()["error"]["code"], "timeout");
    eventually("the generation is cancelled", || service.fake.cancelled() == 1).await;
}

#[tokio::test]
async fn a_reader_that_goes_away_stops_the_generation() {
    let service = Service::new();
    let response = service.begin(post("/v1/chat/completions", &chat("SLOW", true))).await;
    assert_eq!(response.status(), 200);
    assert_eq!(service.fake.cancelled(), 0);
    drop(response);
    eventually("the generation is cancelled", || service.fake.cancelled() == 1).await;
}

#[tokio::test]
async fn a_reader_that_stops_reading_is_given_up_when_its_time_is_over() {
    let service = Service::with(|options| options.request_timeout = Duration::from_millis(500));
    let unread = service.begin(post("/v1/chat/completions", &chat("SLOW", true))).await;
    eventually("the generation is given up", || service.fake.generations() == 1 && service.fake.running() == 0).await;
    drop(unread);
}
