//! Collections and their documents.

use anser_core::DocumentId;
use anser_engine::CollectionInfo;
use serde::{Deserialize, Serialize};

use super::filter::AnyFilter;

/// `POST /v1/collections`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CreateCollection {
    pub(crate) name: String,
    /// Whose vectors its documents bring along; without it the loaded embedder makes them.
    #[serde(default)]
    pub(crate) embedding: Option<OwnVectors>,
}

/// Vectors that the caller makes.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct OwnVectors {
    /// What makes them, in the caller's words.
    pub(crate) name: String,
    /// Numbers of each.
    pub(crate) dimension: usize,
}

/// One collection.
#[derive(Debug, Serialize)]
pub(crate) struct CollectionView {
    object: &'static str,
    #[serde(flatten)]
    info: CollectionInfo,
}

impl From<CollectionInfo> for CollectionView {
    fn from(info: CollectionInfo) -> Self {
        Self { object: "collection", info }
    }
}

/// What is left of something deleted.
#[derive(Debug, Serialize)]
#[expect(clippy::struct_field_names, reason = "the names are those of the wire")]
pub(crate) struct Deleted {
    pub(crate) id: String,
    pub(crate) object: &'static str,
    pub(crate) deleted: bool,
}

impl Deleted {
    pub(crate) fn new(object: &'static str, id: impl Into<String>) -> Self {
        Self { id: id.into(), object, deleted: true }
    }
}

/// `POST …/documents/delete`: either of the two.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct DeleteDocuments {
    #[serde(default)]
    pub(crate) ids: Option<Vec<DocumentId>>,
    /// All documents that this lets through.
    #[serde(default)]
    pub(crate) filter: Option<AnyFilter>,
}

/// How many documents were there to delete.
#[derive(Debug, Serialize)]
pub(crate) struct DocumentsDeleted {
    pub(crate) deleted: usize,
}

/// The query of `POST …/documents`: which columns hold what.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(clippy::struct_field_names, reason = "the names are those of the wire")]
pub(crate) struct IngestQuery {
    pub(crate) text_field: Option<String>,
    pub(crate) id_field: Option<String>,
    pub(crate) title_field: Option<String>,
    pub(crate) embedding_field: Option<String>,
}

/// The query of `GET …/export`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ExportQuery {
    pub(crate) format: Option<String>,
    /// Whether vectors come along.
    pub(crate) vectors: Option<bool>,
    /// A condition on attributes, as the command line takes it.
    #[serde(rename = "where")]
    pub(crate) condition: Option<String>,
}

/// The query of `GET …/documents`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PageQuery {
    /// The last id of the page before.
    pub(crate) after: Option<DocumentId>,
    /// Most documents of this page.
    pub(crate) limit: Option<usize>,
}
