//! What a search returns.

use anser_core::ScoredChunk;
use anser_index::SearchExplain;
use serde::{Serialize, Serializer};

use super::group::HitGroup;

/// What was found. As JSON, each hit holds its `group`, and `explain` holds the steps.
#[derive(Debug, Clone, PartialEq)]
pub struct SearchReply {
    /// The hits, best first: by score, or, where the reranker was asked, the first of them by the sum of cosine and weighted
    /// logit, or, where diverse hits were wanted, in the order of the choice. Several chunks of one document may be among
    /// them; texts that repeat an earlier hit word for word are not.
    pub hits: Vec<ScoredChunk>,
    /// The group of each hit; empty when hits were not grouped.
    pub groups: Vec<HitGroup>,
    /// What to ask for as `after` to get the next page; `None` when this is the last one, or 1,000 hits were shown.
    pub next: Option<String>,
    /// How vectors and words were searched.
    pub explain: SearchExplain,
    /// What was made of what they found.
    pub steps: SearchSteps,
    /// Embedding the query and searching, in milliseconds.
    pub retrieve_ms: f64,
    /// Reranking, in milliseconds; 0 when there was none.
    pub rerank_ms: f64,
}

/// What was made of the hits of the index, and how long all of it took.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct SearchSteps {
    /// Hits that were looked at, before word-for-word repeats were dropped.
    pub looked_at: usize,
    /// What the reranker did, when it was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rerank: Option<RerankStep>,
    /// The lambda of maximal marginal relevance, when it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mmr_lambda: Option<f32>,
    /// What hits were grouped by, when they were.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group_by: Option<String>,
    /// How long each step took.
    pub timings: SearchTimings,
}

/// What the reranker did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RerankStep {
    /// The cross-encoder.
    pub model: String,
    /// How many of the first hits it was to order.
    pub depth: usize,
    /// How many of them it read: there may be fewer, and those of earlier pages are not read again.
    pub read: usize,
}

/// How long the steps of a search took, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct SearchTimings {
    /// Embedding the query; 0 when it came with a vector, or words alone were compared.
    pub embed_ms: f64,
    /// Searching vectors and words.
    pub search_ms: f64,
    /// Reranking.
    pub rerank_ms: f64,
    /// Everything.
    pub total_ms: f64,
}

impl Serialize for SearchReply {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut groups = self.groups.iter();
        let hits = self.hits.iter().map(|hit| HitView { hit, group: groups.next() }).collect();
        let explain = ExplainView { explain: &self.explain, steps: &self.steps };
        let (retrieve_ms, rerank_ms) = (self.retrieve_ms, self.rerank_ms);
        ReplyView { hits, next: self.next.as_deref(), explain, retrieve_ms, rerank_ms }.serialize(serializer)
    }
}

#[derive(Serialize)]
struct ReplyView<'a> {
    hits: Vec<HitView<'a>>,
    next: Option<&'a str>,
    explain: ExplainView<'a>,
    retrieve_ms: f64,
    rerank_ms: f64,
}

#[derive(Serialize)]
struct HitView<'a> {
    #[serde(flatten)]
    hit: &'a ScoredChunk,
    #[serde(skip_serializing_if = "Option::is_none")]
    group: Option<&'a HitGroup>,
}

#[derive(Serialize)]
struct ExplainView<'a> {
    #[serde(flatten)]
    explain: &'a SearchExplain,
    #[serde(flatten)]
    steps: &'a SearchSteps,
}
