//! What says whether clusters can be believed, and which of them belong together.

use anser_core::ErrorKind;
use anser_index::analysis::{MERGE_TREE_LIMIT, Merge, Vectors, merge_tree, stability};

use super::options::{ClusterAlgorithm, ClusterOptions};
use super::partition::{Partition, Watch};
use super::report::{ClusterMerge, ClusterStability};
use crate::EngineError;

/// How far k-means with other seeds gives the same clusters. Not asked of HDBSCAN, which has no seeds to differ by. What
/// keeps it from being measured becomes a note: the clusters are there all the same.
pub(super) fn other_seeds(
    vectors: &Vectors,
    partition: &Partition,
    options: &ClusterOptions,
    (cancel, progress): Watch<'_>,
    notes: &mut Vec<String>,
) -> Result<Option<ClusterStability>, EngineError> {
    if options.stability_runs == 0 || options.algorithm != ClusterAlgorithm::KMeans || partition.k() < 2 {
        return Ok(None);
    }
    match stability(vectors, &partition.repeated(options), options.stability_runs, cancel, progress) {
        Ok(found) => Ok(found.map(ClusterStability::from)),
        Err(error) if error.kind() == ErrorKind::InvalidInput => {
            notes.push(format!("other seeds were not tried: {error}"));
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

/// The clusters merged two at a time.
pub(super) fn merges(partition: &Partition) -> Result<Vec<ClusterMerge>, EngineError> {
    if partition.k() < 2 || partition.k() > MERGE_TREE_LIMIT {
        return Ok(Vec::new());
    }
    let steps = merge_tree(&partition.centroids, &partition.sizes())?;
    let step = |step: &Merge| ClusterMerge {
        left: step.left,
        right: step.right,
        similarity: step.similarity,
        size: step.size,
    };
    Ok(steps.iter().map(step).collect())
}
