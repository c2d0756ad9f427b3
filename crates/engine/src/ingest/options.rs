//! What a caller may choose about an ingest.

use serde::{Deserialize, Serialize};

use super::FileFormat;

/// Which columns hold what. A field that is `None` is guessed from the columns' names and contents.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FieldMapping {
    /// The column with unique ids. Guessed by name only; without one, ids are derived from the rows' contents.
    pub id: Option<String>,
    /// The column with titles.
    pub title: Option<String>,
    /// The column with the text to search.
    pub text: Option<String>,
    /// The column with vectors, for collections whose vectors their owner makes.
    pub embedding: Option<String>,
}

/// Vectors that rows bring along.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExternalVectors {
    /// What made them, in the owner's words: collections understand each other's vectors when this and the dimension are
    /// the same.
    pub name: String,
    /// Numbers of each vector; `None` is as many as the first row has.
    #[serde(default)]
    pub dimension: Option<usize>,
}

/// How to ingest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IngestOptions {
    /// The format; `None` recognises it by the file's extension.
    pub format: Option<FileFormat>,
    /// Which columns hold what.
    pub fields: FieldMapping,
    /// The rows bring their vectors along: the collection is made for them when it is missing, and has to be for them when
    /// it is there.
    pub external: Option<ExternalVectors>,
    /// The character between fields of a CSV file; `None` finds out from the header.
    pub delimiter: Option<u8>,
    /// What messages call the source of [`ingest_reader`](crate::Engine::ingest_reader); the id of a Markdown or text
    /// document read from it. `None`: the id is derived from the content.
    pub name: Option<String>,
    /// Most tokens of the embedder in one chunk; lowered to what the model reads.
    pub chunk_tokens: usize,
    /// Tokens that neighbouring chunks share.
    pub chunk_overlap: usize,
    /// Longest row, line or JSON object that is read, in bytes; a longer one is rejected without being held in memory.
    pub max_row_bytes: usize,
    /// Longest text of one document, in bytes; a longer one is rejected.
    pub max_text_bytes: usize,
    /// Documents that are embedded and stored together, in one durable transaction.
    pub batch_documents: usize,
}

impl Default for IngestOptions {
    fn default() -> Self {
        Self {
            format: None,
            fields: FieldMapping::default(),
            external: None,
            delimiter: None,
            name: None,
            chunk_tokens: 256,
            chunk_overlap: 32,
            max_row_bytes: 16 << 20,
            max_text_bytes: 8 << 20,
            batch_documents: 64,
        }
    }
}
