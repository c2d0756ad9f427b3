//! Whether clusters are found again from other starts: how far a user should believe them.

use anser_core::{CancelToken, NoProgress, Progress, ProgressUnit};
use serde::{Deserialize, Serialize};

use super::agreement::adjusted_rand;
use super::kmeans::{ClusterCount, KMeansOptions, spherical_kmeans};
use super::vectors::{Vectors, sample_indices};
use crate::{IndexError, Result};

/// Most vectors that are clustered again and again.
const SAMPLE: usize = 20_000;

/// How far clusterings from different seeds agree.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Stability {
    /// Clusterings compared, each pair of them.
    pub runs: usize,
    /// Vectors that each of them clustered: all of up to 20,000, a sample of that size of more.
    pub vectors: usize,
    /// Mean adjusted Rand index over all pairs: 1 when every run finds the same clusters, about 0 when they have nothing
    /// to do with each other.
    pub mean_adjusted_rand: f64,
    /// The adjusted Rand index of the two runs that agree least.
    pub lowest: f64,
}

/// Clusters `vectors` in `runs` ways that differ in the seed only, none of them that of `options`, and compares the results
/// pair by pair. `options.count` must be a fixed number; `None` when it is 1, where there is nothing to disagree on. Of more
/// than 20,000 vectors all runs cluster the same sample of that size, drawn by the seed of `options`.
///
/// Fails as [`spherical_kmeans`] does, and with `InvalidInput` for fewer than two runs, a number of clusters still to be
/// chosen, or one above the number of distinct vectors in the sample.
pub fn stability(
    vectors: &Vectors,
    options: &KMeansOptions,
    runs: usize,
    cancel: &CancelToken,
    progress: &dyn Progress,
) -> Result<Option<Stability>> {
    vectors.check_some()?;
    if runs < 2 {
        return Err(IndexError::invalid(format!("stability compares clusterings; make at least 2 runs, not {runs}")));
    }
    match options.count {
        ClusterCount::Fixed(1) => return Ok(None),
        ClusterCount::Fixed(_) => {}
        ClusterCount::Auto { .. } => {
            return Err(IndexError::invalid("stability needs a given number of clusters; choose it first"));
        }
    }
    let sample = (vectors.len() > SAMPLE).then(|| vectors.gather(&sample_indices(vectors.len(), SAMPLE, options.seed)));
    let vectors = sample.as_ref().unwrap_or(vectors);
    progress.start("clustering from other seeds", Some(runs as u64), ProgressUnit::Items);
    let mut groupings = Vec::with_capacity(runs);
    for run in 1..=runs as u64 {
        let options = KMeansOptions { seed: options.seed.wrapping_add(run), ..*options };
        groupings.push(spherical_kmeans(vectors, &options, cancel, &NoProgress)?.assignments);
        progress.set(run);
    }
    progress.finish();
    let pairs: Vec<f64> = groupings
        .iter()
        .enumerate()
        .flat_map(|(at, a)| groupings[at + 1..].iter().map(move |b| adjusted_rand(a, b)))
        .collect();
    Ok(Some(Stability {
        runs,
        vectors: vectors.len(),
        mean_adjusted_rand: pairs.iter().sum::<f64>() / pairs.len() as f64,
        lowest: pairs.iter().copied().fold(1.0, f64::min),
    }))
}
