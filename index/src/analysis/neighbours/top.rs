//! The best few of each row, kept while products stream by.

use super::Neighbours;

/// Scores that are compared with a row's worst at once.
const LANES: usize = 16;

/// For each of a run of rows the `k` best found so far, best first: by cosine, and between equal ones the lower row.
#[derive(Debug, Clone)]
pub(super) struct Tops {
    k: usize,
    indices: Vec<u32>,
    similarities: Vec<f32>,
}

/// The best of one row.
#[derive(Debug)]
pub(super) struct Top<'a> {
    indices: &'a mut [u32],
    similarities: &'a mut [f32],
}

impl Tops {
    /// Nothing found yet for `rows` rows.
    pub(super) fn new(rows: usize, k: usize) -> Self {
        Self { k, indices: vec![u32::MAX; rows * k], similarities: vec![f32::NEG_INFINITY; rows * k] }
    }

    /// The best of `rows` rows at a time, to be shared among threads.
    pub(super) fn split(&mut self, rows: usize) -> Vec<Vec<Top<'_>>> {
        let k = self.k.max(1);
        let indices = self.indices.chunks_mut(rows * k);
        let parts = indices.zip(self.similarities.chunks_mut(rows * k));
        parts
            .map(|(i, s)| {
                let rows = i.chunks_mut(k).zip(s.chunks_mut(k));
                rows.map(|(indices, similarities)| Top { indices, similarities }).collect()
            })
            .collect()
    }

    /// What was found.
    pub(super) fn finish(mut self, rows: usize) -> Neighbours {
        self.similarities.iter_mut().for_each(|s| *s = s.clamp(-1.0, 1.0));
        Neighbours { rows, k: self.k, indices: self.indices, similarities: self.similarities }
    }
}

impl<'a> Top<'a> {
    /// A row's best, in place: both slices have the same length.
    pub(super) fn over(indices: &'a mut [u32], similarities: &'a mut [f32]) -> Self {
        Self { indices, similarities }
    }

    /// The cosine that others must reach.
    fn worst(&self) -> f32 {
        self.similarities.last().copied().unwrap_or(f32::INFINITY)
    }

    /// Offers the row `row(i)` with the i-th score, for each of them but `itself`.
    #[inline]
    pub(super) fn offer_all(&mut self, scores: &[f32], row: impl Fn(usize) -> u32, itself: Option<u32>) {
        let mut worst = self.worst();
        for (part, scores) in scores.chunks(LANES).enumerate() {
            // Nearly all scores are below: one comparison of a whole register passes them by.
            if !any_at_least(scores, worst) {
                continue;
            }
            for (at, &score) in (part * LANES..).zip(scores) {
                if score >= worst && Some(row(at)) != itself {
                    self.offer(score, row(at));
                    worst = self.worst();
                }
            }
        }
    }

    /// Offers one row that was not offered before.
    pub(super) fn offer(&mut self, score: f32, row: u32) {
        let better = |at: usize| {
            let other = self.similarities[at];
            other > score || (other >= score && self.indices[at] < row)
        };
        let at = (0..self.indices.len()).rposition(better).map_or(0, |before| before + 1);
        if at < self.indices.len() {
            self.indices[at..].rotate_right(1);
            self.similarities[at..].rotate_right(1);
            (self.indices[at], self.similarities[at]) = (row, score);
        }
    }
}

/// Whether any score reaches the least: without a branch, so that registers are compared as a whole.
#[inline]
pub(in crate::analysis) fn any_at_least(scores: &[f32], least: f32) -> bool {
    scores.iter().fold(0, |any, score| any | u32::from(*score >= least)) != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_are_kept_in_order_with_ties_by_row_whatever_the_order_of_arrival() {
        let mut offers = [(0.1, 9_u32), (0.5, 7), (0.5, 3), (0.9, 4), (0.5, 5), (-1.0, 1)];
        for _ in 0..offers.len() {
            offers.rotate_left(1);
            let mut tops = Tops::new(1, 3);
            for part in &mut tops.split(1) {
                for (score, row) in &offers {
                    part[0].offer(*score, *row);
                }
            }
            let found = tops.finish(1);
            assert_eq!(found.of(0).0, [4, 3, 5]);
        }
    }

    #[test]
    fn offering_many_skips_the_row_itself_and_reads_the_last_incomplete_register() {
        let scores: Vec<f32> = (0_u8..37).map(f32::from).map(|s| s / 40.0).collect();
        let mut tops = Tops::new(1, 2);
        for part in &mut tops.split(1) {
            part[0].offer_all(&scores, |at| at as u32 * 2, Some(70));
        }
        assert_eq!(tops.finish(1).of(0).0, [72, 68]);
    }
}
