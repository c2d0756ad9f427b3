//! The search of a snapshot: each segment in the way that suits it, the tail row by row, and the best of all.

use std::sync::Arc;

use anser_core::{ChunkId, Embedding};
use roaring::RoaringBitmap;

use super::exact::exact_scan;
use super::graph::GraphQuery;
use super::plan::Task;
use super::row_set::RowSet;
use super::segment::SegmentIndex;
use super::top::{Scored, Top};
use super::vectors::{Vectors, dot, wrong_dimension};
use super::{AnnQuery, Part, SearchMethod, Segment, Snapshot};
use crate::Result;
use crate::collection::{Allowed, FilterStrategy};

/// Hits for which the beam widths of a graph are measured.
const MEASURED_HITS: usize = 10;

/// A beam up to this width costs little in any graph.
const NARROW: usize = 128;

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

/// One search of one segment.
struct PartQuery<'a> {
    vector: &'a [f32],
    k: usize,
    params: &'a AnnQuery,
    /// Whether every row that may be found is compared.
    exact: bool,
    rows: Option<&'a RowSet>,
}

impl Snapshot {
    /// The hits for `query`, best first, only chunks that are `allowed` where that is given. A query of another dimension
    /// is `InvalidInput`.
    pub(crate) fn search(&self, query: &Embedding, params: &AnnQuery, allowed: Option<&Allowed>) -> Result<Found> {
        if query.dimension() != self.dimension() {
            return Err(wrong_dimension(query.dimension(), self.dimension()));
        }
        let vector = query.as_slice();
        let candidates = allowed.map_or(self.len(), |allowed| allowed.chunks.len());
        let k = params.k.min(candidates);
        let exact = params.exact.unwrap_or(candidates < params.exact_below);
        let mut top = Top::new(k);
        let mut widest = None;
        for part in self.segments() {
            let rows = allowed.map(|allowed| allowed.rows.of(&allowed.chunks, &part.segment.vectors));
            let (found, ef) = PartQuery { vector, k, params, exact, rows: rows.as_deref() }.search(part);
            widest = widest.max(ef);
            offer_rows(&part.segment.vectors, found, &mut top);
        }
        for block in self.tail().blocks() {
            match (allowed, &block.codes) {
                (None, Some(codes)) => {
                    let found = exact_scan(&block.vectors, codes, vector, (None, &block.removed), k);
                    offer_rows(&block.vectors, found, &mut top);
                }
                (allowed, _) => {
                    let chunks = allowed.map(|allowed| allowed.chunks.as_slice());
                    scan(&block.vectors, &block.removed, chunks, &mut |id, row| top.offer(dot(vector, row), id));
                }
            }
        }
        let hits = top.into_best_first().into_iter().map(|s| (s.row, s.score.clamp(-1.0, 1.0))).collect();
        let walked = widest.is_some();
        let strategy = if walked { FilterStrategy::FilteredGraph } else { FilterStrategy::ExactScan };
        Ok(Found {
            hits,
            method: if walked { SearchMethod::Hnsw } else { SearchMethod::Exact },
            ef_search: widest,
            strategy: allowed.map(|_| strategy),
        })
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
        let segments = self.segments().iter().map(|part| (&part.segment.vectors, &part.removed));
        let tail = self.tail().blocks().iter().map(|block| (&block.vectors, &block.removed));
        for (vectors, removed) in segments.chain(tail) {
            scan(vectors, removed, allowed, &mut |id, vector| {
                if let Some(score) = score(id, vector) {
                    top.offer(score, id);
                }
            });
        }
        top.into_best_first().into_iter().map(|s| (s.row, s.score)).collect()
    }
}

impl PartQuery<'_> {
    /// The best rows of `part`, and the beam width if its graph was walked.
    fn search(&self, part: &Part) -> (Vec<Scored>, Option<usize>) {
        let Part { segment, removed } = part;
        let allowed = self.rows.map_or_else(|| part.live(), RowSet::len);
        if allowed == 0 || self.k == 0 {
            return (Vec::new(), None);
        }
        let Some(index) = &segment.index else {
            return (self.scan_vectors(segment, removed), None);
        };
        let ef = self.ef(part);
        let task = Task { rows: segment.vectors.len(), allowed, ef, links: segment.links() };
        let walk = !self.exact
            && match (self.params.exact, self.rows) {
                // Who wants graphs gets them where they can help at all.
                (Some(false), _) => self.rows.is_none() || allowed > ef,
                (_, None) => ef <= NARROW || task.prefers_graph(),
                (_, Some(_)) => task.prefers_graph(),
            };
        if walk {
            let query = GraphQuery { vector: self.vector, top: self.k, ef, removed, allowed: self.rows };
            let found = index.graph.search(&segment.vectors, &index.codes, &query);
            if found.len() >= self.k.min(allowed) {
                return (found, Some(ef));
            }
        }
        (self.scan_codes(segment, index, removed), None)
    }

    /// The beam width in the graph of `part`.
    fn ef(&self, part: &Part) -> usize {
        let ef = self.params.ef_search.unwrap_or_else(|| {
            let measured = part.segment.ef_for(self.params.target_recall).unwrap_or(MEASURED_HITS);
            // A beam was measured for ten hits; more of them need more room beyond the last one.
            measured.max(self.k + self.k.saturating_sub(MEASURED_HITS) / 2)
        });
        // Some of what a beam holds may have been removed.
        ef.max(if part.removed.is_empty() { self.k } else { self.k + self.k / 4 + 1 })
    }

    fn scan_codes(&self, segment: &Segment, index: &SegmentIndex, removed: &RoaringBitmap) -> Vec<Scored> {
        exact_scan(&segment.vectors, &index.codes, self.vector, (self.rows, removed), self.k)
    }

    fn scan_vectors(&self, segment: &Segment, removed: &RoaringBitmap) -> Vec<Scored> {
        let mut top = Top::new(self.k);
        let mut offer = |row: u32, vector: &[f32]| {
            if !removed.contains(row) {
                top.offer(dot(self.vector, vector), row);
            }
        };
        match self.rows {
            None => segment.vectors.iter().for_each(|(row, _, vector)| offer(row, vector)),
            Some(rows) => rows.iter().for_each(|row| offer(row, segment.vectors.row(row as usize))),
        }
        top.into_best_first()
    }
}

fn offer_rows(vectors: &Vectors, found: Vec<Scored>, top: &mut Top<ChunkId>) {
    for Scored { score, row } in found {
        if let Some(id) = vectors.id(row as usize) {
            top.offer(score, id);
        }
    }
}

/// Shows `each` every row that is not `removed`, or those of them that hold one of `allowed`, which ascend.
fn scan(
    vectors: &Arc<Vectors>,
    removed: &RoaringBitmap,
    allowed: Option<&[ChunkId]>,
    each: &mut dyn FnMut(ChunkId, &[f32]),
) {
    let mut live = |row: u32, id: ChunkId, vector: &[f32]| {
        if removed.is_empty() || !removed.contains(row) {
            each(id, vector);
        }
    };
    match allowed {
        None => vectors.iter().for_each(|(row, id, vector)| live(row, id, vector)),
        Some(allowed) => vectors.each_of(allowed, &mut live),
    }
}
