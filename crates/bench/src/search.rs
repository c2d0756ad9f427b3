//! Nearest neighbours: Anser's collections beside faiss's HNSW, on the same vectors with the same parameters.

use std::cell::RefCell;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use anser_core::storage::DataDir;
use anser_core::{Attributes, ByteSpan, Document, DocumentId, EmbedderInfo, Embedding};
use anser_index::{Collection, IndexOptions, NewChunk, NewDocument, SearchParams, Store};
use candle_core::{Device, Tensor};
use serde::Deserialize;
use serde_json::json;
use tempfile::TempDir;

use crate::contest::{ANSER, Contender, Figure, alternate};
use crate::corpus::{self, ClusteredVectors};
use crate::error::BenchError;
use crate::limits::Limits;
use crate::peer::Peer;
use crate::report::{Quality, Row};
use crate::run::{Findings, Run};
use crate::stats::recall;
use crate::workload::{SearchTask, Workload};

/// What the peer is called in tables.
const PEER: &str = "faiss IndexHNSWFlat";
/// The collection that is searched.
const COLLECTION: &str = "vectors";
/// Documents in one transaction.
const INSERT: usize = 2000;
/// Queries compared with all vectors in one matrix product.
const EXACT_QUERIES: usize = 64;

#[derive(Deserialize)]
struct Built {
    seconds: f64,
}

#[derive(Deserialize)]
struct Found {
    seconds: f64,
    found: Vec<Vec<i64>>,
}

/// Vectors a second while building, queries a second at each beam width, and the recall there.
pub(crate) fn run(run: &Run, workload: &Workload, task: &SearchTask, limits: &Limits) -> Result<Findings, BenchError> {
    let (count, queries) = (task.vectors.at(run.scale), task.queries.at(run.scale));
    let data = corpus::clustered(task.shape, count, queries, workload.seed)?;
    let truth = nearest(&data, task.k.get())?;
    let folder = TempDir::new().map_err(BenchError::io("create a folder in", &std::env::temp_dir()))?;
    let mut findings = Findings::default();
    let peer = peer(run, workload, task, &data, folder.path(), &mut findings)?.map(|p| Rc::new(RefCell::new(p)));
    let store = open(folder.path(), task, workload.thread_count())?;

    findings.rows = build(run, workload, task, &store, &data, peer.as_ref(), limits)?;
    let collection = store.get(COLLECTION)?;
    let bench = Searching { task, data: &data, truth: &truth };
    let mut contenders = vec![bench.ours(&collection)?];
    if let Some(peer) = &peer {
        contenders.push(bench.theirs(peer)?);
    }
    let name = format!("{}, queries", workload.name);
    let figures: Vec<Figure> =
        task.ef_search.iter().map(|ef| Figure::new(format!("search, ef {ef}"), "queries/s")).collect();
    findings.rows.extend(alternate(&name, workload.repeats.at(run.scale), &figures, contenders, limits)?);
    let alone = Limits::measure(1)?;
    findings.notes = vec![
        format!(
            "{count} vectors of {} dimensions in {} clusters, {queries} queries one by one on one thread, M {}, \
             efConstruction {}; threads that build: {}.",
            task.shape.dimension,
            task.shape.clusters,
            task.m,
            task.ef_construction,
            workload.thread_count()
        ),
        format!(
            "Limits with the one thread of a query: {:.0} GFLOP/s in f32 matrix products, {:.1} GB/s copied.",
            alone.gemm_f32_flops / 1e9,
            alone.copy_bytes / 1e9
        ),
        "Anser's search reads the hits' text from the database as well and its build writes a checksummed segment; the \
         peer returns row numbers from memory."
            .to_owned(),
    ];
    Ok(findings)
}

/// The rows of the `k` nearest vectors of every query, by comparing it with all of them.
fn nearest(data: &ClusteredVectors, k: usize) -> Result<Vec<Vec<usize>>, BenchError> {
    let failed = |e: candle_core::Error| BenchError::Limits(e.to_string());
    let matrix = |vectors: &[Embedding]| {
        let numbers: Vec<f32> = vectors.iter().flat_map(Embedding::as_slice).copied().collect();
        let columns = numbers.len() / vectors.len();
        Tensor::from_vec(numbers, (vectors.len(), columns), &Device::Cpu).map_err(failed)
    };
    let all = matrix(&data.vectors)?.t().map_err(failed)?;
    let mut truth = Vec::with_capacity(data.queries.len());
    for queries in data.queries.chunks(EXACT_QUERIES) {
        let scores = matrix(queries)?.matmul(&all).and_then(|s| s.to_vec2::<f32>()).map_err(failed)?;
        truth.extend(scores.iter().map(|scores| {
            let mut rows: Vec<usize> = (0..scores.len()).collect();
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

/// A store whose collections are searched through graphs that are built only when asked.
fn open(folder: &Path, task: &SearchTask, threads: usize) -> Result<Store, BenchError> {
    let options = IndexOptions {
        m: task.m.get(),
        ef_construction: task.ef_construction.get(),
        seal_threshold: usize::MAX,
        threads,
        ..IndexOptions::default()
    };
    Ok(Store::open(&DataDir::open(folder.join("data"))?, options)?)
}

fn peer(
    run: &Run,
    workload: &Workload,
    task: &SearchTask,
    data: &ClusteredVectors,
    folder: &Path,
    findings: &mut Findings,
) -> Result<Option<Peer>, BenchError> {
    let write = |name: &str, vectors: &[Embedding]| {
        let values: Vec<f32> = vectors.iter().flat_map(Embedding::as_slice).copied().collect();
        corpus::write(folder, name, &values)
    };
    let load = json!({
        "op": "load", "dimension": task.shape.dimension,
        "vectors": write("vectors.f32", &data.vectors)?, "queries": write("queries.f32", &data.queries)?,
    });
    Ok(run.peer(PEER, "faiss_hnsw.py", workload.thread_count(), &load, findings))
}

/// Builds both indexes in turns; the last ones stay for the queries.
fn build(
    run: &Run,
    workload: &Workload,
    task: &SearchTask,
    store: &Store,
    data: &ClusteredVectors,
    peer: Option<&Rc<RefCell<Peer>>>,
    limits: &Limits,
) -> Result<Vec<Row>, BenchError> {
    let documents = documents(&data.vectors)?;
    let count = documents.len() as f64;
    let info = EmbedderInfo {
        model: "clustered".to_owned(),
        dimension: task.shape.dimension.get(),
        max_tokens: 1,
        fingerprint: format!("clustered-{}", workload.seed),
    };
    let mut contenders = vec![Contender::new(ANSER, |_| {
        store.delete(COLLECTION)?;
        let collection = store.create(COLLECTION, &info)?;
        let started = Instant::now();
        for part in documents.chunks(INSERT) {
            collection.upsert(part)?;
        }
        let inserted = started.elapsed().as_secs_f64();
        let started = Instant::now();
        collection.seal()?;
        Ok(vec![count / started.elapsed().as_secs_f64(), count / inserted])
    })];
    if let Some(peer) = peer {
        let request = json!({
            "op": "build", "m": task.m, "ef_construction": task.ef_construction, "threads": workload.thread_count(),
        });
        contenders
            .push(Contender::new(PEER, move |_| Ok(vec![count / peer.borrow_mut().ask::<Built>(&request)?.seconds])));
    }
    let figures = [Figure::new("graph built", "vectors/s"), Figure::new("inserted durably", "documents/s")];
    let name = format!("{}, building", workload.name);
    alternate(&name, task.builds.at(run.scale), &figures, contenders, limits)
}

/// A document of one chunk for each vector, named after its row.
fn documents(vectors: &[Embedding]) -> Result<Vec<NewDocument>, BenchError> {
    let make = |(row, embedding): (usize, &Embedding)| {
        let text = format!("Vector number {row}.");
        let span = ByteSpan { start: 0, end: text.len() };
        Ok(NewDocument {
            document: Document {
                id: DocumentId::new(row.to_string())?,
                title: None,
                text: text.clone(),
                attributes: Attributes::default(),
            },
            fingerprint: row.to_string(),
            chunks: vec![NewChunk { span, text, tokens: 4, embedding: embedding.clone() }],
        })
    };
    vectors.iter().enumerate().map(make).collect()
}

/// The queries, and their true neighbours.
#[derive(Clone, Copy)]
struct Searching<'a> {
    task: &'a SearchTask,
    data: &'a ClusteredVectors,
    truth: &'a [Vec<usize>],
}

impl<'a> Searching<'a> {
    fn ours(self, collection: &'a Arc<Collection>) -> Result<Contender<'a>, BenchError> {
        let search = move |ef: usize| -> Result<(f64, Vec<Vec<usize>>), BenchError> {
            let params =
                SearchParams { exact: Some(false), ef_search: Some(ef), ..SearchParams::new(self.task.k.get()) };
            let started = Instant::now();
            let outcomes = self
                .data
                .queries
                .iter()
                .map(|query| collection.search(query, &params))
                .collect::<anser_index::Result<Vec<_>>>()?;
            let seconds = started.elapsed().as_secs_f64();
            let row = |id: &DocumentId| id.as_str().parse().unwrap_or(usize::MAX);
            let found = outcomes.iter().map(|o| o.hits.iter().map(|hit| row(&hit.chunk.document_id)).collect());
            Ok((self.rate(seconds), found.collect()))
        };
        self.contender(ANSER, search)
    }

    fn theirs(self, peer: &'a Rc<RefCell<Peer>>) -> Result<Contender<'a>, BenchError> {
        let search = move |ef: usize| -> Result<(f64, Vec<Vec<usize>>), BenchError> {
            let reply: Found = peer.borrow_mut().ask(&json!({ "op": "search", "k": self.task.k, "ef": ef }))?;
            // Fewer hits than wanted are filled up with -1.
            let row = |row: i64| usize::try_from(row).unwrap_or(usize::MAX);
            let found = reply.found.into_iter().map(|rows| rows.into_iter().map(row).collect()).collect();
            Ok((self.rate(reply.seconds), found))
        };
        self.contender(PEER, search)
    }

    fn rate(self, seconds: f64) -> f64 {
        self.data.queries.len() as f64 / seconds
    }

    /// A contender that searches at every beam width. The first search, untimed, gives the recall.
    fn contender(
        self,
        label: &str,
        mut search: impl FnMut(usize) -> Result<(f64, Vec<Vec<usize>>), BenchError> + 'a,
    ) -> Result<Contender<'a>, BenchError> {
        let widths = || self.task.ef_search.iter().map(|ef| ef.get());
        let quality = widths()
            .map(|ef| Ok(Quality { measure: "recall", value: recall(&search(ef)?.1, self.truth) }))
            .collect::<Result<Vec<_>, BenchError>>()?;
        let mut contender = Contender::new(label, move |_| widths().map(|ef| Ok(search(ef)?.0)).collect());
        contender.quality = quality;
        Ok(contender)
    }
}
