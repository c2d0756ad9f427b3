//! The multilingual embedder through the program: texts in three languages, questions in others.

use std::fs;

use serde_json::json;

use crate::support::{assert_failed, json, run};

const MODEL: [&str; 2] = ["--embedder", "universal-sentence-encoder-multilingual-3"];

/// Meanings, each in English, Chinese and German.
const MEANINGS: [[&str; 3]; 4] = [
    ["Parcels arrive within three days.", "包裹三天内送达。", "Pakete kommen innerhalb von drei Tagen an."],
    ["You get your money back within a week.", "一周内退款。", "Sie bekommen Ihr Geld innerhalb einer Woche zurück."],
    [
        "The kettle must not go into the dishwasher.",
        "水壶不能放进洗碗机。",
        "Der Wasserkocher darf nicht in die Spülmaschine.",
    ],
    [
        "Our shop in the old town closes at eight in the evening.",
        "我们在老城的商店晚上八点关门。",
        "Unser Laden in der Altstadt schließt um acht Uhr abends.",
    ],
];

#[test]
fn questions_find_answers_in_other_languages() {
    let data = tempfile::tempdir().unwrap();
    let rows = MEANINGS.iter().enumerate().flat_map(|(meaning, texts)| {
        ["en", "zh", "de"].iter().zip(texts).map(move |(language, text)| {
            json!({"id": format!("{meaning}-{language}"), "text": text, "language": language}).to_string()
        })
    });
    let file = data.path().join("answers.jsonl");
    fs::write(&file, rows.collect::<Vec<_>>().join("\n")).unwrap();
    let ingest = ["ingest", file.to_str().unwrap(), "--collection", "answers"];
    let report = json(data.path(), MODEL.into_iter().chain(ingest));
    assert_eq!(report[0]["inserted"], 12, "{report}");

    for (question, meaning) in [
        ("How long does delivery take?", 0),
        ("多久能收到退款？", 1),
        ("Kann ich den Wasserkocher in der Spülmaschine reinigen?", 2),
        ("商店几点关门？", 3),
        ("¿Cuándo me devuelven el dinero?", 1),
    ] {
        let search = ["search", "answers", question, "--mode", "vector", "--limit", "3"];
        let reply = json(data.path(), MODEL.into_iter().chain(search));
        let mut found: Vec<&str> =
            reply["hits"].as_array().unwrap().iter().map(|hit| hit["chunk"]["document_id"].as_str().unwrap()).collect();
        found.sort_unstable();
        assert_eq!(found, ["de", "en", "zh"].map(|language| format!("{meaning}-{language}")), "{question}");
    }

    let other = run(data.path(), ["search", "answers", "delivery", "--mode", "vector"]);
    assert_failed(&other, 1, &["universal-sentence-encoder-multilingual-3"]);
}
