//! Which document each chunk belongs to, in order of chunk id.

use std::sync::Arc;

use anser_core::ChunkId;

use super::packed::Packed;
use super::rows::BLOCK_ROWS;

/// Chunks with the rows of their documents, in blocks. A change makes new blocks of those it touches.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Chunks {
    blocks: Vec<Arc<ChunkBlock>>,
}

/// Up to [`BLOCK_ROWS`] chunks.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct ChunkBlock {
    low: u64,
    /// How far each id is above `low`, ascending.
    offsets: Packed,
    first_row: u64,
    /// How far the row of each chunk's document is above `first_row`.
    rows: Packed,
}

/// A chunk's id and the row of its document.
pub(super) type Owned = (u64, u64);

impl ChunkBlock {
    /// `chunks` ascend and are at least one.
    fn new(chunks: &[Owned]) -> Self {
        let low = chunks.first().map_or(0, |(id, _)| *id);
        let first_row = chunks.iter().map(|(_, row)| *row).min().unwrap_or(0);
        let offsets: Vec<u64> = chunks.iter().map(|(id, _)| id - low).collect();
        let rows: Vec<u64> = chunks.iter().map(|(_, row)| row - first_row).collect();
        Self { low, offsets: Packed::new(&offsets), first_row, rows: Packed::new(&rows) }
    }

    /// From the columns it is stored as; `None` where they cannot be those of a block.
    pub(super) fn from_parts(low: u64, offsets: Packed, first_row: u64, rows: Packed) -> Option<Self> {
        let codes = offsets.unpack();
        let ascending = codes.first().is_some_and(|first| *first == 0) && codes.is_sorted_by(|a, b| a < b);
        let last = codes.last().and_then(|last| low.checked_add(*last));
        let highest = rows.unpack().into_iter().max().and_then(|row| first_row.checked_add(row));
        let fits = codes.len() <= BLOCK_ROWS && rows.len() == codes.len();
        (ascending && fits && last.is_some() && highest.is_some()).then_some(Self { low, offsets, first_row, rows })
    }

    pub(super) fn parts(&self) -> (u64, &Packed, u64, &Packed) {
        (self.low, &self.offsets, self.first_row, &self.rows)
    }

    fn iter(&self) -> impl Iterator<Item = Owned> {
        let pairs = self.offsets.unpack().into_iter().zip(self.rows.unpack());
        pairs.map(|(offset, row)| (self.low + offset, self.first_row + row))
    }

    fn last(&self) -> u64 {
        self.low + self.offsets.get(self.offsets.len().saturating_sub(1))
    }
}

impl Chunks {
    /// `chunks` ascend.
    pub(super) fn new(chunks: &[Owned]) -> Self {
        Self { blocks: chunks.chunks(BLOCK_ROWS).map(|some| Arc::new(ChunkBlock::new(some))).collect() }
    }

    /// `None` where the blocks do not follow each other.
    pub(super) fn from_blocks(blocks: Vec<ChunkBlock>) -> Option<Self> {
        let blocks: Vec<Arc<ChunkBlock>> = blocks.into_iter().map(Arc::new).collect();
        blocks.is_sorted_by(|a, b| a.last() < b.low).then_some(Self { blocks })
    }

    pub(super) fn blocks(&self) -> &[Arc<ChunkBlock>] {
        &self.blocks
    }

    /// The highest id.
    pub(super) fn last(&self) -> Option<u64> {
        self.blocks.last().map(|block| block.last())
    }

    pub(super) fn len(&self) -> usize {
        self.blocks.iter().map(|block| block.offsets.len()).sum()
    }

    /// These without the chunks `removed`, and with `added` behind them, whose ids ascend and are all higher.
    pub(super) fn changed(&self, removed: &[u64], added: &[Owned]) -> Self {
        let mut removed = removed.to_vec();
        removed.sort_unstable();
        let mut made = Vec::with_capacity(self.blocks.len() + 1);
        for block in &self.blocks {
            let from = removed.partition_point(|id| *id < block.low);
            let to = removed.partition_point(|id| *id <= block.last());
            let gone = removed.get(from..to).unwrap_or(&[]);
            if gone.is_empty() {
                made.push(Arc::clone(block));
                continue;
            }
            let left: Vec<Owned> = block.iter().filter(|(id, _)| gone.binary_search(id).is_err()).collect();
            if !left.is_empty() {
                made.push(Arc::new(ChunkBlock::new(&left)));
            }
        }
        if !added.is_empty() {
            let room = |block: &mut Arc<ChunkBlock>| block.offsets.len() + added.len() <= BLOCK_ROWS;
            let mut last: Vec<Owned> = made.pop_if(room).map(|block| block.iter().collect()).unwrap_or_default();
            last.extend_from_slice(added);
            made.extend(last.chunks(BLOCK_ROWS).map(|some| Arc::new(ChunkBlock::new(some))));
        }
        Self { blocks: made }
    }

    /// The chunks of the rows that `passing` has, one bit for each row, ascending; and how many different rows these are.
    pub(super) fn of_rows(&self, passing: &[u64]) -> (Vec<ChunkId>, usize) {
        let mut found = Vec::new();
        let mut seen = vec![0u64; passing.len()];
        for block in &self.blocks {
            for (id, row) in block.iter() {
                let (word, bit) = ((row / 64) as usize, 1 << (row % 64));
                if passing.get(word).is_some_and(|word| word & bit != 0) {
                    found.push(ChunkId(id));
                    if let Some(word) = seen.get_mut(word) {
                        *word |= bit;
                    }
                }
            }
        }
        (found, seen.iter().map(|word| word.count_ones() as usize).sum())
    }

    /// Bytes it takes in memory, about.
    pub(super) fn bytes(&self) -> usize {
        self.blocks.iter().map(|block| size_of::<ChunkBlock>() + block.offsets.bytes() + block.rows.bytes()).sum()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, cases: 48, ..ProptestConfig::default() })]

        #[test]
        fn changes_leave_what_a_map_holds(
            steps in prop::collection::vec((0usize..3 * BLOCK_ROWS / 2, prop::collection::vec(any::<prop::sample::Index>(), 0..50), 1u64..4), 1..6),
            passing in prop::collection::vec(any::<u64>(), 1..40),
        ) {
            let (mut chunks, mut model) = (Chunks::default(), BTreeMap::new());
            let mut next = 7u64;
            for (count, gone, step) in steps {
                let gone: Vec<u64> = gone.iter().filter_map(|at| {
                    model.keys().nth(at.index(model.len().max(1))).copied()
                }).collect();
                let added: Vec<Owned> = (0..count as u64).map(|at| (next + at * step, at % 3001)).collect();
                next += count as u64 * step + 1;
                chunks = chunks.changed(&gone, &added);
                model.retain(|id, _| !gone.contains(id));
                model.extend(added);
                prop_assert_eq!(chunks.len(), model.len());
                prop_assert_eq!(chunks.last(), model.keys().last().copied());
            }
            let has = |row: u64| passing.get(row as usize / 64).is_some_and(|word| word >> (row % 64) & 1 == 1);
            let expected: Vec<ChunkId> = model.iter().filter(|(_, row)| has(**row)).map(|(id, _)| ChunkId(*id)).collect();
            let rows: std::collections::BTreeSet<u64> = model.values().copied().filter(|row| has(*row)).collect();
            prop_assert_eq!(chunks.of_rows(&passing), (expected, rows.len()));
            let parts = chunks.blocks().iter().map(|block| {
                let (low, offsets, first_row, rows) = block.parts();
                ChunkBlock::from_parts(low, offsets.clone(), first_row, rows.clone()).unwrap()
            });
            prop_assert_eq!(Chunks::from_blocks(parts.collect()).unwrap(), chunks);
        }
    }
}
