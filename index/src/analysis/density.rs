//! Density clustering: HDBSCAN, which finds clusters of any shape and leaves what belongs to none as noise.
//!
//! Campello, Moulavi and Sander, "Density-Based Clustering Based on Hierarchical Density Estimates", 2013.

use anser_core::{CancelToken, Progress, ProgressUnit};
use hdbscan::{Hdbscan, HdbscanHyperParams};

use super::vectors::Vectors;
use crate::{IndexError, Result};

/// How to cluster by density.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HdbscanOptions {
    /// Fewest vectors of a cluster; at least 2.
    pub min_cluster_size: usize,
    /// How many neighbours, the vector itself among them, must be near for a place to count as dense: more of them make
    /// more noise. `None`: as many as `min_cluster_size`.
    pub min_samples: Option<usize>,
    /// What a sample of many vectors is drawn from.
    pub seed: u64,
}

impl Default for HdbscanOptions {
    fn default() -> Self {
        Self { min_cluster_size: 10, min_samples: None, seed: 0 }
    }
}

/// Clusters found by density.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DensityClusters {
    /// For each vector its cluster, below `clusters`, the largest being 0; `None` is noise.
    pub assignments: Vec<Option<u32>>,
    /// How many clusters there are; none is possible.
    pub clusters: usize,
    /// What the clustering ran on, in words.
    pub on: String,
}

/// Clusters vectors by density.
///
/// Fails with `InvalidInput` when there are no vectors or an option is out of its range, and with `Cancelled` soon after
/// `cancel` is set.
pub fn hdbscan(
    vectors: &Vectors,
    options: &HdbscanOptions,
    cancel: &CancelToken,
    progress: &dyn Progress,
) -> Result<DensityClusters> {
    vectors.check_some()?;
    if options.min_cluster_size < 2 {
        return Err(IndexError::invalid_param(
            "a cluster has at least 2 vectors; raise min_cluster_size",
            "min_cluster_size",
        ));
    }
    if options.min_samples == Some(0) {
        return Err(IndexError::invalid_param("min_samples must be at least 1", "min_samples"));
    }
    progress.start("clustering by density", Some(vectors.len() as u64), ProgressUnit::Items);
    cancel.check()?;
    let n = vectors.len();
    let min_samples = options.min_samples.unwrap_or(options.min_cluster_size).min(n);
    if n < options.min_cluster_size.max(2) {
        progress.finish();
        return Ok(DensityClusters { assignments: vec![None; n], clusters: 0, on: format!("all {n} vectors") });
    }
    let rows: Vec<Vec<f32>> = vectors.iter().map(<[f32]>::to_vec).collect();
    let params =
        HdbscanHyperParams::builder().min_cluster_size(options.min_cluster_size).min_samples(min_samples).build();
    let labels = Hdbscan::new(&rows, params)
        .cluster_par()
        .map_err(|e| IndexError::internal(format!("HDBSCAN refused the vectors: {e}")))?;
    let clusters = labels.iter().copied().max().map_or(0, |m| (m + 1).max(0) as usize);
    progress.finish();
    let assignments = labels.iter().map(|l| u32::try_from(*l).ok()).collect();
    Ok(DensityClusters { assignments, clusters, on: format!("all {n} vectors") })
}
