//! What came of embedding a collection anew.

use std::fmt;

use anser_index::Overlap;
use serde::{Deserialize, Serialize};

/// What came of it: the `detail` of its job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReembedReport {
    /// The collection.
    pub collection: String,
    /// The model whose vectors were searched before.
    pub from: String,
    /// The model whose vectors are searched now.
    pub to: String,
    /// Chunks in all, each with a new vector.
    pub chunks: u64,
    /// Chunks that this job embedded in its last run; the others had their vectors already.
    pub embedded: u64,
    /// Of those, chunks longer than the model reads: the end of their text is not in their vector.
    pub truncated: u64,
    /// How far the nearest neighbours of chunks are the same before and after; absent for a collection without chunks.
    pub overlap: Option<Overlap>,
    /// Seconds of the last run.
    pub seconds: f64,
}

impl fmt::Display for ReembedReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { collection, from, to, chunks, embedded, truncated, overlap, seconds } = self;
        write!(f, "{collection} is searched by the vectors of {to} instead of {from}: {chunks} chunks")?;
        write!(f, ", {embedded} of them embedded in {seconds:.1} s")?;
        if *truncated > 0 {
            write!(f, ", {truncated} longer than {to} reads")?;
        }
        if let Some(overlap) = overlap {
            let Overlap { queries, k, mean, lowest } = overlap;
            write!(f, "; of the {k} nearest neighbours of {queries} chunks {mean:.3} are the same on average")?;
            write!(f, " ({lowest:.1} at least)")?;
        }
        Ok(())
    }
}
