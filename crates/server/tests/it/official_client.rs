//! The official Python client against the service: nothing but the base URL is changed.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::support::wire::Listening;
use crate::support::{CHAT, Service, training_line};

/// Python with the official client, as `make test` prepares it. `None`, said loudly, when it is missing; a failure under CI.
fn python() -> Option<PathBuf> {
    let prepared = std::env::var_os("ANSER_TEST_PYTHON").filter(|path| !path.is_empty()).map(PathBuf::from);
    let found = prepared.or_else(|| Some(workspace().join("target/venv/bin/python")).filter(|path| path.is_file()));
    assert!(found.is_some() || std::env::var_os("CI").is_none(), "CI needs Python with the official client");
    if found.is_none() {
        eprintln!("\n*** SKIPPED: Python with the official client was not found; `make test` prepares it ***\n");
    }
    found
}

fn workspace() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

/// Runs a script against a service over scripted models and expects it to end with "ok".
async fn walk(script: PathBuf, arguments: &'static [&'static str]) {
    let Some(python) = python() else { return };
    let service = Service::new().with_shop().await;
    let listening = Listening::start(&service, |_| {}).await;
    let data = tempfile::tempdir().unwrap();
    let training = data.path().join("train.jsonl");
    std::fs::write(&training, training_line("hi").repeat(12)).unwrap();
    let url = format!("http://{}", listening.address);
    let output = tokio::task::spawn_blocking(move || {
        let mut command = Command::new(python);
        command.arg(script).args(arguments).stdin(Stdio::null());
        command.env("ANSER_URL", url).env("ANSER_MODEL", CHAT).env("ANSER_TRAINING_FILE", training);
        command.output().unwrap()
    });
    let output = output.await.unwrap();
    listening.stop().await.unwrap().unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && out.trim_end().ends_with("ok"), "{out}\n{err}");
}

#[tokio::test(flavor = "multi_thread")]
async fn its_helpers_understand_every_reply() {
    walk(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/official_client.py")).to_path_buf(), &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_example_of_fine_tuning_runs() {
    walk(workspace().join("examples/python/fine_tuning.py"), &["--epochs", "2"]).await;
}
