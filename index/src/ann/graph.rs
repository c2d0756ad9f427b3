//! A finished HNSW graph as flat arrays: its file, and the search over it.
//!
//! Search follows Malkov and Yashunin, "Efficient and robust approximate nearest neighbor search using Hierarchical
//! Navigable Small World graphs" (2016): greedy descent through the upper layers, then best-first search with a beam of
//! `ef` in layer 0. The file is an array of little-endian u32 words that can be mapped and used in place, so opening a
//! graph costs nothing and needs no memory of its own.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use arrow::buffer::{Buffer, ScalarBuffer};
use roaring::RoaringBitmap;

use super::top::Scored;
use super::vectors::{Vectors, dot};
use crate::{IndexError, Result};

/// First words of the file: "ANSRGRPH" and the layout's version.
const MAGIC: [u32; 3] = [0x5253_4e41, 0x4850_5247, 1];
/// Magic, rows, entry, layers.
const HEADER_WORDS: usize = MAGIC.len() + 3;

/// One layer: `nodes` ascending (empty in layer 0, where every row is a node), `offsets[i]..offsets[i + 1]` the
/// neighbours of the i-th node.
#[derive(Debug, Clone)]
struct Layer {
    nodes: ScalarBuffer<u32>,
    offsets: ScalarBuffer<u32>,
    neighbours: ScalarBuffer<u32>,
}

/// A searchable graph over the rows of one segment.
#[derive(Debug, Clone)]
pub(crate) struct Graph {
    rows: usize,
    entry: u32,
    /// From layer 0 upwards.
    layers: Vec<Layer>,
    /// Rows with the very vector of a node.
    twins: Layer,
}

/// Rows (ascending) with the rows that belong to them.
pub(crate) type Adjacency = Vec<(u32, Vec<u32>)>;

/// What a builder hands over.
#[derive(Debug)]
pub(crate) struct Links {
    /// Where every search begins.
    pub(crate) entry: u32,
    /// For each layer from 0 upwards, the rows in it with their neighbours. Layer 0 names every row.
    pub(crate) layers: Vec<Adjacency>,
    /// Nodes with the rows that have the very same vector and so need no links of their own.
    pub(crate) twins: Adjacency,
}

impl Graph {
    /// Encodes links between `rows` rows as the bytes of a graph file.
    pub(crate) fn encode(rows: usize, links: &Links) -> Result<Vec<u8>> {
        let mut words: Vec<u32> = MAGIC.to_vec();
        words.extend([word(rows)?, links.entry, word(links.layers.len())?]);
        for (section, nodes) in links.layers.iter().chain([&links.twins]).enumerate() {
            let edges: usize = nodes.iter().map(|(_, n)| n.len()).sum();
            words.extend([word(nodes.len())?, word(edges)?]);
            if section > 0 {
                words.extend(nodes.iter().map(|(row, _)| *row));
            }
            let mut offset = 0u32;
            words.push(offset);
            for (_, neighbours) in nodes {
                offset += word(neighbours.len())?;
                words.push(offset);
            }
            words.extend(nodes.iter().flat_map(|(_, n)| n));
        }
        Ok(words.into_iter().flat_map(u32::to_le_bytes).collect())
    }

    /// Reads a graph file over `rows` rows, checking every count and row number so that a search cannot go astray.
    pub(crate) fn decode(file: Buffer, rows: usize) -> Result<Self> {
        let wrong = |reason: &str| IndexError::corrupt("graph file", reason);
        let aligned = file.as_ptr().align_offset(align_of::<u32>()) == 0;
        if !aligned || !file.len().is_multiple_of(size_of::<u32>()) || cfg!(target_endian = "big") {
            return Err(wrong("it is not made of 32-bit little-endian words"));
        }
        let count = file.len() / size_of::<u32>();
        let words = ScalarBuffer::<u32>::new(file, 0, count);
        if words.get(..MAGIC.len()) != Some(&MAGIC[..]) {
            return Err(wrong("it does not begin as a graph file does"));
        }
        let at = |i: usize| words.get(i).map(|w| *w as usize).ok_or_else(|| wrong("it ends too early"));
        let entry = at(MAGIC.len() + 1)?;
        if at(MAGIC.len())? != rows || entry >= rows {
            return Err(wrong("it belongs to other vectors"));
        }
        let mut next = HEADER_WORDS;
        let mut take = |len: usize| {
            let start = next;
            next = start.checked_add(len).filter(|end| *end <= count).ok_or_else(|| wrong("it ends too early"))?;
            Ok::<_, IndexError>(words.slice(start, len))
        };
        let mut layers: Vec<Layer> = Vec::new();
        // After the layers come the twins, in the same form.
        let sections = at(MAGIC.len() + 2)?.saturating_add(1);
        for section in 0..sections {
            let head = take(2)?;
            let (nodes, edges) = (head[0] as usize, head[1] as usize);
            let layer = Layer {
                nodes: take(if section == 0 { 0 } else { nodes })?,
                offsets: take(nodes + 1)?,
                neighbours: take(edges)?,
            };
            let ascending = layer.offsets.is_sorted() && layer.offsets.last().is_some_and(|o| *o as usize == edges);
            let in_range = layer.neighbours.iter().chain(layer.nodes.iter()).all(|row| (*row as usize) < rows);
            if !ascending || !in_range || (section == 0 && nodes != rows) {
                return Err(wrong("its rows do not fit together"));
            }
            layers.push(layer);
        }
        match layers.pop() {
            Some(twins) if !layers.is_empty() && next == count => Ok(Self { rows, entry: entry as u32, layers, twins }),
            _ => Err(wrong("it has no layers or too many words")),
        }
    }

    /// The nodes nearest to `query` that a beam of `ef` finds, best first, with their twins and without those in
    /// `removed`: more than `ef` rows where nodes have twins. Removed rows are still walked through, so they cannot cut
    /// the graph apart.
    pub(crate) fn search(&self, vectors: &Vectors, query: &[f32], ef: usize, removed: &RoaringBitmap) -> Vec<Scored> {
        let ef = ef.clamp(1, self.rows);
        let score = |row: u32| Scored { score: dot(query, vectors.row(row as usize)), row };
        let counts = |row: u32| {
            let live = |row: &u32| !removed.contains(*row);
            live(&row) || self.twins.of(row).iter().any(live)
        };
        let Some(base) = self.layers.first() else { return Vec::new() };
        let mut seen = vec![0u64; self.rows.div_ceil(64)];
        let mut candidates = BinaryHeap::new();
        let mut found: BinaryHeap<Reverse<Scored>> = BinaryHeap::new();
        // All nodes can be reached from the entry; where the descent ends may be a corner without a way out.
        let entry = score(self.entry);
        for start in [self.descend(entry, score), entry] {
            if mark(&mut seen, start.row) {
                candidates.push(start);
                if counts(start.row) {
                    found.push(Reverse(start));
                }
            }
        }
        while let Some(candidate) = candidates.pop() {
            if found.len() >= ef && found.peek().is_some_and(|worst| candidate < worst.0) {
                break;
            }
            for row in base.of_row(candidate.row) {
                if !mark(&mut seen, *row) {
                    continue;
                }
                let next = score(*row);
                if found.len() >= ef && found.peek().is_some_and(|worst| next < worst.0) {
                    continue;
                }
                candidates.push(next);
                if counts(*row) {
                    found.push(Reverse(next));
                    if found.len() > ef {
                        found.pop();
                    }
                }
            }
        }
        let nodes = found.into_sorted_vec().into_iter().map(|r| r.0);
        let rows = nodes.flat_map(|n| {
            [n.row].into_iter().chain(self.twins.of(n.row).iter().copied()).map(move |row| Scored { row, ..n })
        });
        rows.filter(|s| !removed.contains(s.row)).collect()
    }

    /// Walks greedily from `entry` through the upper layers.
    fn descend(&self, entry: Scored, score: impl Fn(u32) -> Scored) -> Scored {
        let mut best = entry;
        for layer in self.layers.iter().skip(1).rev() {
            while let Some(better) = layer.of(best.row).iter().map(|row| score(*row)).max().filter(|n| *n > best) {
                best = better;
            }
        }
        best
    }
}

impl Layer {
    /// Neighbours of `row` in an upper layer.
    fn of(&self, row: u32) -> &[u32] {
        self.nodes.binary_search(&row).map_or(&[], |i| self.at(i))
    }

    /// Neighbours of `row` in layer 0.
    fn of_row(&self, row: u32) -> &[u32] {
        self.at(row as usize)
    }

    fn at(&self, i: usize) -> &[u32] {
        match (self.offsets.get(i), self.offsets.get(i + 1)) {
            (Some(from), Some(to)) => self.neighbours.get(*from as usize..*to as usize).unwrap_or(&[]),
            _ => &[],
        }
    }
}

/// Marks `row`; false when it was marked before.
fn mark(seen: &mut [u64], row: u32) -> bool {
    let (word, bit) = (row as usize / 64, 1u64 << (row % 64));
    match seen.get_mut(word) {
        Some(w) if *w & bit == 0 => {
            *w |= bit;
            true
        }
        _ => false,
    }
}

fn word(n: usize) -> Result<u32> {
    u32::try_from(n).map_err(|_| IndexError::internal(format!("a graph of {n} entries does not fit 32-bit numbers")))
}

#[cfg(test)]
mod tests {
    use anser_core::ChunkId;
    use proptest::prelude::*;

    use super::*;

    /// Five unit vectors on a quarter circle, each linked with its neighbours; row 2 also lies in layer 1.
    fn arc() -> (Vectors, Vec<u8>) {
        let rows: Vec<[f32; 2]> = (0..5).map(|i| (i as f32 * 0.3).sin_cos().into()).collect();
        let vectors =
            Vectors::from_rows(2, rows.iter().enumerate().map(|(i, r)| (ChunkId(i as u64), r.as_slice()))).unwrap();
        let base =
            (0u32..5).map(|i| (i, [i.wrapping_sub(1), i + 1].into_iter().filter(|n| *n < 5).collect())).collect();
        let links = Links { entry: 2, layers: vec![base, vec![(2, vec![])]], twins: vec![] };
        (vectors, Graph::encode(5, &links).unwrap())
    }

    #[test]
    fn finds_the_nearest_and_skips_the_removed() {
        let (vectors, bytes) = arc();
        let graph = Graph::decode(Buffer::from(&bytes[..]), 5).unwrap();
        let rows = |removed: &RoaringBitmap| -> Vec<u32> {
            graph.search(&vectors, vectors.row(4), 3, removed).iter().map(|s| s.row).collect()
        };
        assert_eq!(rows(&RoaringBitmap::new()), [4, 3, 2]);
        assert_eq!(rows(&[3u32].into_iter().collect()), [4, 2, 1]);
        assert_eq!(rows(&(0u32..5).collect()), [] as [u32; 0]);
    }

    #[test]
    fn a_truncated_or_foreign_file_is_refused() {
        let (_, bytes) = arc();
        for len in 0..bytes.len() {
            assert!(Graph::decode(Buffer::from(&bytes[..len]), 5).is_err(), "length {len}");
        }
        assert!(Graph::decode(Buffer::from(&bytes[..]), 6).is_err());
    }

    proptest! {
        #[test]
        fn damaged_words_never_panic(at in 0usize..200, value: u32, noise in proptest::collection::vec(any::<u32>(), 0..40)) {
            let (vectors, bytes) = arc();
            let mut words: Vec<u32> = bytes.as_chunks::<4>().0.iter().map(|w| u32::from_le_bytes(*w)).collect();
            let len = words.len();
            words[at % len] = value;
            if let Ok(graph) = Graph::decode(Buffer::from_vec(words), 5) {
                graph.search(&vectors, vectors.row(0), 3, &RoaringBitmap::new());
            }
            let mut made = MAGIC.to_vec();
            made.extend(noise);
            let _ = Graph::decode(Buffer::from_vec(made), 5);
        }
    }
}
