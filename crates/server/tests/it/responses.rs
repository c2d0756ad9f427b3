//! `POST /v1/responses`.

use serde_json::{Value, json};

use crate::support::fake::REPLY;
use crate::support::wire::frames;
use crate::support::{CHAT, Service};

const PATH: &str = "/v1/responses";

fn search(question: &str, collection: &str) -> Value {
    json!({"model": CHAT, "input": question, "tools": [{"type": "file_search", "vector_store_ids": [collection]}]})
}

/// Every event, checked to be numbered and named as its data says.
async fn events(service: &Service, body: &Value) -> Vec<Value> {
    let mut body = body.clone();
    body["stream"] = json!(true);
    let reply = service.post(PATH, &body).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert_eq!(reply.header("content-type"), Some("text/event-stream"));
    let frames = frames(&reply.text());
    let events: Vec<Value> = frames.iter().map(crate::support::wire::Frame::json).collect();
    for (at, (frame, event)) in frames.iter().zip(&events).enumerate() {
        assert_eq!(frame.event.as_deref(), event["type"].as_str());
        assert_eq!(event["sequence_number"], at);
    }
    events
}

fn kinds(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| event["type"].as_str().unwrap().strip_prefix("response.").unwrap()).collect()
}

#[tokio::test]
async fn a_response_has_every_field() {
    let service = Service::new();
    let body = json!({"model": CHAT, "input": "hi", "instructions": "be brief", "max_output_tokens": 64,
        "metadata": {"a": "b"}, "temperature": 0.5, "store": true});
    let reply = service.post(PATH, &body).await.json();
    for key in [
        "id",
        "object",
        "created_at",
        "status",
        "error",
        "incomplete_details",
        "instructions",
        "metadata",
        "model",
        "output",
        "parallel_tool_calls",
        "temperature",
        "tool_choice",
        "tools",
        "top_p",
        "usage",
        "max_output_tokens",
    ] {
        assert!(reply.get(key).is_some(), "{key}");
    }
    assert_eq!((reply["object"].as_str(), reply["status"].as_str()), (Some("response"), Some("completed")));
    assert_eq!((&reply["store"], &reply["metadata"]), (&json!(false), &json!({"a": "b"})));
    let message = &reply["output"][0];
    assert_eq!((message["type"].as_str(), message["role"].as_str()), (Some("message"), Some("assistant")));
    let part = json!({"type": "output_text", "text": REPLY, "annotations": [], "logprobs": []});
    assert_eq!(message["content"], json!([part]));
    assert_eq!(
        reply["usage"],
        json!({
            "input_tokens": 3, "input_tokens_details": {"cache_write_tokens": 0, "cached_tokens": 0},
            "output_tokens": 6, "output_tokens_details": {"reasoning_tokens": 0}, "total_tokens": 9
        })
    );
    assert_eq!(service.fake.conversation().len(), 2);
    let defaulted = service.post(PATH, &json!({"input": "hi"})).await.json();
    assert_eq!(defaulted["model"], CHAT);
}

#[tokio::test]
async fn a_reply_that_was_cut_off_is_incomplete() {
    let service = Service::new();
    let body = json!({"model": CHAT, "input": "SLOW", "max_output_tokens": 16});
    let reply = service.post(PATH, &body).await.json();
    assert_eq!(reply["status"], "incomplete");
    assert_eq!(reply["incomplete_details"], json!({"reason": "max_output_tokens"}));
    assert_eq!(reply["output"][0]["status"], "incomplete");
    let events = events(&service, &body).await;
    assert_eq!(kinds(&events).last(), Some(&"incomplete"));
}

#[tokio::test]
async fn a_stream_goes_through_its_states_in_order() {
    let service = Service::new();
    let events = events(&service, &json!({"model": CHAT, "input": "hi"})).await;
    let mut expected = vec!["created", "in_progress", "output_item.added", "content_part.added"];
    expected.extend(["output_text.delta"; 6]);
    expected.extend(["output_text.done", "content_part.done", "output_item.done", "completed"]);
    assert_eq!(kinds(&events), expected);
    let text: String = events.iter().filter_map(|event| event["delta"].as_str()).collect();
    assert_eq!(text, REPLY);
    let last = &events[events.len() - 1]["response"];
    assert_eq!(last["output"][0]["content"][0]["text"], REPLY);
    assert_eq!(last["id"], events[0]["response"]["id"]);
    assert_eq!(last["output"][0], events[events.len() - 2]["item"]);
    assert_eq!(last["output"][0]["id"], events[2]["item"]["id"]);
    assert_eq!(
        (&events[0]["response"]["status"], &events[0]["response"]["usage"]),
        (&json!("in_progress"), &json!(null))
    );
}

#[tokio::test]
async fn file_search_answers_from_a_collection_with_citations() {
    let service = Service::new().with_shop().await;
    let mut body = search("Within how many days are parcels returned?", "shop");
    let plain = service.post(PATH, &body).await.json();
    assert_eq!(plain["status"], "completed", "{plain}");
    let call = &plain["output"][0];
    assert_eq!((call["type"].as_str(), call["status"].as_str()), (Some("file_search_call"), Some("completed")));
    assert_eq!((&call["queries"][0], &call["results"]), (&body["input"], &json!(null)));
    let part = &plain["output"][1]["content"][0];
    assert_eq!(part["text"], REPLY);
    let citation = &part["annotations"][0];
    assert_eq!(citation["type"], "file_citation");
    assert_eq!((citation["file_id"].as_str(), citation["filename"].as_str()), (Some("returns"), Some("Returns")));
    assert_eq!(citation["anser"]["quote"], "Parcels are returned within 30 days.");

    body["include"] = json!(["file_search_call.results"]);
    let events = events(&service, &body).await;
    let expected = [
        "created",
        "in_progress",
        "output_item.added",
        "file_search_call.in_progress",
        "file_search_call.searching",
        "file_search_call.completed",
        "output_item.done",
        "output_item.added",
        "content_part.added",
        "output_text.delta",
        "output_text.annotation.added",
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "completed",
    ];
    assert_eq!(kinds(&events), expected);
    let done = &events[events.len() - 1]["response"];
    let results = done["output"][0]["results"].as_array().unwrap();
    let cited = done["output"][1]["content"][0]["annotations"][0]["index"].as_u64().unwrap() as usize;
    assert_eq!(results[cited]["file_id"], "returns");
    let keys: Vec<&String> = results[0].as_object().unwrap().keys().collect();
    assert_eq!(keys, ["file_id", "filename", "score", "text", "attributes"]);
    assert_eq!(events[2]["item"]["id"], done["output"][0]["id"]);
    assert_eq!((&events[9]["output_index"], &events[9]["item_id"]), (&json!(1), &done["output"][1]["id"]));
}

#[tokio::test]
async fn an_abstention_is_a_refusal() {
    let service = Service::new().with_shop().await;
    let body = search("zzz qqq xxx", "shop");
    let reply = service.post(PATH, &body).await.json();
    let part = &reply["output"][1]["content"][0];
    assert_eq!(part["type"], "refusal", "{reply}");
    assert!(!part["refusal"].as_str().unwrap().is_empty());
    let events = events(&service, &body).await;
    assert_eq!(
        kinds(&events)[7..],
        [
            "output_item.added",
            "content_part.added",
            "refusal.delta",
            "refusal.done",
            "content_part.done",
            "output_item.done",
            "completed"
        ]
    );
}

#[tokio::test]
async fn failures_have_their_status_and_name_the_field() {
    let service = Service::new().with_shop().await;
    for stream in [false, true] {
        let ask = |input: &str| json!({"model": CHAT, "input": input, "stream": stream});
        let (param, code, _) = service.post(PATH, &ask("TOO LONG")).await.failure(400);
        assert_eq!((param.as_deref(), code.as_str()), (Some("input"), "context_length_exceeded"));
        assert_eq!(service.post(PATH, &ask("BUSY")).await.failure(429).1, "overloaded");
        for (extra, param) in [
            (json!({"previous_response_id": "resp_1"}), "previous_response_id"),
            (json!({"max_output_tokens": 15}), "max_output_tokens"),
            (json!({"temperature": 3}), "temperature"),
            (json!({"input": null}), "input"),
            (json!({"tools": [{"type": "web_search"}]}), "tools[0].type"),
            (json!({"text": {"format": {"type": "json_object"}}}), "text"),
        ] {
            let mut body = ask("hi");
            body.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
            assert_eq!(service.post(PATH, &body).await.bad_param(), param);
        }
        let mut told = search("where?", "shop");
        told["instructions"] = json!("be brief");
        told["stream"] = json!(stream);
        assert_eq!(service.post(PATH, &told).await.bad_param(), "instructions");
        let mut missing = search("where?", "nowhere");
        missing["stream"] = json!(stream);
        let (param, _, _) = service.post(PATH, &missing).await.failure(404);
        assert_eq!(param.as_deref(), Some("tools[0].vector_store_ids"));
        let unknown = json!({"model": "gpt-9", "input": "hi", "stream": stream});
        assert_eq!(service.post(PATH, &unknown).await.failure(404).1, "model_not_found");
    }
}

#[tokio::test]
async fn responses_are_not_kept_and_say_so() {
    let service = Service::new();
    let reply = service.post(PATH, &json!({"model": CHAT, "input": "hi"})).await.json();
    let path = format!("{PATH}/{}", reply["id"].as_str().unwrap());
    for reply in [
        service.get(&path).await,
        service.delete(&path).await,
        service.get(&format!("{path}/input_items")).await,
        service.post(&format!("{path}/cancel"), &json!({})).await,
    ] {
        let (_, code, message) = reply.failure(404);
        assert_eq!(code, "not_found");
        assert!(message.contains("not kept"), "{message}");
    }
}
