//! What a collection is, and what it takes on disk.

use std::path::Path;

use anser_core::EmbedderInfo;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::Result;
use crate::database::Database;

/// What a collection is and how much it holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CollectionInfo {
    /// Its name.
    pub name: String,
    /// Documents in it.
    pub documents: u64,
    /// Chunks of all documents; each has a vector.
    pub chunks: u64,
    /// Who makes its vectors.
    pub embedder: EmbedderInfo,
    /// When it was created.
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
    /// Bytes on disk, caches included.
    pub disk_bytes: u64,
}

/// What the collection `name` in `folder` is and holds.
pub(crate) fn info(name: &str, folder: &Path, database: &Database) -> Result<CollectionInfo> {
    let counts = database.counts()?;
    let identity = database.identity();
    Ok(CollectionInfo {
        name: name.to_owned(),
        documents: counts.documents,
        chunks: counts.chunks,
        embedder: identity.embedder.clone(),
        created_at: identity.created_at,
        disk_bytes: disk_bytes(folder),
    })
}

/// Bytes of all files below `folder`; what vanishes meanwhile does not count.
pub(super) fn disk_bytes(folder: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
    entries
        .flatten()
        .map(|entry| match entry.metadata() {
            Ok(meta) if meta.is_dir() => disk_bytes(&entry.path()),
            Ok(meta) => meta.len(),
            Err(_) => 0,
        })
        .sum()
}
