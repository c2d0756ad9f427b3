//! Every pair compared, by blocked matrix products: a block of rows is packed once and all others are multiplied with
//! it. Beside the result this needs a few blocks of memory; a table of all pairs never exists.

use anser_core::{CancelToken, Progress};
use anser_kernels::{PackedMatrix, Rows, RowsMut, WeightFormat};
use rayon::prelude::*;

use super::Neighbours;
use super::top::Tops;
use crate::Result;
use crate::analysis::vectors::Vectors;

/// Rows that are packed at once: 40 panels of the packed form.
const PACKED_ROWS: usize = 1920;
/// Rows that one task multiplies with them, so that they and their products stay in the second-level cache.
pub(super) const TASK_ROWS: usize = 64;

/// Which row of `among` a query is, so that it is not its own neighbour.
#[derive(Clone, Copy)]
pub(super) enum Itself<'a> {
    /// None: queries are other vectors.
    Absent,
    /// The i-th query is the i-th row.
    Same,
    /// The i-th query is the row that stands here.
    Listed(&'a [usize]),
}

impl Itself<'_> {
    fn of(self, query: usize) -> Option<u32> {
        match self {
            Self::Absent => None,
            Self::Same => Some(query as u32),
            Self::Listed(rows) => rows.get(query).map(|row| *row as u32),
        }
    }
}

/// The `k` nearest of `among` for each query but itself, or all where there are fewer.
pub(super) fn compare(
    queries: &Vectors,
    among: &Vectors,
    k: usize,
    itself: Itself<'_>,
    (cancel, progress): (&CancelToken, &dyn Progress),
) -> Result<Neighbours> {
    let others = among.len() - usize::from(!matches!(itself, Itself::Absent));
    let dimension = queries.dimension();
    let mut tops = Tops::new(queries.len(), k.min(others));
    let mut packed = PackedMatrix::empty(WeightFormat::F32);
    for first in (0..among.len()).step_by(PACKED_ROWS) {
        let last = among.len().min(first + PACKED_ROWS);
        packed.assign_in_parallel(Rows::dense(among.rows(first..last), last - first, dimension));
        let tasks = queries.as_slice().par_chunks(TASK_ROWS * dimension).zip(tops.split(TASK_ROWS));
        tasks.enumerate().try_for_each_init(Vec::new, |scores, (task, (rows, mut tops))| {
            cancel.check()?;
            let products = multiply(&packed, rows, scores);
            for (query, (top, scores)) in (task * TASK_ROWS..).zip(tops.iter_mut().zip(products)) {
                top.offer_all(scores, |at| (first + at) as u32, itself.of(query));
            }
            Ok::<(), anser_core::Error>(())
        })?;
        progress.set(last as u64);
    }
    Ok(tops.finish(queries.len()))
}

/// The products of each of some rows with all packed ones.
pub(in crate::analysis) fn multiply<'a>(
    packed: &PackedMatrix,
    rows: &[f32],
    scores: &'a mut Vec<f32>,
) -> impl Iterator<Item = &'a [f32]> {
    let count = rows.len() / packed.k();
    scores.resize(count * packed.n(), 0.0);
    let target = RowsMut::dense(scores, count, packed.n());
    packed.product(Rows::dense(rows, count, packed.k()), None, target, false);
    scores.chunks_exact(packed.n())
}
