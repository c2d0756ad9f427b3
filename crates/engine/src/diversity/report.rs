//! What comes back from measuring diversity.

use anser_index::Filter;
use serde::{Deserialize, Serialize};

/// How varied documents are.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DiversityReport {
    /// The collection or file.
    pub source: String,
    /// Who made the vectors.
    pub embedder: String,
    /// Documents of the source: what clusters are made of.
    pub documents: usize,
    /// The documents that were asked for.
    pub subset: SubsetDiversity,
    /// The others that they are compared with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compare: Option<SubsetDiversity>,
    /// What the comparison found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comparison: Option<DiversityComparison>,
    /// The clusters of all documents of the source, largest first.
    pub clusters: Vec<ClusterCoverage>,
}

/// How varied some documents are.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SubsetDiversity {
    /// What chose them; nothing for all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<Filter>,
    /// How many they are.
    pub documents: usize,
    /// Mean of 1 - cosine over all pairs of them, in [0, 2]. Does not depend on their number.
    pub mean_distance: f64,
    /// Where the mean distance lies with 95 % confidence for documents like these; none below 10 documents.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mean_distance_interval: Option<Interval>,
    /// Vendi score (Friedman and Dieng, "The Vendi Score: A Diversity Evaluation Metric for Machine Learning", 2023): as
    /// varied as this many documents that have nothing in common. Grows with the number of documents.
    pub vendi: f64,
    /// The clusters that they touch.
    pub coverage: Coverage,
}

/// A range of a figure.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

/// How many of the source's clusters some documents touch.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Coverage {
    /// Clusters with at least one of them.
    pub covered: usize,
    /// All clusters.
    pub clusters: usize,
    /// How many clusters as many documents drawn at random from the source would touch on average: rarefaction (Hurlbert,
    /// "The Nonconcept of Species Diversity", 1971).
    pub expected: f64,
    /// The effective number of clusters: the exponential of the entropy of their shares. Equal to `covered` when they are
    /// spread evenly over the clusters that they touch, less when few clusters have most of them (Hill, "Diversity and
    /// Evenness", 1973).
    pub effective: f64,
}

/// Two subsets against each other. Differences are of the compared documents minus the subset.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DiversityComparison {
    /// Documents in both. They make the interval wider than it need be.
    pub overlap: usize,
    /// Difference of the mean distances.
    pub mean_distance: f64,
    /// Where that difference lies with 95 % confidence: percentiles of the differences of resampled subsets. None when
    /// either has fewer than 10 documents.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mean_distance_interval: Option<Interval>,
    /// Whether the interval leaves out 0: the difference is more than chance.
    pub significant: bool,
    /// The Vendi scores at one size, so that they can be compared.
    pub vendi_at_equal_size: EqualSize,
    /// Difference of the effective numbers of clusters.
    pub effective_clusters: f64,
}

/// A figure of two subsets, measured on draws of one size: the smaller subset's, at most 2,000 documents.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct EqualSize {
    /// Documents in each draw.
    pub documents: usize,
    /// Mean over draws from the subset.
    pub subset: f64,
    /// Mean over draws from the compared documents.
    pub compare: f64,
}

/// A cluster of the source and who touches it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClusterCoverage {
    /// Its number in the table; 0 is the largest.
    pub cluster: u32,
    /// Words that set it apart.
    pub label: String,
    /// Documents of the source in it.
    pub documents: usize,
    /// Documents of the subset in it.
    pub subset: usize,
    /// Compared documents in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compare: Option<usize>,
}
