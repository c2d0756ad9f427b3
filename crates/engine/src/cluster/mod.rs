//! Clustering a collection: groups of documents that mean similar things, with their keywords and most typical documents,
//! as a report, as a table in a file, and as a map.

mod columns;
mod job;
mod map;
mod report;
mod table;
mod typical;
mod write;

pub use anser_index::analysis::{ClusterCount, CountScore, Keyword};
pub use job::cluster;
pub use map::write_map;
pub use report::{Assignment, ClusterOptions, ClusterReport, ClusterSummary, TypicalDocument};
pub use write::{TableFormat, write_assignments};

#[cfg(test)]
mod fixtures;
