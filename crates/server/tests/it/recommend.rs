//! `POST …/recommend`, and filters of searches, answers and responses.

use serde_json::{Value, json};

use crate::support::{CHAT, Service};

const RECOMMEND: &str = "/v1/collections/shop/recommend";
const SEARCH: &str = "/v1/collections/shop/search";

/// The shop with an attribute in each document.
async fn shop() -> Service {
    let service = Service::new();
    assert_eq!(service.post("/v1/collections", &json!({"name": "shop"})).await.status, 201);
    let documents = json!([
        {"id": "returns", "title": "Returns", "text": "Parcels are returned within 30 days.", "topic": "post", "n": 1},
        {"id": "postage", "title": "Postage", "text": "Postage of parcels is free above 50 euros.", "topic": "post", "n": 2},
        {"id": "hours", "title": "Hours", "text": "The shop opens at nine.", "topic": "shop", "n": 3},
        {"id": "places", "title": "Places", "text": "The shop lies at the market.", "topic": "shop", "n": 4},
    ]);
    assert_eq!(service.post("/v1/collections/shop/documents", &documents).await.status, 200);
    service
}

fn ids(reply: &Value) -> Vec<&str> {
    reply["hits"].as_array().unwrap().iter().map(|hit| hit["id"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn documents_like_one_come_with_what_they_are_near_to() {
    let service = shop().await;
    let reply = service.post(RECOMMEND, &json!({"positive": [{"id": "hours"}], "limit": 2})).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    let reply = reply.json();
    assert_eq!(ids(&reply)[0], "places");
    let hit = &reply["hits"][0];
    assert_eq!((&hit["title"], &hit["attributes"]["n"]), (&json!("Places"), &json!(4)));
    assert_eq!(hit["text"], "The shop lies at the market.");
    assert_eq!((&hit["nearest"]["kind"], &hit["nearest"]["id"]), (&json!("positive"), &json!("hours")));
    assert_eq!((&reply["strategy"], &reply["explain"]["method"]), (&json!("average_vector"), &json!("exact")));

    let body = json!({
        "positive": [{"text": "parcels"}], "negative": [{"id": "postage"}], "strategy": "best_score",
        "filter": {"type": "eq", "key": "topic", "value": "post"}, "exclude": ["hours"], "diversity": 0.2,
    });
    let reply = service.post(RECOMMEND, &body).await.json();
    assert_eq!(ids(&reply), ["returns"], "{reply}");
    assert_eq!(reply["explain"]["filter"]["documents"], 2);
}

#[tokio::test]
async fn recommendations_are_checked() {
    let service = shop().await;
    for (body, param) in [
        (json!({}), "positive"),
        (json!({"negative": [{"id": "hours"}]}), "positive"),
        (json!({"positive": [{"id": "hours"}], "limit": 0}), "limit"),
        (json!({"positive": [{"id": "hours"}], "diversity": 2}), "diversity"),
        (json!({"positive": [{"vector": [1, 2]}]}), "positive[0].vector"),
        (json!({"positive": [{"text": " "}]}), "positive[0].text"),
        (json!({"positive": [{"id": ""}]}), "positive[0].id"),
        (json!({"positive": [{"id": "hours"}], "top": 1}), "top"),
        (json!({"positive": [{"id": "hours"}], "strategy": "magic"}), "strategy"),
        (json!({"positive": [{"id": "hours"}], "filter": {"type": "eq", "key": "n"}}), "filter"),
    ] {
        assert_eq!(service.post(RECOMMEND, &body).await.bad_param(), param, "{body}");
    }
    let (param, _, message) = service.post(RECOMMEND, &json!({"positive": [{"id": "nobody"}]})).await.failure(404);
    assert_eq!(param.as_deref(), Some("positive[0].id"));
    assert!(message.contains("nobody"), "{message}");
    service.post("/v1/collections/none/recommend", &json!({"positive": [{"id": "a"}]})).await.failure(404);
}

#[tokio::test]
async fn a_filter_bounds_searches_and_says_where_it_is_wrong() {
    let service = shop().await;
    let filter = json!({"type": "and", "filters": [
        {"type": "gte", "key": "n", "value": 2}, {"type": "not", "filter": {"type": "in", "key": "topic", "value": ["shop"]}},
    ]});
    let reply = service.post(SEARCH, &json!({"query": "shop", "filter": filter})).await.json();
    let hits = reply["hits"].as_array().unwrap();
    assert_eq!((hits.len(), &hits[0]["chunk"]["document_id"]), (1, &json!("postage")));
    assert_eq!(
        reply["explain"]["filter"],
        json!({"strategy": "exact_scan", "selectivity": 0.25, "documents": 1, "vectors": 1})
    );
    let misspelt = json!({"type": "eq", "key": "topics", "value": "post"});
    let reply = service.post(SEARCH, &json!({"query": "shop", "filter": misspelt})).await.json();
    assert_eq!(reply["explain"]["filter"]["unknown_keys"], json!([{"key": "topics", "near": ["topic"]}]));
    let wrong = json!({"type": "or", "filters": [{"type": "eq", "key": "n", "value": null}]});
    let (param, _, message) = service.post(SEARCH, &json!({"query": "shop", "filter": wrong})).await.failure(400);
    assert_eq!(param.as_deref(), Some("filter"));
    assert!(message.contains("filters[0].value: null is no value"), "{message}");
}

#[tokio::test]
async fn a_filter_bounds_what_answers_are_made_from() {
    let service = shop().await;
    let question = "Within how many days are parcels returned?";
    let only = |value: &str| json!({"type": "eq", "key": "topic", "value": value});
    let ask = |value| json!({"question": question, "passages": 4, "filter": only(value)});
    let path = "/v1/collections/shop/answers";
    let answer = service.post(path, &ask("post")).await.json();
    assert_eq!(answer["passages"][0]["document_id"], "returns", "{answer}");
    let answer = service.post(path, &ask("shop")).await.json();
    let passages = answer["passages"].as_array().unwrap();
    assert!(passages.iter().all(|p| p["document_id"] == "hours" || p["document_id"] == "places"), "{answer}");
    let bad = json!({"question": question, "filter": {"type": "near"}});
    assert_eq!(service.post(path, &bad).await.bad_param(), "filter");

    let respond = |filters: Value| {
        json!({"model": CHAT, "input": question, "include": ["file_search_call.results"],
            "tools": [{"type": "file_search", "vector_store_ids": ["shop"], "filters": filters}]})
    };
    let reply = service.post("/v1/responses", &respond(only("post"))).await.json();
    assert_eq!(reply["output"][0]["results"][0]["file_id"], "returns", "{reply}");
    let reply = service.post("/v1/responses", &respond(only("shop"))).await.json();
    let results = reply["output"][0]["results"].as_array().unwrap();
    assert!(results.iter().all(|r| r["file_id"] == "hours" || r["file_id"] == "places"), "{reply}");
    let bad = service.post("/v1/responses", &respond(json!({"type": "eq"}))).await;
    assert_eq!(bad.bad_param(), "tools[0].filters");
}
