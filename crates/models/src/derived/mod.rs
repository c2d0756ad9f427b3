//! Files that no source carries: made once on this machine out of another file of the same model, and verified like a
//! downloaded one, because the same bytes come out everywhere.

mod cut;
mod pieces;
#[cfg(test)]
mod tests;
mod wire;

use serde::{Deserialize, Serialize};

/// Which file a derived one is made of, and how.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Derivation {
    /// Name of the other file in the model's folder.
    pub from: String,
    /// What is done with it.
    pub step: DerivationStep,
}

/// What makes a file out of another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DerivationStep {
    /// Takes the operator `SentencepieceTokenizer` off the beginning of an ONNX graph: what remains reads token ids and
    /// runs without a library of custom operators.
    CutSentencePiece,
    /// Writes the piece model in that operator as a `tokenizer.json`.
    SentencePieceTokenizer,
}

impl DerivationStep {
    /// The derived file's bytes. The error completes "the file ...".
    pub(crate) fn apply(self, source: &[u8]) -> Result<Vec<u8>, String> {
        let cut = cut::cut(source)?;
        match self {
            Self::CutSentencePiece => Ok(cut.remaining),
            Self::SentencePieceTokenizer => pieces::tokenizer_json(cut.piece_model),
        }
    }
}
