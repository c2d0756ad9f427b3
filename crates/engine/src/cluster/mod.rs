//! Clustering documents by meaning: groups with their names, keywords, typical and borderline documents, how far they can
//! be believed, where each document went, and a map.

mod attributes;
mod job;
mod naming;
mod options;
mod partition;
mod picture;
mod quality;
mod report;
mod saved;
mod tables;
mod truth;
mod typical;

pub use anser_index::analysis::Keyword;
pub use options::{ClusterAlgorithm, ClusterOptions, ClusterProjection};
pub use report::{
    AttributeSummary, BorderlineDocument, ClusterMerge, ClusterReport, ClusterStability, ClusterSummary, CountScore,
    TruthComparison, TypicalDocument, ValueCount,
};
