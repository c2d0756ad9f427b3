//! The page in a real browser: a person picks a collection, asks, reads the answer and follows a citation.

use std::process::Command;

use crate::support::{Server, demo_copy, run_client, tool, workspace};

#[test]
fn a_person_asks_a_question_in_the_browser_and_follows_its_citation() {
    let (Some(node), Some(browser)) = (tool("ANSER_TEST_NODE", "node"), tool("ANSER_TEST_BROWSER", "chromium")) else {
        return;
    };
    let data = demo_copy();
    let server = Server::start(data.path());
    let mut command = Command::new(node);
    command.arg("e2e/ask.mjs").current_dir(workspace().join("web")).env("ANSER_BROWSER", browser);
    run_client(command, &server);
}
