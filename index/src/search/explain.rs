//! What a search found, and how.

use anser_core::ScoredChunk;
use serde::{Deserialize, Serialize};

use super::fusion::Fusion;
use super::params::SearchMode;
use crate::ann::{SearchMethod, Snapshot};
use crate::collection::FilterExplain;

/// How a search was done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SearchExplain {
    /// What was compared in the end.
    #[serde(default)]
    pub mode: SearchMode,
    /// Exact comparison or graphs.
    pub method: SearchMethod,
    /// Vectors that could have been found without a filter.
    pub vectors: usize,
    /// Segments they lie in.
    pub segments: usize,
    /// How many of them are not in a segment yet and were compared one by one.
    pub tail: usize,
    /// Beam width, when graphs were searched: the widest of all segments.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ef_search: Option<usize>,
    /// How the rankings were fused, when there were two.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fusion: Option<Fusion>,
    /// What was made of the query's words, when they were searched for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keywords: Option<KeywordExplain>,
    /// What the filter let through, when there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<FilterExplain>,
}

/// What was made of a query's words.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct KeywordExplain {
    /// The terms that were looked up: stems, words, or pieces of words.
    pub terms: Vec<String>,
    /// The phrases among them, each as its terms.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub phrases: Vec<Vec<String>>,
    /// Chunks that hold one of them and pass the filter.
    pub matched: usize,
}

/// What a search found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SearchOutcome {
    /// Best first; equal scores by rising chunk id.
    pub hits: Vec<ScoredChunk>,
    /// How they were found.
    pub explain: SearchExplain,
}

impl SearchExplain {
    /// A search by vector of all of `snapshot`.
    pub(crate) fn of_vectors(method: SearchMethod, snapshot: &Snapshot) -> Self {
        Self {
            mode: SearchMode::Vector,
            method,
            vectors: snapshot.len(),
            segments: snapshot.segments().len(),
            tail: snapshot.tail_len(),
            ef_search: None,
            fusion: None,
            keywords: None,
            filter: None,
        }
    }
}
