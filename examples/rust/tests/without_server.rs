//! Without a server the example says so instead of hanging or pretending.

use std::process::Command;

#[test]
fn the_example_fails_when_nothing_listens() {
    let output = Command::new(env!("CARGO_BIN_EXE_anser-example-client"))
        .env("ANSER_URL", "http://127.0.0.1:9")
        .output()
        .expect("the example starts");
    assert!(!output.status.success());
    assert!(!String::from_utf8_lossy(&output.stdout).contains("ok"));
}
