//! Classifiers and regressions through the built program, on the example shop's reviews: learnt, measured, used on a text,
//! written back, listed and deleted.

use std::path::Path;
use std::process::Output;

use serde_json::json;

use crate::support::{assert_failed, example, json, run, stderr};

fn text(data: &Path, arguments: &[&str]) -> String {
    let output: Output = run(data, arguments);
    assert!(output.status.success(), "{}", stderr(&output));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn what_is_learnt_from_reviews_is_measured_saved_and_used() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let file = example("reviews.csv");
    text(&data, &["ingest", file.to_str().unwrap(), "--collection", "reviews", "--title-field", "title"]);

    let matrix = folder.path().join("confusion.svg");
    let told = text(
        &data,
        &[
            "classify",
            "train",
            "reviews",
            "--label",
            "product",
            "--save",
            "products",
            "--confusion",
            matrix.to_str().unwrap(),
        ],
    );
    for part in ["accuracy", "macro F1", "always \"", "precision", "saved as products, version 1"] {
        assert!(told.contains(part), "{part}: {told}");
    }
    assert!(std::fs::read_to_string(&matrix).unwrap().contains("<svg "));
    let report = json(&data, ["classify", "train", "reviews", "--label", "product", "--held-out", "0.3"]);
    let accuracy = report["evaluation"]["accuracy"]["mean"].as_f64().unwrap();
    let majority = report["evaluation"]["majority"]["accuracy"].as_f64().unwrap();
    assert!(accuracy > majority + 0.3, "{accuracy} against {majority}");

    let found = json(&data, ["classify", "text", "products", "The armrests wobble and the seat squeaks."]);
    let label = found["predictions"][0]["label"].as_str().unwrap().to_owned();
    assert!(label.contains("chair"), "{found}");
    let applied = json(&data, ["classify", "predict", "products", "reviews", "--write-to", "guessed"]);
    assert_eq!(applied["written"]["attribute"], "guessed");
    let counted = json(&data, ["diversity", "reviews", "--where", &format!("guessed = \"{label}\"")]);
    assert!(counted.to_string().contains("documents"), "the attribute can be asked for: {counted}");

    let report = json(&data, ["regress", "train", "reviews", "--target", "score", "--save", "score"]);
    assert!(report["evaluation"]["improvement_percent"].as_f64().unwrap() > 20.0, "{report}");
    let value = |text: &str| {
        let found = json(&data, ["regress", "text", "score", text]);
        found["predictions"][0]["value"].as_f64().unwrap()
    };
    assert!(value("Wonderful, I would buy it again at once.") > value("Broken on arrival. Money back, please."));

    let listed = json(&data, ["classify", "list"]);
    assert_eq!((listed.as_array().unwrap().len(), &listed[0]["name"]), (1, &json!("products")));
    assert!(text(&data, &["regress", "show", "score"]).contains("ridge"));
    assert_failed(&run(&data, ["regress", "text", "products", "x"]), 1, &["is a classifier"]);
    assert_failed(&run(&data, ["classify", "train", "reviews", "--label", "nothing"]), 1, &["nothing"]);
    assert!(text(&data, &["classify", "delete", "products@1"]).contains("version 1"));
    assert_failed(&run(&data, ["classify", "text", "products", "x"]), 1, &["products"]);
    assert_failed(&run(&data, ["classify", "delete", "products"]), 1, &["classify list"]);
}
