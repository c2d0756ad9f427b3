//! Sums of the vectors of each cluster, alone or together with the assignment that makes the clusters.
//!
//! Sums are formed in pieces that depend on the data's shape only and are added in order, so they do not depend on the
//! threads.

use anser_core::CancelToken;
use rayon::prelude::*;

use super::lloyd::Centroids;
use super::nearest::{BLOCK, PackedCentroids, Screen};
use super::vectors::Vectors;
use crate::Result;

/// Vectors summed as one piece, and handled between two looks at the cancel token.
const PIECE: usize = 2048;

/// Most vectors of a cluster that are added up in f32 before the sum goes into f64.
const NARROW: u32 = 256;

/// Pieces of a fused pass: enough for the threads of a large machine, and few enough for their sums to fit.
const FEWEST_PIECES: usize = 16;
const MOST_PIECES: usize = 64;

/// Memory that the sums of a fused pass may take, in bytes.
const SUMS_BUDGET: usize = 128 << 20;

/// The nearest centroid of every vector, and what comes of it.
pub(super) struct Round {
    pub(super) assignments: Vec<u32>,
    pub(super) similarities: Vec<f32>,
    /// The sum of each cluster's vectors, where it was worth forming it in the same pass.
    pub(super) sums: Option<Vec<Vec<f64>>>,
}

/// Assigns every vector to its nearest centroid. Of many vectors the clusters' sums are formed in the same pass, so that
/// memory is read once; of few they are left to [`cluster_sums`], whose work divides better.
pub(super) fn assign_and_sum(vectors: &Vectors, centroids: &Centroids, cancel: &CancelToken) -> Result<Round> {
    let packed = centroids.packed();
    if let Some(pieces) = pieces(vectors.len(), centroids.count(), vectors.dimension()) {
        return fused(vectors, (&packed, centroids.count()), pieces, cancel);
    }
    let (assignments, similarities) = packed.nearest_of_all(vectors, cancel)?;
    Ok(Round { assignments, similarities, sums: None })
}

/// Pieces for a fused pass over `n` vectors; `None` when adding up the pieces' sums would cost more than it saves.
fn pieces(n: usize, k: usize, dimension: usize) -> Option<usize> {
    let affordable = SUMS_BUDGET / (k * dimension * size_of::<f64>()).max(1);
    let pieces = (n / (16 * k)).min(affordable).min(MOST_PIECES);
    (pieces >= FEWEST_PIECES).then_some(pieces)
}

fn fused(
    vectors: &Vectors,
    (packed, k): (&PackedCentroids<'_>, usize),
    pieces: usize,
    cancel: &CancelToken,
) -> Result<Round> {
    let dimension = vectors.dimension();
    let length = vectors.len().div_ceil(pieces).next_multiple_of(BLOCK);
    let mut assignments = vec![0_u32; vectors.len()];
    let mut similarities = vec![0.0_f32; vectors.len()];
    let partial: Vec<Vec<f64>> = vectors
        .as_slice()
        .par_chunks(length * dimension)
        .zip(assignments.par_chunks_mut(length))
        .zip(similarities.par_chunks_mut(length))
        .map(|((vectors, assignments), similarities)| {
            let (mut screen, mut sums) = (Screen::default(), RunningSums::new(k, dimension));
            // A block is summed while it is still in the processor's cache.
            let blocks = vectors.chunks(BLOCK * dimension).zip(assignments.chunks_mut(BLOCK));
            for ((vectors, assignments), similarities) in blocks.zip(similarities.chunks_mut(BLOCK)) {
                cancel.check()?;
                packed.nearest(vectors, &mut screen, assignments, similarities);
                sums.add(vectors, assignments);
            }
            Ok(sums.finish())
        })
        .collect::<anser_core::Result<_>>()?;
    let mut sums = vec![vec![0.0_f64; dimension]; k];
    sums.par_iter_mut().enumerate().for_each(|(cluster, sum)| {
        for piece in &partial {
            add(sum, &piece[cluster * dimension..(cluster + 1) * dimension]);
        }
    });
    Ok(Round { assignments, similarities, sums: Some(sums) })
}

/// Sums of clusters that grow vector by vector: in f32 over few vectors, which is fast, and of those sums in f64.
struct RunningSums {
    dimension: usize,
    narrow: Vec<f32>,
    /// How many vectors are in each narrow sum.
    held: Vec<u32>,
    wide: Vec<f64>,
}

impl RunningSums {
    fn new(k: usize, dimension: usize) -> Self {
        Self { dimension, narrow: vec![0.0; k * dimension], held: vec![0; k], wide: vec![0.0; k * dimension] }
    }

    fn add(&mut self, vectors: &[f32], assignments: &[u32]) {
        for (vector, &cluster) in vectors.chunks_exact(self.dimension).zip(assignments) {
            let cluster = cluster as usize;
            let sum = &mut self.narrow[cluster * self.dimension..(cluster + 1) * self.dimension];
            for (total, value) in sum.iter_mut().zip(vector) {
                *total += value;
            }
            self.held[cluster] += 1;
            if self.held[cluster] == NARROW {
                self.widen(cluster);
            }
        }
    }

    fn widen(&mut self, cluster: usize) {
        let range = cluster * self.dimension..(cluster + 1) * self.dimension;
        for (wide, narrow) in self.wide[range.clone()].iter_mut().zip(&mut self.narrow[range]) {
            *wide += f64::from(*narrow);
            *narrow = 0.0;
        }
        self.held[cluster] = 0;
    }

    fn finish(mut self) -> Vec<f64> {
        for cluster in 0..self.held.len() {
            self.widen(cluster);
        }
        self.wide
    }
}

fn add(totals: &mut [f64], values: &[f64]) {
    for (total, value) in totals.iter_mut().zip(values) {
        *total += value;
    }
}

/// How many vectors each of `k` clusters has.
pub(super) fn cluster_sizes(assignments: &[u32], k: usize) -> Vec<usize> {
    let mut sizes = vec![0; k];
    for &cluster in assignments {
        sizes[cluster as usize] += 1;
    }
    sizes
}

/// The sum of each cluster's vectors, in f64. Every cluster is summed in pieces of fixed length whose sums are then added
/// in order, so the result does not depend on the threads, and memory stays at one row a piece.
pub(super) fn cluster_sums(
    vectors: &Vectors,
    assignments: &[u32],
    k: usize,
    cancel: &CancelToken,
) -> Result<Vec<Vec<f64>>> {
    let dimension = vectors.dimension();
    let mut members: Vec<Vec<usize>> = cluster_sizes(assignments, k).into_iter().map(Vec::with_capacity).collect();
    for (at, &cluster) in assignments.iter().enumerate() {
        members[cluster as usize].push(at);
    }
    let pieces: Vec<(usize, &[usize])> = members
        .iter()
        .enumerate()
        .flat_map(|(cluster, members)| members.chunks(PIECE).map(move |piece| (cluster, piece)))
        .collect();
    let partial: Vec<(usize, Vec<f64>)> = pieces
        .into_par_iter()
        .map(|(cluster, piece)| {
            cancel.check()?;
            let mut sum = vec![0.0_f64; dimension];
            for &at in piece {
                for (total, value) in sum.iter_mut().zip(vectors.row(at)) {
                    *total += f64::from(*value);
                }
            }
            Ok((cluster, sum))
        })
        .collect::<anser_core::Result<_>>()?;
    let mut sums = vec![vec![0.0_f64; dimension]; k];
    for (cluster, piece) in partial {
        add(&mut sums[cluster], &piece);
    }
    Ok(sums)
}

#[cfg(test)]
mod tests {
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    #[test]
    fn one_pass_over_many_vectors_finds_what_two_passes_find() {
        let mut rng = ChaCha8Rng::seed_from_u64(4);
        let (n, k, dimension) = (6000, 9, 20);
        let mut unit = |rows: usize| -> Vec<f32> {
            let mut values: Vec<f32> = (0..rows * dimension).map(|_| rng.random_range(-1.0_f32..1.0)).collect();
            for row in values.chunks_exact_mut(dimension) {
                let norm = row.iter().map(|v| v * v).sum::<f32>().sqrt();
                for v in row.iter_mut() {
                    *v /= norm;
                }
            }
            values
        };
        let vectors = Vectors::new(unit(n), dimension).unwrap();
        let centroids = Centroids::new(unit(k), dimension);
        let cancel = CancelToken::new();
        let round = assign_and_sum(&vectors, &centroids, &cancel).unwrap();
        let (assignments, similarities) = centroids.packed().nearest_of_all(&vectors, &cancel).unwrap();
        assert_eq!((&round.assignments, &round.similarities), (&assignments, &similarities));
        let exact = cluster_sums(&vectors, &assignments, k, &cancel).unwrap();
        for (found, exact) in round.sums.unwrap().iter().zip(&exact) {
            assert!(found.iter().zip(exact).all(|(a, b)| (a - b).abs() < 1e-4), "{found:?} {exact:?}");
        }
    }

    #[test]
    fn a_pass_is_fused_only_where_its_sums_are_small_beside_the_vectors() {
        assert_eq!(pieces(3_080, 77, 384), None);
        assert_eq!(pieces(100_000, 100, 384), Some(62));
        assert_eq!(pieces(1_000_000, 1000, 384), Some(43));
        assert_eq!(pieces(1_000_000, 10_000, 384), None);
    }
}
