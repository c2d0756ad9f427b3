//! Building HNSW graphs: the only file that names `hnsw_rs`, its parameters and the checks its input needs.
//!
//! The library builds; it neither stores nor searches. Its points are row numbers into our own vectors, so no vector is
//! copied, and its finished links are copied into a flat [`Graph`](super::graph::Graph). That keeps us clear of what its
//! released version does elsewhere: dumps that end the process when malformed, graphs borrowed from their loader, and
//! searches that race with inserts.

use std::collections::{BTreeMap, HashMap};
use std::hash::{DefaultHasher, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use anndists::dist::distances::Distance;
use anser_core::CancelToken;
use hnsw_rs::prelude::Hnsw;
use rayon::prelude::*;

use super::codes::Codes;
use super::graph::{Adjacency, Graph, Links};
use super::reachable::make_reachable;
use super::vectors::{Vectors, dot};
use crate::{IndexError, Result};

/// Layers that the library knows.
const MAX_LAYERS: usize = 16;
/// The library ends the process above 256; links are stored 2 m per row.
const M_RANGE: std::ops::RangeInclusive<usize> = 2..=128;
/// Rows inserted one by one before threads join in: rows that arrive together while the graph is empty are never linked.
const SERIAL_ROWS: usize = 256;
/// Rows inserted between two looks at the cancel token.
const BATCH_ROWS: usize = 2048;

/// Who links the rows of a graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum GraphBuilder {
    /// Anser itself, by codes.
    #[default]
    Native,
    /// The library `hnsw_rs`, by the vectors themselves.
    HnswRs,
}

/// Parameters of the graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct HnswParams {
    /// Links per row and layer; twice as many in layer 0.
    pub(crate) m: usize,
    /// Beam width while building.
    pub(crate) ef_construction: usize,
    /// Threads that build.
    pub(crate) threads: usize,
    /// Who builds.
    pub(crate) builder: GraphBuilder,
}

/// Distance between rows: 1 - cosine, never below zero, because rounding makes 1 - dot of equal vectors negative and the
/// library asserts that it is not.
struct RowDistance(Arc<Vectors>);

impl Distance<u32> for RowDistance {
    fn eval(&self, a: &[u32], b: &[u32]) -> f32 {
        let row = |point: &[u32]| point.first().map_or(&[][..], |row| self.0.row(*row as usize));
        (1.0 - dot(row(a), row(b))).max(0.0)
    }
}

/// Builds the graph over all rows of `vectors` and returns it as the bytes of a graph file.
pub(crate) fn build_graph(
    vectors: &Arc<Vectors>,
    codes: &Codes,
    params: &HnswParams,
    cancel: &CancelToken,
) -> Result<Vec<u8>> {
    debug_assert_eq!(codes.len(), vectors.len(), "codes of other vectors");
    if !M_RANGE.contains(&params.m) || params.ef_construction < params.m {
        return Err(IndexError::invalid(format!(
            "HNSW needs m between {} and {} and ef_construction of at least m, not m = {} and ef_construction = {}",
            M_RANGE.start(),
            M_RANGE.end(),
            params.m,
            params.ef_construction
        )));
    }
    if vectors.len() == 0 || vectors.len() > i32::MAX as usize {
        return Err(IndexError::internal(format!("a graph over {} rows cannot be built", vectors.len())));
    }
    check_rows(vectors)?;
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(params.threads.max(1))
        .thread_name(|i| format!("hnsw-build-{i}"))
        .build()
        .map_err(|e| IndexError::internal(format!("cannot start threads that build a graph: {e}")))?;
    catch_unwind(AssertUnwindSafe(|| pool.install(|| insert_all(vectors, *params, cancel))))
        .unwrap_or_else(|_| Err(IndexError::internal("the HNSW library panicked while building a graph")))
}

/// Nothing but finite unit vectors reaches the library: it takes an all-zero or NaN vector for a perfect match.
fn check_rows(vectors: &Vectors) -> Result<()> {
    for (_, id, row) in vectors.iter() {
        let norm = dot(row, row).sqrt();
        if !norm.is_finite() || (norm - 1.0).abs() > 2e-3 {
            return Err(IndexError::corrupt(format!("vector of chunk {id}"), format!("its norm is {norm}, not 1")));
        }
    }
    Ok(())
}

fn insert_all(vectors: &Arc<Vectors>, params: HnswParams, cancel: &CancelToken) -> Result<Vec<u8>> {
    let rows = vectors.len();
    let (nodes, twins) = group_twins(vectors);
    let hnsw: Hnsw<'_, u32, RowDistance> =
        Hnsw::new(params.m, nodes.len(), MAX_LAYERS, params.ef_construction, RowDistance(Arc::clone(vectors)));
    let insert = |row: &u32| hnsw.insert_slice((&[*row], *row as usize));
    let (serial, parallel) = nodes.split_at(nodes.len().min(SERIAL_ROWS));
    serial.iter().for_each(insert);
    for batch in parallel.chunks(BATCH_ROWS) {
        cancel.check()?;
        batch.par_iter().for_each(insert);
    }
    let (entry, mut layers) = adjacency(&hnsw, nodes.len())?;
    if let Some(base) = layers.first_mut() {
        base.extend(twins.iter().flat_map(|(_, rows)| rows).map(|row| (*row, Vec::new())));
        base.sort_unstable_by_key(|(row, _)| *row);
        let mut settled = vec![true; rows];
        for row in &nodes {
            settled[*row as usize] = false;
        }
        let added = make_reachable(base, entry, settled);
        tracing::debug!(rows, nodes = nodes.len(), added, "graph built");
    }
    Graph::encode(rows, &Links { entry, degree: 2 * params.m, layers, twins })
}

/// The first row of each distinct vector, and for those that occur more than once the other rows. Only the first becomes
/// a node: equal vectors would fill their links, and the beam of a search, with one another.
fn group_twins(vectors: &Vectors) -> (Vec<u32>, Adjacency) {
    let mut first: HashMap<u64, Vec<u32>> = HashMap::with_capacity(vectors.len());
    let (mut nodes, mut twins) = (Vec::new(), BTreeMap::<u32, Vec<u32>>::new());
    for (row, _, vector) in vectors.iter() {
        let mut hasher = DefaultHasher::new();
        for value in vector {
            hasher.write_u32(value.to_bits());
        }
        let same_hash = first.entry(hasher.finish()).or_default();
        if let Some(node) = same_hash.iter().find(|node| vectors.row(**node as usize) == vector) {
            twins.entry(*node).or_default().push(row);
        } else {
            same_hash.push(row);
            nodes.push(row);
        }
    }
    (nodes, twins.into_iter().collect())
}

/// Copies the links of every row in every layer it lies in. A row of level L lies in layers 0 to L.
fn adjacency(hnsw: &Hnsw<'_, u32, RowDistance>, rows: usize) -> Result<(u32, Vec<Adjacency>)> {
    let points = hnsw.get_point_indexation();
    let top = usize::from(hnsw.get_max_level_observed());
    let mut layers: Vec<Adjacency> = vec![Vec::new(); top + 1];
    let mut entry = None;
    for level in 0..=top {
        for point in points.get_layer_iterator(level) {
            let row = point.get_origin_id() as u32;
            if level == top {
                entry.get_or_insert(row);
            }
            for (layer, found) in point.get_neighborhood_id().into_iter().enumerate().take(level + 1) {
                // Links into a layer where the neighbour does not lie would be dead ends.
                let neighbours = found.iter().filter(|n| usize::from(n.p_id.0) >= layer && n.d_id != row as usize);
                layers[layer].push((row, neighbours.map(|n| n.d_id as u32).collect()));
            }
        }
    }
    for layer in &mut layers {
        layer.sort_unstable_by_key(|(row, _)| *row);
    }
    match entry {
        Some(entry) if layers[0].len() == rows => Ok((entry, layers)),
        _ => Err(IndexError::internal(format!("the HNSW library linked {} of {rows} rows", layers[0].len()))),
    }
}

#[cfg(test)]
mod tests {
    use anser_core::{ChunkId, ErrorKind};
    use arrow::buffer::Buffer;
    use roaring::RoaringBitmap;

    use super::*;
    use crate::ann::graph::GraphQuery;
    use crate::ann::top::Scored;

    const PARAMS: HnswParams = HnswParams { m: 8, ef_construction: 64, threads: 2, builder: GraphBuilder::HnswRs };

    fn vectors(rows: &[Vec<f32>]) -> Arc<Vectors> {
        let rows = rows.iter().enumerate().map(|(i, row)| (ChunkId(i as u64), row.as_slice()));
        Arc::new(Vectors::from_rows(3, rows).unwrap())
    }

    /// Unit vectors along a spiral; the first `equal` are the same.
    fn spiral(count: usize, equal: usize) -> Vec<Vec<f32>> {
        (0..count)
            .map(|i| {
                let t = if i < equal { 0.7 } else { i as f32 * 0.37 };
                let z = (t * 0.11).sin();
                let r = (1.0 - z * z).sqrt();
                vec![r * t.cos(), r * t.sin(), z]
            })
            .collect()
    }

    fn codes(rows: &Vectors) -> Codes {
        Codes::decode(Buffer::from_vec(Codes::encode(rows).unwrap()), rows.len(), 3).unwrap()
    }

    /// Finds with a beam of `ef`, without anything removed.
    fn search(graph: &Graph, rows: &Vectors, vector: &[f32], ef: usize) -> Vec<Scored> {
        let removed = RoaringBitmap::new();
        graph.search(rows, &codes(rows), &GraphQuery { vector, top: ef, ef, removed: &removed, allowed: None })
    }

    fn decoded(rows: &Arc<Vectors>) -> Graph {
        let bytes = build_graph(rows, &codes(rows), &PARAMS, &CancelToken::new()).unwrap();
        Graph::decode(Buffer::from(&bytes[..]), rows.len()).unwrap()
    }

    #[test]
    fn parameters_that_would_end_the_process_are_refused() {
        let rows = vectors(&spiral(10, 0));
        for (m, ef_construction) in [(0, 10), (1, 10), (129, 200), (257, 300), (16, 15)] {
            let params = HnswParams { m, ef_construction, threads: 1, ..PARAMS };
            let error = build_graph(&rows, &codes(&rows), &params, &CancelToken::new()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "m = {m}");
        }
    }

    #[test]
    fn zero_nan_and_long_vectors_never_reach_the_library() {
        for bad in [vec![0.0, 0.0, 0.0], vec![f32::NAN, 0.0, 1.0], vec![1.0, 1.0, 1.0]] {
            let mut rows = spiral(20, 0);
            rows[13] = bad;
            let error = build_graph(&vectors(&rows), &codes(&vectors(&rows)), &PARAMS, &CancelToken::new()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Corrupt);
            assert!(error.to_string().contains("chunk 13"), "{error}");
        }
    }

    #[test]
    fn a_cancelled_build_stops() {
        let cancel = CancelToken::new();
        cancel.cancel();
        let error = build_graph(&vectors(&spiral(3000, 0)), &codes(&vectors(&spiral(3000, 0))), &PARAMS, &cancel).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Cancelled);
    }

    #[test]
    fn a_crowd_of_equal_vectors_neither_panics_nor_hides_anything() {
        let data = spiral(1500, 700);
        let rows = vectors(&data);
        let graph = decoded(&rows);
        let crowd = search(&graph, &rows, &data[3], 700);
        assert!(crowd.len() >= 700);
        assert!(crowd[..700].iter().all(|s| (s.score - 1.0).abs() < 1e-5));
        for row in (700..1500).step_by(37) {
            let best = search(&graph, &rows, &data[row], 64);
            assert!((best[0].score - 1.0).abs() < 1e-5, "row {row} is found by itself");
        }
        assert_eq!(search(&graph, &rows, &data[0], usize::MAX).len(), 1500, "every row can be reached");
    }

    #[test]
    fn a_graph_of_one_row_works() {
        let rows = vectors(&spiral(1, 0));
        let graph = decoded(&rows);
        assert_eq!(search(&graph, &rows, rows.row(0), 5).len(), 1);
    }
}
