//! Over a real socket: start, disconnects, shutdown.

use std::net::SocketAddr;
use std::time::Duration;

use anser_server::{ApiKey, ServerError, ServerOptions, bind, serve};
use serde_json::{Value, json};

use crate::support::wire::{Listening, read_all, read_until};
use crate::support::{CHAT, Fake, Service, eventually};

fn chat(content: &str, stream: bool) -> Value {
    json!({"model": CHAT, "messages": [{"role": "user", "content": content}], "stream": stream})
}

#[tokio::test]
async fn a_port_in_use_is_named() {
    let taken = bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
    let address = taken.local_addr().unwrap();
    let error = bind(address).await.unwrap_err();
    assert!(matches!(error, ServerError::PortInUse { .. }));
    assert!(error.to_string().contains(&address.port().to_string()), "{error}");
}

#[tokio::test]
async fn an_address_that_others_can_reach_needs_a_key() {
    let service = Service::new();
    let open = bind(SocketAddr::from(([0, 0, 0, 0], 0))).await.unwrap();
    // The options claim loopback; what counts is where the socket listens.
    let refused = serve(open, service.engine.clone(), ServerOptions::default(), async {}).await;
    assert!(matches!(refused, Err(ServerError::KeysRequired { .. })), "{refused:?}");
    let open = bind(SocketAddr::from(([0, 0, 0, 0], 0))).await.unwrap();
    let keyed = ServerOptions { api_keys: vec![ApiKey::from_secret("k").unwrap()], ..ServerOptions::default() };
    serve(open, service.engine.clone(), keyed, async {}).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn models_are_loaded_at_the_start_and_again_after_a_failure() {
    let fake = Fake::default();
    fake.set_unloadable(true);
    let service = Service::with_fake(fake, |_| {});
    let listening = Listening::start(&service, |_| {}).await;
    let mut reply = String::new();
    for _ in 0..2000 {
        reply = listening.get("/readyz").await;
        if reply.contains("cannot be loaded") {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(reply.starts_with("HTTP/1.1 503") && reply.contains("not downloaded"), "{reply}");
    service.fake.set_unloadable(false);
    for _ in 0..2000 {
        reply = listening.get("/readyz").await;
        if reply.starts_with("HTTP/1.1 200") {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(reply.starts_with("HTTP/1.1 200"), "{reply}");
    listening.stop().await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_hangs_up_cancels_its_generation() {
    let service = Service::new();
    let listening = Listening::start(&service, |_| {}).await;
    let whole = listening.post("/v1/chat/completions", &chat("SLOW", false)).await;
    eventually("it generates", || service.fake.running() == 1).await;
    drop(whole);
    eventually("the reply is cancelled", || service.fake.cancelled() == 1).await;

    let mut streamed = listening.post("/v1/chat/completions", &chat("SLOW", true)).await;
    read_until(&mut streamed, "word").await;
    drop(streamed);
    eventually("the stream is cancelled", || service.fake.cancelled() == 2).await;
    listening.stop().await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shutdown_lets_running_replies_finish() {
    let service = Service::new();
    let listening = Listening::start(&service, |_| {}).await;
    let mut whole = listening.post("/v1/chat/completions", &chat("WAIT", false)).await;
    let mut streamed = listening.post("/v1/chat/completions", &chat("WAIT", true)).await;
    eventually("both wait", || service.fake.running() == 2).await;
    let address = listening.address;
    let server = listening.stop();
    // No new ones are taken.
    for _ in 0..2000 {
        if tokio::net::TcpStream::connect(address).await.is_err() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(tokio::net::TcpStream::connect(address).await.is_err());
    service.fake.release();
    let whole = read_all(&mut whole).await;
    assert!(whole.starts_with("HTTP/1.1 200") && whole.contains("30 days."), "{whole}");
    assert!(read_all(&mut streamed).await.contains("data: [DONE]"));
    server.await.unwrap().unwrap();
    assert_eq!(service.fake.cancelled(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shutdown_does_not_wait_for_ever() {
    let service = Service::new();
    let listening = Listening::start(&service, |options| options.shutdown_grace = Duration::from_millis(200)).await;
    let mut endless = listening.post("/v1/chat/completions", &chat("SLOW", true)).await;
    read_until(&mut endless, "word").await;
    listening.stop().await.unwrap().unwrap();
    eventually("the generation is cancelled", || service.fake.cancelled() == 1).await;
    let rest = read_all(&mut endless).await;
    assert!(rest.contains("\"code\":\"cancelled\"") && !rest.contains("[DONE]"), "{rest}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_above_the_limit_is_answered_not_reset() {
    let service = Service::new();
    let listening = Listening::start(&service, |options| options.max_json_bytes = 1 << 20).await;
    let body = chat(&"x".repeat(3 << 19), false);
    let mut socket = listening.post("/v1/chat/completions", &body).await;
    let reply = read_all(&mut socket).await;
    assert!(reply.starts_with("HTTP/1.1 413") && reply.contains("body_too_large"), "{reply}");
    listening.stop().await.unwrap().unwrap();
}
