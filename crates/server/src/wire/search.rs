//! Search, a request of ours, in which unknown keys are refused.

use anser_engine::{FusionChange, SearchMode, SearchRequest};
use serde::Deserialize;

use super::filter::AnyFilter;

/// `POST …/search`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SearchBody {
    #[serde(default)]
    query: String,
    #[serde(default)]
    vector: Option<Vec<f32>>,
    #[serde(default)]
    limit: Option<usize>,
    /// `vector`, `keyword` or `hybrid`.
    #[serde(default)]
    mode: Option<SearchMode>,
    /// `{"method": "reciprocal_rank" or "weighted_scores", "vector_weight": 0 to 1}`; what is missing is as the collection's
    /// settings have it.
    #[serde(default)]
    fusion: Option<FusionChange>,
    /// Left out, it is what `rerank_depth` says: whoever sends a depth wants it.
    #[serde(default)]
    rerank: Option<bool>,
    #[serde(default)]
    rerank_depth: Option<usize>,
    #[serde(default)]
    mmr_lambda: Option<f32>,
    #[serde(default)]
    min_score: Option<f32>,
    #[serde(default)]
    exact: Option<bool>,
    #[serde(default)]
    ef_search: Option<usize>,
    /// Only documents that this lets through.
    #[serde(default)]
    filter: Option<AnyFilter>,
    #[serde(default)]
    group_by: Option<String>,
    #[serde(default)]
    highlight: bool,
    /// `next` of the page before.
    #[serde(default)]
    after: Option<String>,
}

impl SearchBody {
    /// The request to a collection, whose settings stand for what is left open.
    pub(crate) fn into_request(self) -> SearchRequest {
        SearchRequest {
            query: self.query,
            vector: self.vector,
            limit: self.limit.unwrap_or(SearchRequest::default().limit),
            mode: self.mode,
            fusion: self.fusion,
            rerank: self.rerank.unwrap_or(self.rerank_depth.is_some()),
            rerank_depth: self.rerank_depth,
            mmr_lambda: self.mmr_lambda,
            min_score: self.min_score,
            exact: self.exact,
            ef_search: self.ef_search,
            filter: self.filter.map(|filter| filter.0),
            group_by: self.group_by,
            highlight: self.highlight,
            after: self.after,
        }
    }
}
