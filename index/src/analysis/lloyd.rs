//! One run of spherical k-means: assignment and update in turns until the objective stands still.
//!
//! Spherical k-means is Dhillon and Modha, "Concept decompositions for large sparse text data using clustering", 2001:
//! it maximises the sum of cosines between unit vectors and the unit mean direction of their cluster. The rounds are
//! Lloyd's, "Least squares quantization in PCM", 1982.

use anser_core::CancelToken;

use super::nearest::PackedCentroids;
use super::sums::{assign_and_sum, cluster_sizes, cluster_sums};
use super::vectors::Vectors;
use crate::{IndexError, Result};

/// A run has converged when the mean cosine changes by no more than this.
const TOLERANCE: f64 = 1e-6;

/// A vector closer than this to its centroid gains nothing from a cluster of its own: well above what rounding takes from
/// the cosine of a vector with itself.
const REFILL_BELOW: f32 = 1.0 - 4e-6;

/// Unit centroids, one row of `dimension` numbers each.
#[derive(Debug, Clone)]
pub(super) struct Centroids {
    values: Vec<f32>,
    dimension: usize,
}

impl Centroids {
    /// Rows of `dimension` numbers.
    pub(super) fn new(values: Vec<f32>, dimension: usize) -> Self {
        Self { values, dimension }
    }

    pub(super) fn count(&self) -> usize {
        self.values.len() / self.dimension
    }

    pub(super) fn row(&self, at: usize) -> &[f32] {
        &self.values[at * self.dimension..(at + 1) * self.dimension]
    }

    fn set_row(&mut self, at: usize, values: &[f32]) {
        self.values[at * self.dimension..(at + 1) * self.dimension].copy_from_slice(values);
    }

    /// Packed for products with vectors.
    pub(super) fn packed(&self) -> PackedCentroids<'_> {
        PackedCentroids::new(&self.values, self.dimension)
    }

    /// The rows named in `order`, in that order.
    pub(super) fn reordered(&self, order: &[usize]) -> Self {
        let values = order.iter().flat_map(|&at| self.row(at).iter().copied()).collect();
        Self { values, dimension: self.dimension }
    }

    /// Moves each centroid to the direction of its cluster's sum. A cluster without vectors, or whose vectors cancel each
    /// other out, keeps the centroid it has.
    pub(super) fn follow(&mut self, sums: &[Vec<f64>], sizes: &[usize]) {
        for (cluster, (sum, &size)) in sums.iter().zip(sizes).enumerate() {
            let norm = sum.iter().map(|v| v * v).sum::<f64>().sqrt();
            // Each vector adds a rounding error of about 1e-7, and a direction made of those means nothing.
            if norm > 1e-6 * size as f64 {
                let unit: Vec<f32> = sum.iter().map(|v| (v / norm) as f32).collect();
                self.set_row(cluster, &unit);
            }
        }
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

/// When a run ends, and whom it tells how far it is.
#[derive(Clone, Copy)]
pub(super) struct Rounds<'a> {
    /// Most rounds.
    pub(super) most: usize,
    /// Whether it ends as soon as the objective stands still.
    pub(super) until_settled: bool,
    pub(super) cancel: &'a CancelToken,
    /// Told the rounds that are over.
    pub(super) over: &'a dyn Fn(usize),
}

/// Assigns and updates from `centroids` on.
pub(super) fn iterate(vectors: &Vectors, mut centroids: Centroids, rounds: Rounds<'_>) -> Result<Run> {
    let mut previous = f64::NEG_INFINITY;
    let mut iterations = 0;
    loop {
        let round = assign_and_sum(vectors, &centroids, rounds.cancel)?;
        let objective: f64 = round.similarities.iter().map(|s| f64::from(*s)).sum();
        let refills = refills(&round.assignments, &round.similarities, centroids.count());
        let settled = (objective - previous).abs() <= TOLERANCE * vectors.len() as f64;
        let converged = settled && refills.is_empty();
        if (converged && rounds.until_settled) || iterations == rounds.most {
            let (assignments, similarities) = (round.assignments, round.similarities);
            return Ok(Run { centroids, assignments, similarities, objective, iterations, converged });
        }
        let sizes = cluster_sizes(&round.assignments, centroids.count());
        let sums = match round.sums {
            Some(sums) => sums,
            None => cluster_sums(vectors, &round.assignments, centroids.count(), rounds.cancel)?,
        };
        centroids.follow(&sums, &sizes);
        for (cluster, vector) in refills {
            centroids.set_row(cluster, vectors.row(vector));
        }
        previous = objective;
        iterations += 1;
        (rounds.over)(iterations);
    }
}

/// What a given number of rounds led to.
#[derive(Debug)]
pub struct LloydRun {
    /// The unit centroids, as many as there were at the start.
    pub centroids: Vectors,
    /// For each vector the nearest of these centroids.
    pub assignments: Vec<u32>,
    /// For each vector its cosine with it.
    pub similarities: Vec<f32>,
    /// Sum of the cosines: what the rounds maximise.
    pub objective: f64,
    /// Sum of squared Euclidean distances of the vectors from the mean (not the unit mean direction) of their cluster:
    /// what k-means that is not spherical minimises, for comparison with it.
    pub inertia: f64,
}

/// Exactly `iterations` rounds of spherical k-means over all vectors from given unit centroids, then one more assignment:
/// nothing is sampled, and nothing ends early. An empty cluster is restarted from the vector farthest from its centroid.
///
/// Fails with `InvalidInput` when there are no vectors or centroids or their dimensions differ, with `Cancelled` soon after
/// `cancel` is set.
pub fn lloyd_iterations(
    vectors: &Vectors,
    start: &Vectors,
    iterations: usize,
    cancel: &CancelToken,
) -> Result<LloydRun> {
    vectors.check_some()?;
    if start.is_empty() || start.dimension() != vectors.dimension() {
        return Err(IndexError::invalid(format!(
            "{} starting centroids of {} dimensions do not fit vectors of {}; give at least one of the same dimension",
            start.len(),
            start.dimension(),
            vectors.dimension()
        )));
    }
    let centroids = Centroids::new(start.as_slice().to_vec(), start.dimension());
    let run = iterate(vectors, centroids, Rounds { most: iterations, until_settled: false, cancel, over: &|_| {} })?;
    let sums = cluster_sums(vectors, &run.assignments, run.centroids.count(), cancel)?;
    let sizes = cluster_sizes(&run.assignments, run.centroids.count());
    let explained: f64 =
        sums.iter().zip(&sizes).map(|(sum, &size)| sum.iter().map(|v| v * v).sum::<f64>() / size.max(1) as f64).sum();
    Ok(LloydRun {
        centroids: Vectors::new(run.centroids.values, run.centroids.dimension)?,
        assignments: run.assignments,
        similarities: run.similarities,
        objective: run.objective,
        inertia: vectors.len() as f64 - explained,
    })
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

#[cfg(test)]
mod tests {
    use super::*;

    fn on_circle(degrees: &[f32]) -> Vectors {
        Vectors::new(degrees.iter().flat_map(|d| [d.to_radians().cos(), d.to_radians().sin()]).collect(), 2).unwrap()
    }

    fn until_settled(most: usize, cancel: &CancelToken) -> Rounds<'_> {
        Rounds { most, until_settled: true, cancel, over: &|_| {} }
    }

    #[test]
    fn an_empty_cluster_is_refilled_from_the_farthest_vector() {
        // Both starting centroids lie on the first group, so the second start gets nothing.
        let vectors = on_circle(&[0.0, 1.0, 2.0, 120.0, 121.0]);
        let first = vectors.row(0);
        let start = Centroids { values: [first, first].concat(), dimension: 2 };
        let run = iterate(&vectors, start, until_settled(50, &CancelToken::new())).unwrap();
        assert!(run.converged);
        assert_eq!(cluster_sizes(&run.assignments, 2), [3, 2]);
    }

    #[test]
    fn vectors_that_cancel_out_leave_their_centroid_in_place() {
        let vectors = on_circle(&[0.0, 180.0]);
        let start = Centroids { values: vec![0.0, 1.0], dimension: 2 };
        let run = iterate(&vectors, start, until_settled(10, &CancelToken::new())).unwrap();
        assert!(run.converged && run.centroids.row(0) == [0.0, 1.0]);
    }

    #[test]
    fn a_cancelled_run_ends_with_an_error() {
        let vectors = on_circle(&[0.0, 90.0]);
        let cancel = CancelToken::new();
        cancel.cancel();
        let start = Centroids { values: vec![0.0, 1.0], dimension: 2 };
        let error = iterate(&vectors, start, until_settled(10, &cancel)).unwrap_err();
        assert_eq!(error.kind(), anser_core::ErrorKind::Cancelled);
    }
}
