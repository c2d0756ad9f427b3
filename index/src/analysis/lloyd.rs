//! One run of spherical k-means: k-means++ seeding, then assignment and update in turns until the objective stands still.
//!
//! Spherical k-means is Dhillon and Modha, "Concept decompositions for large sparse text data using clustering", 2001:
//! it maximises the sum of cosines between unit vectors and the unit mean direction of their cluster. Seeding is Arthur
//! and Vassilvitskii, "k-means++: the advantages of careful seeding", 2007; on the unit sphere 1 - cosine is half the
//! squared Euclidean distance, so it is the weight their method asks for.

use anser_core::CancelToken;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

use super::vectors::{Vectors, dot};
use crate::Result;

/// Vectors handled between two looks at the cancel token, and summed as one piece. Fixed, so that sums are formed in the
/// same order whatever the number of threads.
const BLOCK: usize = 2048;

/// A run has converged when the mean cosine changes by no more than this.
const TOLERANCE: f64 = 1e-6;

/// A vector closer than this to its centroid gains nothing from a cluster of its own.
const REFILL_BELOW: f32 = 1.0 - 1e-6;

/// Unit centroids, one row of `dimension` numbers each.
#[derive(Debug, Clone)]
pub(super) struct Centroids {
    values: Vec<f32>,
    dimension: usize,
}

impl Centroids {
    pub(super) fn count(&self) -> usize {
        self.values.len() / self.dimension
    }

    pub(super) fn row(&self, at: usize) -> &[f32] {
        &self.values[at * self.dimension..(at + 1) * self.dimension]
    }

    fn set_row(&mut self, at: usize, values: &[f32]) {
        self.values[at * self.dimension..(at + 1) * self.dimension].copy_from_slice(values);
    }

    fn rows(&self) -> impl Iterator<Item = &[f32]> {
        self.values.chunks_exact(self.dimension)
    }

    /// The rows named in `order`, in that order.
    pub(super) fn reordered(&self, order: &[usize]) -> Self {
        let values = order.iter().flat_map(|&at| self.row(at).iter().copied()).collect();
        Self { values, dimension: self.dimension }
    }
}

/// The outcome of one run. Assignments are nearest to `centroids` as they stand here; a cluster may be empty only when
/// the vectors left differ by less than rounding.
#[derive(Debug, Clone)]
pub(super) struct Run {
    pub(super) centroids: Centroids,
    pub(super) assignments: Vec<u32>,
    pub(super) similarities: Vec<f32>,
    /// Sum of similarities; higher is better.
    pub(super) objective: f64,
    pub(super) iterations: usize,
    pub(super) converged: bool,
}

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
    let dimension = vectors.dimension();
    let first = rng.random_range(0..vectors.len());
    let mut values = Vec::with_capacity(k * dimension);
    values.extend_from_slice(vectors.row(first));
    let mut distances = distances_with(vectors, &vec![f32::INFINITY; vectors.len()], first);
    let draws = 2 + k.ilog2() as usize;
    for _ in 1..k {
        let mut best: Option<(f64, usize, Vec<f32>)> = None;
        for _ in 0..draws {
            cancel.check()?;
            let candidate = draw(&distances, &mut rng);
            let nearer = distances_with(vectors, &distances, candidate);
            let total = nearer.iter().map(|d| f64::from(*d)).sum();
            if best.as_ref().is_none_or(|(least, ..)| total < *least) {
                best = Some((total, candidate, nearer));
            }
        }
        if let Some((_, chosen, nearer)) = best {
            values.extend_from_slice(vectors.row(chosen));
            distances = nearer;
        }
    }
    Ok(Centroids { values, dimension })
}

/// The distance of each vector from its nearest centroid once the vector at `added` is one too.
fn distances_with(vectors: &Vectors, distances: &[f32], added: usize) -> Vec<f32> {
    let centroid = vectors.row(added);
    let mut nearer: Vec<f32> = distances
        .par_iter()
        .zip(vectors.as_slice().par_chunks_exact(vectors.dimension()))
        .with_min_len(BLOCK)
        .map(|(distance, vector)| distance.min((1.0 - dot(vector, centroid)).max(0.0)))
        .collect();
    // In f32 a vector may be 1e-8 from itself; it must not be drawn again.
    nearer[added] = 0.0;
    nearer
}

/// An index drawn with probability proportional to its weight; any index when all weights are zero.
fn draw(weights: &[f32], rng: &mut ChaCha8Rng) -> usize {
    let total: f64 = weights.iter().map(|w| f64::from(*w)).sum();
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

/// Assigns and updates from `centroids` on, at most `max_iterations` times.
pub(super) fn iterate(
    vectors: &Vectors,
    mut centroids: Centroids,
    max_iterations: usize,
    cancel: &CancelToken,
) -> Result<Run> {
    let mut previous = f64::NEG_INFINITY;
    let mut iterations = 0;
    loop {
        let (assignments, similarities) = assign(vectors, &centroids, cancel)?;
        let objective: f64 = similarities.iter().map(|s| f64::from(*s)).sum();
        let refills = refills(&assignments, &similarities, centroids.count());
        let settled = (objective - previous).abs() <= TOLERANCE * vectors.len() as f64;
        let converged = settled && refills.is_empty();
        if converged || iterations == max_iterations {
            return Ok(Run { centroids, assignments, similarities, objective, iterations, converged });
        }
        update(vectors, &assignments, &mut centroids, cancel)?;
        for (cluster, vector) in refills {
            centroids.set_row(cluster, vectors.row(vector));
        }
        previous = objective;
        iterations += 1;
    }
}

/// The nearest centroid of each vector, the lowest number among equals, and the cosine with it.
fn assign(vectors: &Vectors, centroids: &Centroids, cancel: &CancelToken) -> Result<(Vec<u32>, Vec<f32>)> {
    let mut assignments = vec![0_u32; vectors.len()];
    let mut similarities = vec![0.0_f32; vectors.len()];
    let dimension = vectors.dimension();
    vectors
        .as_slice()
        .par_chunks(BLOCK * dimension)
        .zip(assignments.par_chunks_mut(BLOCK))
        .zip(similarities.par_chunks_mut(BLOCK))
        .try_for_each(|((vectors, assignments), similarities)| {
            cancel.check()?;
            for ((vector, assignment), similarity) in vectors.chunks_exact(dimension).zip(assignments).zip(similarities)
            {
                let mut best = (0_u32, f32::NEG_INFINITY);
                for (cluster, centroid) in (0_u32..).zip(centroids.rows()) {
                    let cosine = dot(vector, centroid);
                    if cosine > best.1 {
                        best = (cluster, cosine);
                    }
                }
                (*assignment, *similarity) = (best.0, best.1.clamp(-1.0, 1.0));
            }
            Ok::<(), anser_core::Error>(())
        })?;
    Ok((assignments, similarities))
}

/// For each empty cluster a vector to restart it from: those farthest from their own centroid, taken from clusters that
/// keep at least one other vector.
fn refills(assignments: &[u32], similarities: &[f32], k: usize) -> Vec<(usize, usize)> {
    let mut sizes = cluster_sizes(assignments, k);
    let empty: Vec<usize> = (0..k).filter(|&c| sizes[c] == 0).collect();
    if empty.is_empty() {
        return Vec::new();
    }
    let mut farthest: Vec<usize> = (0..similarities.len()).filter(|&i| similarities[i] < REFILL_BELOW).collect();
    farthest.sort_by(|&a, &b| similarities[a].total_cmp(&similarities[b]).then(a.cmp(&b)));
    let mut candidates = farthest.into_iter().filter(|&i| {
        let size = &mut sizes[assignments[i] as usize];
        let spare = *size > 1;
        *size -= usize::from(spare);
        spare
    });
    empty.into_iter().map_while(|cluster| candidates.next().map(|vector| (cluster, vector))).collect()
}

/// How many vectors each of `k` clusters has.
pub(super) fn cluster_sizes(assignments: &[u32], k: usize) -> Vec<usize> {
    let mut sizes = vec![0; k];
    for &cluster in assignments {
        sizes[cluster as usize] += 1;
    }
    sizes
}

/// Moves each centroid to the mean direction of its vectors. A cluster without vectors, or whose vectors cancel each
/// other out, keeps the centroid it has.
fn update(vectors: &Vectors, assignments: &[u32], centroids: &mut Centroids, cancel: &CancelToken) -> Result<()> {
    let sums = cluster_sums(vectors, assignments, centroids.count(), cancel)?;
    let sizes = cluster_sizes(assignments, centroids.count());
    for (cluster, (sum, &size)) in sums.iter().zip(&sizes).enumerate() {
        let norm = sum.iter().map(|v| v * v).sum::<f64>().sqrt();
        // Each vector adds a rounding error of about 1e-7, and a direction made of those means nothing.
        if norm > 1e-6 * size as f64 {
            let unit: Vec<f32> = sum.iter().map(|v| (v / norm) as f32).collect();
            centroids.set_row(cluster, &unit);
        }
    }
    Ok(())
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
        .flat_map(|(cluster, members)| members.chunks(BLOCK).map(move |piece| (cluster, piece)))
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
        for (total, value) in sums[cluster].iter_mut().zip(piece) {
            *total += value;
        }
    }
    Ok(sums)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn on_circle(degrees: &[f32]) -> Vectors {
        Vectors::new(degrees.iter().flat_map(|d| [d.to_radians().cos(), d.to_radians().sin()]).collect(), 2).unwrap()
    }

    #[test]
    fn an_empty_cluster_is_refilled_from_the_farthest_vector() {
        // Both starting centroids lie on the first group, so the second start gets nothing.
        let vectors = on_circle(&[0.0, 1.0, 2.0, 120.0, 121.0]);
        let first = vectors.row(0);
        let start = Centroids { values: [first, first].concat(), dimension: 2 };
        let run = iterate(&vectors, start, 50, &CancelToken::new()).unwrap();
        assert!(run.converged);
        assert_eq!(cluster_sizes(&run.assignments, 2), [3, 2]);
    }

    #[test]
    fn vectors_that_cancel_out_leave_their_centroid_in_place() {
        let vectors = on_circle(&[0.0, 180.0]);
        let start = Centroids { values: vec![0.0, 1.0], dimension: 2 };
        let run = iterate(&vectors, start, 10, &CancelToken::new()).unwrap();
        assert!(run.converged && run.centroids.row(0) == [0.0, 1.0]);
    }

    #[test]
    fn seeding_never_draws_a_vector_twice_while_others_remain() {
        let vectors = on_circle(&[0.0, 0.0, 0.0, 0.0, 90.0, 180.0]);
        for seed in 0..50 {
            let centroids = seed_centroids(&vectors, 3, (seed, 0), &CancelToken::new()).unwrap();
            let rows: Vec<Vec<u32>> =
                centroids.rows().map(|r| r.iter().map(|v| (v + 0.0).to_bits()).collect()).collect();
            assert!(rows[0] != rows[1] && rows[1] != rows[2] && rows[0] != rows[2], "seed {seed}");
        }
    }

    #[test]
    fn a_cancelled_run_ends_with_an_error() {
        let vectors = on_circle(&[0.0, 90.0]);
        let cancel = CancelToken::new();
        cancel.cancel();
        let start = Centroids { values: vec![0.0, 1.0], dimension: 2 };
        let error = iterate(&vectors, start, 10, &cancel).unwrap_err();
        assert_eq!(error.kind(), anser_core::ErrorKind::Cancelled);
    }
}
