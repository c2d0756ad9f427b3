//! The nearest of a set of centroids for every vector: blocked matrix products whose scores are looked at as soon as they
//! are made, so that no matrix of vectors times centroids ever exists.
//!
//! The products only screen: every centroid whose score is within rounding of the highest is compared by [`dot`], which
//! is the same sum on every processor. So the result is exact and depends neither on the number format of the products
//! nor on the threads, and half the precision is enough for them.

use anser_core::CancelToken;
use anser_kernels::{InstructionSet, PackedMatrix, Rows, RowsMut, WeightFormat, convert};
use half::bf16;
use rayon::prelude::*;

use super::vectors::{Vectors, dot};
use crate::{IndexError, Result};

/// Vectors multiplied at a time: they and their scores stay in the second-level cache.
pub(super) const BLOCK: usize = 64;

/// Centroids multiplied at a time; whole panels of a packed matrix.
const STRIP: usize = 480;

/// Vectors of one task, between two looks at the cancel token.
pub(super) const TASK: usize = 2048;

/// Numbers compared at a time: enough for the compiler to use full vector registers.
const LANES: usize = 16;

/// Unit centroids, packed for products with unit vectors.
#[derive(Debug)]
pub(super) struct PackedCentroids<'a> {
    values: &'a [f32],
    matrix: PackedMatrix,
    /// How far below the highest score that of the nearest centroid can be.
    margin: f32,
}

/// Working memory of one thread.
#[derive(Debug, Default)]
pub(super) struct Screen {
    /// The block's vectors in brain floats.
    rounded: Vec<bf16>,
    /// Its scores with a strip of centroids.
    scores: Vec<f32>,
    /// The highest score of each of its vectors.
    highest: Vec<f32>,
    candidates: Vec<Candidate>,
}

/// A centroid that may be the nearest of a vector of the block.
#[derive(Debug, Clone, Copy)]
struct Candidate {
    row: usize,
    centroid: usize,
    score: f32,
}

impl<'a> PackedCentroids<'a> {
    /// Packs rows of `dimension` numbers, in the format that this processor multiplies fastest.
    pub(super) fn new(values: &'a [f32], dimension: usize) -> Self {
        let brain = InstructionSet::best().has_brain_float_products();
        Self::in_format(values, dimension, if brain { WeightFormat::Bf16 } else { WeightFormat::F32 })
    }

    fn in_format(values: &'a [f32], dimension: usize, format: WeightFormat) -> Self {
        let mut matrix = PackedMatrix::empty(format);
        assign(&mut matrix, values, dimension);
        // Rounding to 8 bits changes a unit vector by at most 2^-9 of its length, hence a product of two by little more
        // than 2^-8. Sums of `dimension` products in f32 add at most 2^-24 for each, in the screen and in `dot`. Two
        // scores may err in opposite directions.
        let rounding = match format {
            WeightFormat::F32 => 0.0,
            WeightFormat::Bf16 => 1.01 / 256.0,
        };
        let margin = 2.0 * (rounding + 2.0 * dimension as f32 / (1 << 24) as f32);
        Self { values, matrix, margin }
    }

    /// The nearest centroid of each of `vectors`, the lowest number among equals, and the cosine with it.
    pub(super) fn nearest(
        &self,
        vectors: &[f32],
        screen: &mut Screen,
        assignments: &mut [u32],
        similarities: &mut [f32],
    ) {
        let dimension = self.matrix.k();
        let blocks = vectors.chunks(BLOCK * dimension);
        for ((vectors, assignments), similarities) in
            blocks.zip(assignments.chunks_mut(BLOCK)).zip(similarities.chunks_mut(BLOCK))
        {
            self.find_candidates(vectors, assignments.len(), screen);
            assignments.fill(0);
            similarities.fill(f32::NEG_INFINITY);
            for &Candidate { row, centroid, score } in &screen.candidates {
                if score >= screen.highest[row] - self.margin {
                    let vector = &vectors[row * dimension..(row + 1) * dimension];
                    let cosine = dot(vector, &self.values[centroid * dimension..(centroid + 1) * dimension]);
                    // A vector's candidates come in rising order.
                    if cosine > similarities[row] {
                        (assignments[row], similarities[row]) = (centroid as u32, cosine);
                    }
                }
            }
            for similarity in similarities {
                *similarity = similarity.clamp(-1.0, 1.0);
            }
        }
    }

    /// Leaves in `screen` every centroid whose score with a vector is within the margin of the highest seen by then.
    fn find_candidates(&self, vectors: &[f32], rows: usize, screen: &mut Screen) {
        let dimension = self.matrix.k();
        let Screen { rounded, scores, highest, candidates } = screen;
        // Pairs of brain floats are read together.
        let stride = dimension.next_multiple_of(2);
        if self.matrix.format() == WeightFormat::Bf16 {
            rounded.resize(BLOCK * stride, bf16::ZERO);
            for (rounded, vector) in rounded.chunks_exact_mut(stride).zip(vectors.chunks_exact(dimension)) {
                convert(self.matrix.instructions(), vector, &mut rounded[..dimension]);
            }
        }
        candidates.clear();
        highest.clear();
        highest.resize(rows, f32::NEG_INFINITY);
        for first in (0..self.matrix.n()).step_by(STRIP) {
            let columns = (self.matrix.n() - first).min(STRIP);
            scores.resize(rows * columns, 0.0);
            let (part, out) = (self.matrix.part(first, 0), RowsMut::dense(scores, rows, columns));
            match self.matrix.format() {
                WeightFormat::F32 => part.product(Rows::dense(vectors, rows, dimension), None, out, false),
                WeightFormat::Bf16 => part.product(Rows::new(rounded, rows, dimension, stride), None, out, false),
            }
            for (row, (scores, highest)) in scores.chunks_exact(columns).zip(highest.iter_mut()).enumerate() {
                let here = maximum(scores);
                *highest = highest.max(here);
                let least = *highest - self.margin;
                if here >= least {
                    collect(scores, least, |at| {
                        candidates.push(Candidate { row, centroid: first + at, score: scores[at] });
                    });
                }
            }
        }
    }

    /// [`Self::nearest`] for all vectors, on all threads.
    pub(super) fn nearest_of_all(&self, vectors: &Vectors, cancel: &CancelToken) -> Result<(Vec<u32>, Vec<f32>)> {
        let mut assignments = vec![0_u32; vectors.len()];
        let mut similarities = vec![0.0_f32; vectors.len()];
        vectors
            .as_slice()
            .par_chunks(TASK * vectors.dimension())
            .zip(assignments.par_chunks_mut(TASK))
            .zip(similarities.par_chunks_mut(TASK))
            .try_for_each_init(Screen::default, |screen, ((vectors, assignments), similarities)| {
                cancel.check()?;
                self.nearest(vectors, screen, assignments, similarities);
                Ok::<(), anser_core::Error>(())
            })?;
        Ok((assignments, similarities))
    }
}

fn assign(matrix: &mut PackedMatrix, values: &[f32], dimension: usize) {
    let rows = Rows::dense(values, values.len() / dimension, dimension);
    if values.len() / dimension > STRIP {
        matrix.assign_in_parallel(rows);
    } else {
        matrix.assign(rows);
    }
}

/// Writes the dot products of `vectors` with the rows of `matrix`, as [`pack_few`] made it, row after row.
pub(super) fn products(matrix: &PackedMatrix, vectors: &[f32], products: &mut [f32]) {
    let (n, dimension) = (matrix.n(), matrix.k());
    let rows = vectors.len() / dimension;
    matrix.product(Rows::dense(vectors, rows, dimension), None, RowsMut::dense(products, rows, n), false);
}

/// A few rows of `dimension` numbers, packed in full precision.
pub(super) fn pack_few(values: &[f32], dimension: usize) -> PackedMatrix {
    let mut matrix = PackedMatrix::empty(WeightFormat::F32);
    assign(&mut matrix, values, dimension);
    matrix
}

fn maximum(scores: &[f32]) -> f32 {
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let blocks = scores.chunks_exact(LANES);
    let rest = blocks.remainder().iter().copied().fold(f32::NEG_INFINITY, f32::max);
    for block in blocks {
        for (lane, &score) in lanes.iter_mut().zip(block) {
            *lane = if score > *lane { score } else { *lane };
        }
    }
    lanes.into_iter().fold(rest, f32::max)
}

/// Calls `found` with the place of every score that is at least `least`.
fn collect(scores: &[f32], least: f32, mut found: impl FnMut(usize)) {
    for (block, scores) in scores.chunks(LANES).enumerate() {
        // Whole blocks are compared without a branch in between; few have anything.
        if scores.iter().map(|&score| u32::from(score >= least)).sum::<u32>() > 0 {
            for (at, &score) in scores.iter().enumerate() {
                if score >= least {
                    found(block * LANES + at);
                }
            }
        }
    }
}

/// For each of `vectors` the nearest of `centroids`, the lowest number among equals, and the cosine with it. Both hold
/// unit vectors. Time grows with vectors times centroids; memory beyond the result does not grow with either.
///
/// Fails with `InvalidInput` when there are no centroids or the dimensions differ, with `Cancelled` soon after `cancel` is
/// set. No vectors give an empty result.
pub fn assign_to(vectors: &Vectors, centroids: &Vectors, cancel: &CancelToken) -> Result<(Vec<u32>, Vec<f32>)> {
    if centroids.is_empty() {
        return Err(IndexError::invalid("there are no centroids to assign vectors to; cluster a collection first"));
    }
    if vectors.dimension() != centroids.dimension() {
        return Err(IndexError::invalid(format!(
            "vectors of {} dimensions cannot be assigned to centroids of {}; both must come from one embedder",
            vectors.dimension(),
            centroids.dimension()
        )));
    }
    cancel.check()?;
    PackedCentroids::new(centroids.as_slice(), centroids.dimension()).nearest_of_all(vectors, cancel)
}

#[cfg(test)]
mod tests {
    use anser_core::ErrorKind;
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    fn random(rows: usize, dimension: usize, seed: u64) -> Vectors {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut values: Vec<f32> = (0..rows * dimension).map(|_| rng.random_range(-1.0_f32..1.0)).collect();
        for row in values.chunks_exact_mut(dimension) {
            let norm = dot(row, row).sqrt();
            for value in row.iter_mut() {
                *value /= norm;
            }
        }
        Vectors::new(values, dimension).unwrap()
    }

    #[test]
    fn every_number_of_vectors_and_centroids_gives_the_nearest() {
        // Around the edges of blocks, strips, panels and tasks, with odd dimensions.
        for (rows, k, dimension) in
            [(1, 1, 1), (7, 3, 5), (129, 48, 33), (300, 49, 7), (2050, 481, 9), (40, 1000, 17), (128, 960, 16)]
        {
            let (vectors, centroids) = (random(rows, dimension, 1), random(k, dimension, 2));
            let (found, similarities) = assign_to(&vectors, &centroids, &CancelToken::new()).unwrap();
            assert_eq!((found.len(), similarities.len()), (rows, rows));
            for ((vector, &own), &similarity) in vectors.iter().zip(&found).zip(&similarities) {
                let cosines: Vec<f32> = centroids.iter().map(|c| dot(vector, c)).collect();
                let best = cosines.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                let first = cosines.iter().position(|&cosine| cosine >= best).unwrap();
                assert_eq!(own as usize, first, "{rows} {k} {dimension}");
                assert_eq!(similarity.to_bits(), best.clamp(-1.0, 1.0).to_bits(), "{rows} {k} {dimension}");
            }
        }
    }

    #[test]
    fn every_number_format_finds_the_same_bits() {
        for (rows, k, dimension) in [(130, 100, 33), (70, 1000, 2), (65, 49, 384)] {
            let (vectors, centroids) = (random(rows, dimension, 5), random(k, dimension, 6));
            let run = |format| {
                let packed = PackedCentroids::in_format(centroids.as_slice(), dimension, format);
                packed.nearest_of_all(&vectors, &CancelToken::new()).unwrap()
            };
            assert_eq!(run(WeightFormat::F32), run(WeightFormat::Bf16));
        }
    }

    #[test]
    fn among_equal_centroids_the_lowest_number_wins() {
        let one = random(1, 20, 3);
        let centroids = one.gather(&vec![0; 600]);
        let (found, _) = assign_to(&one.gather(&[0; 5]), &centroids, &CancelToken::new()).unwrap();
        assert_eq!(found, [0; 5]);
    }

    #[test]
    fn what_cannot_be_assigned_is_refused() {
        let (vectors, cancel) = (random(3, 4, 0), CancelToken::new());
        let none = vectors.gather(&[]);
        assert_eq!(assign_to(&none, &vectors, &cancel).unwrap(), (vec![], vec![]));
        assert_eq!(assign_to(&vectors, &none, &cancel).unwrap_err().kind(), ErrorKind::InvalidInput);
        let message = assign_to(&vectors, &random(2, 5, 0), &cancel).unwrap_err().to_string();
        assert!(message.contains("4 dimensions") && message.contains("of 5"), "{message}");
        cancel.cancel();
        assert_eq!(assign_to(&vectors, &vectors, &cancel).unwrap_err().kind(), ErrorKind::Cancelled);
    }
}
