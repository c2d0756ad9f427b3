//! Rows of f32 vectors with their chunk ids, in memory or memory-mapped, and the dot product that compares them.

use anser_core::{ChunkId, Embedding};
use anser_kernels::{InstructionSet, dot_f32};
use arrow::buffer::ScalarBuffer;

use crate::{IndexError, Result};

/// A row is looked up by its id where fewer than one row in so many is wanted.
const LOOKUP_BELOW: usize = 32;

/// Dot product of two vectors of equal length; of unit vectors it is their cosine. The order of additions is fixed, so
/// the same two vectors give the same bits wherever they are stored, on one kind of processor.
pub(crate) fn dot(a: &[f32], b: &[f32]) -> f32 {
    dot_f32(InstructionSet::best(), a, b)
}

/// Consecutive rows that lie in one piece of memory.
#[derive(Debug, Clone)]
struct Block {
    ids: ScalarBuffer<u64>,
    /// `ids.len() * dimension` numbers, row after row.
    values: ScalarBuffer<f32>,
}

/// Immutable rows in ascending order of chunk id. All blocks but the last hold `1 << shift` rows.
#[derive(Debug, Clone)]
pub(crate) struct Vectors {
    dimension: usize,
    rows: usize,
    shift: u32,
    blocks: Vec<Block>,
}

impl Vectors {
    /// Rows held in memory; `rows` in ascending order of id, each of `dimension` numbers.
    pub(crate) fn from_rows<'a>(dimension: usize, rows: impl Iterator<Item = (ChunkId, &'a [f32])>) -> Result<Self> {
        let (mut ids, mut values) = (Vec::new(), Vec::new());
        for (id, row) in rows {
            if row.len() != dimension {
                return Err(wrong_dimension(row.len(), dimension));
            }
            if ids.last().is_some_and(|last| *last >= id.0) {
                return Err(IndexError::internal(format!("chunk {id} was given to the index out of order")));
            }
            ids.push(id.0);
            values.extend_from_slice(row);
        }
        let rows = ids.len();
        let block = Block { ids: ids.into(), values: values.into() };
        Ok(Self { dimension, rows, shift: usize::BITS - 1, blocks: vec![block] })
    }

    /// Rows of finished blocks of ids with their numbers, without copying them. Every block but the last must hold
    /// `1 << shift` rows.
    pub(crate) fn from_blocks(
        dimension: usize,
        shift: u32,
        parts: Vec<(ScalarBuffer<u64>, ScalarBuffer<f32>)>,
    ) -> Result<Self> {
        let wrong = |reason: String| IndexError::corrupt("vector batch", reason);
        let mut blocks = Vec::with_capacity(parts.len());
        let mut rows = 0usize;
        let mut last_id = None;
        for (ids, values) in parts {
            let count = ids.len();
            if rows.trailing_zeros() < shift && rows != 0 {
                return Err(wrong("a batch before the last is not full".into()));
            }
            if count > 1 << shift || values.len() != count * dimension {
                return Err(wrong(format!("{count} ids do not fit {} numbers of {dimension} each", values.len())));
            }
            if !ids.iter().all(|id| last_id.replace(*id).is_none_or(|last| last < *id)) {
                return Err(wrong("its ids do not ascend".into()));
            }
            rows += count;
            blocks.push(Block { ids, values });
        }
        Ok(Self { dimension, rows, shift, blocks })
    }

    /// How many rows.
    pub(crate) fn len(&self) -> usize {
        self.rows
    }

    /// Numbers in a row.
    pub(crate) fn dimension(&self) -> usize {
        self.dimension
    }

    /// The vector in `row`, or an empty slice when there is no such row.
    pub(crate) fn row(&self, row: usize) -> &[f32] {
        let at = (row & self.mask()) * self.dimension;
        self.blocks.get(row >> self.shift).and_then(|b| b.values.get(at..at + self.dimension)).unwrap_or(&[])
    }

    /// The chunk id of `row`.
    pub(crate) fn id(&self, row: usize) -> Option<ChunkId> {
        self.blocks.get(row >> self.shift).and_then(|b| b.ids.get(row & self.mask())).copied().map(ChunkId)
    }

    /// The row that holds `id`.
    pub(crate) fn find(&self, id: ChunkId) -> Option<u32> {
        let block = self.blocks.partition_point(|b| b.ids.last().is_some_and(|last| *last < id.0));
        let within = self.blocks.get(block)?.ids.binary_search(&id.0).ok()?;
        Some(((block << self.shift) + within) as u32)
    }

    /// Every row with its number, in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, ChunkId, &[f32])> {
        let rows = self.blocks.iter().flat_map(|b| b.ids.iter().zip(b.values.chunks_exact(self.dimension)));
        rows.enumerate().map(|(row, (id, vector))| (row as u32, ChunkId(*id), vector))
    }

    /// The rows that hold one of `wanted`, which ascend. Few are looked up, many are met on the way through all ids.
    pub(crate) fn rows_of(&self, wanted: &[ChunkId]) -> Vec<u32> {
        if wanted.len() < self.rows / LOOKUP_BELOW {
            return wanted.iter().filter_map(|id| self.find(*id)).collect();
        }
        let first = self.id(0).map_or(0, |id| wanted.partition_point(|w| *w < id));
        let mut wanted = wanted.get(first..).unwrap_or(&[]).iter().peekable();
        let mut found = Vec::with_capacity(wanted.len().min(self.rows));
        for (row, id) in self.blocks.iter().flat_map(|b| b.ids.iter()).enumerate() {
            while wanted.next_if(|next| next.0 < *id).is_some() {}
            if wanted.next_if(|next| next.0 == *id).is_some() {
                found.push(row as u32);
            }
        }
        found
    }

    /// Bytes of its rows, in memory or mapped.
    pub(crate) fn memory_bytes(&self) -> u64 {
        (self.rows * (self.dimension * size_of::<f32>() + size_of::<u64>())) as u64
    }

    /// Shows `each` the rows of the chunks `wanted`, which ascend, in order. Few are looked up, many are met on the way
    /// through all rows.
    pub(crate) fn each_of(&self, wanted: &[ChunkId], each: &mut dyn FnMut(u32, ChunkId, &[f32])) {
        if wanted.len() < self.rows / LOOKUP_BELOW {
            for id in wanted {
                if let Some(row) = self.find(*id) {
                    each(row, *id, self.row(row as usize));
                }
            }
            return;
        }
        let mut wanted = wanted.iter().copied().peekable();
        for (row, id, vector) in self.iter() {
            while wanted.next_if(|next| *next < id).is_some() {}
            if wanted.next_if_eq(&id).is_some() {
                each(row, id, vector);
            }
        }
    }

    fn mask(&self) -> usize {
        (1usize << self.shift) - 1
    }
}

/// `InvalidInput`: a vector of `got` dimensions where `expected` are needed.
pub(crate) fn wrong_dimension(got: usize, expected: usize) -> IndexError {
    IndexError::invalid_param(
        format!("a vector has {got} dimensions, but this collection holds vectors of {expected}; embed with its model"),
        "embedding",
    )
}

/// Little-endian f32 bytes of a vector, as stored in SQLite.
pub(crate) fn to_blob(embedding: &Embedding) -> Vec<u8> {
    embedding.as_slice().iter().flat_map(|v| v.to_le_bytes()).collect()
}

/// What to do about a vector that the database holds and that is none.
const REPAIR: &str = "its database is damaged: `anser doctor --repair` looks for more and saves what can be read";

/// Reads what [`to_blob`] wrote; checks dimension, finiteness and norm.
pub(crate) fn from_blob(chunk: ChunkId, blob: &[u8], dimension: usize) -> Result<Embedding> {
    let (numbers, rest) = blob.as_chunks::<4>();
    if !rest.is_empty() || numbers.len() != dimension {
        return Err(IndexError::corrupt(
            format!("vector of chunk {chunk}"),
            format!("it has {} bytes where {dimension} numbers of 4 bytes belong; {REPAIR}", blob.len()),
        ));
    }
    let values = numbers.iter().map(|n| f32::from_le_bytes(*n)).collect();
    Embedding::from_unit(values)
        .map_err(|e| IndexError::corrupt(format!("vector of chunk {chunk}"), format!("{e}; {REPAIR}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dot_covers_every_element() {
        for len in [0usize, 1, 15, 16, 17, 31, 384] {
            let a: Vec<f32> = (0..len).map(|i| i as f32).collect();
            let b = vec![2.0f32; len];
            let expected = (0..len).map(|i| 2 * i).sum::<usize>() as f32;
            assert!((dot(&a, &b) - expected).abs() < 1e-3, "length {len}");
        }
    }

    #[test]
    fn rows_are_found_by_id() {
        let data = [[1.0f32, 0.0], [0.0, 1.0], [0.6, 0.8]];
        let ids = [3u64, 5, 9];
        let vectors =
            Vectors::from_rows(2, ids.iter().map(|i| ChunkId(*i)).zip(data.iter().map(<[f32; 2]>::as_slice))).unwrap();
        assert_eq!(vectors.find(ChunkId(5)), Some(1));
        assert_eq!(vectors.find(ChunkId(4)), None);
        assert_eq!(vectors.find(ChunkId(10)), None);
        assert_eq!(vectors.row(2), &[0.6, 0.8]);
        assert_eq!(vectors.row(3), &[] as &[f32]);
        assert_eq!(vectors.id(0), Some(ChunkId(3)));
        assert_eq!(vectors.iter().count(), 3);
    }

    #[test]
    fn wanted_rows_are_met_in_order_whether_few_or_many() {
        let rows: Vec<[f32; 1]> = (0..500u16).map(|i| [f32::from(i)]).collect();
        let ids = (0..500u64).map(|i| ChunkId(i * 2));
        let vectors = Vectors::from_rows(1, ids.zip(rows.iter().map(<[f32; 1]>::as_slice))).unwrap();
        for wanted in [vec![], vec![0, 1, 998, 2000], (0..1000).collect::<Vec<u64>>()] {
            let wanted: Vec<ChunkId> = wanted.into_iter().map(ChunkId).collect();
            let mut met = Vec::new();
            vectors.each_of(&wanted, &mut |row, id, vector| {
                assert_eq!((id.0, vector[0].to_bits()), (u64::from(row) * 2, (row as f32).to_bits()));
                met.push(id);
            });
            assert!(
                vectors.rows_of(&wanted).iter().map(|row| vectors.id(*row as usize).unwrap()).eq(met.iter().copied())
            );
            let there: Vec<ChunkId> = wanted.into_iter().filter(|id| id.0 % 2 == 0 && id.0 < 1000).collect();
            assert_eq!(met, there);
        }
    }

    #[test]
    fn damaged_blobs_are_refused() {
        let good = to_blob(&Embedding::normalize(vec![1.0, 2.0, 2.0]).unwrap());
        assert!(from_blob(ChunkId(1), &good, 3).is_ok());
        assert!(from_blob(ChunkId(1), &good, 4).is_err());
        assert!(from_blob(ChunkId(1), &good[..11], 3).is_err());
        let nan: Vec<u8> = [f32::NAN, 0.0, 1.0].iter().flat_map(|v| v.to_le_bytes()).collect();
        assert!(from_blob(ChunkId(1), &nan, 3).is_err());
        assert!(from_blob(ChunkId(1), &[0; 12], 3).is_err());
    }
}
