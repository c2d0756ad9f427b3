//! `POST /v1/completions`.

use serde_json::{Value, json};

use crate::support::fake::REPLY;
use crate::support::wire::frames;
use crate::support::{CHAT, Service};

const PATH: &str = "/v1/completions";

fn request(extra: &Value) -> Value {
    let mut body = json!({"model": CHAT, "prompt": "Once upon a time"});
    body.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    body
}

#[tokio::test]
async fn a_prompt_is_continued_as_it_stands() {
    let service = Service::new();
    let reply = service.post(PATH, &request(&json!({"max_tokens": 3, "stop": "\n", "seed": 5}))).await.json();
    let keys: Vec<&String> = reply.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["id", "object", "created", "model", "choices", "usage"]);
    assert!(reply["id"].as_str().unwrap().starts_with("cmpl-"));
    assert_eq!((reply["object"].as_str(), reply["model"].as_str()), (Some("text_completion"), Some(CHAT)));
    let choices = json!([{"text": "Parcels are returned ", "index": 0, "logprobs": null, "finish_reason": "length"}]);
    assert_eq!(reply["choices"], choices);
    assert_eq!(reply["usage"], json!({"prompt_tokens": 4, "completion_tokens": 3, "total_tokens": 7}));
    assert_eq!(service.fake.prompt_text().as_deref(), Some("Once upon a time"));
    assert_eq!(service.fake.decoding().seed, Some(5));
}

#[tokio::test]
async fn several_prompts_get_a_choice_each_and_echo_repeats_them() {
    let service = Service::new();
    let reply = service.post(PATH, &request(&json!({"prompt": ["one ", "two "], "echo": true}))).await.json();
    let choices = reply["choices"].as_array().unwrap();
    let texts: Vec<&str> = choices.iter().map(|choice| choice["text"].as_str().unwrap()).collect();
    assert_eq!(texts, [format!("one {REPLY}"), format!("two {REPLY}")]);
    assert_eq!(choices[1]["index"], 1);
    assert_eq!(reply["usage"]["prompt_tokens"], 2);
    let reply = service.post(PATH, &request(&json!({"echo": true, "max_tokens": 0}))).await.json();
    assert_eq!(reply["choices"][0]["text"], "Once upon a time");
    assert_eq!(reply["usage"]["completion_tokens"], 0);
}

#[tokio::test]
async fn a_stream_tells_pieces_ends_and_usage() {
    let service = Service::new();
    let extra = json!({"prompt": ["a", "b"], "echo": true, "max_tokens": 2, "stream": true,
        "stream_options": {"include_usage": true}});
    let text = service.post(PATH, &request(&extra)).await.text();
    assert!(text.ends_with("data: [DONE]\n\n"), "{text}");
    let mut frames = frames(&text);
    frames.pop();
    let chunks: Vec<Value> = frames.iter().map(crate::support::wire::Frame::json).collect();
    assert!(chunks.iter().all(|chunk| chunk["object"] == "text_completion" && chunk["id"] == chunks[0]["id"]));
    let told: Vec<(String, i64, Value)> = chunks[..chunks.len() - 1]
        .iter()
        .map(|chunk| {
            let choice = &chunk["choices"][0];
            let text = choice["text"].as_str().unwrap().to_owned();
            (text, choice["index"].as_i64().unwrap(), choice["finish_reason"].clone())
        })
        .collect();
    let of = |prompt: &str, at| {
        [(prompt, json!(null)), ("Parcels ", json!(null)), ("are ", json!(null)), ("", json!("length"))]
            .map(|(text, reason)| (text.to_owned(), at, reason))
    };
    assert_eq!(told, [of("a", 0), of("b", 1)].concat());
    let last = &chunks[chunks.len() - 1];
    assert_eq!((&last["choices"], &last["usage"]["total_tokens"]), (&json!([]), &json!(6)));
}

#[tokio::test]
async fn failures_have_their_status_and_name_the_field() {
    let service = Service::new();
    for stream in [false, true] {
        let ask = |prompt: &str| request(&json!({"prompt": prompt, "stream": stream, "echo": true}));
        let (param, code, _) = service.post(PATH, &ask("TOO LONG")).await.failure(400);
        assert_eq!((param.as_deref(), code.as_str()), (Some("prompt"), "context_length_exceeded"));
        assert_eq!(service.post(PATH, &ask("BUSY")).await.failure(429).1, "overloaded");
        assert_eq!(service.post(PATH, &ask("")).await.bad_param(), "prompt");
        let many = request(&json!({"n": 2, "stream": stream}));
        assert_eq!(service.post(PATH, &many).await.bad_param(), "n");
        let unknown = request(&json!({"model": "davinci", "stream": stream}));
        assert_eq!(service.post(PATH, &unknown).await.failure(404).1, "model_not_found");
    }
}
