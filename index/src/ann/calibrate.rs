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
use super::vectors::Vectors;
use super::walk::search_without;
use crate::Result;

/// Recalls for which a beam width is measured.
const RECALLS: [f64; 5] = [0.90, 0.95, 0.98, 0.99, 0.995];
/// Hits whose recall is measured.
const TOP: usize = 10;
/// Queries made of the segment's rows.
const QUERIES: usize = 200;
/// Beam widths that are tried.
const LADDER: [usize; 18] = [10, 14, 20, 28, 40, 56, 72, 96, 128, 160, 200, 256, 320, 400, 512, 640, 800, 1024];

/// The beam width that reaches a recall.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Calibration {
    /// Share of the true ten nearest that is found.
    pub(crate) recall: f64,
    /// Beam width; the widest that was tried where none reached the recall.
    pub(crate) ef: usize,
}

/// Measures how wide a beam finds the nearest ten of queries like the rows: sampled rows are looked for as if they were
/// not there themselves.
pub(crate) fn calibrate(graph: &Graph, vectors: &Vectors, codes: &Codes, cancel: &CancelToken) -> Result<Vec<Calibration>> {
    let top = TOP.min(vectors.len().saturating_sub(1));
    let mut random = ChaCha8Rng::seed_from_u64(vectors.len() as u64);
    let mut queries: Vec<(u32, f32)> = Vec::new();
    for row in sample(&mut random, vectors.len(), QUERIES.min(vectors.len())) {
        cancel.check()?;
        let others: RoaringBitmap = [row as u32].into_iter().collect();
        let nearest = exact_scan(vectors, codes, vectors.row(row), (None, &others), top);
        queries.extend(nearest.last().map(|last| (row as u32, last.score)));
    }
    let removed = RoaringBitmap::new();
    let mut measured = Vec::with_capacity(LADDER.len());
    for ef in LADDER {
        cancel.check()?;
        let mut hits = 0;
        for (row, last) in &queries {
            let query = GraphQuery { vector: vectors.row(*row as usize), top, ef, removed: &removed, allowed: None };
            let found = search_without(graph, (vectors, codes), &query, *row);
            // One as near as the farthest true one counts.
            hits += found.iter().filter(|s| s.row != *row).take(top).filter(|s| s.score >= *last).count();
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
