//! A `SentencePiece` model (Kudo and Richardson 2018) as a `tokenizer.json`. The numbers of fields are those of
//! `sentencepiece_model.proto` (<https://github.com/google/sentencepiece/blob/master/src/sentencepiece_model.proto>).
//!
//! The same ids come out as from `SentencePiece` itself, with `<s>` and `</s>` around them, but for two things. Where two ways
//! of cutting a word have the same score, rounding decides, and the one library rounds sums to 32 bits, the other to 64. And
//! Hangul that is written in single letters (Unicode's decomposed form) is composed by `SentencePiece` alone.

use prost::Message;
use serde::Serialize;
use tokenizers::normalizers::Precompiled;

/// The escaped space, which begins every word.
const SPACE: char = '\u{2581}';

#[derive(Clone, PartialEq, Message)]
pub(super) struct PieceModel {
    #[prost(message, repeated, tag = "1")]
    pub(super) pieces: Vec<Piece>,
    #[prost(message, required, tag = "2")]
    pub(super) trainer: Trainer,
    #[prost(message, required, tag = "3")]
    pub(super) normalizer: Normalizer,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Piece {
    #[prost(string, optional, tag = "1")]
    pub(super) text: Option<String>,
    #[prost(float, optional, tag = "2")]
    pub(super) score: Option<f32>,
    #[prost(enumeration = "PieceKind", optional, tag = "3", default = "Normal")]
    pub(super) kind: Option<i32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, prost::Enumeration)]
#[repr(i32)]
pub(super) enum PieceKind {
    Normal = 1,
    Unknown = 2,
    Control = 3,
    UserDefined = 4,
    Unused = 5,
    Byte = 6,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Trainer {
    /// 1: unigram, 2: byte pairs, 3: words, 4: characters.
    #[prost(int32, optional, tag = "3", default = "1")]
    pub(super) model_type: Option<i32>,
    #[prost(bool, optional, tag = "24")]
    pub(super) treat_whitespace_as_suffix: Option<bool>,
    #[prost(bool, optional, tag = "35")]
    pub(super) byte_fallback: Option<bool>,
    #[prost(int32, optional, tag = "40", default = "0")]
    pub(super) unk_id: Option<i32>,
    #[prost(int32, optional, tag = "41", default = "1")]
    pub(super) bos_id: Option<i32>,
    #[prost(int32, optional, tag = "42", default = "2")]
    pub(super) eos_id: Option<i32>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Normalizer {
    #[prost(bytes = "vec", optional, tag = "2")]
    pub(super) precompiled_charsmap: Option<Vec<u8>>,
    #[prost(bool, optional, tag = "3", default = "true")]
    pub(super) add_dummy_prefix: Option<bool>,
    #[prost(bool, optional, tag = "4", default = "true")]
    pub(super) remove_extra_whitespaces: Option<bool>,
    #[prost(bool, optional, tag = "5", default = "true")]
    pub(super) escape_whitespaces: Option<bool>,
}

/// Writes the piece model `bytes` as a `tokenizer.json`. The error completes "the file ...".
pub(super) fn tokenizer_json(bytes: &[u8]) -> Result<Vec<u8>, String> {
    let model = PieceModel::decode(bytes).map_err(|e| format!("holds a piece model that cannot be read ({e})"))?;
    let vocabulary = vocabulary(&model)?;
    let token = |what: &str, id: i32| {
        let named = usize::try_from(id).ok().and_then(|at| vocabulary.get(at).map(|(name, _)| (at, name.as_str())));
        named.ok_or_else(|| format!("holds a piece model without {what}"))
    };
    let (unknown, pad) = token("an unknown piece", model.trainer.unk_id())?;
    let begin = token("a piece that begins a text", model.trainer.bos_id())?;
    let end = token("a piece that ends a text", model.trainer.eos_id())?;
    // Written out rather than put together as a tree: the file is verified by its hash, so nothing may depend on the order
    // in which a map keeps its keys.
    let text = format!(
        concat!(
            r#"{{"version":"1.0","truncation":null,"padding":{{"strategy":"BatchLongest","direction":"Right","#,
            r#""pad_to_multiple_of":null,"pad_id":{unknown},"pad_type_id":0,"pad_token":{pad}}},"added_tokens":[],"#,
            r#""normalizer":{{"type":"Sequence","normalizers":[{normalizers}]}},"pre_tokenizer":null,"#,
            r#""post_processor":{{"type":"TemplateProcessing","#,
            r#""single":[{{"SpecialToken":{{"id":"<s>","type_id":0}}}},{{"Sequence":{{"id":"A","type_id":0}}}},"#,
            r#"{{"SpecialToken":{{"id":"</s>","type_id":0}}}}],"pair":[{{"Sequence":{{"id":"A","type_id":0}}}},"#,
            r#"{{"Sequence":{{"id":"B","type_id":0}}}}],"special_tokens":{{"#,
            r#""<s>":{{"id":"<s>","ids":[{begin}],"tokens":[{begin_name}]}},"#,
            r#""</s>":{{"id":"</s>","ids":[{end}],"tokens":[{end_name}]}}}}}},"#,
            r#""decoder":null,"model":{{"type":"Unigram","unk_id":{unknown},"byte_fallback":false,"vocab":{vocabulary}}}}}"#,
        ),
        unknown = unknown,
        pad = json(&pad)?,
        normalizers = normalizers(&model.normalizer)?.join(","),
        begin = begin.0,
        begin_name = json(&begin.1)?,
        end = end.0,
        end_name = json(&end.1)?,
        vocabulary = json(&vocabulary)?,
    );
    Ok(text.into_bytes())
}

/// Names and scores of the pieces; a piece's id is its position. Pieces that no text may contain get a space before their
/// name, which no normalised text holds: `<s>` in a text is four characters, not the beginning of another one.
fn vocabulary(model: &PieceModel) -> Result<Vec<(String, f64)>, String> {
    let trainer = &model.trainer;
    if trainer.model_type() != 1 || trainer.byte_fallback() || trainer.treat_whitespace_as_suffix() {
        return Err("holds a piece model that is not a plain unigram one".to_owned());
    }
    let entry = |(id, piece): (usize, &Piece)| {
        let (name, score) = (piece.text(), f64::from(piece.score()));
        let kind = piece.kind.map_or(Ok(PieceKind::Normal), PieceKind::try_from);
        match kind {
            Ok(PieceKind::Normal | PieceKind::UserDefined) if score.is_finite() && !name.is_empty() => {
                Ok((name.to_owned(), score))
            }
            Ok(PieceKind::Unknown | PieceKind::Control | PieceKind::Unused) => Ok((format!(" {name}"), 0.0)),
            _ => Err(format!("holds a piece model whose piece {id} has a kind or score that is not read")),
        }
    };
    model.pieces.iter().enumerate().map(entry).collect()
}

/// The steps from a text as written to one that pieces are looked for in, each as JSON.
fn normalizers(spec: &Normalizer) -> Result<Vec<String>, String> {
    if !spec.escape_whitespaces() {
        return Err("holds a piece model that does not mark spaces".to_owned());
    }
    let mut steps = Vec::new();
    if !spec.precompiled_charsmap().is_empty() {
        let map = Precompiled::from(spec.precompiled_charsmap())
            .map_err(|e| format!("holds a piece model with a map of characters that cannot be read ({e})"))?;
        steps.push(json(&map)?);
    }
    let replace =
        |pattern: &str, content: &str| format!(r#"{{"type":"Replace","pattern":{pattern},"content":"{content}"}}"#);
    if spec.remove_extra_whitespaces() {
        steps.push(replace(r#"{"Regex":" {2,}"}"#, " "));
        // Marks at the end are taken off like the spaces that they stand for.
        steps.push(replace(&format!(r#"{{"Regex":"^ |[ {SPACE}]+$"}}"#), ""));
    }
    steps.push(replace(r#"{"String":" "}"#, &SPACE.to_string()));
    if spec.add_dummy_prefix() {
        steps.push(format!(r#"{{"type":"Prepend","prepend":"{SPACE}"}}"#));
    }
    Ok(steps)
}

fn json<T: Serialize + ?Sized>(value: &T) -> Result<String, String> {
    serde_json::to_string(value).map_err(|e| format!("holds a piece model that cannot be written ({e})"))
}
