//! What a collection keeps in memory to be searched.

use serde::{Deserialize, Serialize};

use super::Collection;
use crate::Result;

/// Bytes that searching needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct IndexMemory {
    /// Vectors that are not in a segment yet, and the lists of removed rows: always in memory.
    pub tail_bytes: u64,
    /// Codes and graphs of the segments: mapped files that a search walks through.
    pub graph_bytes: u64,
    /// Vectors of the segments: mapped files of which a search reads the rows that it scores exactly.
    pub vector_bytes: u64,
}

impl Collection {
    /// What its searchable vectors take.
    pub fn index_memory(&self) -> Result<IndexMemory> {
        self.database()?;
        let snapshot = self.upkeep.vectors.snapshot();
        let indexes = snapshot.segments().iter().filter_map(|part| part.segment.index.as_ref());
        let graph_bytes = indexes.map(|index| (index.codes.memory() + index.graph.memory()) as u64).sum();
        let vector_bytes = snapshot.mapped_bytes().saturating_sub(graph_bytes);
        Ok(IndexMemory { tail_bytes: snapshot.memory_bytes(), graph_bytes, vector_bytes })
    }
}
