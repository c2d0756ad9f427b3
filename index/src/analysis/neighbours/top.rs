//! The best few of each row, kept while products stream by.

use super::Neighbours;

/// Numbers that are compared with a row's worst at once.
const LANES: usize = 16;

/// For each of a run of rows the `k` best found so far, best first: by cosine, and between equal ones the lower row.
pub(super) struct Tops {
    k: usize,
    indices: Vec<u32>,
    similarities: Vec<f32>,
}

/// The best of one row.
pub(super) struct Top<'a> {
    indices: &'a mut [u32],
    similarities: &'a mut [f32],
}

impl Tops {
    /// Nothing found yet for `rows` rows.
    pub(super) fn new(rows: usize, k: usize) -> Self {
        Self { k, indices: vec![u32::MAX; rows * k], similarities: vec![f32::NEG_INFINITY; rows * k] }
    }

    /// The best of a range of rows, to be shared among threads.
    pub(super) fn split(&mut self, rows: usize) -> impl Iterator<Item = (&mut [u32], &mut [f32])> {
        let length = (rows * self.k).max(1);
        self.indices.chunks_mut(length).zip(self.similarities.chunks_mut(length))
    }

    /// What was found.
    pub(super) fn finish(mut self, rows: usize) -> Neighbours {
        self.similarities.iter_mut().for_each(|s| *s = s.clamp(-1.0, 1.0));
        Neighbours { rows, k: self.k, indices: self.indices, similarities: self.similarities }
    }
}

impl<'a> Top<'a> {
    /// A row's best: slices of the same length, at least 1.
    pub(super) fn new(indices: &'a mut [u32], similarities: &'a mut [f32]) -> Self {
        Self { indices, similarities }
    }

    /// The cosine that others must reach.
    pub(super) fn worst(&self) -> f32 {
        self.similarities.last().copied().unwrap_or(f32::INFINITY)
    }

    /// Offers rows `first..first + scores.len()` but for `itself`.
    pub(super) fn offer_all(&mut self, scores: &[f32], first: u32, itself: Option<u32>) {
        let mut worst = self.worst();
        for (part, scores) in scores.chunks(LANES).enumerate() {
            // Nearly all scores are below: one comparison of a whole register passes them by.
            if !scores.iter().fold(false, |any, score| any | (*score >= worst)) {
                continue;
            }
            for (row, &score) in (first + (part * LANES) as u32..).zip(scores) {
                if score >= worst && Some(row) != itself {
                    self.offer(score, row);
                    worst = self.worst();
                }
            }
        }
    }

    /// Offers one row.
    pub(super) fn offer(&mut self, score: f32, row: u32) {
        let at = (0..self.indices.len())
            .rposition(|at| self.similarities[at] > score || (self.similarities[at] == score && self.indices[at] < row))
            .map_or(0, |before| before + 1);
        if at >= self.indices.len() {
            return;
        }
        self.indices[at..].rotate_right(1);
        self.similarities[at..].rotate_right(1);
        (self.indices[at], self.similarities[at]) = (row, score);
    }
}
