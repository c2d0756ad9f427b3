//! Keeping the best of many scored rows.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

/// A row and its score. Greater is better: by score, and between equal scores the smaller row.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scored<R = u32> {
    /// Dot product with the query.
    pub(crate) score: f32,
    /// The row, or the chunk.
    pub(crate) row: R,
}

impl<R: Ord> Ord for Scored<R> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.score.total_cmp(&other.score).then_with(|| other.row.cmp(&self.row))
    }
}

impl<R: Ord> PartialOrd for Scored<R> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<R: Ord> PartialEq for Scored<R> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl<R: Ord> Eq for Scored<R> {}

/// The `k` best of what is offered.
#[derive(Debug)]
pub(crate) struct Top<R: Ord> {
    k: usize,
    heap: BinaryHeap<Reverse<Scored<R>>>,
}

impl<R: Ord + Copy> Top<R> {
    /// Keeps at most `k`.
    pub(crate) fn new(k: usize) -> Self {
        Self { k, heap: BinaryHeap::new() }
    }

    /// Keeps `row` if it is among the best so far.
    pub(crate) fn offer(&mut self, score: f32, row: R) {
        let offered = Scored { score, row };
        if self.heap.len() < self.k {
            self.heap.push(Reverse(offered));
        } else if let Some(mut worst) = self.heap.peek_mut()
            && offered > worst.0
        {
            *worst = Reverse(offered);
        }
    }

    /// Whether a row with this score might be kept.
    pub(crate) fn could_keep(&self, score: f32) -> bool {
        self.heap.len() < self.k || self.heap.peek().is_some_and(|worst| score >= worst.0.score)
    }

    /// What was kept, best first.
    pub(crate) fn into_best_first(self) -> Vec<Scored<R>> {
        self.heap.into_sorted_vec().into_iter().map(|r| r.0).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_the_best_with_ties_by_row() {
        let mut top = Top::new(3);
        for (score, row) in [(0.1, 9u32), (0.5, 7), (0.5, 3), (0.9, 4), (0.5, 5), (-1.0, 1)] {
            top.offer(score, row);
        }
        let rows: Vec<u32> = top.into_best_first().iter().map(|s| s.row).collect();
        assert_eq!(rows, [4, 3, 5]);
        let mut none = Top::new(0);
        none.offer(1.0, 1u32);
        assert!(none.into_best_first().is_empty());
    }
}
