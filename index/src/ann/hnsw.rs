//! Building HNSW graphs: the only file that names `hnsw_rs`, its parameters and the checks its input needs.
//!
//! The library builds; it neither stores nor searches. Its points are row numbers into our own vectors, so no vector is
//! copied, and its finished links are copied into a flat [`Graph`](super::graph::Graph). That keeps us clear of what its
//! released version does elsewhere: dumps that end the process when malformed, graphs borrowed from their loader, and
//! searches that race with inserts.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use anndists::dist::distances::Distance;
use anser_core::CancelToken;
use hnsw_rs::prelude::Hnsw;
use rayon::prelude::*;

use super::graph::{AdjacencyLayers, Graph};
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

/// Parameters of the graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct HnswParams {
    /// Links per row and layer; twice as many in layer 0.
    pub(crate) m: usize,
    /// Beam width while building.
    pub(crate) ef_construction: usize,
    /// Threads that build.
    pub(crate) threads: usize,
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
pub(crate) fn build(vectors: &Arc<Vectors>, params: HnswParams, cancel: &CancelToken) -> Result<Vec<u8>> {
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
    catch_unwind(AssertUnwindSafe(|| pool.install(|| insert_all(vectors, params, cancel))))
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
    let hnsw: Hnsw<'_, u32, RowDistance> =
        Hnsw::new(params.m, rows, MAX_LAYERS, params.ef_construction, RowDistance(Arc::clone(vectors)));
    let serial = rows.min(SERIAL_ROWS);
    (0..serial).for_each(|row| hnsw.insert_slice((&[row as u32], row)));
    for start in (serial..rows).step_by(BATCH_ROWS) {
        cancel.check()?;
        let end = rows.min(start + BATCH_ROWS);
        (start..end).into_par_iter().for_each(|row| hnsw.insert_slice((&[row as u32], row)));
    }
    let (entry, layers) = adjacency(&hnsw, rows)?;
    Graph::encode(rows, entry, &layers)
}

/// Copies the links of every row in every layer it lies in. A row of level L lies in layers 0 to L.
fn adjacency(hnsw: &Hnsw<'_, u32, RowDistance>, rows: usize) -> Result<(u32, AdjacencyLayers)> {
    let points = hnsw.get_point_indexation();
    let top = usize::from(hnsw.get_max_level_observed());
    let mut layers: AdjacencyLayers = vec![Vec::new(); top + 1];
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
