//! Mini-batch k-means: centroids that move a little with each small random batch of vectors.
//!
//! Sculley, "Web-scale k-means clustering", 2010. A centroid's learning rate is one over the number of vectors it has seen,
//! so it is the mean direction of all of them; a batch is assigned before its vectors move anything.

use anser_core::CancelToken;

use super::lloyd::Centroids;
use super::sums::cluster_sums;
use super::vectors::{Vectors, sample_indices};
use crate::Result;

/// Vectors of a batch, and how many there are at least for each centroid.
const BATCH: usize = 16_384;
const BATCH_FOR_EACH: usize = 16;

/// Batches end when the mean cosine, smoothed over about this many batches, has not grown for as many.
const PATIENCE: usize = 10;

/// What batches know of the centroids when they begin.
pub(super) struct Learned {
    pub(super) centroids: Centroids,
    /// The sum of the vectors that each centroid has seen.
    pub(super) sums: Vec<Vec<f64>>,
}

/// Vectors of one batch of mini-batch k-means with `k` centroids: 16,384, or 16 for each centroid when that is more.
pub(super) fn batch_size(k: usize) -> usize {
    BATCH.max(BATCH_FOR_EACH * k)
}

/// What the batches led to.
pub(super) struct Batches {
    pub(super) centroids: Centroids,
    /// How many there were.
    pub(super) amount: usize,
    /// Whether the mean cosine stood still before the last allowed batch.
    pub(super) settled: bool,
}

/// Moves the centroids by at most `most` batches drawn from all `vectors`. `over` is told the batches that are over.
pub(super) fn mini_batches(
    vectors: &Vectors,
    learned: Learned,
    (seed, most): (u64, usize),
    cancel: &CancelToken,
    over: &dyn Fn(usize),
) -> Result<Batches> {
    let Learned { mut centroids, mut sums } = learned;
    let k = centroids.count();
    let (mut smoothed, mut best, mut since) = (None::<f64>, f64::NEG_INFINITY, 0);
    for done in 0..most {
        cancel.check()?;
        // Batches are drawn from streams of their own, apart from those of samples.
        let drawn = sample_indices(vectors.len(), batch_size(k), seed.rotate_left(17) ^ (done as u64 + 1));
        let batch = vectors.gather(&drawn);
        let (assignments, similarities) = centroids.packed().nearest_of_all(&batch, cancel)?;
        let mean = similarities.iter().map(|s| f64::from(*s)).sum::<f64>() / batch.len() as f64;
        for (sum, added) in sums.iter_mut().zip(cluster_sums(&batch, &assignments, k, cancel)?) {
            sum.iter_mut().zip(added).for_each(|(total, value)| *total += value);
        }
        centroids.follow(&sums, &vec![1; k]);
        over(done + 1);
        let level = smoothed.map_or(mean, |before: f64| before + (mean - before) * 2.0 / (PATIENCE as f64 + 1.0));
        smoothed = Some(level);
        since = if level > best { 0 } else { since + 1 };
        best = best.max(level);
        if since == PATIENCE {
            return Ok(Batches { centroids, amount: done + 1, settled: true });
        }
    }
    Ok(Batches { centroids, amount: most, settled: false })
}

/// What the clusters of a sample know.
pub(super) fn learned_from(
    sample: &Vectors,
    centroids: Centroids,
    assignments: &[u32],
    cancel: &CancelToken,
) -> Result<Learned> {
    let sums = cluster_sums(sample, assignments, centroids.count(), cancel)?;
    Ok(Learned { centroids, sums })
}
