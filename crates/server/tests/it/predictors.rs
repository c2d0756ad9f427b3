//! Classifiers and regressions: learnt by a job, used on texts and documents, listed and deleted.

use serde_json::{Value, json};

use crate::support::Service;

/// A shop whose documents are of two topics, with a number that follows the topic.
async fn shop() -> Service {
    let service = Service::new();
    assert_eq!(service.post("/v1/collections", &json!({"name": "shop"})).await.status, 201);
    let mut documents = Vec::new();
    for at in 0..6 {
        documents.push(
            json!({"id": format!("p{at}"), "text": format!("parcel postage delivery {at}"), "topic": "post", "n": 1}),
        );
        documents.push(
            json!({"id": format!("s{at}"), "text": format!("shop opening hours market {at}"), "topic": "shop", "n": 5}),
        );
    }
    assert_eq!(service.post("/v1/collections/shop/documents", &json!(documents)).await.status, 200);
    service
}

async fn trained(service: &Service, request: Value) -> Value {
    let reply = service.post("/v1/collections/shop/jobs", &request).await;
    assert_eq!(reply.status, 202, "{}", reply.text());
    let id = reply.json()["id"].as_str().unwrap().to_owned();
    while service.engine.run_next_job().unwrap().is_some() {}
    let job = service.get(&format!("/v1/jobs/{id}")).await.json();
    assert_eq!(job["status"], "succeeded", "{job}");
    job
}

#[tokio::test]
async fn a_classifier_is_trained_used_listed_and_deleted() {
    let service = shop().await;
    let train = json!({"type": "train_classifier", "label": "topic", "evaluation": {"folds": 3}, "save_as": "topics"});
    trained(&service, train).await;
    let body = json!({"model": "topics", "input": ["delivery of a parcel", "hours of the market"]});
    let reply = service.post("/v1/collections/shop/classify", &body).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    let reply = reply.json();
    assert_eq!((&reply["model"], &reply["version"]), (&json!("topics"), &json!(1)));
    let found = reply["data"].as_array().unwrap();
    assert_eq!((&found[0]["label"], &found[1]["label"]), (&json!("post"), &json!("shop")));
    assert!(found[0]["scores"]["post"].as_f64().unwrap() > found[0]["scores"]["shop"].as_f64().unwrap());
    let body = json!({"model": "topics@1", "ids": ["s3", "p2"]});
    let reply = service.post("/v1/collections/shop/classify", &body).await.json();
    assert_eq!((&reply["data"][0]["label"], &reply["data"][1]["label"]), (&json!("shop"), &json!("post")));

    let listed = service.get("/v1/predictors").await.json();
    assert_eq!((&listed["data"][0]["name"], &listed["data"][0]["object"]), (&json!("topics"), &json!("predictor")));
    assert_eq!(service.get("/v1/predictors/topics?version=1").await.json()["kind"], "logistic");
    assert_eq!(service.get("/v1/predictors/topics?version=x").await.bad_param(), "version");
    let body = json!({"model": "topics", "input": "x"});
    assert_eq!(service.post("/v1/collections/shop/regress", &body).await.bad_param(), "model");
    assert_eq!(service.delete("/v1/predictors/topics").await.status, 200);
    service.get("/v1/predictors/topics").await.failure(404);
    service.delete("/v1/predictors/topics").await.failure(404);
    service.post("/v1/collections/shop/classify", &body).await.failure(404);
}

#[tokio::test]
async fn a_regression_gives_numbers() {
    let service = shop().await;
    trained(&service, json!({"type": "train_regressor", "target": "n", "evaluation": {"folds": 3}, "save_as": "n"}))
        .await;
    let body = json!({"model": "n", "input": ["parcel delivery", "market hours"]});
    let reply = service.post("/v1/collections/shop/regress", &body).await.json();
    let value = |at: usize| reply["data"][at]["value"].as_f64().unwrap();
    assert!(value(0) < 3.0 && value(1) > 3.0, "{reply}");
    assert!(reply["data"][0].get("label").is_none());
}

#[tokio::test]
async fn requests_are_checked_before_any_predictor_is_looked_for() {
    let service = shop().await;
    for (body, param) in [
        (json!({"model": "m"}), "input"),
        (json!({"model": "m", "input": "a", "ids": ["p1"]}), "ids"),
        (json!({"model": "m", "input": [1]}), "input[0]"),
        (json!({"model": "m", "input": 3}), "input"),
        (json!({"model": "m", "ids": [""]}), "ids[0]"),
        (json!({"model": "m@0", "input": "a"}), "model"),
        (json!({"model": "m", "inputs": "a"}), "inputs"),
        (json!({"model": "m", "input": []}), "input"),
    ] {
        assert_eq!(service.post("/v1/collections/shop/classify", &body).await.bad_param(), param, "{body}");
    }
    let body = json!({"model": "m", "input": "a"});
    service.post("/v1/collections/none/classify", &body).await.failure(404);
    service.post("/v1/collections/shop/classify", &body).await.failure(404);
}
