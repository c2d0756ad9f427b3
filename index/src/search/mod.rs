//! Search of one collection: by vector, by words, or by both, fused into one ranking.

use anser_core::{Embedding, ScoredChunk};
use serde::{Deserialize, Serialize};

use crate::ann::{SearchMethod, Snapshot};
use crate::collection::FilterExplain;
use crate::{Collection, Filter, IndexError, Result};

/// What a search compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SearchMode {
    /// Vectors and words, fused into one ranking. Where the query has no words or no vector, it is the other alone.
    #[default]
    Hybrid,
    /// The query's vector with those of the chunks, by cosine.
    Vector,
    /// The query's words with titles and texts, by BM25.
    Keyword,
}

/// How two rankings become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FusionMethod {
    /// Reciprocal rank fusion (Cormack, Clarke and Buettcher 2009, k = 60), scaled so that the first of both rankings has 1.
    #[default]
    ReciprocalRank,
    /// Weighted sum of the scores, each ranking's scaled to [0, 1] by its lowest and highest.
    WeightedScores,
}

/// How the two rankings of a hybrid search become one.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Fusion {
    /// The formula.
    pub method: FusionMethod,
    /// Share of the ranking by vector, in [0, 1]; the ranking by words has the rest.
    pub vector_weight: f32,
}

impl Default for Fusion {
    fn default() -> Self {
        Self { method: FusionMethod::default(), vector_weight: 0.5 }
    }
}

/// How a collection is searched unless a request says otherwise; kept with the collection.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SearchSettings {
    /// What is compared.
    pub mode: SearchMode,
    /// How rankings are fused.
    pub fusion: Fusion,
    /// How many hits the reranker reads.
    pub rerank_depth: usize,
}

impl Default for SearchSettings {
    fn default() -> Self {
        Self { mode: SearchMode::default(), fusion: Fusion::default(), rerank_depth: 20 }
    }
}

/// What is searched for: a vector, words, or both.
#[derive(Debug, Clone, Copy, Default)]
pub struct SearchQuery<'a> {
    /// Of the collection's dimension, by its embedder.
    pub vector: Option<&'a Embedding>,
    /// Words; texts in quotation marks are phrases.
    pub text: Option<&'a str>,
}

impl<'a> From<&'a Embedding> for SearchQuery<'a> {
    fn from(vector: &'a Embedding) -> Self {
        Self { vector: Some(vector), text: None }
    }
}

/// How to search.
#[derive(Debug, Clone, PartialEq)]
pub struct SearchParams {
    /// Most hits wanted, at least 1.
    pub k: usize,
    /// What is compared; `None` is the collection's setting.
    pub mode: Option<SearchMode>,
    /// How rankings are fused; `None` is the collection's setting.
    pub fusion: Option<Fusion>,
    /// How many hits each of the two rankings contributes before they are fused; `None` is the larger of `k` and 100. Only
    /// searches with the same number agree about the order of their hits.
    pub candidates: Option<usize>,
    /// `Some(true)` compares with every vector, `Some(false)` uses graphs where there are any, `None` decides by size.
    pub exact: Option<bool>,
    /// Beam width in a graph; `None` is what each segment needs for the store's target recall. At least `k` is used.
    pub ef_search: Option<usize>,
    /// Only chunks of documents that this lets through.
    pub filter: Option<Filter>,
    /// Whether hits say where words of the query occur in their text.
    pub highlight: bool,
}

impl SearchParams {
    /// The `k` nearest, with defaults for the rest.
    pub fn new(k: usize) -> Self {
        Self {
            k,
            mode: None,
            fusion: None,
            candidates: None,
            exact: None,
            ef_search: None,
            filter: None,
            highlight: false,
        }
    }
}

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

impl Collection {
    /// The chunks that suit `query` best.
    ///
    /// # Errors
    /// `InvalidInput` when the vector has another dimension than the collection, or `k` is 0.
    pub fn search<'a>(&self, query: impl Into<SearchQuery<'a>>, params: &SearchParams) -> Result<SearchOutcome> {
        let query = query.into();
        let database = self.database()?;
        if params.k == 0 {
            return Err(IndexError::invalid_param("a search for 0 hits finds nothing; ask for at least 1", "k"));
        }
        let Some(vector) = query.vector else {
            return Err(IndexError::invalid_param("a search needs a vector", "vector"));
        };
        self.on_snapshot(|connection, snapshot| {
            let ann = self.upkeep.vectors.query(params.k, params.exact, params.ef_search);
            let allowed =
                params.filter.as_ref().map(|filter| self.allowed.get(filter, database, connection)).transpose()?;
            let found = snapshot.search(vector, &ann, allowed.as_deref())?;
            let mut hits = database.hydrate(connection, &found.hits)?;
            for hit in &mut hits {
                hit.vector_score = Some(hit.score);
            }
            let filter = allowed.map(|allowed| FilterExplain {
                strategy: found.strategy,
                selectivity: allowed.chunks.len() as f64 / snapshot.len().max(1) as f64,
                ..allowed.explain.clone()
            });
            let explain = SearchExplain { ef_search: found.ef_search, filter, ..SearchExplain::of_vectors(found.method, snapshot) };
            Ok(SearchOutcome { hits, explain })
        })
    }
}
