//! What comes back from looking for outliers.

use serde::{Deserialize, Serialize};

use super::{OutlierMethod, ShownDocument};

/// The documents that are most unlike the others.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OutlierReport {
    /// The collection or file.
    pub source: String,
    /// Who made the vectors.
    pub embedder: String,
    /// How many documents were looked at.
    pub documents: usize,
    /// What ranked them.
    pub method: OutlierMethod,
    /// Neighbours that each was compared with.
    pub k: usize,
    /// Whether every document was compared with every other; `false`: neighbours were looked for where
    /// they are likely.
    pub exact: bool,
    /// Share of the true neighbours that were found, measured on a sample; `None` when exact.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recall: Option<f64>,
    /// What is usual among these documents.
    pub typical: TypicalFigures,
    /// Scores (of `method`) above this stand out: the median and 3 times 1.4826 median absolute deviations, which is three
    /// standard deviations where scores are normally distributed.
    pub threshold: f64,
    /// How many documents stand out: the rows of the table with `outlier` true.
    pub outliers: usize,
    /// The highest-ranked documents, most unusual first, whether they stand out or not; of copies only the first.
    pub ranked: Vec<Outlier>,
}

/// Medians over all documents.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct TypicalFigures {
    /// Cosine distance to the nearest other document.
    pub nearest_distance: f64,
    /// Cosine distance to the k-th nearest.
    pub distance: f64,
    /// Local outlier factor.
    pub lof: f64,
}

/// One unusual document.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Outlier {
    /// 1 for the most unusual.
    pub rank: usize,
    /// The document.
    #[serde(flatten)]
    pub document: ShownDocument,
    /// Its local outlier factor.
    pub lof: f32,
    /// Its cosine distance to its k-th nearest document.
    pub distance: f32,
    /// Its cosine distance to the nearest document that is no copy of it; 0 when all neighbours are copies.
    pub nearest_distance: f32,
    /// How many of its neighbours are copies of it: have the same vector but for rounding.
    pub copies: usize,
    /// Whether its score lies above the report's threshold.
    pub outlier: bool,
    /// Why it ranks where it does, for people.
    pub reason: String,
    /// The documents nearest to it that are no copies of it, nearest first.
    pub neighbours: Vec<NearDocument>,
}

/// A document with its nearness to another.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NearDocument {
    /// The document.
    #[serde(flatten)]
    pub document: ShownDocument,
    /// Its cosine with the other, in [-1, 1].
    pub similarity: f32,
}
