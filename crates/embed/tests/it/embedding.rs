//! What the default embedder makes of texts.

use std::thread;

use anser_core::{CancelToken, EmbedPurpose, Embedder, Embedding, ErrorKind};
use anser_embed::{EmbedOptions, Engine, TextEmbedder};

use crate::models::{embed, embedder, mixed_texts, models, onnx, options, strings};

fn cosine(a: &Embedding, b: &Embedding) -> f32 {
    a.cosine(b).unwrap()
}

#[test]
fn related_texts_are_nearer_than_unrelated_ones() {
    let questions = embed(&["how do I return a parcel", "good dog food"], EmbedPurpose::Query);
    let passages = embed(
        &[
            "You can send an item back within 30 days; print the label and drop the package at any post office.",
            "My terrier refused every kibble until we tried this one, and now the bowl is empty in a minute.",
            "The capital of France is Paris.",
        ],
        EmbedPurpose::Passage,
    );
    for (question, answer) in questions.iter().zip(0..) {
        let scores: Vec<f32> = passages.iter().map(|p| cosine(&question.embedding, &p.embedding)).collect();
        let best = (0..3).max_by(|a, b| scores[*a].total_cmp(&scores[*b])).unwrap();
        assert_eq!(best, answer, "{scores:?}");
        assert!(scores[answer] > scores[2] + 0.1, "{scores:?}");
    }
}

#[test]
fn vectors_of_onnx_runtime_agree_with_an_independent_implementation() {
    // The first numbers that Python's onnxruntime and tokenizers give for the same files, after normalising.
    let passage = [-0.024_497, -0.043_509, 0.002_888, 0.013_88, -0.019_109, 0.023_553, 0.036_86, 0.027_033];
    let query = [-0.050_269, -0.088_294, -0.032_696, -0.004_154, 0.031_951, 0.009_456, -0.010_037, 0.017_365];
    let embed = |text: &str, purpose| onnx().embed(&strings(&[text]), purpose, &CancelToken::new()).unwrap().remove(0);
    let got_passage = embed("The dog loves this food.", EmbedPurpose::Passage);
    let got_query = embed("good dog food", EmbedPurpose::Query);
    assert_eq!((got_passage.tokens, got_query.tokens), (8, 13));
    // Int8 kernels round differently on different processors.
    for (got, expected) in [(&got_passage, passage), (&got_query, query)] {
        for (a, b) in got.embedding.as_slice().iter().zip(expected) {
            assert!((a - b).abs() < 0.01, "{a} {b}");
        }
    }
}

#[test]
fn vectors_have_the_stated_dimension_and_unit_norm() {
    let info = embedder().info();
    assert_eq!((info.dimension, info.max_tokens), (384, 512));
    assert_eq!(info.fingerprint, models().embedder.fingerprint());
    for embedded in embed(&mixed_texts(), EmbedPurpose::Passage) {
        assert_eq!(embedded.embedding.dimension(), info.dimension);
        let norm: f32 = embedded.embedding.as_slice().iter().map(|v| v * v).sum::<f32>().sqrt();
        assert!((norm - 1.0).abs() < 1e-5, "{norm}");
    }
}

#[test]
fn only_a_query_gets_the_query_prefix() {
    let text = "best coffee for a moka pot";
    let prefixed = format!("{}{text}", models().embedder.spec.query_prefix);
    let query = embed(&[text], EmbedPurpose::Query).remove(0);
    let passages = embed(&[text, &prefixed], EmbedPurpose::Passage);
    assert_eq!(query, passages[1]);
    let difference = cosine(&query.embedding, &passages[0].embedding);
    assert!(difference < 0.98, "{difference}");
    assert!(query.tokens > passages[0].tokens);
}

#[test]
fn a_text_longer_than_the_model_reads_is_marked_and_its_end_is_ignored() {
    let fits = "word ".repeat(510);
    let longer = "word ".repeat(511);
    let much_longer = format!("{}{}", "word ".repeat(510), "something else entirely. ".repeat(20_000));
    let embedded = embed(&[&fits, &longer, &much_longer, "word"], EmbedPurpose::Passage);
    assert_eq!(embedded.iter().map(|e| e.truncated).collect::<Vec<_>>(), [false, true, true, false]);
    assert_eq!(embedded.iter().map(|e| e.tokens).collect::<Vec<_>>(), [512, 512, 512, 3]);
    assert_eq!(embedded[0].embedding, embedded[1].embedding);
    assert_eq!(embedded[0].embedding, embedded[2].embedding);
}

#[test]
fn a_text_gives_the_same_vector_whatever_it_is_embedded_with() {
    let texts = mixed_texts();
    let together = embed(&texts, EmbedPurpose::Passage);
    for (text, expected) in texts.iter().zip(&together) {
        assert_eq!(&embed(&[text], EmbedPurpose::Passage)[0], expected, "{text}");
    }
    let mut reversed = texts;
    reversed.reverse();
    let mut again = embed(&reversed, EmbedPurpose::Passage);
    again.reverse();
    assert_eq!(again, together);
}

#[test]
fn larger_runs_of_onnx_runtime_move_the_vectors_of_an_int8_model_only_a_little() {
    let options = EmbedOptions { batch_tokens: Some(1024), engine: Some(Engine::Onnx), ..options() };
    let batching = TextEmbedder::load(&models().embedder, &models().runtime, &options).unwrap();
    let texts = mixed_texts();
    let together = batching.embed(&texts, EmbedPurpose::Passage, &CancelToken::new()).unwrap();
    let alone = onnx().embed(&texts, EmbedPurpose::Passage, &CancelToken::new()).unwrap();
    for ((text, alone), batched) in texts.iter().zip(alone).zip(together) {
        let agreement = cosine(&alone.embedding, &batched.embedding);
        assert!(agreement > 0.97, "{agreement} {text}");
        assert_eq!((alone.tokens, alone.truncated), (batched.tokens, batched.truncated));
    }
}

#[test]
fn many_callers_at_once_each_get_their_own_answers() {
    let texts = mixed_texts();
    let expected = embed(&texts, EmbedPurpose::Passage);
    thread::scope(|scope| {
        for (texts, expected) in texts.chunks(4).zip(expected.chunks(4)) {
            scope.spawn(move || assert_eq!(embed(texts, EmbedPurpose::Passage), expected));
        }
    });
}

#[test]
fn an_empty_text_is_refused_by_its_position() {
    for blank in ["", " \n\t"] {
        let texts = strings(&["fine", "also fine", blank, "fine again"]);
        let error = embedder().embed(&texts, EmbedPurpose::Passage, &CancelToken::new()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(error.to_string().starts_with("text 2 (counted from 0) is empty"), "{error}");
    }
    assert!(embed::<&str>(&[], EmbedPurpose::Passage).is_empty());
}

#[test]
fn a_cancelled_call_is_answered_as_cancelled() {
    let cancel = CancelToken::new();
    let texts = vec!["a sentence that takes the model a moment to read ".repeat(40); 5000];
    let error = thread::scope(|scope| {
        let embedding = scope.spawn(|| embedder().embed(&texts, EmbedPurpose::Passage, &cancel));
        cancel.cancel();
        embedding.join().unwrap().unwrap_err()
    });
    assert_eq!(error.kind(), ErrorKind::Cancelled);
}

#[test]
fn tokens_are_counted_without_special_tokens_and_prefixes() {
    let count = |text: &str| embedder().count_tokens(text).unwrap();
    assert_eq!(count("The dog loves this food."), 6);
    assert_eq!(count(""), 0);
    assert_eq!(count("狗粮很好吃"), 5);
    assert_eq!(count(&"two words ".repeat(20_000)), 40_000);
}
