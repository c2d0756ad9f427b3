//! Finding pairs: blocks of rows are multiplied, and what may reach the threshold is looked at closely.

use std::sync::atomic::{AtomicU64, Ordering};

use anser_core::{CancelToken, Progress};
use anser_kernels::{PackedMatrix, Rows, WeightFormat};
use rayon::prelude::*;

use super::bound::{Bound, ROUNDING};
use super::forest::{Forest, Pair, strongest};
use crate::Result;
use crate::analysis::neighbours::{Lists, any_at_least, multiply};
use crate::analysis::vectors::{Vectors, dot};

/// Rows that are packed at once.
const PACKED_ROWS: usize = 1920;
/// Rows that one task multiplies with them.
const TASK_ROWS: usize = 64;
/// Tasks whose pairs are in memory at once.
const TASKS: usize = 1024;
/// Pairs of one task above which only the strongest are handed on.
const TASK_PAIRS: usize = 4096;
/// Bounds that are compared with the threshold at once.
const LANES: usize = 16;

/// What is searched for pairs.
pub(super) struct Scan<'a> {
    /// The vectors.
    pub(super) vectors: &'a Vectors,
    /// Those to compare; all other numbers here are places in this list.
    pub(super) rows: &'a [usize],
    /// Bounds of their cosines.
    pub(super) bound: &'a Bound<'a>,
    /// Least cosine of a pair.
    pub(super) threshold: f32,
    /// Whether to stop.
    pub(super) cancel: &'a CancelToken,
    /// How far it is, in rows.
    pub(super) progress: &'a dyn Progress,
}

/// Rows of one task with those they are compared with, both ascending.
struct Block<'a> {
    /// The rows of the left side.
    left: &'a [u32],
    /// The rows that are packed.
    right: &'a [u32],
    /// Whether a pair is met from either of its rows, and taken from the lower one.
    both_ways: bool,
}

impl Scan<'_> {
    /// Compares every row with every other one. Returns how many cosines were computed.
    pub(super) fn all(&self, forest: &mut Forest) -> Result<u64> {
        let (count, columns) = (self.rows.len(), self.bound.columns);
        let numbers: Vec<u32> = (0..count as u32).collect();
        let mut packed = PackedMatrix::empty(WeightFormat::F32);
        let mut compared = 0;
        for first in (0..count).step_by(PACKED_ROWS) {
            let last = count.min(first + PACKED_ROWS);
            packed.assign_in_parallel(Rows::dense(self.bound.rows(first..last), last - first, columns));
            for start in (0..last).step_by(TASKS * TASK_ROWS) {
                let end = last.min(start + TASKS * TASK_ROWS);
                let lefts = self.bound.rows(start..end).par_chunks(TASK_ROWS * columns);
                let tasks = lefts.zip(numbers[start..end].par_chunks(TASK_ROWS));
                let found = tasks.map_init(Vec::new, |scores, (left_rows, left)| {
                    let block = Block { left, right: &numbers[first..last], both_ways: true };
                    self.block(&packed, left_rows, scores, &block, forest)
                });
                for (pairs, looked) in found.collect::<Result<Vec<_>>>()? {
                    compared += looked;
                    forest.add(pairs);
                }
            }
            self.progress.set(last as u64);
        }
        Ok(compared)
    }

    /// Compares every list with the `visits` lists it names first. Returns how many cosines were computed.
    pub(super) fn lists(&self, lists: &Lists, visits: usize, forest: &mut Forest) -> Result<u64> {
        let columns = self.bound.columns;
        let gather = |rows: &[u32], values: &mut Vec<f32>| {
            values.clear();
            for at in rows.iter().map(|at| *at as usize) {
                values.extend_from_slice(self.bound.rows(at..at + 1));
            }
        };
        let named = |list: usize| lists.order[list].iter().map(|other| *other as usize).take(visits);
        let (mut compared, done) = (0, AtomicU64::new(0));
        for lists_of_round in (0..lists.rows.len()).collect::<Vec<_>>().chunks(TASKS) {
            let found = lists_of_round.par_iter().map_init(
                || (PackedMatrix::empty(WeightFormat::F32), Vec::new(), Vec::new(), Vec::new()),
                |(packed, scores, left_rows, right_rows), list| {
                    let left = &lists.rows[*list];
                    gather(left, left_rows);
                    packed.assign(Rows::dense(left_rows, left.len(), columns));
                    let (mut pairs, mut looked) = (Vec::new(), 0);
                    // Two lists that name each other are compared once.
                    for other in named(*list).filter(|other| other >= list || named(*other).all(|at| at != *list)) {
                        let others = &lists.rows[other];
                        gather(others, right_rows);
                        for (rows, others) in right_rows.chunks(TASK_ROWS * columns).zip(others.chunks(TASK_ROWS)) {
                            let block = Block { left: others, right: left, both_ways: other == *list };
                            let (found, cosines) = self.block(packed, rows, scores, &block, forest)?;
                            pairs.extend(found);
                            looked += cosines;
                        }
                    }
                    let rows = left.len() as u64;
                    self.progress.set(done.fetch_add(rows, Ordering::Relaxed) + rows);
                    Ok((pairs, looked))
                },
            );
            for (pairs, looked) in found.collect::<Result<Vec<_>>>()? {
                compared += looked;
                forest.add(pairs);
            }
        }
        Ok(compared)
    }

    /// The pairs between the rows of a block, each once with the lower row first, and how many cosines that took.
    fn block(
        &self,
        packed: &PackedMatrix,
        left_rows: &[f32],
        scores: &mut Vec<f32>,
        block: &Block<'_>,
        forest: &Forest,
    ) -> Result<(Vec<Pair>, u64)> {
        self.cancel.check()?;
        let least = self.threshold - ROUNDING;
        let (mut pairs, mut looked) = (Vec::new(), 0);
        for (&left, scores) in block.left.iter().zip(multiply(packed, left_rows, scores)) {
            let vector = self.vectors.row(self.rows[left as usize]);
            let later = if block.both_ways { block.right.partition_point(|right| *right <= left) } else { 0 };
            for (part, scores) in scores[later..].chunks(LANES).enumerate() {
                if !any_at_least(scores, least) {
                    continue;
                }
                for (&right, &score) in block.right[later + part * LANES..].iter().zip(scores) {
                    if score >= least && !forest.holds(left, right, score + ROUNDING) {
                        looked += 1;
                        let cosine = dot(vector, self.vectors.row(self.rows[right as usize]));
                        if cosine >= self.threshold {
                            pairs.push((left.min(right), left.max(right), cosine.min(1.0)));
                        }
                    }
                }
            }
            // A block of near-copies has far more pairs than rows.
            if pairs.len() > TASK_PAIRS {
                Self::thin_out(&mut pairs, block);
            }
        }
        Ok((pairs, looked))
    }

    /// Keeps what holds the block's rows together.
    fn thin_out(pairs: &mut Vec<Pair>, block: &Block<'_>) {
        let mut root: Vec<u32> = (0..(block.left.len() + block.right.len()) as u32).collect();
        let place = |side: &[u32], row: u32| side.binary_search(&row).ok();
        strongest(pairs, &mut root, |row| {
            place(block.left, row)
                .or_else(|| place(block.right, row).map(|at| at + block.left.len()))
                .unwrap_or_default()
        });
    }
}
