//! One immutable state of the searchable vectors: which parts there are, and which of their rows were removed.

use std::sync::Arc;

use anser_core::{ChunkId, Embedding};
use roaring::RoaringBitmap;

use super::codes::Codes;
use super::graph::{Graph, GraphQuery};
use super::top::Top;
use super::vectors::{Vectors, dot, wrong_dimension};
use super::{AnnQuery, SearchMethod, Segment};
use crate::Result;
use crate::collection::{Allowed, FilterStrategy};

/// A segment with the rows that were removed since it was written.
#[derive(Debug, Clone)]
pub(crate) struct Part {
    /// The files.
    pub(crate) segment: Arc<Segment>,
    /// Rows that no longer count.
    pub(crate) removed: Arc<RoaringBitmap>,
}

/// Recent rows in memory with those that were removed since.
#[derive(Debug, Clone)]
struct TailBlock {
    vectors: Arc<Vectors>,
    removed: Arc<RoaringBitmap>,
}

/// What a search of a snapshot found, and how.
#[derive(Debug)]
pub(crate) struct Found {
    /// Best first.
    pub(crate) hits: Vec<(ChunkId, f32)>,
    /// Whether graphs were walked.
    pub(crate) method: SearchMethod,
    /// The widest beam in a graph, when graphs were walked.
    pub(crate) ef_search: Option<usize>,
    /// How the allowed vectors were searched, when not all were allowed.
    pub(crate) strategy: Option<FilterStrategy>,
}

/// Everything that can be searched at one moment.
#[derive(Debug, Clone)]
pub(crate) struct Snapshot {
    dimension: usize,
    /// The last change of the database that it reflects.
    seq: i64,
    /// The cache generation that its segments come from.
    generation: u64,
    segments: Vec<Part>,
    /// Oldest first; sizes fall steeply, because small blocks are joined.
    tail: Vec<TailBlock>,
}

impl Snapshot {
    /// The segments of `generation`, which reflect changes up to `seq`, and no tail.
    pub(crate) fn new(dimension: usize, generation: u64, seq: i64, segments: Vec<Part>) -> Self {
        Self { dimension, seq, generation, segments, tail: Vec::new() }
    }

    /// Numbers in a vector.
    pub(crate) fn dimension(&self) -> usize {
        self.dimension
    }

    /// The last change of the database that it reflects.
    pub(crate) fn seq(&self) -> i64 {
        self.seq
    }

    /// The cache generation that its segments come from.
    pub(crate) fn generation(&self) -> u64 {
        self.generation
    }

    /// The segments, oldest first.
    pub(crate) fn segments(&self) -> &[Part] {
        &self.segments
    }

    /// Vectors that a search can find.
    pub(crate) fn len(&self) -> usize {
        self.segments.iter().map(Part::live).sum::<usize>() + self.tail_len()
    }

    /// Vectors of the tail that a search can find.
    pub(crate) fn tail_len(&self) -> usize {
        self.tail.iter().map(TailBlock::live).sum()
    }

    /// The rows of the tail that count, oldest first.
    pub(crate) fn tail_rows(&self) -> impl Iterator<Item = (ChunkId, &[f32])> {
        self.tail.iter().flat_map(|b| live_rows(&b.vectors, &b.removed))
    }

    /// The state after `removed` left and `added` (ascending by id) came, which reflects changes up to `seq`.
    pub(crate) fn changed<'a>(
        &self,
        removed: &[ChunkId],
        added: impl Iterator<Item = (ChunkId, &'a [f32])>,
        seq: i64,
    ) -> Result<Self> {
        let mut next = Self { seq, ..self.clone() };
        for part in &mut next.segments {
            remove_from(&part.segment.vectors, &mut part.removed, removed);
        }
        for block in &mut next.tail {
            remove_from(&block.vectors, &mut block.removed, removed);
        }
        let vectors = Vectors::from_rows(self.dimension, added)?;
        if vectors.len() > 0 {
            next.tail.push(TailBlock { vectors: Arc::new(vectors), removed: Arc::default() });
        }
        next.join_blocks()?;
        Ok(next)
    }

    /// Joins the newest blocks while the newer is at least half as large, so that there are few blocks and each row is
    /// copied only a few times.
    fn join_blocks(&mut self) -> Result<()> {
        self.tail.retain(|b| b.live() > 0);
        while let [.., older, newer] = self.tail.as_slice()
            && newer.vectors.len() * 2 >= older.vectors.len()
        {
            let mut rows: Vec<(ChunkId, &[f32])> =
                live_rows(&older.vectors, &older.removed).chain(live_rows(&newer.vectors, &newer.removed)).collect();
            rows.sort_by_key(|(id, _)| *id);
            let joined = Vectors::from_rows(self.dimension, rows.into_iter())?;
            self.tail.truncate(self.tail.len() - 2);
            self.tail.push(TailBlock { vectors: Arc::new(joined), removed: Arc::default() });
        }
        Ok(())
    }

    /// The hits for `query`, best first, only chunks that are `allowed` where that is given. A query of another dimension
    /// is `InvalidInput`.
    pub(crate) fn search(&self, query: &Embedding, params: &AnnQuery, allowed: Option<&Allowed>) -> Result<Found> {
        if query.dimension() != self.dimension {
            return Err(wrong_dimension(query.dimension(), self.dimension));
        }
        let query = query.as_slice();
        if let Some(allowed) = allowed {
            let mut hits = self.scan(params.k, Some(&allowed.chunks), &|_, vector| Some(dot(query, vector)));
            for (_, score) in &mut hits {
                *score = score.clamp(-1.0, 1.0);
            }
            let strategy = Some(FilterStrategy::ExactScan);
            return Ok(Found { hits, method: SearchMethod::Exact, ef_search: None, strategy });
        }
        let exact = params.exact.unwrap_or_else(|| self.len() < params.exact_below);
        let k = params.k.min(self.len());
        let ef = params.ef_search.unwrap_or(96).max(k);
        let (mut method, mut ef_search) = (SearchMethod::Exact, None);
        let mut top = Top::new(k);
        for Part { segment, removed } in &self.segments {
            match (&segment.graph, &segment.codes) {
                (Some(graph), Some(codes)) if !exact => {
                    (method, ef_search) = (SearchMethod::Hnsw, Some(ef));
                    search_graph((graph, codes), &segment.vectors, query, (k, ef, removed), &mut top);
                }
                _ => scan(&segment.vectors, removed, query, &mut top),
            }
        }
        for block in &self.tail {
            scan(&block.vectors, &block.removed, query, &mut top);
        }
        let hits = top.into_best_first().into_iter().map(|s| (s.row, s.score.clamp(-1.0, 1.0))).collect();
        Ok(Found { hits, method, ef_search, strategy: None })
    }

    /// The `k` chunks with the highest scores, best first. Every vector is scored, or every one of the chunks `allowed`,
    /// which ascend; what has no score is left out.
    pub(crate) fn scan(
        &self,
        k: usize,
        allowed: Option<&[ChunkId]>,
        score: &dyn Fn(ChunkId, &[f32]) -> Option<f32>,
    ) -> Vec<(ChunkId, f32)> {
        let mut top = Top::new(k.min(self.len()));
        let segments = self.segments.iter().map(|part| (&part.segment.vectors, &part.removed));
        let tail = self.tail.iter().map(|block| (&block.vectors, &block.removed));
        for (vectors, removed) in segments.chain(tail) {
            let mut offer = |row: u32, id: ChunkId, vector: &[f32]| {
                if !removed.contains(row)
                    && let Some(score) = score(id, vector)
                {
                    top.offer(score, id);
                }
            };
            match allowed {
                None => vectors.iter().for_each(|(row, id, vector)| offer(row, id, vector)),
                Some(allowed) => vectors.each_of(allowed, &mut offer),
            }
        }
        top.into_best_first().into_iter().map(|s| (s.row, s.score)).collect()
    }
}

impl Part {
    /// Rows that count.
    pub(crate) fn live(&self) -> usize {
        self.segment.vectors.len() - self.removed.len() as usize
    }

    /// The rows that count, ascending by id.
    pub(crate) fn rows(&self) -> impl Iterator<Item = (ChunkId, &[f32])> {
        live_rows(&self.segment.vectors, &self.removed)
    }
}

impl TailBlock {
    fn live(&self) -> usize {
        self.vectors.len() - self.removed.len() as usize
    }
}

fn live_rows<'a>(vectors: &'a Vectors, removed: &RoaringBitmap) -> impl Iterator<Item = (ChunkId, &'a [f32])> {
    vectors.iter().filter(|(row, ..)| !removed.contains(*row)).map(|(_, id, vector)| (id, vector))
}

fn remove_from(vectors: &Vectors, removed: &mut Arc<RoaringBitmap>, ids: &[ChunkId]) {
    let rows: Vec<u32> = ids.iter().filter_map(|id| vectors.find(*id)).collect();
    if !rows.is_empty() {
        Arc::make_mut(removed).extend(rows);
    }
}

/// Compares `query` with every row that counts.
fn scan(vectors: &Vectors, removed: &RoaringBitmap, query: &[f32], top: &mut Top<ChunkId>) {
    for (row, id, vector) in vectors.iter() {
        if removed.is_empty() || !removed.contains(row) {
            top.offer(dot(query, vector), id);
        }
    }
}

/// Offers what the graph finds with a beam of `ef`.
fn search_graph(
    (graph, codes): (&Graph, &Codes),
    vectors: &Vectors,
    vector: &[f32],
    (k, ef, removed): (usize, usize, &RoaringBitmap),
    top: &mut Top<ChunkId>,
) {
    for found in graph.search(vectors, codes, &GraphQuery { vector, top: k, ef, removed, allowed: None }) {
        if let Some(id) = vectors.id(found.row as usize) {
            top.offer(found.score, id);
        }
    }
}
