//! The clients of `examples/` against a real server: official OpenAI packages change nothing but the base URL.

use std::process::Command;

use crate::support::{Server, demo_copy, run_client, tool, workspace};

#[test]
fn the_examples_run() {
    let data = demo_copy();
    let server = Server::start(data.path());
    let examples = workspace().join("examples");

    if tool("ANSER_TEST_CURL", "curl").is_some() {
        run_client(Command::new(examples.join("curl/client.sh")), &server);
    }
    if let Some(python) = tool("ANSER_TEST_PYTHON", "python3-with-openai") {
        let mut command = Command::new(python);
        command.arg(examples.join("python/client.py"));
        run_client(command, &server);
    }
    if let Some(node) = tool("ANSER_TEST_NODE", "node") {
        let mut command = Command::new(node);
        command.arg("client.mjs").current_dir(examples.join("node"));
        run_client(command, &server);
    }
    // The Rust example is a member of the workspace, so it is built beside the program.
    let client = std::path::Path::new(env!("CARGO_BIN_EXE_anser")).with_file_name("anser-example-client");
    run_client(Command::new(client), &server);
}

#[test]
fn the_analysis_example_runs_from_an_empty_server() {
    let Some(python) = tool("ANSER_TEST_PYTHON", "python3-with-openai") else { return };
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path());
    let analysis = || {
        let mut command = Command::new(&python);
        command.arg(workspace().join("examples/python/analysis.py"));
        command
    };
    run_client(analysis(), &server);
    // Over the collection and the classifier that the first run has made.
    run_client(analysis(), &server);
    let (_, predictor) = server.get("/v1/predictors/product");
    assert_eq!(predictor["version"], 2, "{predictor}");
}
