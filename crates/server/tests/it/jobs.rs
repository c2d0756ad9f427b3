//! Analyses as jobs: made, watched, moved and deleted over HTTP, and their results in every format.

use std::fmt::Write as _;
use std::time::Duration;

use anser_engine::RunnerOptions;
use axum::body::Body;
use axum::http::Request;
use serde_json::{Value, json};

use crate::support::{CHAT, Reply, Service, form, training_line, upload};

/// Waits until the job has that status, for at most 20 seconds.
async fn reaches(service: &Service, id: &str, status: &str) -> Value {
    for _ in 0..2000 {
        let job = service.get(&format!("/v1/jobs/{id}")).await.json();
        if job["status"] == status {
            return job;
        }
        assert!(job["status"] != "failed", "{job}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the job {id} never was {status}");
}

async fn create(service: &Service, path: &str, body: &Value) -> String {
    let reply = service.post(path, body).await;
    assert_eq!(reply.status, 202, "{}", reply.text());
    reply.json()["id"].as_str().unwrap().to_owned()
}

async fn result(service: &Service, id: &str, query: &str, accept: Option<&str>) -> Reply {
    let mut request = Request::get(format!("/v1/jobs/{id}/result{query}"));
    if let Some(accept) = accept {
        request = request.header("accept", accept);
    }
    service.send(request.body(Body::empty()).unwrap()).await
}

/// A service with a collection of groups of documents.
async fn with_things() -> Service {
    let service = Service::new();
    assert_eq!(service.post("/v1/collections", &json!({"name": "things"})).await.status, 201);
    let documents: Vec<Value> = (0..24)
        .map(|n| {
            let word = ["kettle", "lamp"][n % 2];
            json!({"id": format!("d{n:02}"), "text": format!("a {word} number {n}"), "attributes": {"n": n, "kind": word}})
        })
        .collect();
    assert_eq!(service.post("/v1/collections/things/documents", &json!(documents)).await.status, 200);
    service
}

#[tokio::test(flavor = "multi_thread")]
async fn an_analysis_goes_from_its_request_to_results_in_every_format() {
    let service = with_things().await;
    let body = json!({"type": "outliers", "filter": {"type": "lt", "key": "n", "value": 20}});
    let created = service.post("/v1/collections/things/jobs", &body).await;
    assert_eq!(created.status, 202, "{}", created.text());
    let created = created.json();
    let keys = [
        "id",
        "object",
        "type",
        "status",
        "pending",
        "created_at",
        "started_at",
        "finished_at",
        "error",
        "progress",
        "source",
        "options",
        "figures",
    ];
    assert_eq!(created.as_object().unwrap().keys().collect::<Vec<_>>(), keys);
    assert_eq!(
        (&created["object"], &created["type"], &created["status"]),
        (&json!("job"), &json!("outliers"), &json!("queued"))
    );
    assert_eq!(created["source"]["collection"], "things");
    assert_eq!(created["source"]["filter"]["key"], "n");
    assert!(created["options"].is_object() && created["options"].get("type").is_none());
    let id = created["id"].as_str().unwrap();
    assert_eq!(result(&service, id, "", None).await.failure(404).1, "no_results");

    let runner = service.engine.run_jobs(&RunnerOptions::default());
    let done = reaches(&service, id, "succeeded").await;
    let progress =
        json!({"stage": null, "done": 20, "total": 20, "unit": "documents", "eta_seconds": null, "fraction": 1.0});
    assert_eq!(done["progress"], progress);
    assert_eq!(done["figures"]["documents"], 20);
    assert_eq!(service.metric("anser_jobs{kind=\"outliers\",state=\"succeeded\"}").await, Some(1.0));

    let listed = service.get(&format!("/v1/jobs/{id}/results")).await.json();
    assert_eq!(listed["object"], "list");
    let files = listed["data"].as_array().unwrap();
    assert_eq!(
        (&files[0]["name"], &files[0]["object"], &files[0]["formats"]),
        (&json!("report.json"), &json!("job.result"), &json!([]))
    );
    assert!(files.iter().any(|file| file["name"] == "documents.parquet" && file["formats"][2] == "csv"));
    report_and_tables(&service, id).await;

    let events = service.get(&format!("/v1/jobs/{id}/events?order=asc&limit=1")).await.json();
    assert_eq!((&events["data"][0]["object"], &events["has_more"]), (&json!("job.event"), &json!(true)));
    deleted(&service, id).await;
    tokio::task::spawn_blocking(move || runner.shutdown()).await.unwrap();
}

async fn report_and_tables(service: &Service, id: &str) {
    let report = result(service, id, "", None).await;
    assert_eq!((report.status, report.header("content-type")), (200, Some("application/json")));
    assert!(report.json().is_object());
    assert_eq!(report.header("content-length").unwrap(), report.body.len().to_string());
    let rows = result(service, id, "?name=documents", None).await.json();
    assert_eq!(rows.as_array().unwrap().len(), 20);
    for (query, accept, content_type, ending) in [
        ("?name=documents&format=csv", None, "text/csv; charset=utf-8", "documents.csv"),
        ("", Some("text/csv"), "text/csv; charset=utf-8", "documents.csv"),
        ("?name=documents&format=jsonl", None, "application/x-ndjson", "documents.jsonl"),
        ("?format=arrow", None, "application/vnd.apache.arrow.stream", "documents.arrow"),
        ("?name=documents.parquet", None, "application/vnd.apache.parquet", "documents.parquet"),
    ] {
        let reply = result(service, id, query, accept).await;
        assert_eq!((reply.status, reply.header("content-type")), (200, Some(content_type)), "{query}");
        let disposition = reply.header("content-disposition").unwrap();
        assert!(disposition.starts_with("attachment; ") && disposition.contains(ending), "{disposition}");
        match content_type {
            "text/csv; charset=utf-8" => assert_eq!(reply.text().lines().count(), 21, "{}", reply.text()),
            "application/x-ndjson" => {
                let first: Value = serde_json::from_str(reply.text().lines().next().unwrap()).unwrap();
                assert!(first["id"].as_str().unwrap().starts_with('d'));
            }
            "application/vnd.apache.parquet" => {
                assert!(reply.body.starts_with(b"PAR1") && reply.body.ends_with(b"PAR1"));
            }
            _ => assert!(reply.body.starts_with(&[0xff; 4]), "an Arrow stream begins with its mark"),
        }
    }
    assert_eq!(result(service, id, "?name=nothing", None).await.failure(404).0.as_deref(), Some("name"));
    assert_eq!(result(service, id, "?format=xlsx", None).await.bad_param(), "format");
    assert_eq!(result(service, id, "?name=..%2F..%2Fcontrol.sqlite", None).await.status, 404);
}

async fn deleted(service: &Service, id: &str) {
    let path = format!("/v1/jobs/{id}");
    assert_eq!(service.delete(&path).await.json(), json!({"id": id, "object": "job", "deleted": true}));
    for reply in [service.get(&path).await, service.delete(&path).await, result(service, id, "", None).await] {
        assert_eq!(reply.failure(404).1, "not_found");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_job_found_redundant_is_deleted_once() {
    let service = with_things().await;
    let copies: Vec<Value> =
        (0..3).map(|n| json!({"id": format!("x{n}"), "text": "one and the same sentence about tea"})).collect();
    assert_eq!(service.post("/v1/collections/things/documents", &json!(copies)).await.status, 200);
    let body = json!({"type": "duplicates", "threshold": 1.0, "keep": "first"});
    let id = create(&service, "/v1/collections/things/jobs", &body).await;
    let other = create(&service, "/v1/collections/things/jobs", &json!({"type": "diversity"})).await;
    let delete = async |id: &str| service.post(&format!("/v1/jobs/{id}/delete_duplicates"), &json!({})).await;
    assert_eq!(delete(&id).await.failure(400).1, "wrong_state", "it has not run yet");

    let runner = service.engine.run_jobs(&RunnerOptions::default());
    reaches(&service, &id, "succeeded").await;
    reaches(&service, &other, "succeeded").await;
    let edited = json!([{"id": "x2", "text": "another sentence, about coffee"}]);
    assert_eq!(service.post("/v1/collections/things/documents", &edited).await.status, 200);
    let reply = delete(&id).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    // The embedder here tells neither two kettles nor two lamps apart: one of each twelve stays.
    assert_eq!(reply.json(), json!({"collection": "things", "deleted": 23, "left": 1}));
    assert_eq!(delete(&id).await.json(), json!({"collection": "things", "deleted": 0, "left": 24}));
    for (document, status) in [("x0", 200), ("x1", 404), ("x2", 200), ("d00", 200), ("d22", 404)] {
        assert_eq!(service.get(&format!("/v1/collections/things/documents/{document}")).await.status, status);
    }

    assert_eq!(delete(&other).await.bad_param(), "job");
    assert_eq!(delete("job-none").await.failure(404).1, "not_found");
    assert_eq!(service.get(&format!("/v1/jobs/{id}/delete_duplicates")).await.status, 405);
    tokio::task::spawn_blocking(move || runner.shutdown()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_uploaded_file_is_analysed_without_a_collection() {
    let service = Service::new();
    let mut csv = String::from("Key,Words\n");
    for n in 0..12 {
        writeln!(csv, "r{n},a {} of colour {n}", ["kettle", "lamp"][n % 2]).unwrap();
    }
    let file = upload(&service, "user_data", "things.csv", csv.as_bytes()).await;
    let body = json!({"type": "diversity", "file": file, "fields": {"id": "Key", "text": "Words"}});
    let id = create(&service, "/v1/jobs", &body).await;
    let runner = service.engine.run_jobs(&RunnerOptions::default());
    let done = reaches(&service, &id, "succeeded").await;
    assert_eq!((&done["source"]["file"], &done["source"]["collection"]), (&json!(file), &json!(null)));
    assert_eq!(done["figures"]["documents"], 12);
    assert_eq!(service.get("/v1/collections").await.json()["data"], json!([]));
    tokio::task::spawn_blocking(move || runner.shutdown()).await.unwrap();
}

#[tokio::test]
async fn requests_that_cannot_be_are_refused_by_name() {
    let service = Service::new().with_shop().await;
    for (path, body, param) in [
        ("/v1/collections/shop/jobs", json!({}), "type"),
        ("/v1/collections/shop/jobs", json!({"type": "magic"}), "type"),
        ("/v1/collections/shop/jobs", json!({"type": "diversity", "file": "file-1"}), "file"),
        ("/v1/collections/shop/jobs", json!({"type": "diversity", "wrong": 1}), "wrong"),
        ("/v1/jobs", json!({"type": "diversity"}), "collection"),
        ("/v1/jobs", json!({"type": "diversity", "path": "/etc/hostname"}), "collection"),
        (
            "/v1/jobs",
            json!({"type": "diversity", "source": {"path": {"path": "/etc/hostname"}}, "collection": "shop"}),
            "source",
        ),
        ("/v1/jobs", json!({"type": "diversity", "collection": "shop", "filter": {"type": "like"}}), "filter"),
    ] {
        assert_eq!(service.post(path, &body).await.bad_param(), param, "{path} {body}");
    }
    assert_eq!(service.post("/v1/collections/none/jobs", &json!({"type": "diversity"})).await.status, 404);
    assert_eq!(service.post("/v1/jobs", &json!({"type": "diversity", "file": "file-none"})).await.status, 404);
    assert_eq!(service.get("/v1/jobs?status=done").await.bad_param(), "status");
    assert_eq!(service.get("/v1/jobs?limit=0").await.bad_param(), "limit");
    assert_eq!(service.get("/v1/jobs/job-none").await.failure(404).1, "not_found");
    assert_eq!(service.get("/v1/jobs").await.json()["data"], json!([]), "nothing was made of any of them");
}

#[tokio::test]
async fn jobs_are_listed_narrowed_down_and_moved() {
    let service = Service::new().with_shop().await;
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(create(&service, "/v1/collections/shop/jobs", &json!({"type": "diversity"})).await);
    }
    let (content_type, body) =
        form(&[("purpose", None, "fine-tune"), ("file", Some("train.jsonl"), &training_line("a").repeat(12))]);
    let file = service.post_as("/v1/files", &content_type, body).await.json()["id"].clone();
    let tuning = service.post("/v1/fine_tuning/jobs", &json!({"model": CHAT, "training_file": file})).await.json();
    let tuning = tuning["id"].as_str().unwrap();

    let page = service.get("/v1/jobs?limit=2").await.json();
    assert_eq!((&page["data"][0]["id"], &page["data"][1]["id"]), (&json!(tuning), &json!(ids[2])));
    assert_eq!((&page["data"][0]["source"], &page["has_more"]), (&json!(null), &json!(true)));
    let rest = service.get(&format!("/v1/jobs?after={}", ids[2])).await.json();
    assert_eq!(rest["data"].as_array().unwrap().len(), 2);
    assert_eq!(service.get("/v1/jobs?type=fine_tuning").await.json()["data"].as_array().unwrap().len(), 1);

    let post = async |id: &str, action: &str| service.post(&format!("/v1/jobs/{id}/{action}"), &json!({})).await;
    assert_eq!(post(&ids[0], "pause").await.json()["status"], "paused");
    assert_eq!(service.get("/v1/jobs?status=paused").await.json()["first_id"], json!(ids[0]));
    assert_eq!(post(&ids[0], "resume").await.json()["status"], "queued");
    assert_eq!(post(&ids[0], "resume").await.failure(400).1, "wrong_state");
    assert_eq!(service.delete(&format!("/v1/jobs/{}", ids[0])).await.failure(400).1, "wrong_state");
    assert_eq!(post(&ids[0], "cancel").await.json()["status"], "cancelled");
    assert_eq!(post(&ids[0], "cancel").await.failure(400).1, "wrong_state");
    assert_eq!(service.delete(&format!("/v1/jobs/{}", ids[0])).await.status, 200);

    assert_eq!(post(tuning, "cancel").await.json()["status"], "cancelled");
    assert_eq!(service.delete(&format!("/v1/jobs/{tuning}")).await.failure(400).1, "wrong_state");
}
