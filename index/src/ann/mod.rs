//! Vector search: immutable segments and a small exact tail behind one snapshot.
//!
//! A score is the cosine of two unit vectors, in [-1, 1]; higher is closer. Results are ordered by falling score, equal
//! scores by rising chunk id. Readers take the current [`Snapshot`] and never wait for a writer.

mod allowed_rows;
mod beam;
mod builder;
mod calibrate;
mod checksum;
mod codes;
mod exact;
mod find;
mod graph;
mod hnsw;
#[cfg(test)]
mod made;
mod native;
mod plan;
mod reachable;
mod row_set;
mod segment;
mod snapshot;
mod tail;
mod top;
mod vector_file;
mod vectors;
mod walk;

use std::sync::Arc;

use anser_core::{ChunkId, Embedding, VectorBackend};
use parking_lot::{Mutex, RwLock};

pub(crate) use allowed_rows::AllowedRows;
pub use builder::GraphBuilder;
pub(crate) use builder::{HnswParams, build_graph};
pub(crate) use checksum::xxh3_hex;
pub(crate) use segment::{Damage, Segment, SegmentFiles, write_vectors};
pub(crate) use snapshot::{Part, Snapshot};
pub(crate) use top::Top;
pub(crate) use vector_file::VectorWriter;
pub(crate) use vectors::{dot, from_blob, to_blob, wrong_dimension};

use crate::Result;

/// Below so many vectors a search compares the query with every one of them.
pub(crate) const EXACT_BELOW: usize = 20_000;

/// How a search found its hits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SearchMethod {
    /// The query was compared with every vector.
    Exact,
    /// Graphs were searched, and the tail exactly.
    Hnsw,
}

/// How to search a [`SegmentSet`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct AnnQuery {
    /// Most hits wanted.
    pub(crate) k: usize,
    /// Whether to compare with every vector; `None` decides by size.
    pub(crate) exact: Option<bool>,
    /// Beam width in a graph, of which at least `k` is used; `None` is what each segment needs for `target_recall`.
    pub(crate) ef_search: Option<usize>,
    /// With fewer vectors than this, every one is compared when `exact` does not say.
    pub(crate) exact_below: usize,
    /// Share of the true ten nearest that a graph should find, in (0, 1).
    pub(crate) target_recall: f64,
}

/// Segments and tail, searchable while they change.
#[derive(Debug)]
pub(crate) struct SegmentSet {
    current: RwLock<Arc<Snapshot>>,
    /// Held by whoever makes the next snapshot from the current one.
    writing: Mutex<()>,
    exact_below: usize,
    target_recall: f64,
}

impl SegmentSet {
    /// A set that shows `snapshot`.
    pub(crate) fn new(snapshot: Snapshot, exact_below: usize, target_recall: f64) -> Self {
        Self { current: RwLock::new(Arc::new(snapshot)), writing: Mutex::new(()), exact_below, target_recall }
    }

    /// What can be searched now.
    pub(crate) fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.current.read())
    }

    /// Replaces the snapshot by what `make` makes of it; one at a time.
    pub(crate) fn update(&self, make: impl FnOnce(&Snapshot) -> Result<Option<Snapshot>>) -> Result<Arc<Snapshot>> {
        let _writing = self.writing.lock();
        let before = self.snapshot();
        match make(&before)? {
            None => Ok(before),
            Some(after) => {
                let after = Arc::new(after);
                *self.current.write() = Arc::clone(&after);
                Ok(after)
            }
        }
    }

    /// Completes the caller's wishes with this set's defaults.
    pub(crate) fn query(&self, k: usize, exact: Option<bool>, ef_search: Option<usize>) -> AnnQuery {
        AnnQuery { k, exact, ef_search, exact_below: self.exact_below, target_recall: self.target_recall }
    }
}

impl VectorBackend for SegmentSet {
    fn len(&self) -> usize {
        self.snapshot().len()
    }

    fn upsert(&self, vectors: &[(ChunkId, Embedding)]) -> anser_core::Result<()> {
        self.update(|before| {
            let mut added: Vec<(ChunkId, &[f32])> = Vec::with_capacity(vectors.len());
            for (id, embedding) in vectors {
                if embedding.dimension() != before.dimension() {
                    return Err(wrong_dimension(embedding.dimension(), before.dimension()));
                }
                added.push((*id, embedding.as_slice()));
            }
            // Of several vectors under one id the last counts: a stable sort keeps them in order.
            added.reverse();
            added.sort_by_key(|(id, _)| *id);
            added.dedup_by_key(|(id, _)| *id);
            let removed: Vec<ChunkId> = added.iter().map(|(id, _)| *id).collect();
            before.changed(&removed, added.into_iter(), before.seq()).map(Some)
        })?;
        Ok(())
    }

    fn remove(&self, ids: &[ChunkId]) -> anser_core::Result<()> {
        self.update(|before| before.changed(ids, std::iter::empty(), before.seq()).map(Some))?;
        Ok(())
    }

    fn search(&self, query: &Embedding, k: usize, exact: bool) -> anser_core::Result<Vec<(ChunkId, f32)>> {
        let snapshot = self.snapshot();
        Ok(snapshot.search(query, &self.query(k, exact.then_some(true), None), None)?.hits)
    }
}

#[cfg(test)]
mod tests {
    use anser_core::ErrorKind;

    use super::*;

    fn unit(x: f32, y: f32) -> Embedding {
        Embedding::normalize(vec![x, y]).unwrap()
    }

    #[test]
    fn a_backend_replaces_removes_and_ranks() {
        let set = SegmentSet::new(Snapshot::new(2, 0, 0, Vec::new()), EXACT_BELOW, 0.98);
        let backend: &dyn VectorBackend = &set;
        assert!(backend.is_empty());
        let first = [(ChunkId(7), unit(1.0, 0.0)), (ChunkId(3), unit(0.0, 1.0)), (ChunkId(5), unit(1.0, 1.0))];
        backend.upsert(&first).unwrap();
        backend
            .upsert(&[(ChunkId(3), unit(-1.0, 0.0)), (ChunkId(9), unit(0.0, 1.0)), (ChunkId(9), unit(1.0, 0.0))])
            .unwrap();
        assert_eq!(backend.len(), 4);
        let ids = |k, exact| -> Vec<u64> {
            backend.search(&unit(1.0, 0.0), k, exact).unwrap().into_iter().map(|(id, _)| id.0).collect()
        };
        assert_eq!(ids(9, true), [7, 9, 5, 3]);
        assert_eq!(ids(9, false), [7, 9, 5, 3]);
        backend.remove(&[ChunkId(9), ChunkId(1000)]).unwrap();
        assert_eq!(ids(2, true), [7, 5]);
        let wrong = Embedding::normalize(vec![1.0; 3]).unwrap();
        assert_eq!(backend.upsert(&[(ChunkId(1), wrong.clone())]).unwrap_err().kind(), ErrorKind::InvalidInput);
        assert_eq!(backend.search(&wrong, 1, true).unwrap_err().kind(), ErrorKind::InvalidInput);
        assert_eq!(backend.len(), 3);
    }

    #[test]
    fn a_snapshot_in_use_does_not_change() {
        let set = SegmentSet::new(Snapshot::new(2, 0, 0, Vec::new()), EXACT_BELOW, 0.98);
        set.upsert(&[(ChunkId(1), unit(1.0, 0.0))]).unwrap();
        let before = set.snapshot();
        set.remove(&[ChunkId(1)]).unwrap();
        assert_eq!((before.len(), set.snapshot().len()), (1, 0));
    }
}
