//! What is searched: vectors as documents of a collection, queries, and their true neighbours.

use std::path::Path;
use std::time::Instant;

use anser_core::storage::DataDir;
use anser_core::{AttributeValue, Attributes, ByteSpan, ChunkId, Document, DocumentId, EmbedderInfo, Embedding};
use anser_index::{Collection, IndexOptions, NewChunk, NewDocument, SearchParams, Store};
use candle_core::{Device, Tensor};
use rayon::prelude::*;

use crate::error::BenchError;
use crate::limits::pool;
use crate::stats::recall;

/// Documents in one transaction.
const INSERT: usize = 2000;
/// Queries compared with all vectors in one matrix product.
const EXACT_QUERIES: usize = 64;
/// The attribute by which documents are filtered, a whole number in [0, 100).
pub(crate) const VALUE: &str = "value";

/// Parameters of a graph.
#[derive(Debug, Clone, Copy)]
pub(crate) struct GraphShape {
    pub(crate) m: usize,
    pub(crate) ef_construction: usize,
}

/// A store whose collections are searched through graphs that are built only when asked.
pub(crate) fn open(folder: &Path, shape: GraphShape, threads: usize) -> Result<Store, BenchError> {
    let options = IndexOptions {
        m: shape.m,
        ef_construction: shape.ef_construction,
        seal_threshold: usize::MAX,
        threads,
        ..IndexOptions::default()
    };
    Ok(Store::open(&DataDir::open(folder.join("data"))?, options)?)
}

/// Whose vectors they are said to be.
pub(crate) fn embedder(dimension: usize) -> EmbedderInfo {
    EmbedderInfo::external("glosses", dimension)
}

/// Stores a document of one chunk for each vector, called after its row, and returns the seconds that it took.
pub(crate) fn insert(collection: &Collection, vectors: &[Embedding], values: Option<&[u8]>) -> Result<f64, BenchError> {
    let mut seconds = 0.0;
    for (part, begin) in vectors.chunks(INSERT).zip((0..).step_by(INSERT)) {
        let documents = (begin..)
            .zip(part)
            .map(|(row, vector)| document(row, vector, values.and_then(|values| values.get(row).copied())));
        let documents: Vec<NewDocument> = documents.collect::<Result<_, _>>()?;
        let started = Instant::now();
        collection.upsert(&documents)?;
        seconds += started.elapsed().as_secs_f64();
    }
    Ok(seconds)
}

/// The document of one row.
pub(crate) fn document(row: usize, vector: &Embedding, value: Option<u8>) -> Result<NewDocument, BenchError> {
    let text = format!("Vector number {row}.");
    let span = ByteSpan { start: 0, end: text.len() };
    let mut attributes = Attributes::default();
    attributes.extend(value.map(|value| (VALUE.to_owned(), AttributeValue::Integer(i64::from(value)))));
    Ok(NewDocument {
        document: Document { id: DocumentId::new(row.to_string())?, title: None, text: text.clone(), attributes },
        fingerprint: row.to_string(),
        chunks: vec![NewChunk { span, text, tokens: 4, embedding: vector.clone() }],
    })
}

/// A collection of which every row is one document, in order.
pub(crate) struct Rows<'a> {
    pub(crate) collection: &'a Collection,
    /// The chunk of row 0; the others follow.
    first: ChunkId,
}

impl<'a> Rows<'a> {
    pub(crate) fn of(collection: &'a Collection) -> Result<Self, BenchError> {
        let chunks = collection.chunks(&DocumentId::new("0")?)?;
        let first = chunks.first().map_or(ChunkId(0), |chunk| chunk.id);
        Ok(Self { collection, first })
    }

    /// The rows nearest to each query, and the seconds that all of them took together on so many threads.
    pub(crate) fn search(
        &self,
        queries: &[Embedding],
        params: &SearchParams,
        threads: usize,
    ) -> Result<(f64, Vec<Vec<usize>>), BenchError> {
        let one = |query: &Embedding| self.collection.nearest(query, params);
        let pool = pool(threads)?;
        let started = Instant::now();
        let found: anser_index::Result<Vec<_>> = if threads == 1 {
            queries.iter().map(one).collect()
        } else {
            pool.install(|| queries.par_iter().with_min_len(8).map(one).collect())
        };
        let seconds = started.elapsed().as_secs_f64();
        let row = |id: ChunkId| usize::try_from(id.0.wrapping_sub(self.first.0)).unwrap_or(usize::MAX);
        Ok((seconds, found?.into_iter().map(|hits| hits.into_iter().map(|(id, _)| row(id)).collect()).collect()))
    }
}

/// Queries and their true neighbours.
pub(crate) struct Asked<'a> {
    pub(crate) queries: &'a [Embedding],
    pub(crate) truth: Vec<Vec<usize>>,
    pub(crate) k: usize,
}

impl<'a> Asked<'a> {
    /// Compares every query with every vector whose row `counts`.
    pub(crate) fn new(
        vectors: &[Embedding],
        queries: &'a [Embedding],
        k: usize,
        counts: &dyn Fn(usize) -> bool,
    ) -> Result<Self, BenchError> {
        Ok(Self { queries, truth: nearest(vectors, queries, k, counts)?, k })
    }

    /// The narrowest of the beams `widths`, which ascend, with which `search` finds at least the share `target` of the true
    /// neighbours, and the share. `None` when none does.
    pub(crate) fn width_for(
        &self,
        target: f64,
        widths: &[usize],
        mut search: impl FnMut(usize) -> Result<Vec<Vec<usize>>, BenchError>,
    ) -> Result<Option<(usize, f64)>, BenchError> {
        for width in widths {
            let reached = recall(&search(*width)?, &self.truth);
            if reached >= target {
                return Ok(Some((*width, reached)));
            }
        }
        Ok(None)
    }
}

/// The rows of the `k` nearest vectors of every query.
fn nearest(
    vectors: &[Embedding],
    queries: &[Embedding],
    k: usize,
    counts: &dyn Fn(usize) -> bool,
) -> Result<Vec<Vec<usize>>, BenchError> {
    let failed = |e: candle_core::Error| BenchError::Compute(e.to_string());
    let matrix = |vectors: &[Embedding]| {
        let numbers: Vec<f32> = vectors.iter().flat_map(Embedding::as_slice).copied().collect();
        let columns = numbers.len() / vectors.len();
        Tensor::from_vec(numbers, (vectors.len(), columns), &Device::Cpu).map_err(failed)
    };
    let all = matrix(vectors)?.t().map_err(failed)?;
    let allowed: Vec<usize> = (0..vectors.len()).filter(|row| counts(*row)).collect();
    let mut truth = Vec::with_capacity(queries.len());
    for part in queries.chunks(EXACT_QUERIES) {
        let scores = matrix(part)?.matmul(&all).and_then(|s| s.to_vec2::<f32>()).map_err(failed)?;
        truth.extend(scores.iter().map(|scores| {
            let mut rows = allowed.clone();
            let k = k.min(rows.len());
            if k < rows.len() {
                rows.select_nth_unstable_by(k, |a, b| scores[*b].total_cmp(&scores[*a]));
            }
            rows.truncate(k);
            rows
        }));
    }
    Ok(truth)
}
