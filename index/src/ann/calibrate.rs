//! How wide a beam a graph needs: measured on its own rows when it is made.

use anser_core::CancelToken;
use rand::seq::index::sample;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use roaring::RoaringBitmap;
use serde::{Deserialize, Serialize};

use super::codes::Codes;
use super::exact::exact_scan;
use super::graph::{Graph, GraphQuery};
use super::top::Scored;
use super::vectors::{Vectors, dot};
use crate::Result;

/// Recalls for which a beam width is measured.
const RECALLS: [f64; 5] = [0.90, 0.95, 0.98, 0.99, 0.995];
/// Hits whose recall is measured.
const TOP: usize = 10;
/// Queries made of the segment's rows.
const QUERIES: usize = 200;
/// Beam widths that are tried.
const LADDER: [usize; 18] = [10, 14, 20, 28, 40, 56, 72, 96, 128, 160, 200, 256, 320, 400, 512, 640, 800, 1024];
/// The neighbour that a row is averaged with.
const NEIGHBOUR: usize = 5;

/// The beam width that reaches a recall.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Calibration {
    /// Share of the true ten nearest that is found.
    pub(crate) recall: f64,
    /// Beam width; the widest that was tried where none reached the recall.
    pub(crate) ef: usize,
}

/// Measures how wide a beam finds the nearest ten of queries like the rows: sampled rows, each averaged with a neighbour,
/// so that no query is a row.
pub(crate) fn calibrate(graph: &Graph, vectors: &Vectors, codes: &Codes, cancel: &CancelToken) -> Result<Vec<Calibration>> {
    let removed = RoaringBitmap::new();
    let top = TOP.min(vectors.len());
    let exact = |query: &[f32], top| exact_scan(vectors, codes, query, (None, &removed), top);
    let mut random = ChaCha8Rng::seed_from_u64(vectors.len() as u64);
    let mut queries: Vec<(Vec<f32>, f32)> = Vec::new();
    for row in sample(&mut random, vectors.len(), QUERIES.min(vectors.len())) {
        cancel.check()?;
        let row = vectors.row(row);
        let near = exact(row, NEIGHBOUR + 1);
        let Some(other) = near.last() else { continue };
        let query = midpoint(row, vectors.row(other.row as usize));
        let Some(last) = exact(&query, top).last().copied() else { continue };
        queries.push((query, last.score));
    }
    let mut measured = Vec::with_capacity(LADDER.len());
    for ef in LADDER {
        cancel.check()?;
        let mut hits = 0;
        for (vector, last) in &queries {
            let query = GraphQuery { vector, top, ef, removed: &removed, allowed: None };
            // One as near as the farthest true one counts.
            let near = |s: &&Scored| s.score >= *last;
            hits += graph.search(vectors, codes, &query).iter().take(top).filter(near).count();
        }
        let recall = hits as f64 / (queries.len() * top).max(1) as f64;
        measured.push((ef, recall));
        if recall >= RECALLS[RECALLS.len() - 1] {
            break;
        }
    }
    Ok(RECALLS.map(|recall| Calibration { recall, ef: reaching(&measured, recall) }).to_vec())
}

/// The beam width that reaches `recall`, between those measured on a straight line.
fn reaching(measured: &[(usize, f64)], recall: f64) -> usize {
    let Some(above) = measured.iter().position(|(_, reached)| *reached >= recall) else {
        return measured.last().map_or(LADDER[LADDER.len() - 1], |(ef, _)| *ef);
    };
    let (ef, reached) = measured[above];
    let Some((lower, missed)) = above.checked_sub(1).map(|below| measured[below]) else { return ef };
    lower + ((ef - lower) as f64 * (recall - missed) / (reached - missed)).ceil() as usize
}

fn midpoint(a: &[f32], b: &[f32]) -> Vec<f32> {
    let sum: Vec<f32> = a.iter().zip(b).map(|(x, y)| x + y).collect();
    let length = dot(&sum, &sum).sqrt();
    if length > 0.0 { sum.iter().map(|x| x / length).collect() } else { a.to_vec() }
}
