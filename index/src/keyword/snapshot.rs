//! One immutable state of the keyword index: which pieces there are, and which of their rows were removed.

use std::sync::Arc;

use anser_core::ChunkId;
use roaring::RoaringBitmap;

use super::part::{Lengths, Part};
use crate::Result;

/// A piece with the rows that were removed since it was made.
#[derive(Debug, Clone)]
pub(super) struct View {
    pub(super) part: Arc<Part>,
    pub(super) removed: Arc<RoaringBitmap>,
    /// Of the rows that count, by field.
    pub(super) lengths: [Lengths; 2],
}

impl View {
    pub(super) fn new(part: Arc<Part>, removed: RoaringBitmap) -> Self {
        let gone = part.lengths_of(removed.iter());
        let [title, text] = part.lengths;
        let lengths = [title.without(gone[0]), text.without(gone[1])];
        Self { part, removed: Arc::new(removed), lengths }
    }

    /// Rows that count.
    pub(super) fn live(&self) -> u64 {
        u64::from(self.part.rows).saturating_sub(self.removed.len())
    }

    /// The same piece without the chunks of `gone`.
    pub(super) fn without(&self, gone: &[ChunkId]) -> Self {
        let rows: Vec<u32> = gone.iter().filter_map(|chunk| self.part.find(*chunk)).collect();
        if rows.iter().all(|row| self.removed.contains(*row)) {
            return self.clone();
        }
        let mut removed = (*self.removed).clone();
        removed.extend(rows);
        Self::new(Arc::clone(&self.part), removed)
    }

    /// The chunks that count, ascending.
    pub(super) fn chunks(&self) -> impl Iterator<Item = ChunkId> {
        (0..self.part.rows).filter(|row| !self.removed.contains(*row)).map(|row| self.part.chunk(row))
    }
}

/// Everything that can be found at one moment.
#[derive(Debug, Clone)]
pub(super) struct Snapshot {
    /// The last change of the database that it reflects; removals at least. -1 before anything was read.
    pub(super) seq: i64,
    /// The highest chunk id that was taken in, or that had left before it could be.
    pub(super) last_chunk: u64,
    /// The generation on disk that its first pieces come from.
    pub(super) generation: u64,
    /// Ids ascend from one to the next; those on disk come first.
    pub(super) views: Vec<View>,
}

impl Snapshot {
    /// Nothing, before anything was read.
    pub(super) fn empty() -> Self {
        Self { seq: -1, last_chunk: 0, generation: 0, views: Vec::new() }
    }

    /// Of everything that counts, by field.
    pub(super) fn lengths(&self) -> [Lengths; 2] {
        let mut sums = [Lengths::default(); 2];
        for view in &self.views {
            for (sum, lengths) in sums.iter_mut().zip(view.lengths) {
                sum.texts += lengths.texts;
                sum.terms += lengths.terms;
            }
        }
        sums
    }

    /// Pieces on disk.
    pub(super) fn on_disk(&self) -> usize {
        self.views.iter().take_while(|view| view.part.folder.is_some()).count()
    }

    /// Terms in memory: what the tail weighs.
    pub(super) fn tail_terms(&self) -> u64 {
        let tail = self.views.iter().skip(self.on_disk());
        tail.map(|view| view.part.lengths.iter().map(|lengths| lengths.terms).sum::<u64>()).sum()
    }

    /// Without the chunks of `gone`.
    pub(super) fn remove(&mut self, gone: &[ChunkId]) {
        if gone.is_empty() {
            return;
        }
        for view in &mut self.views {
            *view = view.without(gone);
        }
        // What is on disk stays until another generation is written without it.
        self.views.retain(|view| view.part.folder.is_some() || view.live() > 0);
    }

    /// With a new piece, whose ids are above all others. The newest pieces in memory become one while the newer is at least
    /// half as large, so that there are few of them and each row is copied only a few times. Those up to the chunk `fixed`
    /// stay as they are.
    pub(super) fn append(&mut self, part: Part, fixed: u64) -> Result<()> {
        self.views.push(View::new(Arc::new(part), RoaringBitmap::new()));
        while let [.., older, newer] = self.views.as_slice()
            && older.part.folder.is_none()
            && older.part.chunk(0).0 > fixed
            && newer.live() * 2 >= older.live()
        {
            let merged = Part::merge(&[(&older.part, &older.removed), (&newer.part, &newer.removed)], None)?;
            self.views.truncate(self.views.len() - 2);
            self.views.extend(merged.map(|part| View::new(Arc::new(part), RoaringBitmap::new())));
        }
        Ok(())
    }
}
