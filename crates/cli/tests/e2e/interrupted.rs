//! Killing an ingest at any moment loses nothing and repeats nothing.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Stdio;
use std::thread;
use std::time::Duration;

use serde_json::Value;

use crate::support::{anser, json};

const ROWS: usize = 10_000;

fn rows(data: &Path) -> (u64, u64) {
    let info: Value = json(data, ["collections", "show", "rows"]);
    (info["documents"].as_u64().unwrap(), info["chunks"].as_u64().unwrap())
}

/// Every hit of a few searches: ids, scores and texts.
fn hits(data: &Path) -> Vec<Value> {
    ["green kettle number 77", "lamp 4012", "a red backpack"]
        .iter()
        .map(|query| json(data, ["search", "rows", query, "--limit", "20", "--exact"])["hits"].clone())
        .map(|mut hits| {
            // Chunk ids tell the order of insertion, which an interruption may change.
            for hit in hits.as_array_mut().unwrap() {
                hit["chunk"]["id"].take();
            }
            hits
        })
        .collect()
}

#[test]
fn an_ingest_that_is_killed_and_run_again_gives_exactly_the_rows_of_an_undisturbed_one() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("rows.csv");
    let mut csv = String::from("id,text,score\n");
    for row in 0..ROWS {
        let colour = ["red", "green", "blue", "grey"][row % 4];
        let thing = ["kettle", "lamp", "backpack", "hose", "chair"][row % 5];
        writeln!(csv, "row-{row},{colour} {thing} {row},{}", row % 5 + 1).unwrap();
    }
    std::fs::write(&file, csv).unwrap();
    let ingest = ["ingest", file.to_str().unwrap(), "--collection", "rows"];

    let calm = folder.path().join("calm");
    json(&calm, ingest);

    let killed = folder.path().join("killed");
    let mut interruptions = 0;
    for pause in [4_u64, 6] {
        let mut child = anser(&killed)
            .args(ingest)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the program starts");
        thread::sleep(Duration::from_secs(pause));
        if child.try_wait().unwrap().is_none() {
            interruptions += 1;
        }
        child.kill().unwrap();
        child.wait().unwrap();
    }
    assert!(interruptions > 0, "the ingest was too quick to be interrupted");
    let report = json(&killed, ingest);
    assert!(report[0]["unchanged"].as_u64().unwrap() > 0, "what was acknowledged is kept: {report}");

    assert_eq!(rows(&killed), rows(&calm));
    assert_eq!(rows(&calm).0, ROWS as u64);
    assert_eq!(hits(&killed), hits(&calm));
}
