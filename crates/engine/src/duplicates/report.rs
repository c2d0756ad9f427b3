//! What comes back from looking for duplicates.

use serde::{Deserialize, Serialize};

use super::KeepRule;
use crate::outliers::ShownDocument;

/// The groups of documents that say nearly the same.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DuplicateReport {
    /// The collection or file.
    pub source: String,
    /// Who made the vectors.
    pub embedder: String,
    /// How many documents were looked at.
    pub documents: usize,
    /// Least cosine of two documents that say nearly the same.
    pub threshold: f32,
    /// Which document of a group is kept.
    pub keep: KeepRule,
    /// The attribute that says what is newest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub newest_by: Option<String>,
    /// Whether no pair can have been missed.
    pub exact: bool,
    /// Share of the pairs that were found, measured on a sample; `None` when exact.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recall: Option<f64>,
    /// Pairs of documents whose cosine was computed.
    pub compared: u64,
    /// How many groups there are.
    pub groups: usize,
    /// Documents in groups: the rows of the table.
    pub grouped: usize,
    /// Documents in groups that say nearly the same as one that is kept: what a deletion removes.
    pub redundant: usize,
    /// Redundant documents whose title and text are those of the kept one, character for character.
    pub exact_copies: usize,
    /// The largest groups.
    pub largest: Vec<DuplicateGroup>,
}

/// Documents that are linked by pairs above the threshold.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DuplicateGroup {
    /// Its number in the table; 0 is the largest.
    pub group: u32,
    /// How many documents it has.
    pub documents: usize,
    /// How many of them are redundant.
    pub redundant: usize,
    /// How many of the redundant ones are exact copies.
    pub exact_copies: usize,
    /// Up to 10 of its documents: each that is kept followed by those that it stands for, nearest first, and exact copies
    /// after all others. More than one is kept where documents are linked only by way of others.
    pub members: Vec<DuplicateMember>,
}

/// A document of a group.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DuplicateMember {
    /// The document.
    #[serde(flatten)]
    pub document: ShownDocument,
    /// Whether it is kept.
    pub keep: bool,
    /// The kept document that stands for it; itself when it is kept.
    pub kept_id: String,
    /// Its cosine with that document, at least the threshold.
    pub similarity: f32,
    /// Whether it is redundant and has the title and text of that document, character for character.
    pub exact_copy: bool,
}
