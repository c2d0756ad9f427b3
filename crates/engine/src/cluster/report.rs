//! What is asked of a clustering and what comes back.

use std::collections::BTreeMap;

use anser_core::{Attributes, DocumentId};
use anser_index::analysis::{ClusterCount, CountScore, Keyword};
use serde::{Deserialize, Serialize};

/// What to cluster into.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ClusterOptions {
    /// How many clusters, or the range to choose from.
    pub count: ClusterCount,
    /// The same collection and seed give the same clusters.
    pub seed: u64,
    /// Most typical documents listed for each cluster.
    pub examples: usize,
    /// Most keywords listed for each cluster.
    pub keywords: usize,
}

impl Default for ClusterOptions {
    fn default() -> Self {
        Self { count: ClusterCount::Auto { min: 2, max: 20 }, seed: 42, examples: 3, keywords: 8 }
    }
}

/// The clusters of a collection.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ClusterReport {
    /// The collection.
    pub collection: String,
    /// How many clusters there are.
    pub k: usize,
    /// How that number was arrived at, in words.
    pub criterion: String,
    /// The mean silhouette of every number of clusters tried; empty when the number was given.
    pub scores: Vec<CountScore>,
    /// Mean silhouette (cosine) over all documents, in [-1, 1]; `None` for a single cluster, where it is not defined.
    pub silhouette: Option<f64>,
    /// Whether the clusters had come to rest when the work ended.
    pub converged: bool,
    /// How many documents were clustered: all of the collection.
    pub documents: usize,
    /// The clusters, largest first.
    pub clusters: Vec<ClusterSummary>,
    /// The share of the variance, in [0, 1], that the map's x and y axes show.
    pub explained_variance: [f32; 2],
    /// Where each document went, in the collection's order.
    pub assignments: Vec<Assignment>,
}

/// One cluster.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ClusterSummary {
    /// Its number, from 0; clusters are numbered by size.
    pub cluster: u32,
    /// Its first keywords, as a name for it; `cluster N` when it has none.
    pub label: String,
    /// How many documents it has.
    pub size: usize,
    /// Its part of all documents, in (0, 1].
    pub share: f64,
    /// Mean cosine of its documents with its centroid, in [-1, 1].
    pub cohesion: f32,
    /// The words that set it apart, best first.
    pub keywords: Vec<Keyword>,
    /// The documents nearest its centroid, without near-copies of each other.
    pub typical: Vec<TypicalDocument>,
    /// For each attribute that is a number in every document that has it, the mean over this cluster's documents.
    pub attribute_means: BTreeMap<String, f64>,
}

/// A document that stands for its cluster.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TypicalDocument {
    /// Its id.
    pub id: DocumentId,
    /// Its title.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// The beginning of its text, on one line.
    pub text: String,
    /// Cosine with the centroid of its cluster.
    pub similarity: f32,
}

/// Where one document went.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Assignment {
    /// The document.
    pub document_id: DocumentId,
    /// Its cluster.
    pub cluster: u32,
    /// Cosine with the centroid of that cluster.
    pub similarity: f32,
    /// Place on the map along the first principal direction.
    pub x: f32,
    /// Place on the map along the second principal direction.
    pub y: f32,
    /// The document's title. Left out of the report's JSON, as are text and attributes; the table has them.
    #[serde(skip)]
    pub title: Option<String>,
    /// The document's text.
    #[serde(skip)]
    pub text: String,
    /// The document's attributes.
    #[serde(skip)]
    pub attributes: Attributes,
}
