//! Documents, the chunks they are cut into, and chunks with a score.

use std::fmt;
use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::{Attributes, Error, Result};

/// Longest accepted document id, in bytes.
const MAX_DOCUMENT_ID_BYTES: usize = 512;

/// A document's id: chosen by the user, unique in its collection, 1 to 512 bytes without control characters.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DocumentId(String);

impl DocumentId {
    /// Checks and wraps an id.
    pub fn new(id: impl Into<String>) -> Result<Self> {
        let id = id.into();
        let wrong = if id.is_empty() {
            "is empty"
        } else if id.len() > MAX_DOCUMENT_ID_BYTES {
            "is longer than 512 bytes"
        } else if id.chars().any(char::is_control) {
            "holds a control character"
        } else {
            return Ok(Self(id));
        };
        let shown: String = id.chars().take(40).flat_map(char::escape_default).collect();
        Err(Error::invalid(format!("the document id \"{shown}\" {wrong}; use 1 to 512 printable bytes"))
            .with_param("id"))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for DocumentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for DocumentId {
    type Error = Error;
    fn try_from(id: String) -> Result<Self> {
        Self::new(id)
    }
}

impl From<DocumentId> for String {
    fn from(id: DocumentId) -> Self {
        id.0
    }
}

/// One text with what is known about it, as the user gave it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Document {
    /// Unique in its collection; a second document with the same id replaces the first.
    pub id: DocumentId,
    /// Shown above hits and put before the text when chunks are embedded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// The text itself; never empty.
    pub text: String,
    /// Everything else, typed.
    #[serde(default, skip_serializing_if = "Attributes::is_empty")]
    pub attributes: Attributes,
}

/// A half-open range of bytes in a document's text, both ends on character borders.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ByteSpan {
    /// First byte.
    pub start: usize,
    /// One past the last byte.
    pub end: usize,
}

impl ByteSpan {
    /// The span from `start` to `end`; `None` when it is reversed.
    pub fn new(start: usize, end: usize) -> Option<Self> {
        (start <= end).then_some(Self { start, end })
    }

    /// The text under the span, or `None` when it lies outside `text` or splits a character.
    pub fn slice(self, text: &str) -> Option<&str> {
        text.get(self.range())
    }

    /// As a standard range.
    pub fn range(self) -> Range<usize> {
        self.start..self.end
    }
}

/// A chunk's id: given by the store, never reused in its collection, rises with time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ChunkId(pub u64);

impl fmt::Display for ChunkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A stored piece of a document, small enough to embed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Chunk {
    /// Given by the store.
    pub id: ChunkId,
    /// The document it was cut from.
    pub document_id: DocumentId,
    /// Position among the document's chunks, from 0.
    pub ordinal: u32,
    /// Where it lies in the document's text; `text` is exactly that slice.
    pub span: ByteSpan,
    /// The text of the chunk.
    pub text: String,
    /// Its length in the embedder's tokens.
    pub tokens: u32,
}

/// A chunk that a search found, with its document's title and attributes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ScoredChunk {
    /// The chunk.
    pub chunk: Chunk,
    /// What the hits of one search are ordered by before they are reranked; higher is better. The cosine for a search of
    /// vectors, BM25 for a search of words, the fused score in [0, 1] for both.
    pub score: f32,
    /// Cosine similarity with the query, in [-1, 1], whenever the query has a vector.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vector_score: Option<f32>,
    /// BM25 of the query's words, whenever they were searched for and one of them occurs; above 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keyword_score: Option<f32>,
    /// The cross-encoder's logit, when the hits were reranked; higher is better.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rerank_score: Option<f32>,
    /// Where words of the query occur in the chunk's text: ascending, not overlapping. Empty unless asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub highlights: Vec<ByteSpan>,
    /// The document's title.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// The document's attributes.
    #[serde(default, skip_serializing_if = "Attributes::is_empty")]
    pub attributes: Attributes,
}
