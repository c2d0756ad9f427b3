//! `anser search` in its modes and pages, and `anser collections settings`.

use std::collections::HashSet;
use std::fs;

use serde_json::Value;

use crate::support::{assert_failed, demo, json, run, stderr};

fn documents(reply: &Value) -> Vec<String> {
    let hits = reply["hits"].as_array().unwrap();
    hits.iter().map(|hit| hit["chunk"]["document_id"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn help_names_every_option_of_a_search() {
    let data = tempfile::tempdir().unwrap();
    let output = run(data.path(), ["search", "--help"]);
    let text = String::from_utf8_lossy(&output.stdout);
    for option in [
        "--mode",
        "--fusion",
        "--vector-weight",
        "--rerank-depth",
        "--mmr",
        "--group-by",
        "--after",
        "--ef-search",
        "--min-score",
        "--explain",
        "Examples:",
    ] {
        assert!(text.contains(option), "{option}: {text}");
    }
}

#[test]
fn hits_come_by_words_in_groups_and_page_by_page() {
    let (data, _) = demo();
    let search = ["search", "shop-reviews", "coffee", "--mode", "keyword", "--limit", "3"];
    let output = run(data, search.into_iter().chain(["--explain"]));
    assert!(output.status.success(), "{}", stderr(&output));
    let table = String::from_utf8_lossy(&output.stdout);
    let header = table.lines().find(|line| line.contains("document")).unwrap();
    assert!(header.contains("BM25") && !header.contains("cosine") && !header.contains("rerank"), "{table}");
    assert!(table.contains("words     coffe") && table.contains("hits looked at"), "{table}");
    let notes = stderr(&output);
    let command = notes.lines().find_map(|line| line.strip_prefix("there are more hits: anser ")).unwrap();
    assert!(command.starts_with("search shop-reviews coffee --mode keyword --limit 3 --explain --after "), "{command}");

    let first = json(data, search);
    let second = json(data, command.split(' ').filter(|argument| *argument != "--explain"));
    let both: HashSet<String> = documents(&first).into_iter().chain(documents(&second)).collect();
    assert_eq!(both.len(), 6);
    let elsewhere = run(data, ["search", "shop-faq", "coffee", "--after", first["next"].as_str().unwrap()]);
    assert_failed(&elsewhere, 1, &["after", "search again"]);

    let grouped = json(data, ["search", "shop-reviews", "too sweet", "--group-by", "product", "--mmr", "0.7"]);
    let groups: Vec<String> =
        grouped["hits"].as_array().unwrap().iter().map(|h| h["group"]["value"].to_string()).collect();
    assert_eq!(groups.iter().collect::<HashSet<_>>().len(), groups.len(), "{groups:?}");
    assert_eq!(grouped["explain"]["mode"], "hybrid");

    let unknown = run(data, ["search", "shop-faq", "gift card", "--group-by", "prodct"]);
    assert!(stderr(&unknown).contains("\"prodct\""), "{}", stderr(&unknown));
}

#[test]
fn settings_of_a_collection_are_kept() {
    let data = tempfile::tempdir().unwrap();
    let file = data.path().join("one.txt");
    fs::write(&file, "One short text.").unwrap();
    json(data.path(), ["ingest", file.to_str().unwrap(), "--collection", "one"]);
    assert_eq!(json(data.path(), ["collections", "settings", "one"])["mode"], "hybrid");
    let change =
        ["collections", "settings", "one", "--mode", "keyword", "--vector-weight", "0.25", "--rerank-depth", "7"];
    json(data.path(), change);
    let kept = json(data.path(), ["collections", "settings", "one"]);
    assert_eq!((&kept["mode"], &kept["rerank_depth"]), (&"keyword".into(), &7.into()), "{kept}");
    assert_eq!(
        (&kept["fusion"]["vector_weight"], &kept["fusion"]["method"]),
        (&0.25.into(), &"weighted_scores".into())
    );
    assert_eq!(json(data.path(), ["search", "one", "text"])["explain"]["mode"], "keyword");
    assert_failed(&run(data.path(), ["collections", "settings", "one", "--vector-weight", "2"]), 1, &["vector_weight"]);
}
