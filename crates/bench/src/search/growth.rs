//! How a collection behaves as it grows: building, searching, opening, memory, and how soon an insert is found.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anser_core::Embedding;
use anser_index::{Collection, SearchParams, Store};
use tempfile::TempDir;

use super::subject::{Asked, GraphShape, Rows, document, embedder, insert, open};
use crate::contest::ANSER;
use crate::error::BenchError;
use crate::glosses::{Glosses, Split};
use crate::limits::Limits;
use crate::plot::{Plot, Series};
use crate::report::{Quality, Row};
use crate::run::{Findings, Run};
use crate::stats::{Spread, recall};
use crate::workload::{GrowthTask, Workload};

const COLLECTION: &str = "growing";
/// An insert that is not found by then never will be.
const PATIENCE: Duration = Duration::from_secs(10);

/// Everything at each size, and latencies at the largest.
pub(crate) fn run(run: &Run, workload: &Workload, task: &GrowthTask, _: &Limits) -> Result<Findings, BenchError> {
    let mut findings = Findings::default();
    let sizes: Vec<usize> = task.sizes.iter().map(|size| size.at(run.scale)).collect();
    let largest = sizes.iter().copied().max().unwrap_or(1);
    let queries = task.queries.at(run.scale);
    let glosses = Glosses::load(run, &task.corpus, (largest + queries, workload.seed), &mut findings)?;
    let split = glosses.split(largest, queries)?;
    let mut lines = vec![Vec::new(); 4];
    for size in &sizes {
        eprintln!("{}: {size} vectors", workload.name);
        let folder = TempDir::new().map_err(BenchError::io("create a folder in", &std::env::temp_dir()))?;
        let grown = Grown { workload, task, split: &split, size: *size, folder: folder.path() };
        let values = grown.measure(&mut findings)?;
        for (line, value) in lines.iter_mut().zip(values) {
            line.push((*size as f64, value));
        }
        if *size == largest {
            grown.insert_latency(task.inserts.at(run.scale), &mut findings)?;
        }
    }
    let names = ["build, vectors/s", "search, queries/s", "memory, bytes/vector", "open to first answer, ms"];
    let series = names.iter().zip(lines).map(|(name, points)| Series { name: (*name).to_owned(), points });
    findings.plots.push(Plot {
        name: workload.name.clone(),
        title: "A collection as it grows".to_owned(),
        x: "vectors".to_owned(),
        series: series.collect(),
    });
    findings.notes.push(format!(
        "{} vectors are of real texts (glosses of WordNet 3.1, {}); those beyond are a real one plus half the difference of \
         two others. {} queries one by one on one thread at recall >= {}; M {}, efConstruction {}, threads that build: {}. \
         Opening is measured in the same process, with files in the page cache.",
        split.real,
        task.corpus.model,
        split.queries.len(),
        task.recall,
        task.m,
        task.ef_construction,
        workload.thread_count()
    ));
    Ok(findings)
}

/// A collection of one size.
struct Grown<'a> {
    workload: &'a Workload,
    task: &'a GrowthTask,
    split: &'a Split,
    size: usize,
    folder: &'a Path,
}

impl Grown<'_> {
    fn store(&self) -> Result<Store, BenchError> {
        let shape = GraphShape { m: self.task.m.get(), ef_construction: self.task.ef_construction.get() };
        open(self.folder, shape, self.workload.thread_count())
    }

    fn vectors(&self) -> &[Embedding] {
        &self.split.vectors[..self.size]
    }

    /// Vectors a second while building, queries a second, bytes of memory for a vector, milliseconds to open.
    fn measure(&self, findings: &mut Findings) -> Result<[f64; 4], BenchError> {
        let count = self.size as f64;
        let dimension = self.split.queries.first().map_or(0, Embedding::dimension);
        let store = self.store()?;
        let collection = store.create(COLLECTION, &embedder(dimension))?;
        let inserted = insert(&collection, self.vectors(), None)?;
        let started = Instant::now();
        collection.seal()?;
        let built = count / started.elapsed().as_secs_f64();
        let asked = Asked::new(self.vectors(), &self.split.queries, self.task.k.get(), &|_| true)?;
        let (rate, reached, ef) = self.search(&collection, &asked)?;
        let memory = collection.index_memory()?.graph_bytes as f64 / count;
        let disk = collection.info()?.disk_bytes as f64 / count;
        drop((collection, store));
        let opened = self.open_to_first_answer(&asked)?;
        let mut row = |figure: &str, unit: &'static str, value: f64, quality: Option<Quality>| {
            findings.rows.extend(Spread::of(&[value]).map(|spread| Row {
                figure: format!("{figure}, {} vectors", self.size),
                unit,
                contender: ANSER.to_owned(),
                spread,
                less_is_better: matches!(unit, "bytes/vector" | "ms"),
                ratio: None,
                quality,
                share_of_limit: None,
            }));
        };
        row("inserted durably", "documents/s", count / inserted, None);
        row("graph built", "vectors/s", built, None);
        let quality = Quality::new("recall", reached);
        row(&format!("search, ef {ef}"), "queries/s", rate, Some(quality));
        row("memory of codes and graph", "bytes/vector", memory, None);
        row("disk, texts included", "bytes/vector", disk, None);
        row("open to first correct answer", "ms", opened, None);
        Ok([built, rate, memory, opened])
    }

    /// Queries a second with the narrowest beam that finds enough, the recall there, and the beam.
    fn search(&self, collection: &Collection, asked: &Asked<'_>) -> Result<(f64, f64, usize), BenchError> {
        let rows = Rows::of(collection)?;
        let search = |ef: usize| {
            let params = SearchParams { exact: Some(false), ef_search: Some(ef), ..SearchParams::new(asked.k) };
            rows.search(asked.queries, &params, 1)
        };
        let widths: Vec<usize> = self.task.ef_search.iter().map(|ef| ef.get()).collect();
        let widest = widths.last().copied().unwrap_or(asked.k);
        let found = asked.width_for(self.task.recall, &widths, |ef| Ok(search(ef)?.1))?;
        let ef = found.map_or(widest, |(ef, _)| ef);
        let mut rates = Vec::new();
        let mut reached = 0.0;
        for _ in 0..3 {
            let (seconds, found) = search(ef)?;
            rates.push(asked.queries.len() as f64 / seconds);
            reached = recall(&found, &asked.truth);
        }
        Ok((Spread::of(&rates).map_or(0.0, |spread| spread.median), reached, ef))
    }

    /// Milliseconds from opening the store to the first answer, whose best hit must be the true one.
    fn open_to_first_answer(&self, asked: &Asked<'_>) -> Result<f64, BenchError> {
        let started = Instant::now();
        let store = self.store()?;
        let collection = store.get(COLLECTION)?;
        let query = asked.queries.first().ok_or_else(|| BenchError::Job("there are no queries".to_owned()))?;
        let hits = collection.nearest(query, &SearchParams::new(asked.k))?;
        let milliseconds = started.elapsed().as_secs_f64() * 1e3;
        let (_, found) = Rows::of(&collection)?.search(&asked.queries[..1], &SearchParams::new(asked.k), 1)?;
        let right = recall(&found, &asked.truth[..1]);
        if hits.len() < asked.k || right < 0.5 {
            return Err(BenchError::Job(format!("the first answer after opening was wrong: recall {right}")));
        }
        Ok(milliseconds)
    }

    /// Milliseconds from the call that stores a document to the search that finds it, while another thread searches.
    fn insert_latency(&self, inserts: usize, findings: &mut Findings) -> Result<(), BenchError> {
        let store = self.store()?;
        let collection = store.get(COLLECTION)?;
        let done = AtomicBool::new(false);
        let params = SearchParams::new(self.task.k.get());
        let (latencies, searches) = std::thread::scope(|scope| {
            let searching = scope.spawn(|| {
                let mut searches = 0usize;
                while !done.load(Ordering::Relaxed) {
                    let query = &self.split.queries[searches % self.split.queries.len()];
                    if collection.nearest(query, &params).is_err() {
                        break;
                    }
                    searches += 1;
                }
                searches
            });
            let latencies = self.insert_and_find(&collection, inserts);
            done.store(true, Ordering::Relaxed);
            (latencies, searching.join().unwrap_or(0))
        });
        let mut latencies = latencies?;
        latencies.sort_by(f64::total_cmp);
        let at = |share: f64| {
            let last = latencies.len().saturating_sub(1);
            latencies.get((last as f64 * share).round() as usize).copied().unwrap_or(f64::NAN)
        };
        findings.notes.push(format!(
            "Insert to searchable at {} vectors, {inserts} documents one by one, each durable, while another thread made \
             {searches} searches: p50 {:.1} ms, p99 {:.1} ms, longest {:.1} ms.",
            self.size,
            at(0.5),
            at(0.99),
            at(1.0)
        ));
        Ok(())
    }

    fn insert_and_find(&self, collection: &Collection, inserts: usize) -> Result<Vec<f64>, BenchError> {
        let mut latencies = Vec::with_capacity(inserts);
        for number in 0..inserts {
            // Far from everything: the opposite of a vector that is there.
            let values = self.split.vectors[number % self.size].as_slice().iter().map(|x| -x).collect();
            let vector = Embedding::normalize(values)?;
            let document = document(self.size + number, &vector, None)?;
            let started = Instant::now();
            collection.upsert(&[document])?;
            loop {
                let hits = collection.nearest(&vector, &SearchParams::new(1))?;
                if hits.first().is_some_and(|(_, score)| *score > 0.999) {
                    break;
                }
                if started.elapsed() > PATIENCE {
                    return Err(BenchError::Job("an insert was not found".to_owned()));
                }
            }
            latencies.push(started.elapsed().as_secs_f64() * 1e3);
        }
        Ok(latencies)
    }
}
