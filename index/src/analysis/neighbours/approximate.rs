//! Neighbours of very many vectors without comparing every pair: every list is compared with the lists around it, then
//! every row with the neighbours of its neighbours.
//!
//! The second step is one round of Dong, Moses and Li, "Efficient k-nearest neighbor graph construction for generic
//! similarity measures", 2011. A graph that threads build together, such as an HNSW, comes out differently each time;
//! lists do not, and they hold only numbers of rows, so a million vectors stay mapped.

use std::sync::atomic::{AtomicU64, Ordering};

use anser_core::{CancelToken, NoProgress, Progress};
use anser_kernels::{PackedMatrix, Rows, WeightFormat};
use rayon::prelude::*;

use super::Neighbours;
use super::exact::{Itself, TASK_ROWS, compare, multiply};
use super::lists::Lists;
use super::top::{Top, Tops};
use crate::Result;
use crate::analysis::vectors::{Vectors, dot, sample_indices};

/// Lists that are searched for the neighbours of each list.
const VISITS: usize = 24;
/// Most neighbours of a row whose neighbours are tried: more would cost more than they find.
const TRIED: usize = 15;
/// Rows that one task of the second step improves.
const IMPROVED_ROWS: usize = 256;
/// Rows whose true neighbours are looked up to measure recall.
const RECALL_ROWS: usize = 256;

/// The `k` nearest others of each vector, as far as they are found.
pub(super) fn search(
    vectors: &Vectors,
    k: usize,
    seed: u64,
    (cancel, progress): (&CancelToken, &dyn Progress),
) -> Result<Neighbours> {
    let k = k.min(vectors.len() - 1);
    let lists = Lists::new(vectors, VISITS.max(4 * k), seed, cancel)?;
    let done = AtomicU64::new(0);
    let parts = lists.order.par_iter().enumerate().map_init(
        || (PackedMatrix::empty(WeightFormat::F32), Vec::new()),
        |(packed, scores), (list, order)| {
            let members = &lists.rows[list];
            let queries = gather(vectors, members);
            let mut tops = Tops::new(members.len(), k);
            let mut seen = 0;
            for (visit, other) in order.iter().enumerate() {
                // A row must have k others to be compared with, wherever they come from.
                if visit >= VISITS && seen > k {
                    break;
                }
                cancel.check()?;
                let others = &lists.rows[*other as usize];
                seen += others.len();
                let values = gather(vectors, others);
                packed.assign(Rows::dense(&values, others.len(), vectors.dimension()));
                let tasks = queries.chunks(TASK_ROWS * vectors.dimension()).zip(tops.split(TASK_ROWS));
                for ((rows, mut tops), members) in tasks.zip(members.chunks(TASK_ROWS)) {
                    for ((top, scores), member) in tops.iter_mut().zip(multiply(packed, rows, scores)).zip(members) {
                        top.offer_all(scores, |at| others[at], Some(*member));
                    }
                }
            }
            progress.set(done.fetch_add(members.len() as u64, Ordering::Relaxed) + members.len() as u64);
            Ok(tops)
        },
    );
    let parts = parts.collect::<anser_core::Result<Vec<Tops>>>()?;
    let mut found = Tops::new(vectors.len(), k).finish(vectors.len());
    for (members, part) in lists.rows.iter().zip(parts) {
        let part = part.finish(members.len());
        for (at, member) in members.iter().enumerate() {
            let range = *member as usize * k..(*member as usize + 1) * k;
            let (indices, similarities) = part.of(at);
            found.indices[range.clone()].copy_from_slice(indices);
            found.similarities[range].copy_from_slice(similarities);
        }
    }
    improve(vectors, &found, cancel)
}

fn gather(vectors: &Vectors, rows: &[u32]) -> Vec<f32> {
    let mut values = Vec::with_capacity(rows.len() * vectors.dimension());
    for row in rows {
        values.extend_from_slice(vectors.row(*row as usize));
    }
    values
}

/// Offers every row the neighbours of its neighbours.
fn improve(vectors: &Vectors, found: &Neighbours, cancel: &CancelToken) -> Result<Neighbours> {
    let k = found.k();
    let mut better = found.clone();
    if k == 0 {
        return Ok(better);
    }
    let parts =
        better.indices.par_chunks_mut(IMPROVED_ROWS * k).zip(better.similarities.par_chunks_mut(IMPROVED_ROWS * k));
    parts.enumerate().try_for_each(|(part, (indices, similarities))| {
        cancel.check()?;
        let mut tried = Vec::new();
        let tops = indices.chunks_exact_mut(k).zip(similarities.chunks_exact_mut(k));
        for (row, (indices, similarities)) in (part * IMPROVED_ROWS..).zip(tops) {
            tried.clear();
            let near = found.of(row).0;
            let nearest = near.iter().take(TRIED);
            tried.extend(nearest.flat_map(|at| found.of(*at as usize).0.iter().take(TRIED)));
            tried.sort_unstable();
            tried.dedup();
            let mut known = near.to_vec();
            known.push(row as u32);
            known.sort_unstable();
            let mut top = Top::over(indices, similarities);
            for other in tried.iter().filter(|other| known.binary_search(other).is_err()) {
                top.offer(dot(vectors.row(row), vectors.row(*other as usize)), *other);
            }
        }
        Ok::<(), anser_core::Error>(())
    })?;
    Ok(better)
}

/// The share of the true neighbours of sampled rows that were found; one as near as the farthest true one counts.
pub(super) fn recall(vectors: &Vectors, found: &Neighbours, seed: u64, cancel: &CancelToken) -> Result<f64> {
    if found.k() == 0 {
        return Ok(1.0);
    }
    let sample = sample_indices(vectors.len(), RECALL_ROWS, seed);
    let queries = vectors.gather(&sample);
    let truth = compare(&queries, vectors, found.k(), Itself::Listed(&sample), (cancel, &NoProgress))?;
    let mut hits = 0;
    for (at, row) in sample.iter().enumerate() {
        let farthest = truth.of(at).1.last().copied().unwrap_or(1.0);
        hits += found.of(*row).1.iter().filter(|cosine| **cosine >= farthest - 1e-6).count();
    }
    Ok(hits as f64 / (sample.len() * found.k()) as f64)
}
