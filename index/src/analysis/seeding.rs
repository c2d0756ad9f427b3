//! Starting centroids by greedy k-means++.
//!
//! Arthur and Vassilvitskii, "k-means++: the advantages of careful seeding", 2007. On the unit sphere 1 - cosine is half the
//! squared Euclidean distance, so it is the weight their method asks for.

use anser_core::CancelToken;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

use super::lloyd::Centroids;
use super::nearest::{TASK, pack_few, products};
use super::vectors::Vectors;
use crate::Result;

/// Draws `k` starting centroids from `vectors`: the first uniformly, each further one with probability proportional to
/// its distance (1 - cosine) from the nearest already drawn. Of a few such draws the one that brings all vectors nearest is
/// kept (the greedy variant of the same paper). `stream` tells apart runs that share a seed.
pub(super) fn seed_centroids(
    vectors: &Vectors,
    k: usize,
    (seed, stream): (u64, u64),
    cancel: &CancelToken,
) -> Result<Centroids> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(stream);
    let mut chosen = vec![rng.random_range(0..vectors.len())];
    let mut distances = vec![f32::INFINITY; vectors.len()];
    let mut reach = Reach::of(vectors, &chosen, &distances, cancel)?;
    reach.join(0, &mut distances);
    let draws = 2 + k.ilog2() as usize;
    while chosen.len() < k {
        let total: f64 = distances.iter().map(|d| f64::from(*d)).sum();
        let candidates: Vec<usize> = (0..draws).map(|_| draw(&distances, total, &mut rng)).collect();
        reach = Reach::of(vectors, &candidates, &distances, cancel)?;
        let best = reach.best();
        reach.join(best, &mut distances);
        chosen.push(candidates[best]);
    }
    let values = chosen.iter().flat_map(|&at| vectors.row(at).iter().copied()).collect();
    Ok(Centroids::new(values, vectors.dimension()))
}

/// How far every vector would be from its nearest centroid with one or another candidate added.
struct Reach {
    candidates: usize,
    /// One row a vector, one column a candidate.
    distances: Vec<f32>,
    /// Sum of each column.
    totals: Vec<f64>,
}

impl Reach {
    fn of(vectors: &Vectors, candidates: &[usize], distances: &[f32], cancel: &CancelToken) -> Result<Self> {
        let amount = candidates.len();
        let packed = pack_few(vectors.gather(candidates).as_slice(), vectors.dimension());
        let mut reached = vec![0.0_f32; vectors.len() * amount];
        let partial: Vec<Vec<f64>> = vectors
            .as_slice()
            .par_chunks(TASK * vectors.dimension())
            .zip(distances.par_chunks(TASK))
            .zip(reached.par_chunks_mut(TASK * amount))
            .enumerate()
            .map(|(task, ((vectors, distances), reached))| {
                cancel.check()?;
                products(&packed, vectors, reached);
                let mut totals = vec![0.0_f64; amount];
                for (row, (&distance, reached)) in distances.iter().zip(reached.chunks_exact_mut(amount)).enumerate() {
                    for ((reached, total), &candidate) in reached.iter_mut().zip(&mut totals).zip(candidates) {
                        *reached = distance.min((1.0 - *reached).max(0.0));
                        // In f32 a vector may be 1e-8 from itself; it must not be drawn again.
                        if candidate == task * TASK + row {
                            *reached = 0.0;
                        }
                        *total += f64::from(*reached);
                    }
                }
                Ok(totals)
            })
            .collect::<anser_core::Result<_>>()?;
        let totals = (0..amount).map(|at| partial.iter().map(|totals| totals[at]).sum()).collect();
        Ok(Self { candidates: amount, distances: reached, totals })
    }

    /// The candidate that brings all vectors nearest, the first among equals.
    fn best(&self) -> usize {
        (0..self.candidates).min_by(|&a, &b| self.totals[a].total_cmp(&self.totals[b])).unwrap_or(0)
    }

    /// Writes the distances with `candidate` added.
    fn join(&self, candidate: usize, distances: &mut [f32]) {
        for (distance, reached) in distances.iter_mut().zip(self.distances.chunks_exact(self.candidates)) {
            *distance = reached[candidate];
        }
    }
}

/// An index drawn with probability proportional to its weight; any index when all weights are zero.
fn draw(weights: &[f32], total: f64, rng: &mut ChaCha8Rng) -> usize {
    let mut target = rng.random::<f64>() * total;
    let mut last = rng.random_range(0..weights.len());
    for (at, &weight) in weights.iter().enumerate() {
        if weight > 0.0 {
            last = at;
            target -= f64::from(weight);
            if target < 0.0 {
                break;
            }
        }
    }
    last
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeding_never_draws_a_vector_twice_while_others_remain() {
        let degrees = [0.0_f32, 0.0, 0.0, 0.0, 90.0, 180.0];
        let values = degrees.iter().flat_map(|d| [d.to_radians().cos(), d.to_radians().sin()]).collect();
        let vectors = Vectors::new(values, 2).unwrap();
        for seed in 0..50 {
            let centroids = seed_centroids(&vectors, 3, (seed, 0), &CancelToken::new()).unwrap();
            let rows: Vec<Vec<u32>> =
                (0..3).map(|at| centroids.row(at).iter().map(|v| (v + 0.0).to_bits()).collect()).collect();
            assert!(rows[0] != rows[1] && rows[1] != rows[2] && rows[0] != rows[2], "seed {seed}");
        }
    }
}
