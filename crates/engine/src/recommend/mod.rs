//! Recommendation: documents like some examples and unlike others.
//!
//! An example is a document of the collection, which stands for itself by the normalised mean of its chunks' vectors, a
//! text, which is embedded as stored texts are, or a vector. A document scores what its best chunk scores, and is found
//! once. Every vector that the filter lets through is compared, so the result is exact; 100,000 vectors of 384 numbers
//! take a few hundredths of a second for each example.

mod examples;
mod request;

use std::collections::HashSet;
use std::time::Instant;

use anser_core::{Attributes, CancelToken, ChunkId, DocumentId, Embedding};
use anser_index::analysis::{Vectors, maximal_marginal_relevance};
use anser_index::{RankParams, RankQuery, RankedDocument, SearchExplain};
use serde::{Deserialize, Serialize};

use crate::retrieve::milliseconds;
use crate::{Engine, EngineError};
use examples::Examples;
pub use request::{Example, RecommendRequest, RecommendStrategy};

/// Candidates for each wanted document that a diverse choice is made from, and how many there are at least and at most.
const POOL_FACTOR: usize = 10;
const LEAST_POOL: usize = 50;
const MOST_POOL: usize = 500;

/// A document that was recommended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Recommendation {
    /// The document.
    pub id: DocumentId,
    /// Its title.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// The text of its best chunk.
    pub text: String,
    /// That chunk.
    pub chunk: ChunkId,
    /// What the [`RecommendStrategy`] gives that chunk; higher is better.
    pub score: f32,
    /// The example that the chunk is nearest to.
    pub nearest: NearestExample,
    /// The document's attributes.
    #[serde(default, skip_serializing_if = "Attributes::is_empty")]
    pub attributes: Attributes,
}

/// The example that a recommended document is nearest to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NearestExample {
    /// What the document should be like, or unlike.
    pub kind: ExampleKind,
    /// Which of them, from 0 in the order of the request.
    pub index: usize,
    /// The example's id when it is a document.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<DocumentId>,
    /// Cosine similarity of the best chunk and the example.
    pub similarity: f32,
}

/// What an example is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExampleKind {
    /// Recommended documents should be like it.
    Positive,
    /// Recommended documents should be unlike it.
    Negative,
}

/// What is recommended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RecommendReply {
    /// The documents: best first, or, where diversity was asked for, in the order in which they were chosen.
    pub hits: Vec<Recommendation>,
    /// How scores were made.
    pub strategy: RecommendStrategy,
    /// How the vectors were searched.
    pub explain: SearchExplain,
    /// Embedding texts and ranking, in milliseconds.
    pub retrieve_ms: f64,
}

impl Engine {
    /// Recommends documents of a collection.
    ///
    /// `NotFound` for an unknown collection or example; `InvalidInput`, with the field at fault, for a request that
    /// cannot be, a vector of another dimension, or examples that cancel each other out; `Conflict` when an example is a
    /// text and another embedder made the collection's vectors.
    pub fn recommend(
        &self,
        collection: &str,
        request: &RecommendRequest,
        cancel: &CancelToken,
    ) -> Result<RecommendReply, EngineError> {
        request.check()?;
        let started = Instant::now();
        let collection =
            if request.has_text() { self.collection_for_embedder(collection)? } else { self.collection(collection)? };
        let embedder = if request.has_text() { Some(self.models().embedder()?) } else { None };
        let examples = Examples::read(request, &collection, embedder.as_deref(), cancel)?;
        cancel.check()?;
        let query = match request.strategy {
            RecommendStrategy::AverageVector => RankQuery::Nearest(examples.average()?),
            RecommendStrategy::BestScore => RankQuery::BestExample {
                positives: examples.of(ExampleKind::Positive),
                negatives: examples.of(ExampleKind::Negative),
            },
        };
        let seen: HashSet<&DocumentId> = request.exclude.iter().chain(request.example_ids()).collect();
        let mut without: Vec<DocumentId> = seen.into_iter().cloned().collect();
        without.sort();
        let k = match request.diversity {
            Some(diversity) if diversity > 0.0 => {
                (request.limit * POOL_FACTOR).clamp(LEAST_POOL, MOST_POOL).max(request.limit)
            }
            _ => request.limit,
        };
        let params = RankParams { k, filter: request.filter.as_ref(), without: &without };
        let outcome = collection.rank(&query, &params)?;
        cancel.check()?;
        let mut found = outcome.documents;
        if let Some(least) = request.min_score {
            found.retain(|document| document.best.score >= least);
        }
        let chosen = diverse(found, request)?;
        let hits = chosen.into_iter().map(|document| examples.explain(document)).collect();
        Ok(RecommendReply {
            hits,
            strategy: request.strategy,
            explain: outcome.explain,
            retrieve_ms: milliseconds(started),
        })
    }
}

/// The documents to show, chosen by maximal marginal relevance where diversity is wanted.
fn diverse(found: Vec<RankedDocument>, request: &RecommendRequest) -> Result<Vec<RankedDocument>, EngineError> {
    let diversity = request.diversity.unwrap_or(0.0);
    if diversity <= 0.0 || found.is_empty() {
        return Ok(found.into_iter().take(request.limit).collect());
    }
    let relevance: Vec<f32> = found.iter().map(|document| document.best.score).collect();
    let vectors = Vectors::from_embeddings(found.iter().map(|document| &document.vector))?;
    let order = maximal_marginal_relevance(&relevance, &vectors, 1.0 - diversity, request.limit)?;
    let mut found: Vec<Option<RankedDocument>> = found.into_iter().map(Some).collect();
    Ok(order.into_iter().filter_map(|place| found.get_mut(place).and_then(Option::take)).collect())
}

impl Examples<'_> {
    /// The query of the average strategy.
    fn average(&self) -> Result<Embedding, EngineError> {
        let (mut sum, negatives) = (self.mean(ExampleKind::Positive), self.mean(ExampleKind::Negative));
        if let Some(negatives) = negatives {
            let sum = sum.iter_mut().flatten();
            sum.zip(negatives).for_each(|(positive, negative)| *positive = 2.0 * *positive - negative);
        }
        let cancelled = || {
            EngineError::invalid(
                "positive",
                "the examples cancel each other out, so that no direction is left; use others or the strategy best_score",
            )
        };
        Embedding::normalize(sum.unwrap_or_default()).map_err(|_| cancelled())
    }
}
