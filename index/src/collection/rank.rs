//! Documents in the order of their nearness to several examples.

use std::collections::{HashMap, HashSet};

use anser_core::{ChunkId, DocumentId, Embedding, ScoredChunk};

use super::Collection;
use crate::SearchExplain;
use crate::ann::{SearchMethod, dot, wrong_dimension};
use crate::{Filter, IndexError, Result};

/// Factor by which more chunks are taken when those taken so far belong to too few documents.
const GROWTH: usize = 4;

/// What documents are compared with.
#[derive(Debug, Clone, PartialEq)]
pub enum RankQuery {
    /// One vector: a chunk scores its cosine with it.
    Nearest(Embedding),
    /// Several: a chunk scores its largest cosine with a positive example less its largest with a negative one, in
    /// [-2, 2]. Where there are no examples of one kind, its part is 0.
    BestExample {
        /// What documents should be near to.
        positives: Vec<Embedding>,
        /// What they should be far from.
        negatives: Vec<Embedding>,
    },
}

/// Which documents to rank.
#[derive(Debug, Clone, Copy, Default)]
pub struct RankParams<'a> {
    /// Most documents wanted, at least 1.
    pub k: usize,
    /// Only documents that this lets through.
    pub filter: Option<&'a Filter>,
    /// Documents that are left out.
    pub without: &'a [DocumentId],
}

/// A document by its best chunk.
#[derive(Debug, Clone, PartialEq)]
pub struct RankedDocument {
    /// The chunk of the document with the highest score. Its score is that of the [`RankQuery`].
    pub best: ScoredChunk,
    /// The chunk's vector.
    pub vector: Embedding,
}

/// What ranking found.
#[derive(Debug, Clone, PartialEq)]
pub struct RankOutcome {
    /// Best first, each document once; equal scores by rising chunk id.
    pub documents: Vec<RankedDocument>,
    /// How they were found.
    pub explain: SearchExplain,
}

impl RankQuery {
    fn vectors(&self) -> impl Iterator<Item = &Embedding> {
        let (one, positives, negatives) = match self {
            Self::Nearest(one) => (Some(one), &[][..], &[][..]),
            Self::BestExample { positives, negatives } => (None, positives.as_slice(), negatives.as_slice()),
        };
        one.into_iter().chain(positives).chain(negatives)
    }

    fn score(&self, vector: &[f32]) -> f32 {
        let best = |examples: &[Embedding]| {
            let cosines = examples.iter().map(|example| cosine(example, vector));
            cosines.reduce(f32::max).unwrap_or(0.0)
        };
        match self {
            Self::Nearest(query) => cosine(query, vector),
            Self::BestExample { positives, negatives } => best(positives) - best(negatives),
        }
    }
}

fn cosine(example: &Embedding, vector: &[f32]) -> f32 {
    dot(example.as_slice(), vector).clamp(-1.0, 1.0)
}

impl Collection {
    /// The documents that suit `query` best, each by its best chunk. Every vector that the filter lets through is
    /// compared, so the result is exact at any size.
    ///
    /// # Errors
    /// `InvalidInput` when an example has another dimension than the collection, there is none, or `k` is 0.
    pub fn rank(&self, query: &RankQuery, params: &RankParams<'_>) -> Result<RankOutcome> {
        let dimension = self.embedder().dimension;
        if let Some(wrong) = query.vectors().find(|vector| vector.dimension() != dimension) {
            return Err(wrong_dimension(wrong.dimension(), dimension));
        }
        if params.k == 0 || query.vectors().next().is_none() {
            return Err(IndexError::invalid("documents are ranked for at least 1 hit and by at least 1 example"));
        }
        let database = self.database()?;
        self.on_snapshot(|connection, snapshot| {
            let allowed = params.filter.map(|filter| self.allowed.get(filter, database, connection)).transpose()?;
            let among = allowed.as_ref().map(|allowed| allowed.chunks.as_slice());
            let without = database.chunks_of(connection, params.without)?;
            let mut wanted = params.k;
            loop {
                let found = snapshot.scan(wanted, among, &|id, vector| {
                    without.binary_search(&id).is_err().then(|| query.score(vector))
                });
                let exhausted = found.len() < wanted;
                let best = first_of_each(&database.documents_of(connection, &found)?, params.k);
                if best.len() < params.k && !exhausted {
                    wanted *= GROWTH;
                    continue;
                }
                let ids: Vec<ChunkId> = best.iter().map(|(id, _)| *id).collect();
                let vectors = database.vectors_of(connection, &ids)?;
                let hits = database.hydrate(connection, &best)?;
                // Both leave out what this transaction does not see.
                let documents = hits
                    .into_iter()
                    .filter_map(|best| {
                        let vector = vectors.get(&best.chunk.id)?.clone();
                        Some(RankedDocument { best, vector })
                    })
                    .collect();
                let explain = SearchExplain {
                    filter: allowed.as_ref().map(|allowed| allowed.explain.clone()),
                    ..SearchExplain::of_vectors(SearchMethod::Exact, snapshot)
                };
                return Ok(RankOutcome { documents, explain });
            }
        })
    }

    /// Tells the collection from every other, also from a later one of its name.
    pub fn id(&self) -> &str {
        &self.upkeep.database.identity().id
    }

    /// The vectors of some chunks; those that are gone are left out.
    pub fn chunk_vectors(&self, chunks: &[ChunkId]) -> Result<HashMap<ChunkId, Embedding>> {
        let database = self.database()?;
        database.reader()?.transact(|connection| database.vectors_of(connection, chunks))
    }

    /// The vector that stands for a whole document: the normalised mean of its chunks' vectors. `None` when there is no
    /// such document, or it has no chunks.
    pub fn vector(&self, document: &DocumentId) -> Result<Option<Embedding>> {
        self.database()?.mean_vector(document)
    }
}

/// The first `k` chunks that belong to different documents, with their scores.
fn first_of_each(found: &[(ChunkId, f32, i64)], k: usize) -> Vec<(ChunkId, f32)> {
    let mut seen = HashSet::new();
    found.iter().filter(|(.., document)| seen.insert(*document)).take(k).map(|(id, score, _)| (*id, *score)).collect()
}
