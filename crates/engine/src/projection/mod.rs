//! A flat map of documents: a place for each in the plane, near ones together, as a table and as pictures.

mod colour;
mod report;
mod run;

use anser_index::analysis::{LAID_OUT_VECTORS, TsneOptions};
use serde::{Deserialize, Serialize};

pub use report::{ColouredBy, ColouredGroup, ProjectionReport, TsneFigures};

use crate::EngineError;

/// The value of [`ProjectionOptions::colour_by`] that stands for clusters found by k-means.
pub const BY_CLUSTER: &str = "cluster";

const PERPLEXITIES: std::ops::RangeInclusive<f32> = 2.0..=200.0;
const EPOCHS: std::ops::RangeInclusive<usize> = 50..=10_000;
const CLUSTERS: std::ops::RangeInclusive<usize> = 1..=200;

/// How places are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProjectionMethod {
    /// t-distributed stochastic neighbour embedding: near documents lie together; distances between groups mean little.
    #[default]
    Tsne,
    /// The first two principal components: all distances are to scale, but groups that differ in other directions lie on
    /// each other.
    Pca,
}

impl ProjectionMethod {
    /// Its name in requests and reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tsne => "tsne",
            Self::Pca => "pca",
        }
    }
}

/// What is asked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ProjectionOptions {
    /// How places are found.
    pub method: ProjectionMethod,
    /// For t-SNE: about how many neighbours each document is kept near to, 2 to 200. Lowered to a third of the other
    /// documents where there are few.
    pub perplexity: f32,
    /// For t-SNE: steps of the descent, 50 to 10,000.
    pub epochs: usize,
    /// What the colours mean: `cluster` for clusters found by k-means (the default), the name of an attribute, or nothing.
    pub colour_by: Option<String>,
    /// How many clusters, 1 to 200; without it the number from 2 to 20 with the highest silhouette.
    pub k: Option<usize>,
    /// The same documents, options and seed give the same map.
    pub seed: u64,
}

impl Default for ProjectionOptions {
    fn default() -> Self {
        let TsneOptions { perplexity, epochs, seed } = TsneOptions::default();
        Self {
            method: ProjectionMethod::default(),
            perplexity,
            epochs,
            colour_by: Some(BY_CLUSTER.to_owned()),
            k: None,
            seed,
        }
    }
}

impl ProjectionOptions {
    /// `InvalidInput` for an option out of range.
    pub(crate) fn check(&self) -> Result<(), EngineError> {
        if !PERPLEXITIES.contains(&self.perplexity) {
            let message = format!("perplexity is {}, but must be 2 to 200", self.perplexity);
            return Err(EngineError::invalid("perplexity", message));
        }
        if !EPOCHS.contains(&self.epochs) {
            return Err(EngineError::invalid("epochs", format!("epochs is {}, but must be 50 to 10,000", self.epochs)));
        }
        if self.k.is_some_and(|k| !CLUSTERS.contains(&k)) {
            let message = format!("k is {}, but must be 1 to 200", self.k.unwrap_or_default());
            return Err(EngineError::invalid("k", message));
        }
        if self.k.is_some() && self.colour_by.as_deref() != Some(BY_CLUSTER) {
            let message =
                "k is the number of clusters, which are shown only when colour_by is \"cluster\"; leave k out";
            return Err(EngineError::invalid("k", message));
        }
        Ok(())
    }

    /// Memory that the run takes beside the mapped vectors, in bytes: places, groups and words of all documents, the
    /// neighbours and the layout of those that are laid out, the covariance, and the pictures.
    pub(crate) fn memory_bytes(&self, rows: u64, dimension: usize) -> u64 {
        let dimension = dimension as u64;
        let laid_out = rows.min(LAID_OUT_VECTORS as u64);
        let neighbours = self.tsne().neighbours() as u64;
        let each = rows * 120;
        let layout = laid_out * (neighbours * 64 + 200 + if rows > laid_out { dimension * 4 } else { 0 });
        let covariance = rows.min(10_000) * dimension * 8 + dimension * dimension * 32;
        let clusters = if self.colour_by.as_deref() == Some(BY_CLUSTER) {
            anser_index::analysis::ClassTfidf::memory_bytes() + 20_000 * dimension * 8
        } else {
            0
        };
        let pictures = rows.min(100_000) * 1500 + (64 << 20);
        each + layout + covariance + clusters + pictures
    }

    fn tsne(&self) -> TsneOptions {
        TsneOptions { perplexity: self.perplexity, epochs: self.epochs, seed: self.seed }
    }
}
