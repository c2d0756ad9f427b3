//! How collections are kept and searched.

use crate::ann::{EXACT_BELOW, GraphBuilder};

/// Options of a [`Store`](crate::Store); the defaults suit every collection size.
#[derive(Debug, Clone, PartialEq)]
pub struct IndexOptions {
    /// Links per vector and graph layer (the paper's M), 2 to 128; layer 0 has twice as many.
    pub m: usize,
    /// Beam width while a graph is built; at least `m`.
    pub ef_construction: usize,
    /// Share of the true ten nearest vectors that a search through a graph should find when it does not say how wide its beam
    /// is, in (0, 1); each segment's beam is measured for it when its graph is built.
    pub target_recall: f64,
    /// Where fewer vectors are searched, all of a collection or those that pass a filter, every one is compared unless the
    /// search says otherwise.
    pub exact_below: usize,
    /// Once so many vectors are not yet in a segment, a thread in the background makes one of them.
    pub seal_threshold: usize,
    /// Threads that build graphs.
    pub threads: usize,
    /// Who builds graphs.
    pub builder: GraphBuilder,
}

impl Default for IndexOptions {
    fn default() -> Self {
        Self {
            m: 16,
            ef_construction: 200,
            target_recall: 0.98,
            exact_below: EXACT_BELOW,
            seal_threshold: EXACT_BELOW,
            threads: std::thread::available_parallelism().map_or(1, usize::from),
            builder: GraphBuilder::default(),
        }
    }
}
