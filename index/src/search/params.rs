//! What a search is told: what to look for, by what, and how many hits are wanted.

use anser_core::Embedding;
use serde::{Deserialize, Serialize};

use super::fusion::Fusion;
use crate::Filter;

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
    /// `Some(true)` compares with every vector, `Some(false)` uses graphs where there are any and more vectors pass the
    /// filter than a beam holds, `None` decides by size and cost.
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
