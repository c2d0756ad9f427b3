//! What a search asks for, and what is made of it together with the collection's settings.

use std::time::Instant;

use anser_core::{CancelToken, EmbedPurpose, Embedding, Error};
use anser_index::{Collection, Filter, Fusion, SearchMode};

use super::milliseconds;
use super::settings::{FusionChange, MAX_RERANK_DEPTH};
use crate::{Engine, EngineError};

/// Most hits one page has.
pub(super) const MAX_LIMIT: usize = 100;

/// Widest beam in a graph.
const MAX_EF_SEARCH: usize = 10_000;

/// What to search for.
#[derive(Debug, Clone, PartialEq)]
pub struct SearchRequest {
    /// The question or phrase; may be empty when a vector is given and nothing is reranked. In searches of words, texts in
    /// quotation marks are phrases.
    pub query: String,
    /// Compared instead of the query's own vector; any length, as many dimensions as the collection has.
    pub vector: Option<Vec<f32>>,
    /// Most hits to return, 1 to 100.
    pub limit: usize,
    /// What is compared; `None` is the collection's setting. Without words, or in a collection whose vectors came from
    /// outside and without a vector, a hybrid search is one of the other kind alone.
    pub mode: Option<SearchMode>,
    /// How the rankings of a hybrid search become one; what is left open is the collection's setting.
    pub fusion: Option<FusionChange>,
    /// Whether the reranker, if this engine has one, orders the first hits.
    pub rerank: bool,
    /// How many hits it reads, up to 200; those beyond stay in their order. `None` is the collection's setting.
    pub rerank_depth: Option<usize>,
    /// Orders the first hits by maximal marginal relevance (Carbonell and Goldstein, SIGIR 1998) with this lambda: 1 is by
    /// relevance alone, 0 by dissimilarity to the hits before alone. These are the hits that the reranker read, or the first
    /// 100; their relevance is scaled to [0, 1] by its lowest and highest.
    pub mmr_lambda: Option<f32>,
    /// Hits with a lower score are left out: a cosine in a search of vectors, BM25 in one of words, the fused score in a
    /// hybrid one. Reranking does not change it.
    pub min_score: Option<f32>,
    /// `Some(true)` compares with every vector, `Some(false)` walks the graph, `None` chooses by size.
    pub exact: Option<bool>,
    /// Beam width in the graph, up to 10,000; `None` is what the collection needs for its target recall. A search looks at
    /// its first 101 hits at least, so a narrower beam is as wide as that.
    pub ef_search: Option<usize>,
    /// Only documents that this lets through. Where they are few, each is compared; else a graph is walked, as without it.
    pub filter: Option<Filter>,
    /// One hit, the best, for each value of this attribute. Documents without it are each a group of their own.
    pub group_by: Option<String>,
    /// Whether hits say where words of the query occur in their text.
    pub highlight: bool,
    /// [`SearchReply::next`](super::SearchReply::next) of the page before, of a search that differs at most in `limit` and
    /// `highlight`. No hit comes twice, and while the collection does not change none is missed. Up to 1,000 hits can be
    /// paged through.
    pub after: Option<String>,
}

impl Default for SearchRequest {
    fn default() -> Self {
        Self {
            query: String::new(),
            vector: None,
            limit: 10,
            mode: None,
            fusion: None,
            rerank: false,
            rerank_depth: None,
            mmr_lambda: None,
            min_score: None,
            exact: None,
            ef_search: None,
            filter: None,
            group_by: None,
            highlight: false,
            after: None,
        }
    }
}

/// A request as it is carried out.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) mode: SearchMode,
    pub(super) fusion: Fusion,
    /// Unless words alone are compared.
    pub(super) vector: Option<Embedding>,
    /// How many hits are to be reranked; 0 is none.
    pub(super) rerank_depth: usize,
    /// Embedding the query, in milliseconds.
    pub(super) embed_ms: f64,
}

impl SearchRequest {
    fn has_words(&self) -> bool {
        !self.query.trim().is_empty()
    }

    /// All that can be checked without the collection.
    pub(super) fn check(&self) -> Result<(), EngineError> {
        if !self.has_words() && (self.rerank || self.vector.is_none()) {
            return Err(EngineError::invalid("query", "the query is empty; write what to search for"));
        }
        check_range("limit", self.limit, 1..=MAX_LIMIT)?;
        if let Some(depth) = self.rerank_depth {
            check_range("rerank_depth", depth, 0..=MAX_RERANK_DEPTH)?;
            if !self.rerank {
                let message = "rerank_depth is given, but the hits are not to be reranked; set rerank, or leave it out";
                return Err(EngineError::invalid("rerank_depth", message));
            }
        }
        if let Some(ef_search) = self.ef_search {
            check_range("ef_search", ef_search, 1..=MAX_EF_SEARCH)?;
        }
        if let Some(lambda) = self.mmr_lambda
            && !(0.0..=1.0).contains(&lambda)
        {
            let message = format!("mmr_lambda is {lambda}, but must lie between 0 (different) and 1 (relevant)");
            return Err(EngineError::invalid("mmr_lambda", message));
        }
        if self.group_by.as_deref().is_some_and(|name| name.trim().is_empty()) {
            let message = "group_by is empty; name the attribute whose values are to come once each";
            return Err(EngineError::invalid("group_by", message));
        }
        if self.mode == Some(SearchMode::Keyword) && self.vector.is_some() {
            let message = "a search of words compares no vectors; leave the vector out, or search with mode hybrid";
            return Err(EngineError::invalid("vector", message));
        }
        Ok(())
    }

    /// A score below which nothing is wanted must be one that hits can have.
    fn check_min_score(&self, mode: SearchMode) -> Result<(), EngineError> {
        let Some(score) = self.min_score else { return Ok(()) };
        let (range, what) = match mode {
            SearchMode::Vector => (-1.0..=1.0, "a cosine lies between -1 and 1"),
            SearchMode::Hybrid => (0.0..=1.0, "the fused score of a hybrid search lies between 0 and 1"),
            SearchMode::Keyword => (0.0..=f32::MAX, "the score of a search of words is a number from 0 on"),
        };
        if range.contains(&score) {
            return Ok(());
        }
        Err(EngineError::invalid("min_score", format!("min_score is {score}, but {what}")))
    }

    /// What is compared: what was asked for, or the setting, as far as the query and the collection allow.
    fn mode(&self, setting: SearchMode, external: bool) -> Result<SearchMode, EngineError> {
        let wanted = self.mode.unwrap_or(setting);
        let has_vector = self.vector.is_some() || !external;
        match (wanted, self.has_words(), has_vector) {
            (SearchMode::Keyword, false, _) if self.mode.is_some() => {
                Err(EngineError::invalid("query", "the query is empty; write the words to search for"))
            }
            (SearchMode::Vector, _, false) if self.mode.is_some() => Err(EngineError::invalid("mode", EXTERNAL)),
            (_, false, _) => Ok(SearchMode::Vector),
            (_, true, false) => Ok(SearchMode::Keyword),
            // Nobody sends a vector for nothing.
            (SearchMode::Keyword, true, true) if self.vector.is_some() => Ok(SearchMode::Hybrid),
            (wanted, true, true) => Ok(wanted),
        }
    }
}

const EXTERNAL: &str = "the collection's vectors came from outside, so that no model here can compare a text with them; send a vector, or search with mode keyword";

fn check_range(param: &'static str, value: usize, range: std::ops::RangeInclusive<usize>) -> Result<(), EngineError> {
    if range.contains(&value) {
        return Ok(());
    }
    let message = format!("{param} is {value}, but must lie between {} and {}", range.start(), range.end());
    Err(EngineError::invalid(param, message))
}

impl Engine {
    /// Decides how `request` is carried out and embeds its query if that is needed.
    pub(super) fn plan(
        &self,
        collection: &Collection,
        request: &SearchRequest,
        cancel: &CancelToken,
    ) -> Result<Plan, EngineError> {
        let settings = collection.search_settings()?;
        let fusion = request.fusion.map_or(settings.fusion, |change| change.of(settings.fusion));
        fusion.check()?;
        let mode = request.mode(settings.mode, collection.embedder().is_external())?;
        request.check_min_score(mode)?;
        let started = Instant::now();
        let mut embed_ms = 0.0;
        let vector = match (&request.vector, mode) {
            (_, SearchMode::Keyword) => None,
            (Some(vector), _) => {
                Some(Embedding::normalize(vector.clone()).map_err(|error| error.with_param("vector"))?)
            }
            (None, _) => {
                self.check_embedder(collection)?;
                let vector = self.embed_query(&request.query, cancel)?;
                embed_ms = milliseconds(started);
                Some(vector)
            }
        };
        let rerank_depth = if request.rerank { request.rerank_depth.unwrap_or(settings.rerank_depth) } else { 0 };
        Ok(Plan { mode, fusion, vector, rerank_depth: rerank_depth.min(MAX_RERANK_DEPTH), embed_ms })
    }

    fn embed_query(&self, query: &str, cancel: &CancelToken) -> Result<Embedding, EngineError> {
        let embedder = self.models().embedder()?;
        let embedded = embedder.embed(&[query.to_owned()], EmbedPurpose::Query, cancel)?;
        match embedded.into_iter().next() {
            Some(first) => Ok(first.embedding),
            None => Err(Error::internal("the embedder returned nothing for the query").into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(query: &str) -> SearchRequest {
        SearchRequest { query: query.into(), ..SearchRequest::default() }
    }

    #[test]
    fn bad_requests_name_their_field() {
        let ok = words("q");
        assert!(ok.check().is_ok());
        for (request, param) in [
            (words(" "), "query"),
            (SearchRequest { vector: Some(vec![1.0]), rerank: true, ..words("") }, "query"),
            (SearchRequest { limit: 0, ..ok.clone() }, "limit"),
            (SearchRequest { limit: 101, ..ok.clone() }, "limit"),
            (SearchRequest { rerank: true, rerank_depth: Some(201), ..ok.clone() }, "rerank_depth"),
            (SearchRequest { rerank_depth: Some(20), ..ok.clone() }, "rerank_depth"),
            (SearchRequest { ef_search: Some(0), ..ok.clone() }, "ef_search"),
            (SearchRequest { mmr_lambda: Some(1.1), ..ok.clone() }, "mmr_lambda"),
            (SearchRequest { mmr_lambda: Some(f32::NAN), ..ok.clone() }, "mmr_lambda"),
            (SearchRequest { group_by: Some(" ".into()), ..ok.clone() }, "group_by"),
            (SearchRequest { mode: Some(SearchMode::Keyword), vector: Some(vec![1.0]), ..ok.clone() }, "vector"),
        ] {
            assert_eq!(request.check().unwrap_err().param(), Some(param));
        }
    }

    #[test]
    fn a_least_score_is_one_that_hits_of_the_mode_can_have() {
        use SearchMode::{Hybrid, Keyword, Vector};
        let least = |score| SearchRequest { min_score: Some(score), ..words("q") };
        for (mode, good, bad) in [(Vector, -0.5, 1.5), (Hybrid, 0.5, -0.5), (Keyword, 7.0, -0.1)] {
            assert!(least(good).check_min_score(mode).is_ok());
            for bad in [bad, f32::NAN, f32::INFINITY] {
                assert_eq!(least(bad).check_min_score(mode).unwrap_err().param(), Some("min_score"));
            }
        }
    }

    #[test]
    fn the_mode_is_what_query_and_collection_allow() {
        use SearchMode::{Hybrid, Keyword, Vector};
        let with = |query: &str, vector: bool, mode: Option<SearchMode>| SearchRequest {
            vector: vector.then(|| vec![1.0]),
            mode,
            ..words(query)
        };
        for (request, setting, external, expected) in [
            (with("q", false, None), Hybrid, false, Some(Hybrid)),
            (with("q", false, None), Keyword, false, Some(Keyword)),
            (with("q", false, Some(Vector)), Hybrid, false, Some(Vector)),
            (with("", true, None), Hybrid, false, Some(Vector)),
            (with("", true, None), Keyword, false, Some(Vector)),
            (with("q", true, None), Keyword, false, Some(Hybrid)),
            (with("q", false, None), Hybrid, true, Some(Keyword)),
            (with("q", false, None), Vector, true, Some(Keyword)),
            (with("q", false, Some(Hybrid)), Vector, true, Some(Keyword)),
            (with("q", true, None), Hybrid, true, Some(Hybrid)),
            (with("q", true, Some(Vector)), Hybrid, true, Some(Vector)),
            (with("q", false, Some(Vector)), Hybrid, true, None),
            (with("", true, Some(Keyword)), Hybrid, false, None),
        ] {
            assert_eq!(request.mode(setting, external).ok(), expected, "{request:?} {setting:?} {external}");
        }
    }
}
