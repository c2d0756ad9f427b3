//! Jobs, their events and checkpoints, and the models that come of them.

use std::time::Duration;

use anser_engine::RunnerOptions;
use serde_json::{Value, json};

use crate::support::wire::Listening;
use crate::support::{CHAT, Reply, Service, eventually, training_line, upload};

const JOBS: &str = "/v1/fine_tuning/jobs";

/// A service with a training file; what the file's lines say is a script for the trainer.
async fn with_file(service: &Service, script: &str) -> String {
    upload(service, "fine-tune", "train.jsonl", training_line(script).repeat(12).as_bytes()).await
}

async fn create(service: &Service, body: &Value) -> Value {
    let reply = service.post(JOBS, body).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    reply.json()
}

async fn job(service: &Service, id: &str) -> Value {
    service.get(&format!("{JOBS}/{id}")).await.json()
}

/// Waits until the job has that status, for at most 20 seconds.
async fn reaches(service: &Service, id: &str, status: &str) -> Value {
    for _ in 0..2000 {
        let job = job(service, id).await;
        if job["status"] == status {
            return job;
        }
        assert!(job["status"] != "failed", "{job}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the job never was {status}: {}", job(service, id).await);
}

fn id(job: &Value) -> String {
    job["id"].as_str().unwrap().to_owned()
}

fn data(reply: &Reply) -> Vec<Value> {
    reply.json()["data"].as_array().unwrap().clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_goes_from_its_files_to_a_model_that_answers() {
    let service = Service::new().with_shop().await;
    let (training, validation) = (with_file(&service, "a").await, with_file(&service, "b").await);
    let body = json!({
        "model": CHAT, "training_file": training, "validation_file": validation, "suffix": "style",
        "metadata": {"team": "support"},
        "method": {"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 2, "batch_size": "auto"}}},
    });
    let created = create(&service, &body).await;
    let expected = [
        "id",
        "object",
        "created_at",
        "finished_at",
        "estimated_finish",
        "status",
        "error",
        "model",
        "fine_tuned_model",
        "organization_id",
        "training_file",
        "validation_file",
        "result_files",
        "trained_tokens",
        "seed",
        "hyperparameters",
        "method",
        "integrations",
        "metadata",
        "anser",
    ];
    assert_eq!(created.as_object().unwrap().keys().collect::<Vec<_>>(), expected);
    assert_eq!(
        (created["object"].as_str(), created["status"].as_str()),
        (Some("fine_tuning.job"), Some("validating_files"))
    );
    assert_eq!(
        created["hyperparameters"],
        json!({"batch_size": "auto", "learning_rate_multiplier": "auto", "n_epochs": 2})
    );
    assert_eq!((&created["result_files"], &created["error"]), (&json!([]), &json!(null)));
    assert!(created["seed"].is_u64() && created["id"].as_str().unwrap().starts_with("ftjob-"));

    let runner = service.engine.run_jobs(&RunnerOptions::default());
    let id = id(&created);
    let done = reaches(&service, &id, "succeeded").await;
    let resolved = json!({"batch_size": 4, "learning_rate_multiplier": 1.0, "n_epochs": 2});
    assert_eq!(done["hyperparameters"], resolved);
    assert_eq!(done["method"], json!({"type": "supervised", "supervised": {"hyperparameters": resolved}}));
    assert_eq!(done["anser"]["plan"]["total_steps"], 6);
    assert_eq!((&done["seed"], &done["metadata"]), (&created["seed"], &json!({"team": "support"})));
    assert!(done["trained_tokens"].as_u64().unwrap() > 0 && done["finished_at"].is_i64());
    let model = done["fine_tuned_model"].as_str().unwrap().to_owned();
    assert!(model.starts_with(&format!("ft:{CHAT}:")) && model.contains(":style:"), "{model}");

    // The results, as the official columns have it.
    let results = done["result_files"].as_array().unwrap();
    let content = service.get(&format!("/v1/files/{}/content", results[0].as_str().unwrap())).await;
    let table = content.text();
    assert!(table.starts_with("step,train_loss,train_accuracy,valid_loss,valid_mean_token_accuracy\n1,2"), "{table}");
    assert_eq!(table.lines().count(), 7);
    let about = service.get(&format!("/v1/files/{}", results[0].as_str().unwrap())).await.json();
    assert_eq!(about["purpose"], "fine-tune-results");

    events(&service, &id).await;
    checkpoints(&service, &id, &model).await;
    chat(&service, &model).await;
    assert_eq!(service.metric("anser_jobs{kind=\"fine_tuning\",state=\"succeeded\"}").await, Some(1.0));
    assert_eq!(service.metric("anser_jobs{kind=\"fine_tuning\",state=\"running\"}").await, Some(0.0));
    assert_eq!(service.metric("anser_tuned_models_loaded").await, Some(2.0), "the model and its checkpoint");
    deleted(&service, &model).await;
    tokio::task::spawn_blocking(move || runner.shutdown()).await.unwrap();
}

/// Newest first, in pages, with figures of every step.
async fn events(service: &Service, id: &str) {
    let path = format!("{JOBS}/{id}/events");
    let first = service.get(&format!("{path}?limit=3")).await;
    assert_eq!((data(&first).len(), &first.json()["has_more"]), (3, &json!(true)));
    let last = data(&first)[2]["id"].as_str().unwrap().to_owned();
    let rest = service.get(&format!("{path}?limit=100&after={last}")).await;
    assert_eq!(rest.json()["has_more"], false);
    let all: Vec<Value> = data(&first).into_iter().chain(data(&rest)).collect();
    let times: Vec<i64> = all.iter().map(|event| event["created_at"].as_i64().unwrap()).collect();
    assert!(times.is_sorted_by(|a, b| a >= b), "{times:?}");
    for event in &all {
        assert_eq!(event["object"], "fine_tuning.job.event");
        assert!(["info", "warn", "error"].contains(&event["level"].as_str().unwrap()));
        assert_eq!(event["data"].is_object(), event["type"] == "metrics", "{event}");
    }
    let steps: Vec<&Value> =
        all.iter().filter(|event| event["type"] == "metrics").map(|event| &event["data"]).collect();
    let numbers: Vec<i64> = steps.iter().map(|data| data["step"].as_i64().unwrap()).collect();
    assert_eq!(numbers, [6, 5, 4, 3, 2, 1]);
    for key in ["total_steps", "train_loss", "train_mean_token_accuracy", "valid_loss", "valid_mean_token_accuracy"] {
        assert!(steps[0][key].is_number(), "{key} of {}", steps[0]);
    }
    assert_eq!(service.get(&format!("{path}?after=ftevent-none")).await.bad_param(), "after");
}

async fn checkpoints(service: &Service, id: &str, model: &str) {
    let path = format!("{JOBS}/{id}/checkpoints");
    let all = data(&service.get(&path).await);
    let steps: Vec<i64> = all.iter().map(|one| one["step_number"].as_i64().unwrap()).collect();
    assert_eq!(steps, [6, 3]);
    assert_eq!(all[1]["object"], "fine_tuning.job.checkpoint");
    assert_eq!(all[1]["fine_tuning_job_id"], id);
    assert_eq!(all[1]["fine_tuned_model_checkpoint"], format!("{model}:ckpt-step-3"));
    let keys: Vec<&String> = all[1]["metrics"].as_object().unwrap().keys().collect();
    assert_eq!(keys, ["step", "train_loss", "train_mean_token_accuracy", "valid_loss", "valid_mean_token_accuracy"]);
    assert_eq!(data(&service.get(&format!("{path}?limit=1")).await).len(), 1);
}

/// The model, and each of its checkpoints, through every route that takes a model.
async fn chat(service: &Service, model: &str) {
    for name in [model.to_owned(), format!("{model}:ckpt-step-3")] {
        let message = json!([{"role": "user", "content": "hi"}]);
        let reply = service.post("/v1/chat/completions", &json!({"model": name, "messages": message})).await;
        assert_eq!(reply.json()["choices"][0]["message"]["content"], format!("{name} says hello."), "{}", reply.text());
        assert_eq!(reply.json()["model"], name);
    }
    let reply = service.post("/v1/completions", &json!({"model": model, "prompt": "hi"})).await;
    assert_eq!(reply.json()["choices"][0]["text"], format!("{model} says hello."));
    let reply = service.post("/v1/responses", &json!({"model": model, "input": "hi"})).await;
    assert_eq!(reply.json()["output"][0]["content"][0]["text"], format!("{model} says hello."));
    let question = json!({"question": "Within how many days are parcels returned?", "model": model});
    assert_eq!(service.post("/v1/collections/shop/answers", &question).await.status, 200);
    assert_eq!(service.fake.generated_by(), model);
    let listed = service.get("/v1/models").await.json();
    let ours = listed["data"].as_array().unwrap().iter().find(|one| one["id"] == model).unwrap().clone();
    assert_eq!((&ours["object"], &ours["loaded"], &ours["role"]), (&json!("model"), &json!(true), &json!("chat")));
    assert!(ours["created"].as_i64().unwrap() > 1_700_000_000 && ours["owned_by"].is_string());
    assert_eq!(ours["tuned"]["base"], CHAT);
    assert_eq!(service.get(&format!("/v1/models/{model}")).await.json(), ours);
}

async fn deleted(service: &Service, model: &str) {
    let path = format!("/v1/models/{}", model.replace(':', "%3A").replace('/', "%2F"));
    assert_eq!(service.delete(&path).await.json(), json!({"id": model, "object": "model", "deleted": true}));
    for name in [model.to_owned(), format!("{model}:ckpt-step-3")] {
        service.get(&format!("/v1/models/{name}")).await.failure(404);
        let body = json!({"model": name, "messages": [{"role": "user", "content": "hi"}]});
        assert_eq!(service.post("/v1/chat/completions", &body).await.failure(404).1, "model_not_found");
    }
    let question = json!({"question": "Within how many days are parcels returned?", "model": model});
    let reply = service.post("/v1/collections/shop/answers", &question).await;
    assert_eq!(reply.failure(404).1, "model_not_found");
    assert_eq!(service.delete(&path).await.failure(404).1, "model_not_found");
    let (_, code, message) = service.delete(&format!("/v1/models/{CHAT}")).await.failure(403);
    assert_eq!(code, "base_model");
    assert!(message.contains("tuned"), "{message}");
    assert_eq!(service.metric("anser_tuned_models_loaded").await, Some(0.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_is_paused_resumed_and_cancelled() {
    let service = Service::new();
    let runner = service.engine.run_jobs(&RunnerOptions::default());
    let body = json!({"model": CHAT, "training_file": with_file(&service, "WAIT").await});
    let id = id(&create(&service, &body).await);
    reaches(&service, &id, "running").await;
    eventually("it waits", || service.trainer.waiting() == 1).await;
    let act = |action: &str| format!("{JOBS}/{id}/{action}");

    assert_eq!(service.post(&act("pause"), &json!({})).await.status, 200);
    assert_eq!(reaches(&service, &id, "paused").await["finished_at"], json!(null));
    let resumed = service.post(&act("resume"), &json!({})).await.json();
    assert!(["queued", "running"].contains(&resumed["status"].as_str().unwrap()), "{resumed}");
    eventually("it waits again, where it was", || service.trainer.waiting() == 1 && service.trainer.runs() == 2).await;
    assert_eq!(service.post(&act("resume"), &json!({})).await.failure(400).1, "wrong_state");
    assert_eq!(service.post(&act("cancel"), &json!({})).await.status, 200);
    let cancelled = reaches(&service, &id, "cancelled").await;
    assert_eq!((&cancelled["fine_tuned_model"], &cancelled["error"]), (&json!(null), &json!(null)));
    for action in ["cancel", "pause", "resume"] {
        let (_, code, message) = service.post(&act(action), &json!({})).await.failure(400);
        assert_eq!(code, "wrong_state", "{message}");
    }
    tokio::task::spawn_blocking(move || runner.shutdown()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_is_told_in_the_job_and_in_its_events() {
    let service = Service::new();
    let runner = service.engine.run_jobs(&RunnerOptions::default());
    let id = id(&create(&service, &json!({"model": CHAT, "training_file": with_file(&service, "BREAK").await})).await);
    for _ in 0..2000 {
        if job(&service, &id).await["status"] == "failed" {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let job = job(&service, &id).await;
    assert_eq!(job["error"].as_object().unwrap().keys().collect::<Vec<_>>(), ["code", "message", "param"]);
    assert!(job["error"]["message"].as_str().unwrap().contains("learning rate"), "{job}");
    let events = data(&service.get(&format!("{JOBS}/{id}/events")).await);
    assert!(events.iter().any(|event| event["level"] == "error"), "{events:?}");
    tokio::task::spawn_blocking(move || runner.shutdown()).await.unwrap();
}

#[tokio::test]
async fn requests_that_cannot_be_met_name_the_field() {
    let service = Service::new();
    let training = with_file(&service, "a").await;
    let prose = upload(&service, "user_data", "a.txt", b"prose").await;
    for (extra, param) in [
        (json!({"training_file": "file-unknown"}), "training_file"),
        (json!({"training_file": prose}), "training_file"),
        (json!({"validation_file": "file-unknown"}), "validation_file"),
        (json!({"model": "gpt-9"}), "model"),
        (json!({"suffix": "x".repeat(65)}), "suffix"),
        (json!({"seed": -1}), "seed"),
        (json!({"hyperparameters": {"n_epochs": 99}}), "hyperparameters.n_epochs"),
        (json!({"method": {"type": "reinforcement"}}), "method.type"),
        (json!({"integrations": [{"type": "wandb", "wandb": {"project": "p"}}]}), "integrations"),
        (json!({"anser": {"parts": {"type": "lora", "rank": 0}}}), "anser.parts.rank"),
    ] {
        let mut body = json!({"model": CHAT, "training_file": training});
        body.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        let reply = service.post(JOBS, &body).await;
        assert!([400, 404].contains(&reply.status), "{}", reply.text());
        let (at, _, message) = reply.failure(reply.status);
        assert_eq!(at.as_deref(), Some(param), "{message}");
    }
    assert_eq!(service.post(JOBS, &json!({"model": CHAT})).await.bad_param(), "training_file");
    assert_eq!(data(&service.get(JOBS).await).len(), 0, "nothing half-made is left");
    for (path, is_post) in
        [("", false), ("/events", false), ("/checkpoints", false), ("/cancel", true), ("/pause", true)]
    {
        let path = format!("{JOBS}/ftjob-unknown{path}");
        let reply = if is_post { service.post(&path, &json!({})).await } else { service.get(&path).await };
        assert_eq!(reply.failure(404).1, "not_found", "{path}");
    }
}

#[tokio::test]
async fn jobs_are_listed_in_pages_and_by_metadata() {
    let service = Service::new();
    let training = with_file(&service, "a").await;
    let mut made = Vec::new();
    for team in ["a", "b", "a"] {
        let body = json!({"model": CHAT, "training_file": training, "metadata": {"team": team}});
        made.push(id(&create(&service, &body).await));
    }
    let ids = |reply: &Reply| -> Vec<String> { data(reply).iter().map(id).collect() };
    let first = service.get(&format!("{JOBS}?limit=2")).await;
    assert_eq!((ids(&first), first.json()["has_more"].clone()), (vec![made[2].clone(), made[1].clone()], json!(true)));
    let next = service.get(&format!("{JOBS}?limit=2&after={}", made[1])).await;
    assert_eq!((ids(&next), next.json()["has_more"].clone()), (vec![made[0].clone()], json!(false)));
    let ours = service.get(&format!("{JOBS}?metadata%5Bteam%5D=a")).await;
    assert_eq!(ids(&ours), [made[2].clone(), made[0].clone()]);
    assert_eq!(ids(&service.get(&format!("{JOBS}?metadata[team]=c")).await), Vec::<String>::new());
    assert_eq!(service.metric("anser_jobs{kind=\"fine_tuning\",state=\"validating\"}").await, Some(3.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shutdown_puts_training_aside_and_the_next_start_goes_on() {
    let service = Service::new();
    let listening = Listening::start(&service, |_| {}).await;
    let body = json!({"model": CHAT, "training_file": with_file(&service, "WAIT").await});
    let id = id(&create(&service, &body).await);
    eventually("it trains", || service.trainer.waiting() == 1).await;
    listening.stop().await.unwrap().unwrap();
    assert_eq!(service.trainer.waiting(), 0);
    assert_eq!(job(&service, &id).await["status"], "queued");

    service.trainer.release();
    let listening = Listening::start(&service, |_| {}).await;
    reaches(&service, &id, "succeeded").await;
    assert_eq!(service.trainer.runs(), 2);
    let steps = data(&service.get(&format!("{JOBS}/{id}/events?limit=100")).await);
    assert_eq!(steps.iter().filter(|event| event["type"] == "metrics").count(), 6, "no step is done twice");
    listening.stop().await.unwrap().unwrap();
}
