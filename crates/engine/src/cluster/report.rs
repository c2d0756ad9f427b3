//! What comes back of a clustering: everything but the rows.

use std::collections::BTreeMap;

use anser_core::{DocumentId, EmbedderInfo};
use anser_index::analysis::{Keyword, Stability};
use serde::{Deserialize, Serialize};

use super::options::{ClusterAlgorithm, ClusterProjection};

/// The clusters of a collection or file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClusterReport {
    /// The collection or file.
    pub source: String,
    /// How groups were found.
    pub algorithm: ClusterAlgorithm,
    /// The job whose clusters the documents were assigned to, when no new ones were made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub assigned_to: Option<String>,
    /// Who made the vectors.
    pub embedder: EmbedderInfo,
    /// What random choices were drawn from.
    pub seed: u64,
    /// How many documents there are.
    pub documents: usize,
    /// How many clusters there are.
    pub k: usize,
    /// How that number was arrived at, in words.
    pub criterion: String,
    /// The mean silhouette of every number of clusters tried; empty when the number was given.
    pub scores: Vec<CountScore>,
    /// Mean silhouette (cosine) of documents in clusters, in [-1, 1]; `None` where it is not defined: a single cluster, or
    /// documents assigned to clusters of another job.
    pub silhouette: Option<f64>,
    /// Documents that it is the mean of: all, or a sample of many.
    #[serde(default)]
    pub silhouette_documents: usize,
    /// Whether the clusters had come to rest when the work ended.
    pub converged: bool,
    /// Documents that belong to no cluster.
    pub noise: usize,
    /// Their part of all documents, in [0, 1].
    pub noise_share: f64,
    /// How far other seeds give the same clusters; `None` when not asked for and for a single cluster.
    pub stability: Option<ClusterStability>,
    /// The clusters, largest first (in the order of the other job, when assigned).
    pub clusters: Vec<ClusterSummary>,
    /// The clusters merged two at a time, the most similar first, until one is left: empty for fewer than two.
    pub merges: Vec<ClusterMerge>,
    /// How the clusters agree with an attribute that holds the true class.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub truth: Option<TruthComparison>,
    /// How the map was laid out.
    pub projection: ClusterProjection,
    /// The share of the variance, in [0, 1], that x and y show; `None` for t-SNE.
    pub explained_variance: Option<[f32; 2]>,
    /// What a reader should know beside the figures.
    #[serde(default)]
    pub notes: Vec<String>,
}

/// One number of clusters that was tried.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct CountScore {
    /// How many clusters.
    pub k: usize,
    /// Mean silhouette.
    pub silhouette: f64,
}

/// How far clusterings with different seeds agree.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClusterStability {
    /// Runs of k-means, each with another seed and the same number of clusters.
    pub runs: usize,
    /// Documents that each run clustered: all, or a sample of many.
    pub documents: usize,
    /// Mean adjusted Rand index over all pairs of runs: 1 when all agree, about 0 when none do (Hubert and Arabie 1985).
    pub mean_adjusted_rand: f64,
    /// The lowest of any pair.
    pub lowest: f64,
    /// Whether to believe the clusters, in a sentence.
    pub verdict: String,
}

impl From<Stability> for ClusterStability {
    fn from(found: Stability) -> Self {
        let Stability { runs, vectors: documents, mean_adjusted_rand, lowest } = found;
        let verdict = match mean_adjusted_rand {
            mean if mean >= 0.9 => "other seeds give nearly the same clusters",
            mean if mean >= 0.7 => "other seeds give mostly the same clusters: believe their cores, not every border",
            mean if mean >= 0.5 => {
                "other seeds agree in part: take the clusters as one way among several to divide the documents"
            }
            _ => "other seeds give other clusters: do not read much into them; try another number",
        };
        Self { runs, documents, mean_adjusted_rand, lowest, verdict: verdict.to_owned() }
    }
}

/// One cluster.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClusterSummary {
    /// Its number, from 0; clusters are numbered by size.
    pub cluster: u32,
    /// A short name, different from those of all others: its first keywords or what a chat model wrote; `cluster N` when it
    /// has none.
    pub label: String,
    /// Where the name is from: `keywords`, or the chat model's name.
    pub named_by: String,
    /// How many documents it has.
    pub size: usize,
    /// Its part of all documents, in [0, 1].
    pub share: f64,
    /// Mean cosine of its documents with its centroid, in [-1, 1]; `None` when it has none.
    pub cohesion: Option<f32>,
    /// The words that set it apart, best first.
    pub keywords: Vec<Keyword>,
    /// The documents nearest its centroid, without near-copies of each other.
    pub typical: Vec<TypicalDocument>,
    /// The documents that most nearly belong to another cluster, the most doubtful first.
    pub borderline: Vec<BorderlineDocument>,
    /// How attributes are distributed over its documents, by name.
    pub attributes: BTreeMap<String, AttributeSummary>,
}

/// A document that stands for its cluster.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TypicalDocument {
    /// Its id.
    pub id: DocumentId,
    /// Its title.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// The beginning of its text, on one line.
    pub text: String,
    /// Cosine with the centroid of its cluster.
    pub similarity: f32,
}

/// A document at the border of its cluster.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BorderlineDocument {
    /// Its id.
    pub id: DocumentId,
    /// Its title.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// The beginning of its text, on one line.
    pub text: String,
    /// Cosine with the centroid of its cluster.
    pub similarity: f32,
    /// The nearest other cluster.
    pub other: u32,
    /// Cosine with the centroid of that.
    pub other_similarity: f32,
    /// The first cosine less the second.
    pub margin: f32,
}

/// How one attribute is distributed over the documents of a cluster.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct AttributeSummary {
    /// Documents that have it.
    pub count: usize,
    /// Documents that lack it.
    pub missing: usize,
    /// Mean of its numbers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mean: Option<f64>,
    /// Standard deviation of its numbers (n - 1); `None` for fewer than two.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sd: Option<f64>,
    /// Smallest number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min: Option<f64>,
    /// Largest number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<f64>,
    /// Its most frequent values: all numbers and booleans in their order where there are few different ones, of texts the
    /// ten most frequent. Empty when there are too many different ones to count.
    pub values: Vec<ValueCount>,
}

/// How often a value occurs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ValueCount {
    /// The value as text. A list of texts counts for each of them.
    pub value: String,
    /// Documents of the cluster that have it.
    pub count: usize,
    /// Their part of the cluster's documents that have the attribute.
    pub share: f64,
}

/// One step of merging clusters: `left` and `right` become the node `k + i`, `i` being the step's place.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ClusterMerge {
    /// A cluster below `k`, or the result of step `left - k`.
    pub left: usize,
    /// As `left`.
    pub right: usize,
    /// How similar the two are, as a cosine.
    pub similarity: f32,
    /// Documents of both together.
    pub size: usize,
}

/// How clusters agree with true classes. Noise counts as one more cluster.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TruthComparison {
    /// The attribute that holds the class.
    pub attribute: String,
    /// Documents that have it, and that the figures are of.
    pub documents: usize,
    /// How many different classes there are.
    pub classes: usize,
    /// 1 when every cluster has documents of one class only (Rosenberg and Hirschberg 2007).
    pub homogeneity: f64,
    /// 1 when all documents of a class are in one cluster.
    pub completeness: f64,
    /// Harmonic mean of the two.
    pub v_measure: f64,
    /// Normalised mutual information, arithmetic mean.
    pub normalized_mutual_information: f64,
    /// Adjusted Rand index: 1 for equal partitions, about 0 for unrelated ones.
    pub adjusted_rand: f64,
}
