//! A finished HNSW graph as flat arrays: its file, and the search over it.
//!
//! Search follows Malkov and Yashunin, "Efficient and robust approximate nearest neighbor search using Hierarchical
//! Navigable Small World graphs" (2016): greedy descent through the upper layers, then best-first search with a beam of
//! `ef` in layer 0. The file is an array of little-endian u32 words that can be mapped and used in place, so opening a
//! graph costs nothing and needs no memory of its own. Layer 0, where nearly all of the work is, has the same number of
//! places for links in every row; what does not fit there stands in a section of its own.

use arrow::buffer::{Buffer, ScalarBuffer};
use roaring::RoaringBitmap;

use super::codes::Codes;
use super::row_set::RowSet;
use super::top::Scored;
use super::vectors::Vectors;
use super::walk;
use crate::{IndexError, Result};

/// First words of the file: "ANSRGRPH" and the layout's version.
const MAGIC: [u32; 3] = [0x5253_4e41, 0x4850_5247, 2];
/// Words before layer 0, so that its rows begin on a cache line.
const HEADER_WORDS: usize = 16;
/// A place without a link.
const NOBODY: u32 = u32::MAX;

/// Links of some rows: `nodes` ascending, `offsets[i]..offsets[i + 1]` the neighbours of the i-th node.
#[derive(Debug, Clone)]
pub(super) struct Section {
    nodes: ScalarBuffer<u32>,
    offsets: ScalarBuffer<u32>,
    neighbours: ScalarBuffer<u32>,
}

/// A searchable graph over the rows of one segment.
#[derive(Debug, Clone)]
pub(crate) struct Graph {
    rows: usize,
    entry: u32,
    /// Places for links of each row in layer 0.
    degree: usize,
    /// Layer 0: `rows * degree` rows, [`NOBODY`] where a row has fewer.
    base: ScalarBuffer<u32>,
    /// Further links in layer 0.
    more: Section,
    /// Rows with the very vector of a node.
    twins: Section,
    /// From layer 1 upwards.
    upper: Vec<Section>,
}

/// Rows (ascending) with the rows that belong to them.
pub(crate) type Adjacency = Vec<(u32, Vec<u32>)>;

/// What a builder hands over.
#[derive(Debug)]
pub(crate) struct Links {
    /// Where every search begins.
    pub(crate) entry: u32,
    /// Places for links of each row in layer 0; a row may have more.
    pub(crate) degree: usize,
    /// For each layer from 0 upwards, the rows in it with their neighbours. Layer 0 names every row.
    pub(crate) layers: Vec<Adjacency>,
    /// Nodes with the rows that have the very same vector and so need no links of their own.
    pub(crate) twins: Adjacency,
}

/// What to look for in a graph.
#[derive(Debug, Clone, Copy)]
pub(crate) struct GraphQuery<'a> {
    /// The query; its length is the vectors' dimension.
    pub(crate) vector: &'a [f32],
    /// Hits that are wanted.
    pub(crate) top: usize,
    /// Beam width; at least `top` is used.
    pub(crate) ef: usize,
    /// Rows that do not count.
    pub(crate) removed: &'a RoaringBitmap,
    /// The rows that count, if not all do.
    pub(crate) allowed: Option<&'a RowSet>,
}

impl GraphQuery<'_> {
    /// Whether `row` may be a hit.
    pub(super) fn counts(&self, row: u32) -> bool {
        self.allowed.is_none_or(|allowed| allowed.contains(row))
            && (self.removed.is_empty() || !self.removed.contains(row))
    }
}

impl Graph {
    /// Encodes links between `rows` rows as the bytes of a graph file.
    pub(crate) fn encode(rows: usize, links: &Links) -> Result<Vec<u8>> {
        let Some((base, upper)) = links.layers.split_first().filter(|(base, _)| base.len() == rows) else {
            return Err(IndexError::internal("a graph was made without every row in its lowest layer"));
        };
        let mut words: Vec<u32> = MAGIC.to_vec();
        words.extend([word(rows)?, links.entry, word(links.degree)?, word(upper.len())?]);
        words.resize(HEADER_WORDS, 0);
        let mut more = Adjacency::new();
        for (row, neighbours) in base {
            let (fitting, rest) = neighbours.split_at(neighbours.len().min(links.degree));
            words.extend(fitting);
            words.resize(words.len() + links.degree - fitting.len(), NOBODY);
            if !rest.is_empty() {
                more.push((*row, rest.to_vec()));
            }
        }
        for nodes in [&more, &links.twins].into_iter().chain(upper) {
            let edges: usize = nodes.iter().map(|(_, n)| n.len()).sum();
            words.extend([word(nodes.len())?, word(edges)?]);
            words.extend(nodes.iter().map(|(row, _)| *row));
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

    /// Reads a graph file over `rows` rows. Only sizes are checked, not links, so that opening takes no time: a search
    /// passes over numbers that are not rows.
    pub(crate) fn decode(file: Buffer, rows: usize) -> Result<Self> {
        let wrong = |reason: &str| IndexError::corrupt("graph file", reason);
        let aligned = file.as_ptr().align_offset(align_of::<u32>()) == 0;
        if !aligned || !file.len().is_multiple_of(size_of::<u32>()) || cfg!(target_endian = "big") {
            return Err(wrong("it is not made of 32-bit little-endian words"));
        }
        let count = file.len() / size_of::<u32>();
        let words = ScalarBuffer::<u32>::new(file, 0, count);
        let Some(head) = words.get(..HEADER_WORDS).filter(|head| head.starts_with(&MAGIC)) else {
            return Err(wrong("it does not begin as a graph file does"));
        };
        let [kept, entry, degree, upper] = [3, 4, 5, 6].map(|at: usize| head[at]);
        if kept as usize != rows || entry as usize >= rows {
            return Err(wrong("it belongs to other vectors"));
        }
        let mut next = HEADER_WORDS;
        let mut take = |len: usize| {
            let start = next;
            next = start.checked_add(len).filter(|end| *end <= count).ok_or_else(|| wrong("it ends too early"))?;
            Ok::<_, IndexError>(words.slice(start, len))
        };
        let links = rows.checked_mul(degree as usize).ok_or_else(|| wrong("its rows have too many links"))?;
        let base = take(links)?;
        let mut sections = Vec::new();
        for _ in 0..upper.saturating_add(2) {
            let head = take(2)?;
            let (nodes, edges) = (head[0] as usize, head[1] as usize);
            let section = Section { nodes: take(nodes)?, offsets: take(nodes + 1)?, neighbours: take(edges)? };
            if section.offsets.last().is_none_or(|end| *end as usize != edges) {
                return Err(wrong("its rows do not fit together"));
            }
            sections.push(section);
        }
        if next != count {
            return Err(wrong("it has too many words"));
        }
        let mut sections = sections.into_iter();
        match (sections.next(), sections.next()) {
            (Some(more), Some(twins)) => {
                Ok(Self { rows, entry, degree: degree as usize, base, more, twins, upper: sections.collect() })
            }
            _ => Err(wrong("it ends too early")),
        }
    }

    /// Bytes that it keeps in memory once every row was looked at.
    pub(crate) fn memory(&self) -> usize {
        let sections = [&self.more, &self.twins].into_iter().chain(&self.upper);
        let words = sections.map(|s| 2 + s.nodes.len() + s.offsets.len() + s.neighbours.len()).sum::<usize>();
        (HEADER_WORDS + self.base.len() + words) * size_of::<u32>()
    }

    /// The rows nearest to the query that a beam of `ef` over the codes finds, best first: `top` of them, if there are so
    /// many, and some more, scored by the vectors themselves. Twins of a hit are hits, so there may be more than `ef`. Rows
    /// that do not count are still walked through, so they cannot cut the graph apart.
    pub(crate) fn search(&self, vectors: &Vectors, codes: &Codes, query: &GraphQuery<'_>) -> Vec<Scored> {
        walk::search_codes(self, vectors, codes, query)
    }

    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    pub(super) fn entry(&self) -> u32 {
        self.entry
    }

    /// Layers from the one above layer 0 upwards.
    pub(super) fn upper(&self) -> &[Section] {
        &self.upper
    }

    /// Rows with the very vector of a node.
    pub(super) fn twins(&self) -> &Section {
        &self.twins
    }

    /// Neighbours of `row` in layer 0 that stand in its places, with numbers of no row where it has fewer.
    pub(super) fn near(&self, row: u32) -> &[u32] {
        let start = row as usize * self.degree;
        self.base.get(start..start + self.degree).unwrap_or(&[])
    }

    /// Neighbours of `row` in layer 0 for which there was no place.
    pub(super) fn more(&self, row: u32) -> &[u32] {
        self.more.of(row)
    }
}

impl Section {
    /// The rows that belong to `row`.
    pub(super) fn of(&self, row: u32) -> &[u32] {
        let Ok(i) = self.nodes.binary_search(&row) else { return &[] };
        match (self.offsets.get(i), self.offsets.get(i + 1)) {
            (Some(from), Some(to)) => self.neighbours.get(*from as usize..*to as usize).unwrap_or(&[]),
            _ => &[],
        }
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
    fn arc() -> (Vectors, Codes, Vec<u8>) {
        let rows: Vec<[f32; 2]> = (0..5).map(|i| (i as f32 * 0.3).sin_cos().into()).collect();
        let vectors =
            Vectors::from_rows(2, rows.iter().enumerate().map(|(i, r)| (ChunkId(i as u64), r.as_slice()))).unwrap();
        let codes = Codes::decode(Buffer::from_vec(Codes::encode(&vectors).unwrap()), 5, 2).unwrap();
        let base =
            (0u32..5).map(|i| (i, [i.wrapping_sub(1), i + 1].into_iter().filter(|n| *n < 5).collect())).collect();
        // One place per row: the second link of a row stands among the further ones.
        let links = Links { entry: 2, degree: 1, layers: vec![base, vec![(2, vec![])]], twins: vec![] };
        (vectors, codes, Graph::encode(5, &links).unwrap())
    }

    fn query<'a>(vector: &'a [f32], ef: usize, removed: &'a RoaringBitmap) -> GraphQuery<'a> {
        GraphQuery { vector, top: ef, ef, removed, allowed: None }
    }

    #[test]
    fn finds_the_nearest_and_skips_the_removed() {
        let (vectors, codes, bytes) = arc();
        let graph = Graph::decode(Buffer::from(&bytes[..]), 5).unwrap();
        let rows = |removed: &RoaringBitmap| -> Vec<u32> {
            graph.search(&vectors, &codes, &query(vectors.row(4), 3, removed)).iter().map(|s| s.row).collect()
        };
        assert_eq!(rows(&RoaringBitmap::new()), [4, 3, 2]);
        assert_eq!(rows(&[3u32].into_iter().collect()), [4, 2, 1]);
        assert_eq!(rows(&(0u32..5).collect()), [] as [u32; 0]);
        let allowed = RowSet::new(5, [0, 3]);
        let removed = RoaringBitmap::new();
        let found = graph.search(
            &vectors,
            &codes,
            &GraphQuery { allowed: Some(&allowed), ..query(vectors.row(4), 3, &removed) },
        );
        assert_eq!(found.iter().map(|s| s.row).collect::<Vec<_>>(), [3, 0]);
    }

    #[test]
    fn a_truncated_or_foreign_file_is_refused() {
        let (_, _, bytes) = arc();
        for len in 0..bytes.len() {
            assert!(Graph::decode(Buffer::from(&bytes[..len]), 5).is_err(), "length {len}");
        }
        assert!(Graph::decode(Buffer::from(&bytes[..]), 6).is_err());
    }

    proptest! {
        #[test]
        fn damaged_words_never_panic(at in 0usize..200, value: u32, noise in proptest::collection::vec(any::<u32>(), 0..40)) {
            let (vectors, codes, bytes) = arc();
            let mut words: Vec<u32> = bytes.as_chunks::<4>().0.iter().map(|w| u32::from_le_bytes(*w)).collect();
            let len = words.len();
            words[at % len] = value;
            let removed = RoaringBitmap::new();
            if let Ok(graph) = Graph::decode(Buffer::from_vec(words), 5) {
                graph.search(&vectors, &codes, &query(vectors.row(0), 3, &removed));
            }
            let mut made = MAGIC.to_vec();
            made.extend(noise);
            let _ = Graph::decode(Buffer::from_vec(made), 5);
        }
    }
}
