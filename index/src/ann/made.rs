//! Vectors and indexes made for tests.

use std::sync::Arc;

use anser_core::{CancelToken, ChunkId};
use arrow::buffer::Buffer;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use roaring::RoaringBitmap;

use super::builder::{GraphBuilder, HnswParams, build_graph};
use super::codes::Codes;
use super::graph::{Graph, GraphQuery};
use super::top::Scored;
use super::vectors::{Vectors, dot};

/// Both builders.
pub(super) const BUILDERS: [GraphBuilder; 2] = [GraphBuilder::Native, GraphBuilder::HnswRs];

/// Unit vectors around `clusters` centres, `spread` away from them on average.
pub(super) fn clustered(rows: usize, dimension: usize, (clusters, spread): (usize, f32), seed: u64) -> Vec<Vec<f32>> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut point = |length: f32| -> Vec<f32> {
        let point: Vec<f32> = (0..dimension).map(|_| random.random_range(-1.0f32..1.0)).collect();
        let norm = dot(&point, &point).sqrt().max(1e-6);
        point.iter().map(|x| x * length / norm).collect()
    };
    let centres: Vec<Vec<f32>> = (0..clusters).map(|_| point(1.0)).collect();
    let rows = (0..rows).map(|row| {
        let sum: Vec<f32> = centres[row % clusters].iter().zip(point(spread)).map(|(a, b)| a + b).collect();
        let norm = dot(&sum, &sum).sqrt();
        if norm > 1e-3 { sum.iter().map(|x| x / norm).collect() } else { centres[row % clusters].clone() }
    });
    rows.collect()
}

pub(super) fn vectors(rows: &[Vec<f32>]) -> Arc<Vectors> {
    let dimension = rows[0].len();
    let rows = rows.iter().enumerate().map(|(i, row)| (ChunkId(i as u64), row.as_slice()));
    Arc::new(Vectors::from_rows(dimension, rows).unwrap())
}

pub(super) fn codes(vectors: &Vectors) -> Codes {
    let bytes = Codes::encode(vectors).unwrap();
    Codes::decode(Buffer::from_vec(bytes), vectors.len(), vectors.dimension()).unwrap()
}

/// Small parameters.
pub(super) fn params(builder: GraphBuilder, threads: usize) -> HnswParams {
    HnswParams { m: 8, ef_construction: 64, threads, builder }
}

pub(super) fn graph(vectors: &Arc<Vectors>, builder: GraphBuilder) -> Graph {
    let bytes = build_graph(vectors, &codes(vectors), &params(builder, 2), &CancelToken::new()).unwrap();
    Graph::decode(Buffer::from(&bytes[..]), vectors.len()).unwrap()
}

/// What a beam of `ef` finds when nothing is removed.
pub(super) fn search(graph: &Graph, vectors: &Vectors, vector: &[f32], ef: usize) -> Vec<Scored> {
    let removed = RoaringBitmap::new();
    graph.search(vectors, &codes(vectors), &GraphQuery { vector, top: ef, ef, removed: &removed, allowed: None })
}

/// The rows nearest to `query` among those that `counts`, by comparing all of them.
pub(super) fn nearest(vectors: &Vectors, query: &[f32], top: usize, counts: impl Fn(u32) -> bool) -> Vec<Scored> {
    let rows = vectors.iter().filter(|(row, ..)| counts(*row));
    let mut scored: Vec<Scored> = rows.map(|(row, _, vector)| Scored { score: dot(query, vector), row }).collect();
    scored.sort_unstable_by(|a, b| b.cmp(a));
    scored.truncate(top);
    scored
}
