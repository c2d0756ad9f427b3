//! Every pair compared, by blocked matrix products: a block of rows is packed once and all others are multiplied with
//! it. Beside the result this needs a few blocks of memory; a table of all pairs never exists.

use anser_core::{CancelToken, Progress};
use anser_kernels::{PackedMatrix, Rows, RowsMut, WeightFormat};
use rayon::prelude::*;

use super::Neighbours;
use super::top::{Top, Tops};
use crate::Result;
use crate::analysis::vectors::Vectors;

/// Rows that are packed at once.
const PACKED_ROWS: usize = 1920;
/// Rows that one task multiplies with them.
const TASK_ROWS: usize = 64;

/// The `k` nearest others of each vector, or all others where there are fewer.
pub(super) fn among_themselves(
    vectors: &Vectors,
    k: usize,
    cancel: &CancelToken,
    progress: &dyn Progress,
) -> Result<Neighbours> {
    compare(vectors, vectors, k.min(vectors.len() - 1), true, (cancel, progress))
}

/// The `k` nearest of `among` for each query, or all where there are fewer.
pub(super) fn among_others(
    queries: &Vectors,
    among: &Vectors,
    k: usize,
    cancel: &CancelToken,
    progress: &dyn Progress,
) -> Result<Neighbours> {
    compare(queries, among, k.min(among.len()), false, (cancel, progress))
}

fn compare(
    queries: &Vectors,
    among: &Vectors,
    k: usize,
    not_itself: bool,
    (cancel, progress): (&CancelToken, &dyn Progress),
) -> Result<Neighbours> {
    let dimension = queries.dimension();
    let mut tops = Tops::new(queries.len(), k);
    let mut packed = PackedMatrix::empty(WeightFormat::F32);
    for first in (0..among.len()).step_by(PACKED_ROWS) {
        let last = among.len().min(first + PACKED_ROWS);
        packed.assign_in_parallel(Rows::dense(among.rows(first..last), last - first, dimension));
        let tasks: Vec<_> = queries.as_slice().chunks(TASK_ROWS * dimension).zip(tops.split(TASK_ROWS)).collect();
        tasks.into_par_iter().enumerate().try_for_each_init(Vec::new, |scores, (task, (rows, (indices, cosines)))| {
            cancel.check()?;
            let count = rows.len() / dimension;
            scores.resize(count * packed.n(), 0.0);
            let target = RowsMut::dense(scores, count, packed.n());
            packed.product(Rows::dense(rows, count, dimension), None, target, false);
            let best = indices.chunks_mut(k).zip(cosines.chunks_mut(k));
            for ((row, scores), (indices, cosines)) in
                (task * TASK_ROWS..).zip(scores.chunks(packed.n())).zip(best)
            {
                let itself = not_itself.then_some(row as u32);
                Top::new(indices, cosines).offer_all(scores, first as u32, itself);
            }
            Ok::<(), anser_core::Error>(())
        })?;
        progress.set(last as u64);
    }
    Ok(tops.finish(queries.len()))
}
