//! An answer from retrieved context and the citations that hold it up.

use serde::{Deserialize, Serialize};

use crate::{ByteSpan, ChunkId, DocumentId, FinishReason, TokenUsage};

/// A numbered passage that the model was shown.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ContextPassage {
    /// Its number in the prompt, from 1.
    pub number: usize,
    /// The document it comes from.
    pub document_id: DocumentId,
    /// The chunk it comes from.
    pub chunk_id: ChunkId,
    /// Where the chunk lies in the document's text, in bytes.
    pub span: ByteSpan,
    /// The document's title.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// The chunk's text.
    pub text: String,
    /// Cosine similarity with the question.
    pub score: f32,
    /// The cross-encoder's logit, when the hits were reranked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rerank_score: Option<f32>,
}

/// One link from a part of the answer to the part of a passage that supports it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Citation {
    /// The passage's number: always one of the answer's passages.
    pub number: usize,
    /// The document cited.
    pub document_id: DocumentId,
    /// The chunk cited.
    pub chunk_id: ChunkId,
    /// The document's title.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// Where the quote lies in the document's text, in bytes.
    pub span: ByteSpan,
    /// The quoted text: exactly the bytes under `span`.
    pub quote: String,
    /// The part of the answer's text that the quote supports, in bytes of that text.
    pub answer_span: ByteSpan,
    /// How well the two align, in [0, 1].
    pub support: f32,
}

/// Where an answer's time went, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct AnswerTimings {
    /// Embedding the question and searching.
    pub retrieve_ms: f64,
    /// Reranking the hits.
    pub rerank_ms: f64,
    /// Generating, waiting included.
    pub generate_ms: f64,
    /// All of it.
    pub total_ms: f64,
}

/// An answer with its evidence, or an abstention.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// The text shown to the user.
    pub text: String,
    /// What supports it, in order of appearance; empty when abstained.
    pub citations: Vec<Citation>,
    /// Whether the evidence was too weak to answer.
    pub abstained: bool,
    /// What the model was shown, or, when abstained, the nearest passages found.
    pub passages: Vec<ContextPassage>,
    /// Why generation ended; `None` when nothing was generated.
    pub finish_reason: Option<FinishReason>,
    /// Tokens read and written.
    pub usage: TokenUsage,
    /// Where the time went.
    pub timings: AnswerTimings,
}
