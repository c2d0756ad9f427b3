//! Search: from a query to a page of scored chunks.
//!
//! The index gives a ranking by vector, by words or by both. Of its first hits, word-for-word repeats are dropped, the
//! reranker orders the first few, maximal marginal relevance spreads them, and groups keep their best hit. A page is a
//! part of the list that results. How many hits are looked at for that depends on the request and not on the page, so
//! that pages, put together, are that list.

mod cursor;
mod diversify;
mod group;
mod ranking;
mod reply;
mod request;
mod rerank;
mod settings;

use std::time::Instant;

use anser_core::CancelToken;
use anser_index::IndexError;

pub use self::group::HitGroup;
pub use self::reply::{RerankStep, SearchReply, SearchSteps, SearchTimings};
pub use self::request::SearchRequest;
pub(crate) use self::rerank::relevance;
pub use self::settings::{FusionChange, SearchSettingsChange};
use crate::{Engine, EngineError};

impl Engine {
    /// Searches a collection by meaning, by words, or by both.
    ///
    /// `NotFound` for an unknown collection; `Conflict` when the query has to be embedded and another embedder made the
    /// collection's vectors; `InvalidInput`, with the field at fault, for an empty query, a number out of range, a vector
    /// that is zero, not finite or of another dimension, or a cursor of another search. Searches of words load no embedder.
    pub fn search(
        &self,
        collection: &str,
        request: &SearchRequest,
        cancel: &CancelToken,
    ) -> Result<SearchReply, EngineError> {
        request.check()?;
        match self.search_once(collection, request, cancel) {
            // Other vectors took over between the look at the collection and the search: the query is embedded by their model.
            Err(EngineError::Index(IndexError::Superseded { .. })) => self.search_once(collection, request, cancel),
            outcome => outcome,
        }
    }

    fn search_once(
        &self,
        collection: &str,
        request: &SearchRequest,
        cancel: &CancelToken,
    ) -> Result<SearchReply, EngineError> {
        let started = Instant::now();
        let collection = self.collection(collection)?;
        let plan = self.plan(&collection, request, cancel)?;
        let reranker = if plan.rerank_depth > 0 { self.models().reranker()? } else { None };
        let mut reply = ranking::Search::new(&collection, request, &plan, reranker, cancel).page()?;
        reply.steps.timings.total_ms = milliseconds(started);
        Ok(reply)
    }
}

/// Milliseconds since `started`.
pub(crate) fn milliseconds(started: Instant) -> f64 {
    started.elapsed().as_secs_f64() * 1e3
}
