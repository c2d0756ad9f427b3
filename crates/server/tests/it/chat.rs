//! `POST /v1/chat/completions`.

use anser_core::{ChatMessage, Role};
use serde_json::{Value, json};

use crate::support::fake::REPLY;
use crate::support::wire::frames;
use crate::support::{CHAT, EMBEDDER, Service};

fn request(content: &str) -> Value {
    json!({"model": CHAT, "messages": [{"role": "user", "content": content}]})
}

fn with(mut body: Value, name: &str, value: Value) -> Value {
    body[name] = value;
    body
}

#[tokio::test]
async fn a_conversation_is_continued() {
    let service = Service::new();
    let reply = service.post("/v1/chat/completions", &request("hello there")).await;
    assert_eq!(reply.status, 200);
    let reply = reply.json();
    assert!(reply["id"].as_str().unwrap().starts_with("chatcmpl-"));
    assert!(reply["created"].as_i64().unwrap() > 1_700_000_000);
    assert_eq!((&reply["object"], &reply["model"]), (&json!("chat.completion"), &json!(CHAT)));
    assert_eq!(
        reply["choices"],
        json!([{
            "index": 0,
            "message": {"role": "assistant", "content": REPLY, "refusal": null},
            "logprobs": null,
            "finish_reason": "stop",
        }])
    );
    assert_eq!(reply["usage"], json!({"prompt_tokens": 2, "completion_tokens": 6, "total_tokens": 8}));
}

#[tokio::test]
async fn what_is_asked_reaches_the_model() {
    let service = Service::new();
    let body = json!({
        "model": CHAT,
        "messages": [
            {"role": "system", "content": "be brief"},
            {"role": "user", "content": [{"type": "text", "text": "hi"}]},
        ],
        "temperature": 0.25, "top_p": 0.5, "seed": 7, "stop": "\n", "max_completion_tokens": 2,
    });
    let reply = service.post("/v1/chat/completions", &body).await.json();
    assert_eq!(reply["choices"][0]["finish_reason"], "length");
    assert_eq!(reply["choices"][0]["message"]["content"], "Parcels are ");
    let seen = service.fake.decoding();
    assert_eq!((seen.max_tokens, seen.seed, seen.stop), (Some(2), Some(7), vec!["\n".to_owned()]));
    assert!((seen.temperature - 0.25).abs() < 1e-6 && (seen.top_p - 0.5).abs() < 1e-6);
    let expected = [ChatMessage::new(Role::System, "be brief"), ChatMessage::new(Role::User, "hi")];
    assert_eq!(service.fake.conversation(), expected);
}

/// A stream's chunks without what differs from run to run, which is checked to be the same in all of them.
async fn chunks(service: &Service, body: &Value) -> Vec<Value> {
    let reply = service.post("/v1/chat/completions", body).await;
    assert_eq!(reply.status, 200);
    assert_eq!(reply.header("content-type"), Some("text/event-stream"));
    let text = reply.text();
    assert!(text.ends_with("data: [DONE]\n\n"), "{text}");
    let mut frames = frames(&text);
    assert!(frames.iter().all(|frame| frame.event.is_none()));
    frames.pop();
    let mut chunks: Vec<Value> = frames.iter().map(crate::support::wire::Frame::json).collect();
    let same = |chunk: &Value| (chunk["id"].clone(), chunk["created"].clone(), chunk["model"].clone());
    let first = same(&chunks[0]);
    assert!(chunks.iter().all(|chunk| same(chunk) == first && chunk["object"] == "chat.completion.chunk"));
    for chunk in &mut chunks {
        chunk.as_object_mut().unwrap().retain(|key, _| key == "choices" || key == "usage");
    }
    chunks
}

fn choice(delta: &Value, finish: &Value) -> Value {
    json!([{"index": 0, "delta": delta, "logprobs": null, "finish_reason": finish}])
}

#[tokio::test]
async fn a_stream_has_the_frames_that_clients_expect_in_their_order() {
    let service = Service::new();
    let body = with(with(request("hello"), "stream", json!(true)), "max_tokens", json!(2));
    let expected = [
        choice(&json!({"role": "assistant", "content": ""}), &json!(null)),
        choice(&json!({"content": "Parcels "}), &json!(null)),
        choice(&json!({"content": "are "}), &json!(null)),
        choice(&json!({}), &json!("length")),
    ];
    let plain: Vec<Value> = expected.iter().map(|choices| json!({"choices": choices})).collect();
    assert_eq!(chunks(&service, &body).await, plain);

    let mut counted: Vec<Value> = expected.iter().map(|choices| json!({"choices": choices, "usage": null})).collect();
    counted.push(json!({
        "choices": [],
        "usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3},
    }));
    let body = with(body, "stream_options", json!({"include_usage": true}));
    assert_eq!(chunks(&service, &body).await, counted);
}

#[tokio::test]
async fn a_stream_ends_with_the_reason_stop_when_the_model_does() {
    let service = Service::new();
    let chunks = chunks(&service, &with(request("hello"), "stream", json!(true))).await;
    let text: String = chunks.iter().filter_map(|c| c["choices"][0]["delta"]["content"].as_str()).collect();
    assert_eq!(text, REPLY);
    assert_eq!(chunks.last().unwrap()["choices"][0]["finish_reason"], "stop");
}

#[tokio::test]
async fn failures_before_the_first_word_have_their_own_status_also_when_streaming() {
    let service = Service::new();
    for stream in [false, true] {
        let ask = |content| with(request(content), "stream", json!(stream));
        let (param, code, _) = service.post("/v1/chat/completions", &ask("TOO LONG")).await.failure(400);
        assert_eq!((param.as_deref(), code.as_str()), (Some("messages"), "context_length_exceeded"));
        assert_eq!(service.post("/v1/chat/completions", &ask("BUSY")).await.failure(429).1, "overloaded");
        assert_eq!(service.post("/v1/chat/completions", &ask("PANIC")).await.failure(500).1, "internal_error");
        let refused = with(ask("hi"), "n", json!(2));
        assert_eq!(service.post("/v1/chat/completions", &refused).await.bad_param(), "n");
    }
    assert_eq!(service.post("/v1/chat/completions", &request("hi")).await.status, 200, "the service lives on");
}

#[tokio::test]
async fn only_the_chat_model_chats() {
    let service = Service::new();
    for model in [EMBEDDER, "gpt-9"] {
        let body = with(request("hi"), "model", json!(model));
        let (param, code, message) = service.post("/v1/chat/completions", &body).await.failure(404);
        assert_eq!((param.as_deref(), code.as_str()), (Some("model"), "model_not_found"));
        assert!(message.contains(CHAT), "{message}");
    }
}

#[tokio::test]
async fn unknown_keys_are_tolerated_and_missing_ones_named() {
    let service = Service::new();
    let body = with(request("hi"), "something_new", json!({"a": 1}));
    assert_eq!(service.post("/v1/chat/completions", &body).await.status, 200);
    assert_eq!(service.post("/v1/chat/completions", &json!({"model": CHAT})).await.bad_param(), "messages");
    let body = json!({"model": CHAT, "messages": [{"content": "x"}]});
    assert_eq!(service.post("/v1/chat/completions", &body).await.bad_param(), "messages[0].role");
    let body = with(request("hi"), "stop", json!(5));
    assert_eq!(service.post("/v1/chat/completions", &body).await.bad_param(), "stop");
}
