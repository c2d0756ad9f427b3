//! Fine-tuning through the built program, on a model of a million weights that the program itself trains first.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use serde_json::{Value, json as object};
use tempfile::TempDir;

use crate::malformed_files;
use crate::support::{Server, assert_failed, example, run, run_client, stderr, tool, wait_for, workspace};

/// The base model's name: a folder of one's own takes the place of the download.
const BASE: &str = "SmolLM2-135M-Instruct";
/// How long a job on the tiny model may take.
const JOB_LIMIT: Duration = Duration::from_mins(5);

/// A folder of models in which the tiny one stands for the base. Made once, by `anser tune pretrain` and `export`.
fn tiny_models() -> &'static Path {
    static MODELS: OnceLock<TempDir> = OnceLock::new();
    MODELS
        .get_or_init(|| {
            let folder = tempfile::tempdir().unwrap();
            let (scratch, text) = (folder.path().join("scratch"), example("pretrain.txt"));
            let made = run(
                folder.path(),
                ["tune", "pretrain", text.to_str().unwrap(), "--preset", "1m", "--epochs", "2", "--seed", "3", "--out"]
                    .into_iter()
                    .chain([scratch.to_str().unwrap()]),
            );
            assert!(made.status.success(), "{}", stderr(&made));
            let base = folder.path().join("local").join(BASE);
            fs::create_dir_all(&base).unwrap();
            let gguf = base.join("model.gguf");
            let model = scratch.join("model");
            let args = ["tune", "export", model.to_str().unwrap(), "--format", "gguf-f16", "--out"];
            let exported = run(folder.path(), args.into_iter().chain([gguf.to_str().unwrap()]));
            assert!(exported.status.success(), "{}", stderr(&exported));
            folder
        })
        .path()
}

/// The program over `data`, with the tiny model as its base.
fn tiny(data: &Path) -> Command {
    let mut command = crate::support::anser(data);
    command.env("ANSER_LOCAL_MODELS", tiny_models().join("local"));
    command
}

/// Runs to the end on the tiny model, expects success, and reads the JSON it printed.
fn tiny_json<'a>(data: &Path, args: impl IntoIterator<Item = &'a str>) -> Value {
    let output = tiny(data).args(args).arg("--json").output().unwrap();
    assert!(output.status.success(), "exit {:?}: {}", output.status.code(), stderr(&output));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn training_file() -> String {
    example("house_style/train.jsonl").to_str().unwrap().to_owned()
}

/// Loss of every step, without the times.
fn curve(metrics: &Value) -> Vec<(u64, f64, Option<f64>)> {
    let steps = metrics.as_array().unwrap().iter();
    steps
        .map(|m| (m["step"].as_u64().unwrap(), m["train_loss"].as_f64().unwrap(), m["full_valid_loss"].as_f64()))
        .collect()
}

fn create(server: &Server, file: &str, epochs: u64) -> Value {
    let hyperparameters = object!({"n_epochs": epochs, "batch_size": 4});
    let (status, job) = server.post(
        "/v1/fine_tuning/jobs",
        &object!({"model": BASE, "training_file": file, "seed": 11,
                 "method": {"type": "supervised", "supervised": {"hyperparameters": hyperparameters}}}),
    );
    assert_eq!(status, 200, "{job}");
    job
}

fn status(server: &Server, job: &str) -> String {
    server.get(&format!("/v1/fine_tuning/jobs/{job}")).1["status"].as_str().unwrap().to_owned()
}

fn wait_for_status(server: &Server, job: &str, wanted: &str) -> Duration {
    let started = Instant::now();
    wait_for(wanted, JOB_LIMIT, || {
        let now = status(server, job);
        assert!(now == wanted || !matches!(now.as_str(), "failed" | "succeeded" | "cancelled"), "{job} is {now}");
        (now == wanted).then_some(())
    });
    started.elapsed()
}

/// Waits until a job has made `steps` steps.
fn wait_for_steps(server: &Server, job: &str, steps: u64) {
    wait_for("training", JOB_LIMIT, || {
        let (_, job) = server.get(&format!("/v1/fine_tuning/jobs/{job}"));
        (job["anser"]["last_metrics"]["step"].as_u64()? >= steps).then_some(())
    });
}

#[test]
fn the_official_client_walks_through_fine_tuning_unchanged() {
    let Some(python) = tool("ANSER_TEST_PYTHON", "python3-with-openai") else { return };
    let data = tempfile::tempdir().unwrap();
    let server = Server::spawn(tiny(data.path()));
    let mut command = Command::new(python);
    command.arg("fine_tuning.py").current_dir(workspace().join("examples/python"));
    run_client(command, &server);
}

#[test]
fn a_server_that_is_killed_goes_on_after_a_restart_and_ends_with_the_same_curve() {
    let calm = tempfile::tempdir().unwrap();
    let file = training_file();
    let args = ["tune", "create", &file, "--seed", "11", "--epochs", "6", "--batch-size", "4", "--validation-file"];
    let heldout = example("house_style/heldout.jsonl");
    let heldout = heldout.to_str().unwrap();
    let job = tiny_json(calm.path(), args.into_iter().chain([heldout]));
    assert_eq!(job["status"], "succeeded", "{job}");
    let undisturbed = curve(&tiny_json(calm.path(), ["tune", "metrics", job["id"].as_str().unwrap()]));
    assert_eq!(undisturbed.len(), 150);

    let rough = tempfile::tempdir().unwrap();
    let queued = tiny_json(rough.path(), args.into_iter().chain([heldout, "--detach"]));
    let id = queued["id"].as_str().unwrap();
    for steps in [20, 60, 110] {
        let server = Server::spawn(tiny(rough.path()));
        wait_for_steps(&server, id, steps);
        server.kill();
    }
    let server = Server::spawn(tiny(rough.path()));
    wait_for_status(&server, id, "succeeded");
    drop(server);
    assert_eq!(curve(&tiny_json(rough.path(), ["tune", "metrics", id])), undisturbed);
}

#[test]
fn a_job_obeys_over_http_within_a_moment() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::spawn(tiny(data.path()));
    let (code, file) = server.upload("train.jsonl", &fs::read(training_file()).unwrap());
    assert_eq!(code, 200, "{file}");
    let job = create(&server, file["id"].as_str().unwrap(), 50);
    let id = job["id"].as_str().unwrap();
    let base = format!("/v1/fine_tuning/jobs/{id}");
    wait_for_steps(&server, id, 5);

    assert_eq!(server.post(&format!("{base}/pause"), &object!({})).0, 200);
    println!("paused after {:?}", wait_for_status(&server, id, "paused"));
    let (_, paused) = server.get(&base);
    let at = paused["anser"]["last_metrics"]["step"].as_u64().unwrap();
    assert_eq!(server.post(&format!("{base}/resume"), &object!({})).0, 200);
    wait_for_steps(&server, id, at + 5);

    assert_eq!(server.post(&format!("{base}/cancel"), &object!({})).0, 200);
    let took = wait_for_status(&server, id, "cancelled");
    println!("cancelled after {took:?}");
    assert!(took < Duration::from_secs(5), "a job must stop at once, not at the end of its epoch: {took:?}");
    let (_, job) = server.get(&base);
    assert_eq!(job["fine_tuned_model"], Value::Null, "{job}");
    assert_eq!(server.delete(&format!("/v1/files/{}", file["id"].as_str().unwrap())).0, 200);
}

#[test]
fn two_hundred_malformed_files_are_refused_by_line_and_leave_nothing() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::spawn(tiny(data.path()));
    let files = malformed_files::malformed_files();
    assert!(files.len() >= 200, "{}", files.len());
    for file in &files {
        let (status, reply) = server.upload("train.jsonl", &file.bytes);
        let message = reply["error"]["message"].as_str().unwrap_or_default();
        assert_eq!(status, 400, "{}: {reply}", file.name);
        assert_eq!(reply["error"]["type"], "invalid_request_error", "{}: {reply}", file.name);
        if file.line > 0 {
            assert!(message.contains(&format!("line {}", file.line)), "{}: line {}: {message}", file.name, file.line);
        }
    }
    assert_eq!(server.get("/v1/files").1["data"], object!([]));
    let (status, refused) =
        server.post("/v1/fine_tuning/jobs", &object!({"model": BASE, "training_file": "file-that-never-was"}));
    assert!(matches!(status, 400 | 404), "{refused}");
    assert_eq!(server.get("/v1/fine_tuning/jobs").1["data"], object!([]));
    assert_eq!(server.get("/healthz").0, 200);
    let left = |folder: &str| fs::read_dir(data.path().join(folder)).map_or(0, Iterator::count);
    assert_eq!((left("jobs"), left("tuned")), (0, 0));
}

#[test]
fn from_raw_questions_to_a_tuned_model_and_away_on_the_command_line() {
    let data = tempfile::tempdir().unwrap();
    let at = |name: &str| data.path().join(name).to_str().unwrap().to_owned();
    let (prepared, source) = (at("prepared"), example("house_style/train.jsonl"));
    let report = tiny_json(data.path(), ["tune", "prepare", source.to_str().unwrap(), "--yes", "--out", &prepared]);
    assert_eq!(report["report"]["fingerprint"].as_str().unwrap().len(), 64, "{report}");
    let train = report["training"].as_str().unwrap();

    let create = ["tune", "create", train, "--suffix", "walk", "--epochs", "2", "--seed", "5"];
    let job = tiny_json(data.path(), create);
    let (id, model) = (job["id"].as_str().unwrap(), job["fine_tuned_model"].as_str().unwrap());
    assert_eq!(tiny_json(data.path(), ["jobs", "show", id])["state"], "succeeded");
    let files = tiny_json(data.path(), ["files", "list", "--purpose", "fine-tune-results"]);
    assert_eq!(files.as_array().unwrap().len(), 2, "{files}");
    assert!(model.starts_with("ft:") && model.contains("walk"), "{job}");

    let svg = at("curves.svg");
    let metrics = tiny_json(data.path(), ["tune", "metrics", id, "--svg", &svg]);
    assert!(metrics.as_array().unwrap().len() > 10, "{metrics}");
    assert!(fs::read_to_string(&svg).unwrap().contains("<polyline"));
    let shown = tiny(data.path()).args(["jobs", "result", id]).output().unwrap();
    let csv = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(csv.starts_with("step,train_loss,train_accuracy,valid_loss,valid_mean_token_accuracy"), "{csv}");

    let gguf = at("merged.gguf");
    tiny_json(data.path(), ["tune", "export", model, "--format", "gguf-q8_0", "--out", &gguf]);
    assert!(fs::read(&gguf).unwrap().starts_with(b"GGUF"));
    let reply = tiny_json(data.path(), ["chat", "--model", model, "--max-tokens", "8", "do you ship abroad?"]);
    assert_eq!(reply["model"], model, "{reply}");

    // Two epochs of a tiny model teach it nothing that holds on other questions.
    let few = at("few.jsonl");
    let heldout = fs::read_to_string(example("house_style/heldout.jsonl")).unwrap();
    fs::write(&few, heldout.lines().take(10).collect::<Vec<_>>().join("\n")).unwrap();
    let evaluated = tiny_json(data.path(), ["eval", "answers", "--tuned", model, "--heldout", &few]);
    assert!(evaluated["verdict"].is_string() || evaluated["verdict"].is_object(), "{evaluated}");
    let refused = tiny(data.path()).args(["tune", "promote", model, "--heldout", &few]).output().unwrap();
    assert_failed(&refused, 1, &[model, "not"]);

    assert_eq!(tiny(data.path()).args(["tune", "delete", model]).output().unwrap().status.code(), Some(1));
    tiny_json(data.path(), ["tune", "delete", model, "--yes"]);
    assert_eq!(tiny_json(data.path(), ["tune", "models"]).as_array().unwrap().len(), 0);
    let gone = tiny(data.path()).args(["chat", "--model", model, "hello"]).output().unwrap();
    assert_failed(&gone, 1, &[model]);
}

#[test]
fn faulty_data_are_mended_only_with_consent() {
    let data = tempfile::tempdir().unwrap();
    let (source, out) = (example("legacy_prompts.jsonl"), data.path().join("prepared"));
    let (source, out) = (source.to_str().unwrap(), out.to_str().unwrap());
    let unasked = tiny(data.path()).args(["tune", "prepare", source, "--out", out]).output().unwrap();
    assert_failed(&unasked, 1, &["legacy_prompts.jsonl", "mends", "--yes"]);
    assert!(stderr(&unasked).contains("proposed: "), "{}", stderr(&unasked));
    assert!(!Path::new(out).exists(), "nothing is written without consent");

    let prepared = tiny_json(data.path(), ["tune", "prepare", source, "--out", out, "--yes"]);
    let mends: Vec<&str> =
        prepared["report"]["mends"].as_array().unwrap().iter().map(|m| m["id"].as_str().unwrap()).collect();
    for wanted in
        ["typographic_quotes", "missing_fields", "personal_email", "exact_duplicates", "contradictory_answers"]
    {
        assert!(mends.contains(&wanted), "{wanted} in {mends:?}");
    }
    let text = fs::read_to_string(prepared["training"].as_str().unwrap()).unwrap();
    assert!(text.contains("19 countries in Europe.") && !text.contains("post.example"), "{text}");
    assert!(prepared["report"]["estimate"]["steps"].as_u64().unwrap() > 0, "{prepared}");
}

#[test]
fn ctrl_c_puts_a_run_aside_and_resume_ends_it() {
    let data = tempfile::tempdir().unwrap();
    let child = tiny(data.path())
        .args(["tune", "create", &training_file(), "--epochs", "6", "--batch-size", "4", "--json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let running = wait_for("training", JOB_LIMIT, || {
        let jobs = tiny_json(data.path(), ["tune", "list"]);
        let step = jobs[0]["last_metrics"]["step"].as_u64()?;
        (step >= 3).then(|| jobs[0]["id"].as_str().unwrap().to_owned())
    });
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "a pause is no failure");
    let paused: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(paused["status"], "paused", "{paused}");
    let done = tiny_json(data.path(), ["tune", "resume", &running]);
    assert_eq!(done["status"], "succeeded", "{done}");
    let steps = curve(&tiny_json(data.path(), ["tune", "metrics", &running]));
    assert_eq!(
        steps.iter().map(|s| s.0).collect::<Vec<_>>(),
        (1..=150).collect::<Vec<_>>(),
        "no step twice, none left out"
    );
}
