//! Which rows of each segment hold chunks that a filter lets through, found once for each filter and segment.

use std::sync::{Arc, Weak};

use anser_core::ChunkId;
use parking_lot::Mutex;

use super::row_set::RowSet;
use super::vectors::Vectors;

/// The rows of each segment that was searched with a filter, kept for the next search with it.
#[derive(Debug, Default)]
pub(crate) struct AllowedRows(Mutex<Vec<(Weak<Vectors>, Arc<RowSet>)>>);

impl AllowedRows {
    /// The rows of `vectors` that hold one of `chunks`, which ascend and must be the same at every call.
    pub(super) fn of(&self, chunks: &[ChunkId], vectors: &Arc<Vectors>) -> Arc<RowSet> {
        let mut known = self.0.lock();
        known.retain(|(of, _)| of.strong_count() > 0);
        if let Some((_, rows)) = known.iter().find(|(of, _)| std::ptr::eq(of.as_ptr(), Arc::as_ptr(vectors))) {
            return Arc::clone(rows);
        }
        let rows = Arc::new(RowSet::new(vectors.len(), vectors.rows_of(chunks)));
        known.push((Arc::downgrade(vectors), Arc::clone(&rows)));
        rows
    }
}
