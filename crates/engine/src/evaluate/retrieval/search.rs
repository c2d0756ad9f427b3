//! The ways of searching that are compared, and what each of them finds for a query.

use std::time::Instant;

use anser_core::{CancelToken, ScoredChunk};
use anser_index::{Fusion, SearchMode, SearchSettings};
use serde::{Deserialize, Serialize};

use super::RetrievalQuery;
use crate::retrieve::milliseconds;
use crate::{Engine, EngineError, SearchRequest};

/// Hits that are looked at: documents beyond them count as not found.
pub(super) const DEPTH: usize = 100;

/// A way of searching.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RetrievalMethod {
    /// By the query's vector.
    Vector,
    /// By its words.
    Keyword,
    /// By both, fused as the collection's settings say.
    Hybrid,
    /// By both, and the first of them put in order by the reranker.
    HybridReranked,
}

impl RetrievalMethod {
    /// All of them, in the order of a report.
    pub const ALL: [Self; 4] = [Self::Vector, Self::Keyword, Self::Hybrid, Self::HybridReranked];

    /// What reports and flags call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Vector => "vector",
            Self::Keyword => "keyword",
            Self::Hybrid => "hybrid",
            Self::HybridReranked => "hybrid+rerank",
        }
    }

    /// The method of a name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|method| method.name() == name)
    }

    /// Whether it compares vectors.
    pub(super) fn needs_vector(self) -> bool {
        self != Self::Keyword
    }

    /// How it searches a collection with these settings.
    pub(super) fn plan(self, settings: &SearchSettings) -> Plan {
        let mode = match self {
            Self::Vector => SearchMode::Vector,
            Self::Keyword => SearchMode::Keyword,
            Self::Hybrid | Self::HybridReranked => SearchMode::Hybrid,
        };
        let rerank_depth = (self == Self::HybridReranked).then_some(settings.rerank_depth);
        Plan { mode, fusion: settings.fusion, rerank_depth }
    }
}

/// One way of searching in all detail.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Plan {
    pub(super) mode: SearchMode,
    pub(super) fusion: Fusion,
    /// How many hits the reranker reads; `None` is no reranking.
    pub(super) rerank_depth: Option<usize>,
}

/// Searches one collection.
pub(super) struct Searcher<'a> {
    pub(super) engine: &'a Engine,
    pub(super) collection: &'a str,
    pub(super) cancel: &'a CancelToken,
}

impl Searcher<'_> {
    /// The hits of a query and the milliseconds that they took. `vector` spares the embedding of the text.
    pub(super) fn hits(
        &self,
        query: &RetrievalQuery,
        vector: Option<&[f32]>,
        plan: &Plan,
    ) -> Result<(Vec<ScoredChunk>, f64), EngineError> {
        self.cancel.check()?;
        let vector = vector.or(query.vector.as_deref()).filter(|_| plan.mode != SearchMode::Keyword);
        let request = SearchRequest {
            query: query.text.clone(),
            vector: vector.map(<[f32]>::to_vec),
            limit: DEPTH,
            rerank: plan.rerank_depth.is_some(),
            rerank_depth: plan.rerank_depth,
            mode: Some(plan.mode),
            fusion: Some(plan.fusion.into()),
            ..SearchRequest::default()
        };
        let started = Instant::now();
        let reply = self.engine.search(self.collection, &request, self.cancel)?;
        Ok((reply.hits, milliseconds(started)))
    }

    /// The documents that a query finds, best first: each stands where its best chunk stands.
    pub(super) fn ranking(
        &self,
        query: &RetrievalQuery,
        vector: Option<&[f32]>,
        plan: &Plan,
    ) -> Result<(Vec<String>, f64), EngineError> {
        let (hits, elapsed) = self.hits(query, vector, plan)?;
        Ok((documents(hits.iter()), elapsed))
    }
}

/// The documents of some chunks, each where its first chunk stands.
pub(super) fn documents<'a>(hits: impl Iterator<Item = &'a ScoredChunk>) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for hit in hits {
        let id = hit.chunk.document_id.as_str();
        if !found.iter().any(|known| known == id) {
            found.push(id.to_owned());
        }
    }
    found
}
