//! One immutable state of the searchable vectors: which parts there are, and which of their rows were removed.

use std::sync::Arc;

use anser_core::ChunkId;
use roaring::RoaringBitmap;

use super::Segment;
use super::tail::{Tail, live_rows, remove_from};
use crate::Result;

/// A segment with the rows that were removed since it was written.
#[derive(Debug, Clone)]
pub(crate) struct Part {
    /// The files.
    pub(crate) segment: Arc<Segment>,
    /// Rows that no longer count.
    pub(crate) removed: Arc<RoaringBitmap>,
}

/// Everything that can be searched at one moment.
#[derive(Debug, Clone)]
pub(crate) struct Snapshot {
    dimension: usize,
    /// The last change of the database that it reflects.
    seq: i64,
    /// The manifest that its segments come from.
    manifest: u64,
    segments: Vec<Part>,
    tail: Tail,
}

impl Snapshot {
    /// The segments of the manifest numbered so, which reflect changes up to `seq`, and no tail.
    pub(crate) fn new(dimension: usize, manifest: u64, seq: i64, segments: Vec<Part>) -> Self {
        Self { dimension, seq, manifest, segments, tail: Tail::default() }
    }

    /// Numbers in a vector.
    pub(crate) fn dimension(&self) -> usize {
        self.dimension
    }

    /// The last change of the database that it reflects.
    pub(crate) fn seq(&self) -> i64 {
        self.seq
    }

    /// The number of the manifest that its segments come from.
    pub(crate) fn manifest(&self) -> u64 {
        self.manifest
    }

    /// The segments, oldest first.
    pub(crate) fn segments(&self) -> &[Part] {
        &self.segments
    }

    /// Recent rows.
    pub(super) fn tail(&self) -> &Tail {
        &self.tail
    }

    /// Vectors that a search can find.
    pub(crate) fn len(&self) -> usize {
        self.segments.iter().map(Part::live).sum::<usize>() + self.tail_len()
    }

    /// Vectors of the tail that a search can find.
    pub(crate) fn tail_len(&self) -> usize {
        self.tail.len()
    }

    /// The rows of the tail that count, oldest first.
    pub(crate) fn tail_rows(&self) -> impl Iterator<Item = (ChunkId, &[f32])> {
        self.tail.rows()
    }

    /// Whether a search can find `id`.
    pub(crate) fn holds(&self, id: ChunkId) -> bool {
        let part = |p: &Part| p.segment.vectors.find(id).is_some_and(|row| !p.removed.contains(row));
        self.segments.iter().any(part) || self.tail.holds(id)
    }

    /// Bytes that it keeps in memory: its tail and the lists of removed rows. Mapped files come on top.
    pub(crate) fn memory_bytes(&self) -> u64 {
        let removed: u64 = self.segments.iter().map(|p| p.removed.serialized_size() as u64).sum();
        self.tail.memory_bytes() + removed
    }

    /// Bytes of the files that it maps; the system keeps as much of them in memory as it sees fit.
    pub(crate) fn mapped_bytes(&self) -> u64 {
        self.segments.iter().map(|p| p.segment.mapped_bytes()).sum()
    }

    /// The state after `removed` left and `added` (ascending by id) came, which reflects changes up to `seq`.
    pub(crate) fn changed<'a>(
        &self,
        removed: &[ChunkId],
        added: impl Iterator<Item = (ChunkId, &'a [f32])>,
        seq: i64,
    ) -> Result<Self> {
        let mut next = Self { seq, ..self.clone() };
        for part in &mut next.segments {
            remove_from(&part.segment.vectors, &mut part.removed, removed);
        }
        next.tail.change(self.dimension, removed, added)?;
        Ok(next)
    }

    /// The state in which each segment is what `replace` makes of it; what it makes nothing of is missing.
    pub(crate) fn with_segments(&self, replace: impl Fn(&Arc<Segment>) -> Option<Arc<Segment>>) -> Self {
        let segments = self
            .segments
            .iter()
            .filter_map(|part| Some(Part { segment: replace(&part.segment)?, removed: Arc::clone(&part.removed) }));
        Self { segments: segments.collect(), ..self.clone() }
    }

    /// The same state, as the manifest numbered so tells it.
    pub(crate) fn renumbered(self, manifest: u64) -> Self {
        Self { manifest, ..self }
    }

    /// The state in which `part` comes before the tail.
    pub(crate) fn with_part(&self, part: Part) -> Self {
        let mut next = self.clone();
        next.segments.push(part);
        next
    }
}

impl Part {
    /// A segment of which every row counts.
    pub(crate) fn whole(segment: Segment) -> Self {
        Self { segment: Arc::new(segment), removed: Arc::default() }
    }

    /// Rows that count.
    pub(crate) fn live(&self) -> usize {
        self.segment.vectors.len() - self.removed.len() as usize
    }

    /// The rows that count, ascending by id.
    pub(crate) fn rows(&self) -> impl Iterator<Item = (ChunkId, &[f32])> {
        live_rows(&self.segment.vectors, &self.removed)
    }
}
