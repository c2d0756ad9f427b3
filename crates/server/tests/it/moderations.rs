//! `POST /v1/moderations`, and the filter on replies.

use anser_core::CancelToken;
use serde_json::{Value, json};

use crate::support::wire::{Frame, frames};
use crate::support::{CHAT, Service};

const PATH: &str = "/v1/moderations";

const CATEGORIES: [&str; 13] = [
    "harassment",
    "harassment/threatening",
    "hate",
    "hate/threatening",
    "illicit",
    "illicit/violent",
    "self-harm",
    "self-harm/intent",
    "self-harm/instructions",
    "sexual",
    "sexual/minors",
    "violence",
    "violence/graphic",
];

/// A service whose filter has learnt that thunder is harmful in every way and that parcels are not.
fn service(filters: bool) -> Service {
    let service = Service::with(|options| options.filter_replies = filters);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("examples.jsonl");
    let mut lines = String::new();
    for at in 0..60 {
        let weather = json!({"text": format!("thunder thunder lightning {at}"), "categories": CATEGORIES});
        let parcel = json!({"text": format!("parcels are returned within days {at}"), "categories": []});
        lines.extend([weather.to_string(), "\n".to_owned(), parcel.to_string(), "\n".to_owned()]);
    }
    std::fs::write(&file, lines).unwrap();
    service.engine.train_moderation(&file, &CancelToken::new()).unwrap();
    service
}

#[tokio::test]
async fn every_category_is_told_for_each_text() {
    let service = service(false);
    let body = json!({"input": ["parcels are returned", "thunder thunder lightning"]});
    let reply = service.post(PATH, &body).await.json();
    assert_eq!(reply.as_object().unwrap().keys().collect::<Vec<_>>(), ["id", "model", "results"]);
    assert_eq!(reply["model"], "anser-moderation");
    let results = reply["results"].as_array().unwrap();
    assert_eq!(results.len(), 2);
    for result in results {
        for map in ["categories", "category_scores", "category_applied_input_types"] {
            assert_eq!(result[map].as_object().unwrap().keys().collect::<Vec<_>>(), CATEGORIES);
        }
        assert_eq!(result["category_applied_input_types"]["violence"], json!(["text"]));
    }
    assert_eq!((&results[0]["flagged"], &results[0]["categories"]["violence"]), (&json!(false), &json!(false)));
    assert_eq!((&results[1]["flagged"], &results[1]["categories"]["violence"]), (&json!(true), &json!(true)));
    assert!(results[1]["category_scores"]["violence"].as_f64().unwrap() >= 0.5);
    assert_eq!(service.metric("anser_moderated_texts_total").await, Some(2.0));

    let parts = json!([{"type": "text", "text": "parcels"}, {"type": "text", "text": "thunder thunder lightning"}]);
    for model in ["omni-moderation-latest", "text-moderation-stable", "anser-moderation"] {
        let reply = service.post(PATH, &json!({"input": parts, "model": model})).await.json();
        assert_eq!(reply["results"].as_array().unwrap().len(), 1);
        assert_eq!(reply["results"][0]["flagged"], true);
    }
}

#[tokio::test]
async fn what_cannot_be_judged_is_named() {
    let service = Service::new();
    for (input, param) in [
        (json!(null), "input"),
        (json!([]), "input"),
        (json!(["a", 1]), "input[1]"),
        (json!([{"type": "image_url", "image_url": {"url": "x"}}]), "input[0]"),
    ] {
        assert_eq!(service.post(PATH, &json!({ "input": input })).await.bad_param(), param);
    }
    assert_eq!(service.post(PATH, &json!({})).await.bad_param(), "input");
    let reply = service.post(PATH, &json!({"input": "a", "model": "gpt-9"})).await;
    assert_eq!(reply.failure(404).1, "model_not_found");
}

const HARMLESS: &str = "SAY \"Parcels are returned within days. Parcels are returned.\"";
const HARMFUL: &str = "SAY \"Parcels are returned within days. Thunder thunder lightning. Parcels are returned.\"";

fn chat(script: &str, stream: bool) -> Value {
    json!({"model": CHAT, "messages": [{"role": "user", "content": script}], "stream": stream})
}

#[tokio::test]
async fn a_harmful_reply_is_withheld_where_the_filter_is_on() {
    for filters in [false, true] {
        let service = service(filters);
        let reply = service.post("/v1/chat/completions", &chat(HARMFUL, false)).await.json();
        let choice = &reply["choices"][0];
        let (text, reason) =
            (choice["message"]["content"].as_str().unwrap(), choice["finish_reason"].as_str().unwrap());
        assert_eq!((text.is_empty(), reason), (filters, if filters { "content_filter" } else { "stop" }));
        let body = json!({"model": CHAT, "prompt": HARMFUL, "max_tokens": 99});
        let reply = service.post("/v1/completions", &body).await.json();
        assert_eq!(reply["choices"][0]["text"].as_str().unwrap().is_empty(), filters);
        let reply = service.post("/v1/responses", &json!({"model": CHAT, "input": HARMFUL})).await.json();
        let expected = if filters { json!({"reason": "content_filter"}) } else { json!(null) };
        assert_eq!(reply["incomplete_details"], expected);
        assert_eq!(reply["output"][0]["content"][0]["text"].as_str().unwrap().is_empty(), filters);
        let withheld = if filters { 3.0 } else { 0.0 };
        assert_eq!(service.metric("anser_withheld_replies_total").await, Some(withheld));

        let reply = service.post("/v1/chat/completions", &chat(HARMLESS, false)).await.json();
        assert_eq!(
            reply["choices"][0]["message"]["content"],
            "Parcels are returned within days. Parcels are returned."
        );
    }
}

#[tokio::test]
async fn a_stream_ends_before_the_first_harmful_sentence() {
    let service = service(true);
    for (script, shown, reason) in [
        (HARMFUL, "Parcels are returned within days. ", "content_filter"),
        (HARMLESS, "Parcels are returned within days. Parcels are returned.", "stop"),
    ] {
        let text = service.post("/v1/chat/completions", &chat(script, true)).await.text();
        assert!(text.ends_with("data: [DONE]\n\n"), "{text}");
        let mut frames = frames(&text);
        frames.pop();
        let chunks: Vec<Value> = frames.iter().map(Frame::json).collect();
        let told: String = chunks.iter().filter_map(|c| c["choices"][0]["delta"]["content"].as_str()).collect();
        assert_eq!(told, shown);
        assert_eq!(chunks.last().unwrap()["choices"][0]["finish_reason"], reason);
    }
}

#[tokio::test]
async fn a_withheld_completion_does_not_take_the_next_one_with_it() {
    let service = service(true);
    for (prompts, withheld) in [([HARMFUL, HARMLESS], [true, false]), ([HARMLESS, HARMFUL], [false, true])] {
        let body = json!({"model": CHAT, "prompt": prompts, "max_tokens": 99});
        let reply = service.post("/v1/completions", &body).await.json();
        for (choice, withheld) in reply["choices"].as_array().unwrap().iter().zip(withheld) {
            assert_eq!(choice["text"] == "", withheld, "{reply}");
            assert_eq!(choice["finish_reason"], if withheld { "content_filter" } else { "stop" });
        }
    }
}
