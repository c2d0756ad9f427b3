//! `POST …/search` and `POST …/answers`.

use serde_json::{Value, json};

use crate::support::Service;
use crate::support::fake::REPLY;
use crate::support::wire::frames;

const SEARCH: &str = "/v1/collections/shop/search";
const ANSWERS: &str = "/v1/collections/shop/answers";

#[tokio::test]
async fn a_search_finds_the_nearest_passages() {
    let service = Service::new().with_shop().await;
    let reply = service.post(SEARCH, &json!({"query": "free postage", "limit": 2})).await;
    assert_eq!(reply.status, 200);
    let reply = reply.json();
    let hits = reply["hits"].as_array().unwrap();
    assert_eq!(hits.len(), 2);
    assert_eq!(hits[0]["chunk"]["document_id"], "postage");
    assert!(hits[0].get("rerank_score").is_none());
    assert_eq!(reply["explain"]["method"], "exact");
    let reranked = service.post(SEARCH, &json!({"query": "free postage", "rerank": true, "exact": true})).await.json();
    assert!(reranked["hits"][0]["rerank_score"].is_number());
}

#[tokio::test]
async fn searches_are_checked() {
    let service = Service::new().with_shop().await;
    for (body, param) in [
        (json!({"query": " "}), "query"),
        (json!({"query": "a", "limit": 101}), "limit"),
        (json!({"query": "a", "limit": -1}), "limit"),
        (json!({"query": "a", "min_score": 2}), "min_score"),
        (json!({"query": "a", "k": 5}), "k"),
        (json!({"limit": 5}), "query"),
    ] {
        assert_eq!(service.post(SEARCH, &body).await.bad_param(), param);
    }
    service.post("/v1/collections/none/search", &json!({"query": "a"})).await.failure(404);
    service.post(SEARCH, &json!({"query": "PANIC"})).await.failure(500);
    assert_eq!(service.post(SEARCH, &json!({"query": "postage"})).await.status, 200);
}

#[tokio::test]
async fn an_answer_comes_with_its_evidence() {
    let service = Service::new().with_shop().await;
    let reply = service.post(ANSWERS, &json!({"question": "When are parcels returned?", "max_tokens": 50})).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    let answer = reply.json();
    assert_eq!((&answer["text"], &answer["abstained"]), (&json!(REPLY), &json!(false)));
    assert_eq!(answer["passages"][0]["document_id"], "returns");
    assert_eq!(answer["citations"][0]["document_id"], "returns");
    assert_eq!(service.fake.decoding().max_tokens, Some(50));
}

#[tokio::test]
async fn a_question_without_evidence_is_not_answered() {
    let service = Service::new().with_shop().await;
    let answer = service.post(ANSWERS, &json!({"question": "Who won yesterday?"})).await.json();
    assert_eq!(answer["abstained"], true);
    assert_eq!(service.fake.generations(), 0);
}

#[tokio::test]
async fn a_streamed_answer_is_passages_then_deltas_then_the_answer() {
    let service = Service::new().with_shop().await;
    let body = json!({"question": "When are parcels returned?", "stream": true});
    let reply = service.post(ANSWERS, &body).await;
    assert_eq!(reply.header("content-type"), Some("text/event-stream"));
    let frames = frames(&reply.text());
    let names: Vec<&str> = frames.iter().map(|frame| frame.event.as_deref().unwrap()).collect();
    assert_eq!((names[0], names[names.len() - 1]), ("passages", "answer"));
    assert!(names.len() > 2 && names[1..names.len() - 1].iter().all(|name| *name == "delta"), "{names:?}");
    let text: String =
        frames[1..frames.len() - 1].iter().map(|f| f.json()["text"].as_str().unwrap().to_owned()).collect();
    let answer = frames[frames.len() - 1].json();
    assert_eq!(json!(text), answer["text"]);
    assert_eq!(frames[0].json()["passages"], answer["passages"]);

    let mut whole = service.post(ANSWERS, &json!({"question": "When are parcels returned?"})).await.json();
    let mut streamed = answer;
    for answer in [&mut whole, &mut streamed] {
        answer["timings"] = Value::Null;
    }
    assert_eq!(whole, streamed);
}

#[tokio::test]
async fn failures_of_answers_are_told_by_status_or_event() {
    let service = Service::new().with_shop().await;
    for stream in [false, true] {
        let ask = |question: &str| json!({"question": question, "stream": stream});
        assert_eq!(service.post(ANSWERS, &ask(" ")).await.bad_param(), "question");
        assert_eq!(service.post("/v1/collections/none/answers", &ask("a")).await.failure(404).1, "not_found");
        let mut unknown = ask("a");
        unknown["top_k"] = json!(3);
        assert_eq!(service.post(ANSWERS, &unknown).await.bad_param(), "top_k");
    }
    // The passages have been sent when the model fails.
    let body = json!({"question": "parcels returned? PANIC", "stream": true});
    service.fake.calm_embedder();
    let reply = service.post(ANSWERS, &body).await;
    assert_eq!(reply.status, 200);
    let frames = frames(&reply.text());
    assert_eq!(frames[0].event.as_deref(), Some("passages"));
    let last = &frames[frames.len() - 1];
    assert_eq!(last.event.as_deref(), Some("error"));
    assert_eq!(last.json()["error"]["code"], "internal_error");
}
