//! Analyses of files through the built program: what is printed, what is written, what `anser jobs` knows of them, and
//! what other programs read.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{Server, anser, assert_failed, json, run, stderr, tool, wait_for};

/// Columns and types of tables as pyarrow sees them, as JSON; `sys.argv[1:]` are the files.
const SCHEMAS: &str = r#"
import json, sys
import pyarrow as pa, pyarrow.parquet as pq
for path in sys.argv[1:]:
    if path.endswith(".parquet"):
        table = pq.read_table(path)
    else:
        table = pa.ipc.open_stream(path).read_all()
    table.validate(full=True)
    print(json.dumps({"rows": table.num_rows, "columns": {f.name: str(f.type) for f in table.schema},
                      "ids": table.column("id").to_pylist()}))
"#;

/// A file of a few reviews of two things, with a score and a date each.
fn reviews(folder: &Path, rows: usize) -> PathBuf {
    let mut csv = String::from("Key,Words,Score,Seen\n");
    for row in 0..rows {
        let (thing, part) = [("coffee", "beans"), ("dog food", "bowl")][row % 2];
        let opinion = ["I like it", "it came late", "the price is fair"][row % 3];
        writeln!(
            csv,
            "r{row:04},\"The {thing} number {row}, {opinion}; {part}\",{},2024-03-{:02}",
            row % 5 + 1,
            row % 28 + 1
        )
        .unwrap();
    }
    let path = folder.join("reviews.csv");
    std::fs::write(&path, csv).unwrap();
    path
}

fn arguments<'a>(command: &'a str, file: &'a Path) -> Vec<&'a str> {
    vec![command, file.to_str().unwrap(), "--text-field", "Words", "--id-field", "Key"]
}

/// What pyarrow says of each file; `None` where there is no Python.
fn schemas(files: &[&Path]) -> Option<Vec<Value>> {
    let python = tool("ANSER_TEST_PYTHON", "python3-with-openai")?;
    let output = Command::new(python).args(["-c", SCHEMAS]).args(files).output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    Some(String::from_utf8(output.stdout).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect())
}

#[test]
fn tables_of_an_analysis_open_in_pyarrow_with_their_names_and_types() {
    let folder = tempfile::tempdir().unwrap();
    let (data, file) = (folder.path().join("data"), reviews(folder.path(), 40));
    let (parquet, arrow, clusters) =
        (folder.path().join("out.parquet"), folder.path().join("out.arrow"), folder.path().join("clusters.parquet"));
    let mut outliers = arguments("outliers", &file);
    outliers.extend(["--where", "Score >= 2", "--out", parquet.to_str().unwrap()]);
    json(&data, outliers);
    let mut cluster = arguments("cluster", &file);
    cluster.extend(["--k", "2", "--stability-runs", "0", "--out", clusters.to_str().unwrap()]);
    json(&data, cluster);
    assert_eq!(json(&data, ["collections", "list"]), json!([]), "nothing is kept of the file");

    let jobs = json(&data, ["jobs", "list"]);
    let kinds: Vec<&Value> = jobs.as_array().unwrap().iter().map(|job| &job["kind"]).collect();
    assert_eq!(kinds, [&json!("cluster"), &json!("outliers")]);
    let job = jobs[1]["id"].as_str().unwrap();
    assert!(jobs[1]["detail"]["peak_memory_bytes"].as_u64().unwrap() > 1 << 20, "{jobs}");
    json_silent(&data, &["jobs", "result", job, "--name", "documents", "--out", arrow.to_str().unwrap()]);

    let Some(schemas) = schemas(&[&parquet, &arrow, &clusters]) else { return };
    assert_eq!(schemas[0], schemas[1], "both formats hold the same");
    assert_eq!(schemas[0]["rows"], 32);
    for (name, kind) in [
        ("id", "string"),
        ("title", "string"),
        ("text", "string"),
        ("rank", "uint32"),
        ("outlier", "bool"),
        ("lof", "float"),
        ("distance", "float"),
        ("nearest_id", "string"),
        ("nearest_similarity", "float"),
        ("Score", "int64"),
        ("Seen", "timestamp[us, tz=UTC]"),
    ] {
        assert_eq!(schemas[0]["columns"][name], kind, "{name}: {}", schemas[0]["columns"]);
    }
    for (name, kind) in [("id", "string"), ("cluster", "uint32"), ("label", "string"), ("Score", "int64")] {
        assert_eq!(schemas[2]["columns"][name], kind, "{name}: {}", schemas[2]["columns"]);
    }
    assert_eq!(schemas[2]["rows"], 40);
}

/// Runs a command whose only output is a file.
fn json_silent(data: &Path, arguments: &[&str]) {
    let output = anser(data).args(arguments).arg("--json").output().unwrap();
    assert!(output.status.success() && output.stdout.is_empty(), "{}", stderr(&output));
}

#[test]
fn results_are_listed_printed_and_deleted() {
    let folder = tempfile::tempdir().unwrap();
    let (data, file) = (folder.path().join("data"), reviews(folder.path(), 30));
    let output = run(&data, arguments("outliers", &file));
    assert!(output.status.success(), "{}", stderr(&output));
    let told = stderr(&output);
    assert!(told.contains("outliers of reviews.csv") && told.contains("30 documents in"), "{told}");
    let jobs = json(&data, ["jobs", "list"]);
    let job = jobs[0]["id"].as_str().unwrap();
    assert!(told.contains(job), "{told}");

    let text = |arguments: &[&str]| {
        let output = run(&data, arguments);
        assert!(output.status.success(), "{}", stderr(&output));
        String::from_utf8(output.stdout).unwrap()
    };
    let list = text(&["jobs", "result", job]);
    assert!(list.contains("report.json") && list.contains("documents.parquet"), "{list}");
    let csv = text(&["jobs", "result", job, "--name", "documents"]);
    assert!(csv.starts_with("id,") && csv.lines().count() == 31, "{csv}");
    assert!(csv.contains("2024-03-01T00:00:00Z"), "times are RFC 3339: {csv}");
    let lines = text(&["jobs", "result", job, "--name", "documents", "--format", "jsonl"]);
    assert_eq!(serde_json::from_str::<Value>(lines.lines().next().unwrap()).unwrap()["title"], Value::Null);
    let report: Value = serde_json::from_str(&text(&["jobs", "result", job, "--name", "report.json"])).unwrap();
    assert!(report.is_object());
    let show = text(&["jobs", "show", job]);
    assert!(show.contains("peak memory") && show.contains("30 of 30 documents"), "{show}");
    let events = text(&["jobs", "events", job, "--follow"]);
    assert!(events.contains("reading documents") && events.ends_with("is succeeded\n"), "{events}");
    assert_failed(&run(&data, ["jobs", "result", job, "--name", "nothing"]), 1, &["report.json"]);
    assert_failed(&run(&data, ["jobs", "cancel", job]), 1, &["already succeeded"]);

    assert!(text(&["jobs", "delete", job]).contains("is deleted"));
    assert_failed(&run(&data, ["jobs", "show", job]), 1, &[job]);
    assert_eq!(std::fs::read_dir(data.join("results")).unwrap().count(), 0);
}

#[test]
fn an_analysis_that_fails_names_its_job_and_one_that_is_too_large_its_bound() {
    let folder = tempfile::tempdir().unwrap();
    let (data, file) = (folder.path().join("data"), reviews(folder.path(), 10));
    let mut large = arguments("outliers", &file);
    large.extend(["--job-memory", "0"]);
    assert_failed(&run(&data, large), 1, &["--job-memory", "anser jobs events job-"]);
    let mut none = arguments("outliers", &file);
    none.extend(["--where", "Score > 9"]);
    assert_failed(&run(&data, none), 1, &["reviews.csv", "the filter lets through"]);
    let mut over = arguments("outliers", &file);
    over.extend(["--out", file.to_str().unwrap()]);
    assert_failed(&run(&data, over), 2, &["is the file that is read"]);
    let mut picture = arguments("outliers", &file);
    picture.extend(["--plot", "scores.png"]);
    assert_failed(&run(&data, picture), 2, &["end its name in .svg"]);
    let states: Vec<Value> =
        json(&data, ["jobs", "list"]).as_array().unwrap().iter().map(|job| job["state"].clone()).collect();
    assert_eq!(states, [json!("failed"), json!("failed")]);
}

#[test]
fn files_are_not_promised_for_a_job_that_nobody_waits_for() {
    let folder = tempfile::tempdir().unwrap();
    let (data, file) = (folder.path().join("data"), reviews(folder.path(), 10));
    let file = file.to_str().unwrap();
    let (table, picture) = (folder.path().join("out.csv"), folder.path().join("out.svg"));
    let (table, picture) = (table.to_str().unwrap(), picture.to_str().unwrap());
    let analyses: [&[&str]; 13] = [
        &["cluster", file, "--out", table],
        &["cluster", file, "--map", picture],
        &["outliers", file, "--out", table],
        &["outliers", file, "--plot", picture],
        &["duplicates", file, "--out", table],
        &["diversity", file, "--out", table],
        &["map", file, "--out", picture],
        &["map", file, "--table", table],
        &["classify", "train", file, "--label", "Score", "--out", table],
        &["classify", "train", file, "--label", "Score", "--confusion", picture],
        &["classify", "train", file, "--label", "Score", "--calibration", picture],
        &["regress", "train", file, "--target", "Score", "--plot", picture],
        &["regress", "predict", "score", file, "--out", table],
    ];
    for analysis in analyses {
        let output = run(&data, analysis.iter().copied().chain(["--detach"]));
        assert_failed(&output, 2, &["--detach", "anser jobs result JOB --name"]);
    }
    let output = run(&data, ["duplicates", "things", "--delete", "--yes", "--detach"]);
    assert_failed(&output, 2, &["--delete", "--detach", "anser jobs result JOB --name documents"]);
    assert_eq!(json(&data, ["jobs", "list"]), json!([]), "nothing was begun");

    // The map that is written unless another is asked for is no reason to refuse.
    let mut alone = arguments("map", Path::new(file));
    alone.push("--detach");
    let job = json(&data, alone);
    let id = job["id"].as_str().unwrap();
    assert_eq!(job["state"], "queued");
    // Only results of fine-tuning jobs are counted.
    assert_failed(&run(&data, ["jobs", "result", id, "--file", "1"]), 2, &["fine-tuning", "projection", "--name"]);
    assert_failed(&run(&data, ["jobs", "result", id, "--file", "1", "--name", "report.json"]), 2, &["--file"]);
}

#[test]
fn a_detached_analysis_survives_a_server_that_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    let (data, file) = (folder.path().join("data"), reviews(folder.path(), 1500));
    let mut arguments = arguments("outliers", &file);
    arguments.push("--detach");
    let job = json(&data, arguments);
    let id = job["id"].as_str().unwrap();
    assert_eq!(job["state"], "queued");

    let server = Server::start(&data);
    let path = format!("/v1/jobs/{id}");
    wait_for("the job to be at work", Duration::from_mins(1), || {
        let job = server.get(&path).1;
        (job["status"] != "queued" && !job["progress"]["stage"].is_null() || job["status"] == "succeeded").then_some(())
    });
    thread::sleep(Duration::from_millis(300));
    server.kill();

    let server = Server::start(&data);
    let job = wait_for("the job to end", Duration::from_mins(3), || {
        let job = server.get(&path).1;
        (job["status"] == "succeeded" || job["status"] == "failed").then_some(job)
    });
    assert_eq!((&job["status"], &job["figures"]["documents"]), (&json!("succeeded"), &json!(1500)), "{job}");
    assert_eq!(job["source"]["file"], "reviews.csv", "where it lies on the server is nobody's business");
    let rows = server.get(&format!("{path}/result?name=documents")).1;
    assert_eq!(rows.as_array().unwrap().len(), 1500);
    assert!(job["figures"]["documents_per_second"].as_f64().unwrap() > 0.0);
}
