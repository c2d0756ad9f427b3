//! A search from its parameters to its hits.

use std::collections::HashMap;

use anser_core::{ChunkId, Embedding, ScoredChunk};
use rusqlite::Connection;

use super::explain::{SearchExplain, SearchOutcome};
use super::fusion::{Fusion, Ranking, fuse};
use super::params::{SearchMode, SearchParams, SearchQuery};
use crate::ann::{SearchMethod, Snapshot, dot, wrong_dimension};
use crate::collection::{Allowed, FilterExplain, SEARCH_ATTEMPTS};
use crate::keyword::{Highlighter, KeywordFound, KeywordParams};
use crate::{Collection, IndexError, Result};

/// Hits that each ranking contributes unless the request says otherwise.
const CANDIDATES: usize = 100;

/// One ranking, or two that became one, with what each hit scored.
struct Ranked {
    /// Best first, with what they are ordered by.
    hits: Vec<(ChunkId, f32)>,
    vector_scores: HashMap<ChunkId, f32>,
    keyword_scores: HashMap<ChunkId, f32>,
    explain: SearchExplain,
    /// The change up to which the words reflect the database, where they were searched.
    keywords_seq: Option<i64>,
}

/// What a search reads.
struct Source<'a> {
    connection: &'a Connection,
    snapshot: &'a Snapshot,
    allowed: Option<&'a Allowed>,
}

impl Collection {
    /// The chunks that suit `query` best.
    ///
    /// # Errors
    /// `InvalidInput` when the query has neither vector nor words or lacks what the mode compares, the vector has another
    /// dimension than the collection, the fusion's weight is not in [0, 1], or `k` is 0.
    pub fn search<'a>(&self, query: impl Into<SearchQuery<'a>>, params: &SearchParams) -> Result<SearchOutcome> {
        let query = query.into();
        let database = self.database()?;
        if params.k == 0 {
            return Err(IndexError::invalid_param("a search for 0 hits finds nothing; ask for at least 1", "k"));
        }
        let dimension = self.embedder().dimension;
        if let Some(vector) = query.vector.filter(|vector| vector.dimension() != dimension) {
            return Err(wrong_dimension(vector.dimension(), dimension));
        }
        params.fusion.map_or(Ok(()), Fusion::check)?;
        for attempt in 1.. {
            let outcome = self.on_snapshot(|connection, snapshot| {
                let filter = params.filter.as_ref();
                let allowed = filter.map(|filter| self.allowed.get(filter, database, connection)).transpose()?;
                let source = Source { connection, snapshot, allowed: allowed.as_deref() };
                let mut ranked = self.rank_hits(query, params, &source)?;
                let newer = ranked.keywords_seq.is_some_and(|seq| seq > snapshot.seq());
                if newer && attempt < SEARCH_ATTEMPTS {
                    return Ok(None);
                }
                ranked.hits.truncate(params.k);
                self.assemble(query, params, (ranked, &source)).map(Some)
            })?;
            if let Some(outcome) = outcome {
                self.keywords.keep_up(&self.upkeep, 0);
                return Ok(outcome);
            }
        }
        Err(IndexError::internal("a search ended without a result"))
    }

    fn rank_hits(&self, query: SearchQuery<'_>, params: &SearchParams, source: &Source<'_>) -> Result<Ranked> {
        let settings = self.upkeep.database.search_settings(source.connection)?;
        let mode = params.mode.unwrap_or(settings.mode);
        let depth = params.candidates.unwrap_or(CANDIDATES).max(params.k);
        match (mode, query.vector, query.text) {
            (SearchMode::Hybrid, Some(vector), Some(text)) => {
                let fusion = params.fusion.unwrap_or(settings.fusion);
                self.hybrid((vector, text), (params, depth, fusion), source)
            }
            (SearchMode::Vector | SearchMode::Hybrid, Some(vector), _) => {
                self.by_vector(vector, (params, params.candidates.unwrap_or(params.k).max(params.k)), source)
            }
            (SearchMode::Keyword | SearchMode::Hybrid, vector, Some(text)) => {
                self.by_words(text, vector, (depth, source))
            }
            (SearchMode::Vector, None, Some(_)) => {
                Err(IndexError::invalid_param("a search by vector needs a vector", "vector"))
            }
            (SearchMode::Keyword, Some(_), None) => {
                Err(IndexError::invalid_param("a search by words needs a text", "query"))
            }
            (_, None, None) => Err(IndexError::invalid_param("a search needs a vector or a text", "query")),
        }
    }

    fn by_vector(
        &self,
        vector: &Embedding,
        (params, depth): (&SearchParams, usize),
        source: &Source<'_>,
    ) -> Result<Ranked> {
        let ann = self.upkeep.vectors.query(depth, params.exact, params.ef_search);
        let found = source.snapshot.search(vector, &ann, source.allowed)?;
        let filter = source.explain_filter().map(|filter| FilterExplain { strategy: found.strategy, ..filter });
        let explain = SearchExplain {
            ef_search: found.ef_search,
            filter,
            ..SearchExplain::of_vectors(found.method, source.snapshot)
        };
        let vector_scores = found.hits.iter().copied().collect();
        Ok(Ranked { hits: found.hits, vector_scores, keyword_scores: HashMap::new(), explain, keywords_seq: None })
    }

    fn find_words(&self, text: &str, (depth, also): (usize, &[ChunkId]), source: &Source<'_>) -> Result<KeywordFound> {
        let allowed = source.allowed.map(|allowed| allowed.chunks.as_slice());
        let params = KeywordParams { k: depth, allowed, also };
        self.keywords.search(text, params, (&self.upkeep.database, source.connection))
    }

    fn by_words(
        &self,
        text: &str,
        vector: Option<&Embedding>,
        (depth, source): (usize, &Source<'_>),
    ) -> Result<Ranked> {
        let found = self.find_words(text, (depth, &[]), source)?;
        let ids = found.hits.iter().map(|(id, _)| *id);
        let vector_scores = vector.map(|vector| source.cosines(vector, ids)).unwrap_or_default();
        let explain = SearchExplain {
            mode: SearchMode::Keyword,
            keywords: Some(found.explain),
            filter: source.explain_filter(),
            ..SearchExplain::of_vectors(SearchMethod::Exact, source.snapshot)
        };
        let keyword_scores = found.hits.iter().copied().collect();
        let vector_scores = vector_scores.into_iter().collect();
        Ok(Ranked { hits: found.hits, vector_scores, keyword_scores, explain, keywords_seq: Some(found.seq) })
    }

    fn hybrid(
        &self,
        (vector, text): (&Embedding, &str),
        (params, depth, fusion): (&SearchParams, usize, Fusion),
        source: &Source<'_>,
    ) -> Result<Ranked> {
        let mut by_vector = self.by_vector(vector, (params, depth), source)?;
        let also: Vec<ChunkId> = by_vector.hits.iter().map(|(id, _)| *id).collect();
        let found = self.find_words(text, (depth, &also), source)?;
        if found.explain.terms.is_empty() && found.explain.phrases.is_empty() {
            by_vector.explain.keywords = Some(found.explain);
            return Ok(by_vector);
        }
        let only_words = found.hits.iter().map(|(id, _)| *id).filter(|id| !by_vector.vector_scores.contains_key(id));
        let cosines = source.cosines(vector, only_words);
        let vector_ranking = Ranking { hits: &by_vector.hits, others: &cosines, floor: None };
        let only_vectors: Vec<(ChunkId, f32)> = {
            let in_words: HashMap<ChunkId, f32> = found.hits.iter().copied().collect();
            found.also.iter().filter(|(id, _)| !in_words.contains_key(id)).copied().collect()
        };
        let keyword_ranking = Ranking { hits: &found.hits, others: &only_vectors, floor: Some(0.0) };
        let hits = fuse(vector_ranking, keyword_ranking, fusion);
        by_vector.vector_scores.extend(cosines);
        let explain = SearchExplain {
            mode: SearchMode::Hybrid,
            fusion: Some(fusion),
            keywords: Some(found.explain),
            ..by_vector.explain
        };
        let keyword_scores = found.hits.iter().chain(&found.also).copied().collect();
        Ok(Ranked {
            hits,
            vector_scores: by_vector.vector_scores,
            keyword_scores,
            explain,
            keywords_seq: Some(found.seq),
        })
    }

    /// Reads the texts of the hits and notes what each scored and where the query's words are.
    fn assemble(
        &self,
        query: SearchQuery<'_>,
        params: &SearchParams,
        (ranked, source): (Ranked, &Source<'_>),
    ) -> Result<SearchOutcome> {
        let mut hits: Vec<ScoredChunk> = self.upkeep.database.hydrate(source.connection, &ranked.hits)?;
        let mut highlighter = query.text.filter(|_| params.highlight).map(Highlighter::new);
        for hit in &mut hits {
            hit.vector_score = ranked.vector_scores.get(&hit.chunk.id).copied();
            hit.keyword_score = ranked.keyword_scores.get(&hit.chunk.id).copied();
            if let Some(highlighter) = &mut highlighter {
                hit.highlights = highlighter.mark(&hit.chunk.text);
            }
        }
        Ok(SearchOutcome { hits, explain: ranked.explain })
    }
}

impl Source<'_> {
    /// What the filter let through, without how it was searched.
    fn explain_filter(&self) -> Option<FilterExplain> {
        self.allowed.map(|allowed| FilterExplain {
            selectivity: allowed.chunks.len() as f64 / self.snapshot.len().max(1) as f64,
            ..allowed.explain.clone()
        })
    }

    /// The exact cosines of some chunks with a vector of the collection's dimension.
    fn cosines(&self, vector: &Embedding, ids: impl Iterator<Item = ChunkId>) -> Vec<(ChunkId, f32)> {
        let mut ids: Vec<ChunkId> = ids.collect();
        if ids.is_empty() {
            return Vec::new();
        }
        ids.sort_unstable();
        let score = |_: ChunkId, row: &[f32]| Some(dot(vector.as_slice(), row).clamp(-1.0, 1.0));
        self.snapshot.scan(ids.len(), Some(&ids), &score)
    }
}
