//! Scores by hand, phrases, scripts.

use super::*;

const K1: f64 = 1.2;
const B: f64 = 0.75;

fn idf(all: f64, holding: f64) -> f64 {
    (1.0 + (all - holding + 0.5) / (holding + 0.5)).ln()
}

fn share(count: f64, length: f64, average: f64) -> f64 {
    count * (K1 + 1.0) / (count + K1 * (1.0 - B + B * length / average))
}

fn assert_scores(found: &[(String, f32)], expected: &[(&str, f64)]) {
    assert_eq!(found.len(), expected.len(), "{found:?}");
    for ((id, score), (expected_id, expected)) in found.iter().zip(expected) {
        assert_eq!(id, expected_id, "{found:?}");
        assert!((f64::from(*score) - expected).abs() < 1e-4, "{id}: {score} instead of {expected}");
    }
}

#[test]
fn scores_are_those_of_the_formula() {
    let place = Place::new();
    let c = place.create();
    texts(&c, &["red cat", "red red bird sky", "blue sky", "green hill far off"]);
    // Lengths 2, 4, 2, 4.
    let red = idf(4.0, 2.0);
    assert_scores(&hits(&c, "red"), &[("d1", red * share(2.0, 4.0, 3.0)), ("d0", red * share(1.0, 2.0, 3.0))]);
    let both = idf(4.0, 2.0) * share(1.0, 2.0, 3.0) + idf(4.0, 1.0) * share(1.0, 2.0, 3.0);
    let found = hits(&c, "blue sky");
    assert_scores(&found, &[("d2", both), ("d1", idf(4.0, 2.0) * share(1.0, 4.0, 3.0))]);
    assert!(hits(&c, "purple").is_empty() && hits(&c, "?!").is_empty());
}

#[test]
fn titles_are_scored_among_titles() {
    let place = Place::new();
    let c = place.create();
    c.upsert(&[
        document("a", Some("red hill"), "blue sky"),
        document("b", None, "red sky"),
        document("c", Some("sky"), "x"),
    ])
    .unwrap();
    // Two titles of lengths 2 and 1; three texts of lengths 2, 2 and 1.
    let title = idf(2.0, 1.0) * share(1.0, 2.0, 1.5);
    let text = idf(3.0, 1.0) * share(1.0, 2.0, 5.0 / 3.0);
    let mut expected = [("a", title), ("b", text)];
    expected.sort_by(|a, b| b.1.total_cmp(&a.1));
    assert_scores(&hits(&c, "red"), &expected);
}

#[test]
fn what_is_removed_or_replaced_counts_no_more() {
    let place = Place::new();
    let c = place.create();
    texts(&c, &["red cat", "red red bird sky", "blue sky", "green hill far off"]);
    c.keywords.seal(&c.upkeep.database, true).unwrap();
    let gone = DocumentId::new("d1").unwrap();
    c.delete(&[gone]).unwrap();
    c.upsert(&[document("d3", None, "red hill")]).unwrap();
    let one = idf(3.0, 2.0) * share(1.0, 2.0, 2.0);
    assert_scores(&hits(&c, "red"), &[("d0", one), ("d3", one)]);
    assert!(hits(&c, "green").is_empty() && hits(&c, "bird").is_empty());
    assert_eq!(search(&c, "red").explain.keywords.unwrap().matched, 2);
}

#[test]
fn phrases_must_stand_in_order() {
    let place = Place::new();
    let c = place.create();
    texts(&c, &["the quick brown fox", "brown quick fox", "a quick and brown fox", "quick-brown foxes"]);
    assert_eq!(set(&c, "quick brown"), ["d0", "d1", "d2", "d3"]);
    assert_eq!(set(&c, "\"quick brown\""), ["d0", "d3"]);
    assert_eq!(set(&c, "\"brown quick\""), ["d1"]);
    assert_eq!(set(&c, "\"quick brown\" \"the quick\""), ["d0"]);
    assert_eq!(set(&c, "\"foxes\""), ["d0", "d1", "d2", "d3"], "words of phrases are stemmed");
    assert!(set(&c, "\"fox quick\"").is_empty() && set(&c, "fox \"hound dog\"").is_empty());
    let found = search(&c, "fox \"quick brown\"");
    let explain = found.explain.keywords.unwrap();
    assert_eq!(
        (explain.terms, explain.phrases, explain.matched),
        (vec!["fox".into()], vec![vec!["quick".into(), "brown".into()]], 2)
    );
    c.upsert(&[document("t", Some("Quick brown things"), "nothing")]).unwrap();
    assert_eq!(set(&c, "\"quick brown\""), ["d0", "d3", "t"], "titles hold phrases too");
}

#[test]
fn stems_match_and_exact_words_win() {
    let place = Place::new();
    let c = place.create();
    texts(&c, &["he runs daily", "she is running", "they run often", "café au lait"]);
    assert_eq!(ids(&c, "running")[0], "d1");
    assert_eq!(ids(&c, "runs")[0], "d0");
    assert_eq!(set(&c, "run"), ["d0", "d1", "d2"]);
    assert_eq!(set(&c, "CAFE"), ["d3"]);
}

#[test]
fn scripts_without_spaces_are_searched() {
    let place = Place::new();
    let c = place.create();
    texts(
        &c,
        &["我喜欢喝咖啡", "北京大学在海淀区", "東京タワーへ行く", "학교에서 공부했다", "ภาษาไทยง่ายมาก", "咖喱饭"],
    );
    assert_eq!(set(&c, "咖啡"), ["d0"]);
    assert_eq!(ids(&c, "北京大学")[0], "d1");
    assert_eq!(set(&c, "大学"), ["d1"]);
    assert_eq!(ids(&c, "東京")[0], "d2");
    assert_eq!(set(&c, "학교"), ["d3"]);
    assert_eq!(set(&c, "ภาษา"), ["d4"]);
    assert_eq!(set(&c, "“喜欢喝”"), ["d0"]);
    assert!(set(&c, "“喝喜欢”").is_empty());
}

#[test]
fn codes_addresses_and_identifiers_are_found_in_their_forms() {
    let place = Place::new();
    let c = place.create();
    texts(
        &c,
        &[
            "part AB-1234x in stock",
            "mail john.doe@example.com",
            "call getUserName() twice",
            "Wi-Fi router",
            "C++ guide",
            "C guide",
        ],
    );
    for query in ["AB-1234x", "ab1234x", "AB 1234x", "1234x"] {
        assert_eq!(ids(&c, query)[0], "d0", "{query}");
    }
    assert_eq!(ids(&c, "john.doe@example.com")[0], "d1");
    assert_eq!(ids(&c, "getusername")[0], "d2");
    assert_eq!(ids(&c, "user name")[0], "d2");
    for query in ["wifi", "wi-fi", "WIFI", "wi fi"] {
        assert_eq!(ids(&c, query)[0], "d3", "{query}");
    }
    assert_eq!(ids(&c, "c++")[0], "d4");
}

#[test]
fn a_very_long_text_and_odd_texts_are_taken() {
    let place = Place::new();
    let c = place.create();
    let long = "ocean wave ".repeat(200_000) + "needle";
    texts(&c, &[&long, "", " \u{0}\u{feff} ", &"x".repeat(100_000), &"漢".repeat(100_000)]);
    assert_eq!(set(&c, "needle"), ["d0"]);
    assert_eq!(set(&c, "\"wave needle\""), ["d0"]);
    assert_eq!(set(&c, "漢"), ["d4"]);
    assert!(search(&c, &long).hits.len() == 1);
}
