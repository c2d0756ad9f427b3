//! Cutting and translating small models that are made here.

use proptest::prelude::*;
use prost::Message;
use tokenizers::Tokenizer;

use super::DerivationStep;
use super::cut::cut;
use super::pieces::{Normalizer, Piece, PieceKind, PieceModel, Trainer, tokenizer_json};
use super::wire::{fields, put, put_number};

fn message(parts: &[(u32, &[u8])]) -> Vec<u8> {
    let mut out = Vec::new();
    for (number, content) in parts {
        put(&mut out, *number, content);
    }
    out
}

/// A graph of a tokenizer, a node that reads it and one that does not; `pieces` is its piece model.
fn onnx(pieces: &[u8]) -> Vec<u8> {
    let attribute = message(&[(1, b"model"), (4, pieces)]);
    let tokenizer = message(&[
        (1, b"texts"),
        (1, b"alpha"),
        (2, b"ids"),
        (2, b"splits"),
        (4, b"SentencepieceTokenizer"),
        (5, &attribute),
        (7, b"ai.onnx.contrib"),
    ]);
    let reader = message(&[(1, b"ids"), (1, b"weights"), (1, b"splits"), (2, b"y"), (4, b"Something")]);
    let other = message(&[(1, b"y"), (2, b"z"), (4, b"Relu")]);
    let graph = message(&[
        (1, &tokenizer),
        (1, &reader),
        (1, &other),
        (2, b"graph"),
        (5, &message(&[(8, b"alpha")])),
        (5, &message(&[(8, b"weights"), (9, b"\x01\x02")])),
        (11, &message(&[(1, b"texts")])),
        (12, &message(&[(1, b"z")])),
        (13, &message(&[(1, b"ids")])),
    ]);
    let mut model = Vec::new();
    put_number(&mut model, 1, 7);
    put(&mut model, 8, &message(&[(1, b"")]));
    put(&mut model, 8, &message(&[(1, b"ai.onnx.contrib")]));
    put(&mut model, 7, &graph);
    put(&mut model, 99, b"something that came later");
    model
}

/// Unknown, control, user-defined and plain pieces.
fn piece_model() -> PieceModel {
    let piece = |name: &str, score: f32, kind: PieceKind| Piece {
        text: Some(name.to_owned()),
        score: Some(score),
        kind: (kind != PieceKind::Normal).then_some(kind as i32),
    };
    let plain = |name: &str, score: f32| piece(name, score, PieceKind::Normal);
    PieceModel {
        pieces: vec![
            piece("<unk>", 0.0, PieceKind::Unknown),
            piece("<s>", 0.0, PieceKind::Control),
            piece("</s>", 0.0, PieceKind::Control),
            piece("<name>", 0.0, PieceKind::UserDefined),
            plain("▁", -2.0),
            plain("▁ab", -3.0),
            plain("a", -4.0),
            plain("b", -4.5),
            plain("<", -5.0),
            plain("s", -5.0),
            plain(">", -5.0),
        ],
        trainer: Trainer { model_type: Some(1), ..Trainer::default() },
        normalizer: Normalizer::default(),
    }
}

fn ids(json: &[u8], text: &str) -> Vec<u32> {
    Tokenizer::from_bytes(json).unwrap().encode(text, true).unwrap().get_ids().to_vec()
}

#[test]
fn what_remains_takes_ids_and_keeps_everything_else() {
    let bytes = onnx(b"pieces");
    let cut = cut(&bytes).unwrap();
    assert_eq!(cut.piece_model, b"pieces");
    let model = fields(&cut.remaining).unwrap();
    assert_eq!(model.iter().map(|f| f.number).collect::<Vec<_>>(), [1, 8, 7, 99]);
    assert_eq!(model[3].content, b"something that came later");
    let graph = fields(model[2].content).unwrap();
    assert_eq!(graph.iter().map(|f| f.number).collect::<Vec<_>>(), [1, 1, 2, 5, 12, 11, 11]);
    let reader: Vec<&str> = fields(graph[0].content).unwrap().iter().map(|f| f.text().unwrap()).collect();
    assert_eq!(reader, ["tokens", "weights", "row_splits", "y", "Something"]);
    assert_eq!(graph[3].content, message(&[(8, b"weights"), (9, b"\x01\x02")]), "`alpha` was the tokenizer's alone");
    for (input, name) in graph[5..].iter().zip(["tokens", "row_splits"]) {
        assert_eq!(fields(input.content).unwrap()[0].text().unwrap(), name);
    }
}

#[test]
fn graphs_that_cannot_be_cut_are_refused_with_the_reason() {
    let twice = {
        let whole = onnx(b"p");
        let graph = fields(&whole).unwrap().into_iter().find(|f| f.number == 7).unwrap();
        let tokenizer = fields(graph.content).unwrap()[0];
        message(&[(7, &[graph.content, tokenizer.whole].concat())])
    };
    let elsewhere = {
        let whole = onnx(b"p");
        let graph = fields(&whole).unwrap().into_iter().find(|f| f.number == 7).unwrap();
        message(&[(7, &[graph.content, &message(&[(1, &message(&[(1, b"texts")]))])].concat())])
    };
    for (bytes, reason) in [
        (Vec::new(), "has no graph"),
        (message(&[(7, b"")]), "has no SentencepieceTokenizer"),
        (twice, "more than one SentencepieceTokenizer"),
        (elsewhere, "other places"),
        (b"not a graph".to_vec(), ""),
    ] {
        let error = cut(&bytes).unwrap_err();
        assert!(error.contains(reason), "{error}");
    }
}

#[test]
fn pieces_are_found_as_sentence_piece_finds_them() {
    let json = tokenizer_json(&piece_model().encode_to_vec()).unwrap();
    assert_eq!(ids(&json, "ab"), [1, 5, 2]);
    assert_eq!(ids(&json, "  ab   a "), [1, 5, 4, 6, 2], "spaces are one each, and none around the text");
    assert_eq!(ids(&json, "ba"), [1, 4, 7, 6, 2]);
    assert_eq!(ids(&json, "zq"), [1, 4, 0, 2], "unknown characters in a row are one token");
    assert_eq!(ids(&json, "<s>"), [1, 4, 8, 9, 10, 2], "control pieces are not read out of texts");
    assert_eq!(ids(&json, "<name>"), [1, 4, 3, 2]);
    assert_eq!(ids(&json, ""), [1, 2]);
}

#[test]
fn piece_models_of_other_kinds_are_refused() {
    let refused = |change: &dyn Fn(&mut PieceModel)| {
        let mut model = piece_model();
        change(&mut model);
        tokenizer_json(&model.encode_to_vec()).unwrap_err()
    };
    for error in [
        refused(&|m| m.trainer.model_type = Some(2)),
        refused(&|m| m.trainer.byte_fallback = Some(true)),
        refused(&|m| m.trainer.treat_whitespace_as_suffix = Some(true)),
        refused(&|m| m.trainer.eos_id = Some(-1)),
        refused(&|m| m.trainer.unk_id = Some(100)),
        refused(&|m| m.normalizer.escape_whitespaces = Some(false)),
        refused(&|m| m.normalizer.precompiled_charsmap = Some(vec![1])),
        refused(&|m| m.pieces[5].score = Some(f32::NAN)),
        refused(&|m| m.pieces[5].kind = Some(PieceKind::Byte as i32)),
        refused(&|m| m.pieces[5].kind = Some(77)),
    ] {
        assert!(error.starts_with("holds a piece model"), "{error}");
    }
}

proptest! {
    #[test]
    fn any_bytes_are_cut_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        for step in [DerivationStep::CutSentencePiece, DerivationStep::SentencePieceTokenizer] {
            let _ = step.apply(&bytes);
        }
        let _ = tokenizer_json(&bytes);
    }

    #[test]
    fn any_damage_is_cut_or_refused(at in any::<prop::sample::Index>(), with in any::<u8>(), keep in any::<prop::sample::Index>()) {
        let mut bytes = onnx(&piece_model().encode_to_vec());
        let place = at.index(bytes.len());
        bytes[place] = with;
        bytes.truncate(keep.index(bytes.len()) + 1);
        for step in [DerivationStep::CutSentencePiece, DerivationStep::SentencePieceTokenizer] {
            let _ = step.apply(&bytes);
        }
    }
}
