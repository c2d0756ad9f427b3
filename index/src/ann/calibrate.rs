//! How wide a beam a graph needs: measured on its own rows when it is made.

use anser_core::CancelToken;
use rand::SeedableRng;
use rand::seq::index::sample;
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
pub(crate) fn calibrate(
    graph: &Graph,
    vectors: &Vectors,
    codes: &Codes,
    cancel: &CancelToken,
) -> Result<Vec<Calibration>> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ann::builder::GraphBuilder;
    use crate::ann::made;

    #[test]
    fn the_measured_beam_reaches_its_recall_on_other_queries() {
        let rows = made::clustered(6300, 48, (200, 1.2), 11);
        let (queries, rows) = rows.split_at(300);
        let vectors = made::vectors(rows);
        let codes = made::codes(&vectors);
        let graph = made::graph(&vectors, GraphBuilder::Native);
        let measured = calibrate(&graph, &vectors, &codes, &CancelToken::new()).unwrap();
        assert!(measured.iter().map(|c| c.recall).eq(RECALLS));
        assert!(measured.is_sorted_by(|a, b| a.ef <= b.ef) && measured[0].ef < measured[4].ef, "{measured:?}");
        let removed = RoaringBitmap::new();
        for Calibration { recall, ef } in measured {
            let mut hits = 0;
            for vector in queries {
                let query = GraphQuery { vector, top: 10, ef, removed: &removed, allowed: None };
                let nearest = made::nearest(&vectors, vector, 10, |_| true);
                hits += graph.search(&vectors, &codes, &query).iter().take(10).filter(|s| nearest.contains(s)).count();
            }
            let reached = hits as f64 / 3000.0;
            assert!(reached >= recall - 0.02, "{reached} of {recall} with {ef}");
        }
    }

    #[test]
    fn few_rows_are_measured_too_and_cancelling_stops_it() {
        for count in [1, 2, 5, 12] {
            let vectors = made::vectors(&made::clustered(count, 8, (3, 0.5), 5));
            let graph = made::graph(&vectors, GraphBuilder::Native);
            let measured = calibrate(&graph, &vectors, &made::codes(&vectors), &CancelToken::new()).unwrap();
            assert_eq!(measured.len(), RECALLS.len(), "{count} rows");
            let cancel = CancelToken::new();
            cancel.cancel();
            assert!(calibrate(&graph, &vectors, &made::codes(&vectors), &cancel).is_err());
        }
    }

    #[test]
    fn a_width_between_two_is_on_a_straight_line() {
        let measured = [(10, 0.8), (20, 0.9), (40, 1.0)];
        assert_eq!(
            [0.7, 0.8, 0.85, 0.9, 0.95, 1.1].map(|recall| reaching(&measured, recall)),
            [10, 10, 15, 20, 30, 40]
        );
    }
}
