//! Building graphs with the library `hnsw_rs`: the only file that names it.
//!
//! The library builds; it neither stores nor searches. Its points are row numbers into our own vectors, so no vector is
//! copied, and its finished links are copied into a flat [`Graph`](super::graph::Graph). That keeps us clear of what its
//! released version does elsewhere: dumps that end the process when malformed, graphs borrowed from their loader, and
//! searches that race with inserts.

use std::sync::Arc;

use anndists::dist::distances::Distance;
use anser_core::CancelToken;
use hnsw_rs::prelude::Hnsw;
use rayon::prelude::*;

use super::builder::HnswParams;
use super::graph::Adjacency;
use super::vectors::{Vectors, dot};
use crate::{IndexError, Result};

/// Layers that the library knows.
const MAX_LAYERS: usize = 16;
/// Rows inserted one by one before threads join in: rows that arrive together while the graph is empty are never linked.
const SERIAL_ROWS: usize = 256;
/// Rows inserted between two looks at the cancel token.
const BATCH_ROWS: usize = 2048;

/// Distance between rows: 1 - cosine, never below zero, because rounding makes 1 - dot of equal vectors negative and the
/// library asserts that it is not.
struct RowDistance(Arc<Vectors>);

impl Distance<u32> for RowDistance {
    fn eval(&self, a: &[u32], b: &[u32]) -> f32 {
        let row = |point: &[u32]| point.first().map_or(&[][..], |row| self.0.row(*row as usize));
        (1.0 - dot(row(a), row(b))).max(0.0)
    }
}

/// Links `nodes` (ascending rows); returns where searches begin and each layer's links, the lowest first.
pub(super) fn link(
    vectors: &Arc<Vectors>,
    nodes: &[u32],
    params: &HnswParams,
    cancel: &CancelToken,
) -> Result<(u32, Vec<Adjacency>)> {
    let hnsw = insert_all(vectors, nodes, params, cancel)?;
    adjacency(&hnsw, nodes.len())
}

fn insert_all(
    vectors: &Arc<Vectors>,
    nodes: &[u32],
    params: &HnswParams,
    cancel: &CancelToken,
) -> Result<Hnsw<'static, u32, RowDistance>> {
    let distance = RowDistance(Arc::clone(vectors));
    let hnsw = Hnsw::new(params.m, nodes.len(), MAX_LAYERS, params.ef_construction, distance);
    let insert = |row: &u32| hnsw.insert_slice((&[*row], *row as usize));
    let (serial, parallel) = nodes.split_at(nodes.len().min(SERIAL_ROWS));
    serial.iter().for_each(insert);
    for batch in parallel.chunks(BATCH_ROWS) {
        cancel.check()?;
        batch.par_iter().for_each(insert);
    }
    Ok(hnsw)
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
    use arrow::buffer::Buffer;
    use roaring::RoaringBitmap;

    use super::*;
    use crate::ann::beam::Scorer;
    use crate::ann::builder::GraphBuilder;
    use crate::ann::graph::{Graph, GraphQuery, Links};
    use crate::ann::made;
    use crate::ann::walk::nearest_nodes;

    /// Scores by the vectors themselves.
    struct ByVectors<'a>(&'a Vectors, &'a [f32]);

    impl Scorer for ByVectors<'_> {
        fn score(&self, rows: &[u32], out: &mut Vec<f32>) {
            out.clear();
            out.extend(rows.iter().map(|row| dot(self.1, self.0.row(*row as usize))));
        }
    }

    #[test]
    fn the_flat_graph_gives_what_the_library_gives() {
        let rows = made::clustered(3200, 24, (40, 0.9), 17);
        let vectors = made::vectors(&rows);
        // The last rows are not linked: they are the queries.
        let nodes: Vec<u32> = (0..3000).collect();
        let params = made::params(GraphBuilder::HnswRs, 2);
        let hnsw = insert_all(&vectors, &nodes, &params, &CancelToken::new()).unwrap();
        let (entry, layers) = adjacency(&hnsw, nodes.len()).unwrap();
        let bytes = Graph::encode(3000, &Links { entry, degree: 2 * params.m, layers, twins: Vec::new() }).unwrap();
        let graph = Graph::decode(Buffer::from(&bytes[..]), 3000).unwrap();
        let removed = RoaringBitmap::new();
        let (mut same, mut all) = (0, 0);
        for row in 3000..3200u32 {
            let vector = vectors.row(row as usize);
            for ef in [10, 40, 160] {
                let query = GraphQuery { vector, top: 10, ef, removed: &removed, allowed: None };
                let ours = nearest_nodes(&graph, &ByVectors(&vectors, vector), &query);
                let theirs: Vec<u32> = hnsw.search(&[row], 10, ef).iter().map(|n| n.d_id as u32).collect();
                assert_eq!(theirs.len(), 10);
                let ours: Vec<u32> = ours.iter().take(10).map(|s| s.row).collect();
                same += ours.iter().filter(|row| theirs.contains(row)).count();
                all += theirs.len();
            }
        }
        // Both walk the same links; where ours begins at the entry as well, it may find more.
        assert!(same * 1000 >= all * 995, "{same} of {all}");
    }
}
