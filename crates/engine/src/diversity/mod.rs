//! How varied documents are: how far apart two of them lie on average, how many different ones they amount to, and how many
//! of a collection's subjects they touch; for all documents, some of them, or two choices against each other.

mod bootstrap;
mod coverage;
mod report;
mod run;
mod side;

use anser_index::Filter;
use serde::{Deserialize, Serialize};

pub use report::{
    ClusterCoverage, Coverage, DiversityComparison, DiversityReport, EqualSize, Interval, SubsetDiversity,
};

use crate::EngineError;

/// Most clusters that coverage is measured by.
const MOST_CLUSTERS: usize = 1000;

/// Most clusters when nobody says how many.
const MOST_CHOSEN_CLUSTERS: usize = 100;

/// Fewest and most resamples.
const RESAMPLES: std::ops::RangeInclusive<usize> = 100..=100_000;

/// What is asked.
///
/// The documents of the source are the reference: clusters are made of all of them. `subset` and `compare` choose among
/// them by their attributes. A filter of the source itself makes the reference smaller.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DiversityOptions {
    /// The documents to measure; all of the source when left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subset: Option<Filter>,
    /// Other documents of the same source to measure beside them and compare.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compare: Option<Filter>,
    /// Clusters that coverage is measured by, 1 to 1,000; when left out the square root of half the number of documents,
    /// 2 to 100.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clusters: Option<usize>,
    /// Bootstrap resamples, 100 to 100,000.
    pub resamples: usize,
    /// The same documents, options and seed give the same report.
    pub seed: u64,
}

impl Default for DiversityOptions {
    fn default() -> Self {
        Self { subset: None, compare: None, clusters: None, resamples: 1000, seed: 42 }
    }
}

impl DiversityOptions {
    /// `InvalidInput` for an option out of range.
    pub(crate) fn check(&self) -> Result<(), EngineError> {
        if let Some(clusters) = self.clusters.filter(|clusters| !(1..=MOST_CLUSTERS).contains(clusters)) {
            let message = format!("clusters is {clusters}, but must be 1 to {MOST_CLUSTERS}");
            return Err(EngineError::invalid("clusters", message));
        }
        if !RESAMPLES.contains(&self.resamples) {
            let message =
                format!("resamples is {}, but must be {} to {}", self.resamples, RESAMPLES.start(), RESAMPLES.end());
            return Err(EngineError::invalid("resamples", message));
        }
        Ok(())
    }

    /// Memory that the run takes beside the mapped vectors, in bytes: who is in which subset and cluster, the clustering's
    /// own figures, counted terms, and matrices of dimension times dimension.
    pub(crate) fn memory_bytes(&self, rows: u64, dimension: usize) -> u64 {
        let matrices = 4 * (dimension * dimension * size_of::<f64>()) as u64;
        let centroids = (4 * self.cluster_count(rows as usize) * dimension * size_of::<f64>()) as u64;
        rows * 64 + matrices + centroids + anser_index::analysis::ClassTfidf::memory_bytes() + (128 << 20)
    }

    /// How many clusters to make of this many documents.
    fn cluster_count(&self, documents: usize) -> usize {
        let chosen = ((documents as f64 / 2.0).sqrt().round() as usize).clamp(2, MOST_CHOSEN_CLUSTERS);
        self.clusters.unwrap_or(chosen)
    }
}
