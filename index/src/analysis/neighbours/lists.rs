//! Vectors divided into lists by their nearest centroid, and which lists to search for the neighbours of a list's rows.
//!
//! The inverted file of Sivic and Zisserman, "Video Google", 2003, and of Jégou, Douze and Schmid, "Product Quantization
//! for Nearest Neighbor Search", 2011, with one difference: because every row of a list is a query, a list is searched
//! as a whole, which makes the search a sequence of matrix products.

use anser_core::{CancelToken, NoProgress};
use rayon::prelude::*;

use super::exact::{Itself, compare};
use crate::Result;
use crate::analysis::vectors::{Vectors, sample_indices};

/// Centroids for each square root of the number of rows.
const CENTROIDS_PER_ROOT: f64 = 2.0;
/// Sampled rows for each centroid that is trained.
const TRAINING_ROWS: usize = 40;
/// Rounds of training.
const ROUNDS: usize = 4;
/// A row's nearest centroids that have a say in where its list is searched.
const SAID: usize = 8;
/// A list of more than so many times the mean length is divided, so that a crowd costs no more than others.
const LONGEST: usize = 4;

/// The lists.
#[derive(Debug)]
pub(in crate::analysis) struct Lists {
    /// The rows of each list, ascending.
    pub(in crate::analysis) rows: Vec<Vec<u32>>,
    /// For each list all that may be searched, itself first and then the most promising.
    pub(in crate::analysis) order: Vec<Vec<u32>>,
}

impl Lists {
    /// Divides `vectors`; `visits` bounds how many lists each one names.
    pub(in crate::analysis) fn new(vectors: &Vectors, visits: usize, seed: u64, cancel: &CancelToken) -> Result<Self> {
        let count = (CENTROIDS_PER_ROOT * (vectors.len() as f64).sqrt()).ceil() as usize;
        let centroids = train(vectors, count.clamp(1, vectors.len()), seed, cancel)?;
        let watch = (cancel, &NoProgress as _);
        let said = compare(vectors, &centroids, SAID, Itself::Absent, watch)?;
        let around = compare(&centroids, &centroids, visits, Itself::Same, watch)?;
        let mut of_centroid = vec![Vec::new(); centroids.len()];
        for row in 0..vectors.len() {
            if let Some(nearest) = said.of(row).0.first() {
                of_centroid[*nearest as usize].push(row as u32);
            }
        }
        let longest = LONGEST * vectors.len().div_ceil(centroids.len());
        let (mut rows, mut lists_of, mut centroid_of) = (Vec::new(), vec![Vec::new(); centroids.len()], Vec::new());
        for (centroid, members) in of_centroid.iter().enumerate() {
            for part in members.chunks(longest) {
                lists_of[centroid].push(rows.len() as u32);
                centroid_of.push(centroid);
                rows.push(part.to_vec());
            }
        }
        let order = rows.par_iter().zip(&centroid_of).enumerate().map(|(list, (members, &centroid))| {
            let mut votes = vec![0_u32; centroids.len()];
            for member in members {
                for (rank, said) in said.of(*member as usize).0.iter().enumerate() {
                    votes[*said as usize] += (SAID - rank) as u32;
                }
            }
            // Its own centroid comes first, then what its rows say, then what lies around its centroid.
            votes[centroid] = u32::MAX;
            let mut promising: Vec<usize> = (0..votes.len()).filter(|at| votes[*at] > 0).collect();
            promising.sort_by_key(|&at| (std::cmp::Reverse(votes[at]), at));
            let rest = around.of(centroid).0.iter().map(|at| *at as usize).filter(|at| votes[*at] == 0);
            let lists = promising.into_iter().chain(rest).flat_map(|at| lists_of[at].iter().copied());
            let list = list as u32;
            std::iter::once(list).chain(lists.filter(|other| *other != list)).take(visits).collect()
        });
        let order = order.collect();
        Ok(Self { rows, order })
    }

    /// Gives rows other numbers, in the same order; those without one are left out.
    pub(in crate::analysis) fn renumber(&mut self, number: impl Fn(u32) -> Option<u32>) {
        for rows in &mut self.rows {
            *rows = rows.iter().filter_map(|row| number(*row)).collect();
        }
    }
}

/// A few rounds of spherical k-means on a sample, from rows drawn at random.
fn train(vectors: &Vectors, count: usize, seed: u64, cancel: &CancelToken) -> Result<Vectors> {
    let sample = vectors.gather(&sample_indices(vectors.len(), count * TRAINING_ROWS, seed));
    let mut centroids = sample.gather(&sample_indices(sample.len(), count, seed ^ 1));
    let dimension = vectors.dimension();
    for _ in 0..ROUNDS {
        let nearest = compare(&sample, &centroids, 1, Itself::Absent, (cancel, &NoProgress))?;
        let mut sums = vec![0.0_f32; count * dimension];
        for (row, vector) in sample.iter().enumerate() {
            if let Some(nearest) = nearest.of(row).0.first() {
                let sum = &mut sums[*nearest as usize * dimension..][..dimension];
                sum.iter_mut().zip(vector).for_each(|(sum, value)| *sum += value);
            }
        }
        for (at, sum) in sums.chunks_exact_mut(dimension).enumerate() {
            let norm = sum.iter().map(|v| v * v).sum::<f32>().sqrt();
            if norm > 1e-3 {
                for value in sum.iter_mut() {
                    *value /= norm;
                }
            } else {
                // Nothing was near it, or what was cancels out: it stays where it is.
                sum.copy_from_slice(centroids.row(at));
            }
        }
        centroids = Vectors::new(sums, dimension)?;
    }
    Ok(centroids)
}
