//! Recent rows in memory, searched exactly: blocks that are never changed, only joined and replaced.

use std::sync::Arc;

use anser_core::ChunkId;
use arrow::buffer::Buffer;
use roaring::RoaringBitmap;

use super::codes::Codes;
use super::vectors::Vectors;
use crate::Result;

/// Most rows of a block. Joining two copies no more than these, so that a row that comes in is searchable within
/// milliseconds however many there are.
const BLOCK_ROWS: usize = 8192;
/// From so many rows a block is compared by codes first.
const CODED_ROWS: usize = 2048;

/// Rows in memory with those that were removed since.
#[derive(Debug, Clone)]
pub(super) struct TailBlock {
    pub(super) vectors: Arc<Vectors>,
    /// The rows' codes, where there are many rows.
    pub(super) codes: Option<Codes>,
    pub(super) removed: Arc<RoaringBitmap>,
}

/// All of them, oldest first; sizes fall steeply, because small blocks are joined.
#[derive(Debug, Clone, Default)]
pub(super) struct Tail {
    blocks: Vec<TailBlock>,
}

impl Tail {
    /// Its blocks, oldest first.
    pub(super) fn blocks(&self) -> &[TailBlock] {
        &self.blocks
    }

    /// Rows that count.
    pub(super) fn len(&self) -> usize {
        self.blocks.iter().map(TailBlock::live).sum()
    }

    /// The rows that count, oldest first.
    pub(super) fn rows(&self) -> impl Iterator<Item = (ChunkId, &[f32])> {
        self.blocks.iter().flat_map(|b| live_rows(&b.vectors, &b.removed))
    }

    /// Whether a row that counts holds `id`.
    pub(super) fn holds(&self, id: ChunkId) -> bool {
        self.blocks.iter().any(|b| b.vectors.find(id).is_some_and(|row| !b.removed.contains(row)))
    }

    /// Bytes that it keeps in memory.
    pub(super) fn memory_bytes(&self) -> u64 {
        let block = |b: &TailBlock| {
            let codes = b.codes.as_ref().map_or(0, Codes::memory);
            b.vectors.memory_bytes() + codes as u64 + b.removed.serialized_size() as u64
        };
        self.blocks.iter().map(block).sum()
    }

    /// Lets rows go and others (ascending by id) come.
    pub(super) fn change<'a>(
        &mut self,
        dimension: usize,
        removed: &[ChunkId],
        added: impl Iterator<Item = (ChunkId, &'a [f32])>,
    ) -> Result<()> {
        for block in &mut self.blocks {
            remove_from(&block.vectors, &mut block.removed, removed);
        }
        self.blocks.retain(|b| b.live() > 0);
        for block in &mut self.blocks {
            if block.live() * 2 < block.vectors.len() {
                let rows = Vectors::from_rows(dimension, live_rows(&block.vectors, &block.removed))?;
                *block = TailBlock::new(rows)?;
            }
        }
        let mut added = added.peekable();
        while added.peek().is_some() {
            self.blocks.push(TailBlock::new(Vectors::from_rows(dimension, added.by_ref().take(BLOCK_ROWS))?)?);
            self.join(dimension)?;
        }
        self.join(dimension)
    }

    /// Joins the newest blocks while the newer is at least half as large, so that there are few blocks and each row is
    /// copied only a few times.
    fn join(&mut self, dimension: usize) -> Result<()> {
        while let [.., older, newer] = self.blocks.as_slice()
            && newer.vectors.len() * 2 >= older.vectors.len()
            && older.live() + newer.live() <= BLOCK_ROWS
        {
            let mut rows: Vec<(ChunkId, &[f32])> =
                live_rows(&older.vectors, &older.removed).chain(live_rows(&newer.vectors, &newer.removed)).collect();
            rows.sort_unstable_by_key(|(id, _)| *id);
            let joined = TailBlock::new(Vectors::from_rows(dimension, rows.into_iter())?)?;
            self.blocks.truncate(self.blocks.len() - 2);
            self.blocks.push(joined);
        }
        Ok(())
    }
}

impl TailBlock {
    fn new(vectors: Vectors) -> Result<Self> {
        let coded = vectors.len() >= CODED_ROWS;
        let encode = || Codes::decode(Buffer::from_vec(Codes::encode(&vectors)?), vectors.len(), vectors.dimension());
        let codes = coded.then(encode).transpose()?;
        Ok(Self { vectors: Arc::new(vectors), codes, removed: Arc::default() })
    }

    fn live(&self) -> usize {
        self.vectors.len() - self.removed.len() as usize
    }
}

/// The rows that are not among those `removed`, ascending by id.
pub(super) fn live_rows<'a>(
    vectors: &'a Vectors,
    removed: &RoaringBitmap,
) -> impl Iterator<Item = (ChunkId, &'a [f32])> {
    vectors.iter().filter(|(row, ..)| !removed.contains(*row)).map(|(_, id, vector)| (id, vector))
}

/// Adds the rows that hold one of `ids` to those `removed`.
pub(super) fn remove_from(vectors: &Vectors, removed: &mut Arc<RoaringBitmap>, ids: &[ChunkId]) {
    let rows: Vec<u32> = ids.iter().filter_map(|id| vectors.find(*id)).collect();
    if !rows.is_empty() {
        Arc::make_mut(removed).extend(rows);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn add(tail: &mut Tail, ids: std::ops::Range<u64>, removed: &[u64]) {
        let rows: Vec<(ChunkId, [f32; 2])> = ids.map(|id| (ChunkId(id), [id as f32, 1.0])).collect();
        let removed: Vec<ChunkId> = removed.iter().copied().map(ChunkId).collect();
        tail.change(2, &removed, rows.iter().map(|(id, row)| (*id, row.as_slice()))).unwrap();
    }

    #[test]
    fn blocks_stay_few_and_no_larger_than_can_be_copied_at_once() {
        let mut tail = Tail::default();
        for id in 0..3000 {
            add(&mut tail, id..id + 1, &[]);
        }
        add(&mut tail, 3000..40_000, &[]);
        assert_eq!(tail.len(), 40_000);
        assert!(tail.blocks().len() < 20, "{} blocks", tail.blocks().len());
        assert!(tail.blocks().iter().all(|b| b.vectors.len() <= BLOCK_ROWS));
        assert!(tail.rows().all(|(id, row)| row == [id.0 as f32, 1.0]));
        assert!(tail.holds(ChunkId(39_999)) && !tail.holds(ChunkId(40_000)));
    }

    #[test]
    fn memory_returns_with_the_rows() {
        let mut tail = Tail::default();
        add(&mut tail, 0..10_000, &[]);
        let full = tail.memory_bytes();
        let gone: Vec<u64> = (0..10_000).filter(|id| id % 10 != 0).collect();
        add(&mut tail, 0..0, &gone);
        assert_eq!(tail.len(), 1000);
        assert!(tail.memory_bytes() * 8 < full);
        assert!(tail.holds(ChunkId(10)) && !tail.holds(ChunkId(11)));
        assert!(tail.rows().all(|(id, _)| id.0 % 10 == 0));
    }
}
