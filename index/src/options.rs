//! How collections are kept and searched.

use crate::ann::EXACT_BELOW;

/// Options of a [`Store`](crate::Store); the defaults suit every collection size.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexOptions {
    /// Links per vector and graph layer (the paper's M), 2 to 128; layer 0 has twice as many.
    pub m: usize,
    /// Beam width while a graph is built; at least `m`.
    pub ef_construction: usize,
    /// Beam width of a search through a graph when the search does not say; at least the number of hits is used.
    pub ef_search: usize,
    /// A collection with fewer vectors is searched exactly unless the search says otherwise.
    pub exact_below: usize,
    /// Once so many vectors are not yet in a segment, a thread in the background makes one of them.
    pub seal_threshold: usize,
    /// Threads that build graphs.
    pub threads: usize,
}

impl Default for IndexOptions {
    fn default() -> Self {
        Self {
            m: 16,
            ef_construction: 200,
            ef_search: 96,
            exact_below: EXACT_BELOW,
            seal_threshold: EXACT_BELOW,
            threads: std::thread::available_parallelism().map_or(1, usize::from),
        }
    }
}
