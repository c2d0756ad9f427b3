//! `POST …/search` in all its parts, and `…/settings`.

use axum::body::Body;
use axum::http::Request;
use serde_json::{Value, json};

use crate::support::{Reply, Service};

const SEARCH: &str = "/v1/collections/shop/search";
const SETTINGS: &str = "/v1/collections/shop/settings";

/// Twelve reviews of four products; the last has none.
async fn reviews() -> Service {
    let service = Service::new();
    assert_eq!(service.post("/v1/collections", &json!({"name": "shop"})).await.status, 201);
    let rows: Vec<Value> = (0..12)
        .map(|at| {
            let thing = ["coffee tastes sweet", "lamp is broken", "kettle leaks water"][at % 3];
            let mut row =
                json!({"id": format!("r{at}"), "text": format!("The {thing}, says customer {at}."), "score": at % 5});
            if at < 11 {
                row["product"] = json!(format!("p{}", at % 4));
            }
            row
        })
        .collect();
    assert_eq!(service.post("/v1/collections/shop/documents", &json!(rows)).await.status, 200);
    service
}

async fn patch(service: &Service, body: &Value) -> Reply {
    let request = Request::patch(SETTINGS).header("content-type", "application/json");
    service.send(request.body(Body::from(body.to_string())).unwrap()).await
}

fn ids(reply: &Value) -> Vec<&str> {
    reply["hits"].as_array().unwrap().iter().map(|hit| hit["chunk"]["document_id"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn hits_say_why_they_were_found() {
    let service = reviews().await;
    let body = json!({"query": "broken lamps", "highlight": true, "limit": 3});
    let reply = service.post(SEARCH, &body).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    let reply = reply.json();
    let hit = &reply["hits"][0];
    assert!(hit["score"].is_number() && hit["vector_score"].is_number() && hit["keyword_score"].is_number(), "{hit}");
    let text = hit["chunk"]["text"].as_str().unwrap();
    let marked: Vec<&str> = hit["highlights"]
        .as_array()
        .unwrap()
        .iter()
        .map(|span| &text[span["start"].as_u64().unwrap() as usize..span["end"].as_u64().unwrap() as usize])
        .collect();
    assert_eq!(marked, ["lamp", "broken"], "the stem of a word is enough");
    let explain = &reply["explain"];
    assert_eq!((&explain["mode"], &explain["fusion"]["method"]), (&json!("hybrid"), &json!("weighted_scores")));
    for timing in ["embed_ms", "search_ms", "rerank_ms", "total_ms"] {
        assert!(explain["timings"][timing].is_number(), "{explain}");
    }
    assert!(explain["keywords"]["terms"].is_array(), "{explain}");
    let plain = service.post(SEARCH, &json!({"query": "broken lamp"})).await.json();
    assert!(plain["hits"][0].get("highlights").is_none());
}

#[tokio::test]
async fn pages_follow_each_other_and_cursors_are_checked() {
    let service = reviews().await;
    let body = json!({"query": "the sweet coffee", "limit": 5, "rerank_depth": 4});
    let mut found: Vec<String> = Vec::new();
    let mut after = Value::Null;
    for _ in 0..3 {
        let mut page = body.clone();
        page["after"] = after;
        let reply = service.post(SEARCH, &page).await.json();
        found.extend(ids(&reply).into_iter().map(str::to_owned));
        after = reply["next"].clone();
    }
    assert!(after.is_null());
    let whole =
        service.post(SEARCH, &json!({"query": "the sweet coffee", "limit": 100, "rerank_depth": 4})).await.json();
    assert_eq!(found, ids(&whole));
    assert_eq!(found.len(), 12);
    assert_eq!(whole["explain"]["rerank"]["depth"], 4, "whoever sends a depth wants it");

    let next = service.post(SEARCH, &body).await.json()["next"].as_str().unwrap().to_owned();
    let other = json!({"query": "something else", "limit": 5, "after": next});
    assert_eq!(service.post(SEARCH, &other).await.bad_param(), "after");
    let tampered = json!({"query": "the sweet coffee", "after": format!("{}00", &next[..next.len() - 2])});
    assert_eq!(service.post(SEARCH, &tampered).await.bad_param(), "after");
}

#[tokio::test]
async fn one_hit_for_each_product() {
    let service = reviews().await;
    let reply = service.post(SEARCH, &json!({"query": "customer", "group_by": "product"})).await.json();
    let hits = reply["hits"].as_array().unwrap();
    let mut products: Vec<&Value> = hits.iter().map(|hit| &hit["group"]["value"]).collect();
    products.sort_by_key(ToString::to_string);
    assert_eq!(products, [&json!("p0"), &json!("p1"), &json!("p2"), &json!("p3"), &Value::Null]);
    let more: u64 = hits.iter().map(|hit| hit["group"]["more"].as_u64().unwrap()).sum();
    assert_eq!(more, 7);
}

#[tokio::test]
async fn filters_come_as_json_or_as_an_expression() {
    let service = reviews().await;
    let json = json!({"query": "customer", "filter": {"type": "eq", "key": "product", "value": "p1"}, "limit": 100});
    let expression = json!({"query": "customer", "filter": "product = \"p1\"", "limit": 100});
    let (json, expression) = (service.post(SEARCH, &json).await.json(), service.post(SEARCH, &expression).await.json());
    assert_eq!((ids(&json).len(), ids(&json)), (3, ids(&expression)));
    assert_eq!(service.post(SEARCH, &json!({"query": "a", "filter": "product ="})).await.bad_param(), "filter");
}

#[tokio::test]
async fn words_are_searched_while_no_model_can_be_loaded() {
    let service = reviews().await;
    let expected = service.post(SEARCH, &json!({"query": "kettle", "mode": "keyword"})).await.json();
    assert_eq!(ids(&expected).len(), 4);
    let data = service.with_unloadable_models();
    let found = data.post(SEARCH, &json!({"query": "kettle", "mode": "keyword"})).await.json();
    assert_eq!(ids(&found), ids(&expected));
    data.post(SEARCH, &json!({"query": "kettle"})).await.failure(503);
}

#[tokio::test]
async fn every_part_of_a_search_is_checked() {
    let service = reviews().await;
    for (body, param) in [
        (json!({"query": "a", "mode": "magic"}), "mode"),
        (json!({"query": "a", "fusion": {"method": "magic"}}), "fusion.method"),
        (json!({"query": "a", "fusion": {"weight": 1}}), "fusion.weight"),
        (json!({"query": "a", "fusion": {"vector_weight": 2}}), "vector_weight"),
        (json!({"query": "a", "rerank_depth": 201}), "rerank_depth"),
        (json!({"query": "a", "rerank_depth": 5, "rerank": false}), "rerank_depth"),
        (json!({"query": "a", "mmr_lambda": -0.1}), "mmr_lambda"),
        (json!({"query": "a", "ef_search": 0}), "ef_search"),
        (json!({"query": "a", "group_by": ""}), "group_by"),
        (json!({"query": "a", "mode": "vector", "min_score": 1.5}), "min_score"),
        (json!({"query": "a", "after": "x"}), "after"),
        (json!({"query": "a", "mode": "keyword", "vector": [1.0]}), "vector"),
        (json!({"query": "", "vector": vec![1.0; 32], "mode": "keyword"}), "vector"),
        (json!({"query": "a", "highlights": true}), "highlights"),
    ] {
        assert_eq!(service.post(SEARCH, &body).await.bad_param(), param, "{body}");
    }
    let reply =
        service.post(SEARCH, &json!({"query": "lamp", "fusion": {"vector_weight": 0.8}, "mmr_lambda": 0.5})).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert_eq!(reply.json()["explain"]["mmr_lambda"], 0.5);
}

#[tokio::test]
async fn settings_are_shown_and_changed_in_part() {
    let service = reviews().await;
    let defaults =
        json!({"mode": "hybrid", "fusion": {"method": "weighted_scores", "vector_weight": 0.8}, "rerank_depth": 20});
    assert_eq!(service.get(SETTINGS).await.json(), defaults);
    let changed = patch(&service, &json!({"mode": "keyword", "fusion": {"vector_weight": 0.25}})).await;
    assert_eq!(changed.status, 200, "{}", changed.text());
    let expected =
        json!({"mode": "keyword", "fusion": {"method": "weighted_scores", "vector_weight": 0.25}, "rerank_depth": 20});
    assert_eq!(changed.json(), expected);
    assert_eq!(service.get(SETTINGS).await.json(), expected);
    assert_eq!(service.post(SEARCH, &json!({"query": "lamp"})).await.json()["explain"]["mode"], "keyword");
    let fused = service
        .post(SEARCH, &json!({"query": "lamp", "mode": "hybrid", "fusion": {"method": "weighted_scores"}}))
        .await;
    let fusion = fused.json()["explain"]["fusion"].clone();
    assert_eq!(
        fusion,
        json!({"method": "weighted_scores", "vector_weight": 0.25}),
        "what is left out is the setting's"
    );
    for (body, param) in [
        (json!({"rerank_depth": 500}), "rerank_depth"),
        (json!({"fusion": {"vector_weight": -1}}), "vector_weight"),
        (json!({"mode": "fast"}), "mode"),
        (json!({"colour": 1}), "colour"),
    ] {
        assert_eq!(patch(&service, &body).await.bad_param(), param);
    }
    assert_eq!(service.get(SETTINGS).await.json(), expected);
    service.get("/v1/collections/none/settings").await.failure(404);
}

#[tokio::test]
async fn documents_are_deleted_by_a_filter() {
    let service = reviews().await;
    let path = "/v1/collections/shop/documents/delete";
    let deleted = service.post(path, &json!({"filter": "product = \"p0\" or score = 4"})).await;
    assert_eq!(deleted.json(), json!({"deleted": 4}));
    assert_eq!(
        service.post(path, &json!({"filter": {"type": "eq", "key": "product", "value": "p0"}})).await.json()["deleted"],
        0
    );
    assert_eq!(service.post(path, &json!({})).await.bad_param(), "ids");
    assert_eq!(service.post(path, &json!({"ids": [], "filter": "score = 1"})).await.bad_param(), "filter");
    assert_eq!(ids(&service.post(SEARCH, &json!({"query": "customer", "limit": 100})).await.json()).len(), 8);
}

#[tokio::test]
async fn a_file_search_takes_a_threshold_and_weights() {
    let service = Service::new().with_shop().await;
    let ask = |options: Value| {
        let tool = json!({"type": "file_search", "vector_store_ids": ["shop"], "ranking_options": options});
        json!({"model": "org/fake:chat", "input": "When are parcels returned?", "tools": [tool]})
    };
    let refused =
        |reply: &Value| reply["output"].as_array().unwrap().iter().any(|item| item["content"][0]["type"] == "refusal");
    let options = json!({"ranker": "auto", "hybrid_search": {"embedding_weight": 2, "text_weight": 1}});
    let answered = service.post("/v1/responses", &ask(options)).await;
    assert_eq!(answered.status, 200, "{}", answered.text());
    assert!(!refused(&answered.json()), "{}", answered.text());
    let strict = service.post("/v1/responses", &ask(json!({"score_threshold": 1.0}))).await.json();
    assert!(refused(&strict), "{strict}");
    let param = service.post("/v1/responses", &ask(json!({"score_threshold": 7}))).await.bad_param();
    assert_eq!(param, "tools[0].ranking_options.score_threshold");
}
