//! The text metrics say what the reference packages say; `fixtures/record_text_metrics.py` recorded that.

#![expect(clippy::expect_used, reason = "what the tests share is made outside of test functions")]

use anser_engine::metrics::{
    Classification, Labels, Rouge, RougeTokens, corpus_bleu, exact_match, sentence_bleu, token_f1,
};
use serde_json::Value;

fn fixture() -> Value {
    serde_json::from_str(include_str!("../fixtures/text_metrics.json")).expect("the fixture is JSON")
}

fn pairs(fixture: &Value) -> Vec<(&str, &str, &Value)> {
    let pairs = fixture["pairs"].as_array().expect("an array");
    let text = |pair: &'_ Value, of: &str| pair[of].is_string();
    assert!(pairs.iter().all(|pair| text(pair, "output") && text(pair, "reference")));
    pairs.iter().map(|p| (p["output"].as_str().unwrap_or(""), p["reference"].as_str().unwrap_or(""), p)).collect()
}

#[track_caller]
fn assert_near(found: f64, expected: &Value, what: &str) {
    let expected = expected.as_f64().expect("a number");
    assert!((found - expected).abs() < 1e-6, "{what}: {found} instead of {expected}");
}

#[test]
fn sentence_bleu_agrees_with_sacrebleu() {
    let fixture = fixture();
    assert!(pairs(&fixture).len() >= 40);
    for (output, reference, expected) in pairs(&fixture) {
        let what = format!("{output:?} against {reference:?}");
        let bleu = sentence_bleu(output, reference);
        assert_eq!(expected["output_tokens"], bleu.output_tokens, "{what}");
        assert_eq!(expected["reference_tokens"], bleu.reference_tokens, "{what}");
        assert_near(bleu.score, &expected["bleu"], &what);
        assert_near(bleu.brevity_penalty, &expected["brevity_penalty"], &what);
        for (order, precision) in bleu.precisions.iter().enumerate() {
            assert_near(*precision, &expected["precisions"][order], &what);
        }
    }
}

#[test]
fn corpus_bleu_agrees_with_sacrebleu() {
    let fixture = fixture();
    let pairs = pairs(&fixture);
    let corpora = fixture["corpora"].as_array().expect("an array");
    assert!(corpora.len() > 5);
    for corpus in corpora {
        let bound = |name: &str| corpus[name].as_u64().and_then(|n| usize::try_from(n).ok()).expect("an index");
        let range = bound("start")..bound("end");
        let bleu = corpus_bleu(pairs[range.clone()].iter().map(|(output, reference, _)| (*output, *reference)));
        assert_near(bleu.score, &corpus["bleu"], &format!("pairs {range:?}"));
    }
}

#[test]
fn rouge_agrees_with_rouge_score() {
    for (output, reference, expected) in pairs(&fixture()) {
        let what = format!("{output:?} against {reference:?}");
        let rouge = Rouge::of(output, reference, RougeTokens::Latin);
        assert_near(rouge.rouge_1, &expected["rouge1"], &what);
        assert_near(rouge.rouge_2, &expected["rouge2"], &what);
        assert_near(rouge.rouge_l, &expected["rougeL"], &what);
    }
}

#[test]
fn exact_match_and_f1_agree_with_squad() {
    let fixture = fixture();
    let mut compared = 0;
    for (output, reference, expected) in pairs(&fixture) {
        let (Some(exact), Some(_)) = (expected["exact_match"].as_i64(), expected["token_f1"].as_f64()) else {
            continue;
        };
        let what = format!("{output:?} against {reference:?}");
        assert_eq!(exact_match(output, reference), exact == 1, "{what}");
        assert_near(token_f1(output, reference), &expected["token_f1"], &what);
        compared += 1;
    }
    assert!(compared >= 35, "{compared}");
}

#[test]
fn label_scores_agree_with_scikit_learn() {
    let fixture = fixture();
    let labels = &fixture["labels"];
    let pairs: Vec<(&str, &str)> = labels["pairs"]
        .as_array()
        .expect("an array")
        .iter()
        .map(|pair| (pair[0].as_str().expect("a text"), pair[1].as_str().expect("a text")))
        .collect();
    let names = Labels::recognize(pairs.iter().map(|(_, reference)| *reference)).expect("labels");
    let scores = Classification::of(&names, pairs);
    assert_near(scores.accuracy, &labels["accuracy"], "accuracy");
    for (at, class) in scores.classes.iter().enumerate() {
        assert_near(class.precision, &labels["classes"][0][at], &class.label);
        assert_near(class.recall, &labels["classes"][1][at], &class.label);
        assert_near(class.f1, &labels["classes"][2][at], &class.label);
    }
    let macros = [scores.macro_precision, scores.macro_recall, scores.macro_f1];
    let weighted = [scores.weighted_precision, scores.weighted_recall, scores.weighted_f1];
    for (at, (macro_mean, weighted_mean)) in macros.into_iter().zip(weighted).enumerate() {
        assert_near(macro_mean, &labels["macro"][at], "macro");
        assert_near(weighted_mean, &labels["weighted"][at], "weighted");
    }
}
