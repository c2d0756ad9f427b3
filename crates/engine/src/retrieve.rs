//! Search: from a query to scored chunks, with or without the cross-encoder's second opinion.

use std::collections::HashSet;
use std::time::Instant;

use anser_core::{CancelToken, EmbedPurpose, Embedder, Embedding, Error, Reranker, ScoredChunk};
use anser_index::{Collection, Filter, SearchExplain, SearchParams};
use serde::Serialize;

use crate::{Engine, EngineError};

/// Most hits one search returns.
const MAX_LIMIT: usize = 100;

/// Fewest hits shown to the reranker. The answering passage is nearly always among the 20 nearest, and reading 20 short
/// passages takes a fraction of a second on two cores.
const RERANK_POOL: usize = 20;

/// What one unit of the cross-encoder's logit is worth in cosine. Neither alone is the better judge: on 99 paraphrased
/// questions to 143 FAQ entries the right one came first for 84 % by cosine (bge-small-en-v1.5), 80 % by logit
/// (ms-marco-MiniLM-L-12-v2) and 89 % by this sum; on 100 XQuAD questions to 240 paragraphs the sum reached 97 %. Any
/// weight from 0.005 to 0.03 did better than either alone on both.
const LOGIT_WEIGHT: f32 = 0.01;

/// Factor by which the fetch grows when exact duplicates have eaten the hits, and how often that is tried.
const REFETCH_FACTOR: usize = 4;
const REFETCH_ROUNDS: usize = 3;

/// What to search for.
#[derive(Debug, Clone, PartialEq)]
pub struct SearchRequest {
    /// The question or phrase; may be empty when a vector is given and nothing is reranked.
    pub query: String,
    /// Searched for instead of the query's own vector; any length, as many dimensions as the collection has.
    pub vector: Option<Vec<f32>>,
    /// Most hits to return, 1 to 100.
    pub limit: usize,
    /// Whether the reranker, if this engine has one, orders the hits.
    pub rerank: bool,
    /// `Some(true)` compares with every vector, `Some(false)` walks the graph, `None` chooses by size.
    pub exact: Option<bool>,
    /// Hits with a lower cosine are left out.
    pub min_score: Option<f32>,
    /// Only documents that this lets through; the search is then exact.
    pub filter: Option<Filter>,
}

impl Default for SearchRequest {
    fn default() -> Self {
        Self {
            query: String::new(),
            vector: None,
            limit: 10,
            rerank: false,
            exact: None,
            min_score: None,
            filter: None,
        }
    }
}

/// What was found.
#[derive(Debug, Clone, Serialize)]
pub struct SearchReply {
    /// The hits, best first: by cosine, or, where the reranker was asked, by the sum of cosine and weighted logit.
    /// Several chunks of one document may be among them; texts that repeat an earlier hit word for word are not.
    pub hits: Vec<ScoredChunk>,
    /// How the vectors were searched.
    pub explain: SearchExplain,
    /// Embedding the query and searching, in milliseconds.
    pub retrieve_ms: f64,
    /// Reranking, in milliseconds; 0 when there was none.
    pub rerank_ms: f64,
}

impl SearchRequest {
    fn check(&self) -> Result<(), EngineError> {
        if self.query.trim().is_empty() && (self.rerank || self.vector.is_none()) {
            return Err(EngineError::invalid("query", "the query is empty; write what to search for"));
        }
        if !(1..=MAX_LIMIT).contains(&self.limit) {
            let message = format!("limit is {}, but must lie between 1 and {MAX_LIMIT}", self.limit);
            return Err(EngineError::invalid("limit", message));
        }
        if let Some(score) = self.min_score
            && !(-1.0..=1.0).contains(&score)
        {
            let message = format!("min_score is {score}, but a cosine lies between -1 and 1");
            return Err(EngineError::invalid("min_score", message));
        }
        Ok(())
    }
}

impl Engine {
    /// Searches a collection by meaning.
    ///
    /// `NotFound` for an unknown collection, `Conflict` when another embedder made its vectors, `InvalidInput` for an
    /// empty query, a limit out of range, or a vector that is zero, not finite or of another dimension.
    pub fn search(
        &self,
        collection: &str,
        request: &SearchRequest,
        cancel: &CancelToken,
    ) -> Result<SearchReply, EngineError> {
        request.check()?;
        let started = Instant::now();
        let (collection, query) = if let Some(vector) = &request.vector {
            let query = Embedding::normalize(vector.clone()).map_err(|error| error.with_param("vector"))?;
            (self.collection(collection)?, query)
        } else {
            let collection = self.collection_for_embedder(collection)?;
            let embedder = self.models().embedder()?;
            (collection, embed_query(embedder.as_ref(), &request.query, cancel)?)
        };
        let wanted = if request.rerank { request.limit.max(RERANK_POOL) } else { request.limit };
        let (mut hits, explain) = fetch_distinct(&collection, &query, wanted, request, cancel)?;
        let retrieve_ms = milliseconds(started);

        let started = Instant::now();
        let mut rerank_ms = 0.0;
        if request.rerank
            && !hits.is_empty()
            && let Some(reranker) = self.models().reranker()?
        {
            rerank_hits(reranker.as_ref(), &request.query, &mut hits, cancel)?;
            rerank_ms = milliseconds(started);
        }
        hits.truncate(request.limit);
        Ok(SearchReply { hits, explain, retrieve_ms, rerank_ms })
    }
}

/// Milliseconds since `started`.
pub(crate) fn milliseconds(started: Instant) -> f64 {
    started.elapsed().as_secs_f64() * 1e3
}

fn embed_query(embedder: &dyn Embedder, query: &str, cancel: &CancelToken) -> Result<Embedding, EngineError> {
    let embedded = embedder.embed(&[query.to_owned()], EmbedPurpose::Query, cancel)?;
    match embedded.into_iter().next() {
        Some(first) => Ok(first.embedding),
        None => Err(Error::internal("the embedder returned nothing for the query").into()),
    }
}

/// The `wanted` nearest chunks whose texts differ, fetching more when duplicates took their places.
fn fetch_distinct(
    collection: &Collection,
    query: &Embedding,
    wanted: usize,
    request: &SearchRequest,
    cancel: &CancelToken,
) -> Result<(Vec<ScoredChunk>, SearchExplain), EngineError> {
    let mut fetch = wanted;
    let mut round = 1;
    loop {
        cancel.check()?;
        let params = SearchParams { exact: request.exact, filter: request.filter.clone(), ..SearchParams::new(fetch) };
        let outcome = collection.search(query, &params)?;
        let exhausted = outcome.hits.len() < fetch;
        let mut hits = drop_duplicates(outcome.hits);
        if hits.len() >= wanted || exhausted || round == REFETCH_ROUNDS {
            hits.truncate(wanted);
            if let Some(min_score) = request.min_score {
                hits.retain(|hit| hit.score >= min_score);
            }
            return Ok((hits, outcome.explain));
        }
        fetch *= REFETCH_FACTOR;
        round += 1;
    }
}

/// Keeps the first of hits with the same title and text.
fn drop_duplicates(hits: Vec<ScoredChunk>) -> Vec<ScoredChunk> {
    let mut seen = HashSet::new();
    hits.into_iter().filter(|hit| seen.insert((hit.title.clone(), hit.chunk.text.trim().to_owned()))).collect()
}

/// How relevant a hit is, all told: its cosine, plus the weighted logit where it was reranked.
pub(crate) fn relevance(hit: &ScoredChunk) -> f32 {
    hit.vector_score.unwrap_or(0.0) + LOGIT_WEIGHT * hit.rerank_score.unwrap_or(0.0)
}

/// Gives every hit its logit and sorts by relevance, best first.
fn rerank_hits(
    reranker: &dyn Reranker,
    query: &str,
    hits: &mut [ScoredChunk],
    cancel: &CancelToken,
) -> Result<(), EngineError> {
    let passages: Vec<String> = hits.iter().map(|hit| titled(hit.title.as_deref(), &hit.chunk.text)).collect();
    let logits = reranker.rerank(query, &passages, cancel)?;
    if logits.len() != hits.len() {
        let message = format!("the reranker returned {} scores for {} passages", logits.len(), hits.len());
        return Err(Error::internal(message).into());
    }
    for (hit, logit) in hits.iter_mut().zip(logits) {
        hit.rerank_score = Some(logit);
    }
    hits.sort_by(|a, b| relevance(b).total_cmp(&relevance(a)));
    Ok(())
}

/// A passage as one text, its title first and closed by punctuation of its own or a full stop.
fn titled(title: Option<&str>, text: &str) -> String {
    match title.map(str::trim).filter(|title| !title.is_empty()) {
        None => text.to_owned(),
        Some(title) if title.ends_with(['.', '?', '!', ':', '。', '？', '！', '：']) => format!("{title} {text}"),
        Some(title) => format!("{title}. {text}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answer::fixtures::hit;

    struct ByLength;

    impl Reranker for ByLength {
        fn model(&self) -> &'static str {
            "by-length"
        }
        fn rerank(&self, _: &str, passages: &[String], _: &CancelToken) -> anser_core::Result<Vec<f32>> {
            Ok(passages.iter().map(|p| p.len() as f32).collect())
        }
    }

    #[test]
    fn a_title_is_closed_once() {
        assert_eq!(titled(Some("Returns"), "Within 30 days."), "Returns. Within 30 days.");
        assert_eq!(titled(Some("How long?"), "30 days."), "How long? 30 days.");
        assert_eq!(titled(Some("  "), "30 days."), "30 days.");
        assert_eq!(titled(None, "30 days."), "30 days.");
    }

    #[test]
    fn word_for_word_repeats_are_dropped_but_other_chunks_of_a_document_stay() {
        let mut same = hit(3, "a", "one two", 0.7);
        same.title = Some("other title".into());
        let hits = vec![hit(1, "a", "one two", 0.9), hit(2, "b", " one two ", 0.8), same, hit(4, "a", "three", 0.6)];
        let kept: Vec<u64> = drop_duplicates(hits).iter().map(|h| h.chunk.id.0).collect();
        assert_eq!(kept, [1, 3, 4]);
    }

    #[test]
    fn reranking_weighs_logit_and_cosine_together() {
        let mut hits =
            vec![hit(1, "a", "short", 0.7), hit(2, "b", "rather longer", 0.65), hit(3, "c", "a word more", 0.3)];
        rerank_hits(&ByLength, "q", &mut hits, &CancelToken::new()).unwrap();
        let order: Vec<u64> = hits.iter().map(|h| h.chunk.id.0).collect();
        assert_eq!(order, [2, 1, 3], "0.65 + 0.13 > 0.7 + 0.05 > 0.3 + 0.11");
        assert_eq!(hits[0].rerank_score, Some(13.0));
        assert!((hits[0].vector_score.unwrap() - 0.65).abs() < 1e-6);
    }

    #[test]
    fn bad_requests_name_their_field() {
        let ok = SearchRequest { query: "q".into(), ..SearchRequest::default() };
        assert!(ok.check().is_ok());
        for (request, param) in [
            (SearchRequest { query: " ".into(), ..ok.clone() }, "query"),
            (SearchRequest { limit: 0, ..ok.clone() }, "limit"),
            (SearchRequest { limit: 101, ..ok.clone() }, "limit"),
            (SearchRequest { min_score: Some(f32::NAN), ..ok.clone() }, "min_score"),
        ] {
            assert_eq!(request.check().unwrap_err().param(), Some(param));
        }
    }
}
