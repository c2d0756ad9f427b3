//! The whole way from a CSV file into a fresh collection, in a process of its own, beside embedding the same texts alone.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Instant;

use anser_core::storage::DataDir;
use anser_core::{CancelToken, EmbedPurpose, Embedder, NoProgress};
use anser_embed::TextEmbedder;
use anser_engine::{Engine, EngineOptions, IngestOptions, ServedModels};
use serde::{Deserialize, Serialize};
use tempfile::TempDir;

use super::task::{IngestTask, Subject};
use super::texts::{Drawn, Words};
use crate::contest::{Contender, Figure, Rival, alternate};
use crate::error::BenchError;
use crate::limits::Limits;
use crate::loader::OnlyEmbedder;
use crate::memory::peak_bytes;
use crate::report::ModelRecord;
use crate::run::{Findings, Run};
use crate::wording;
use crate::workload::Workload;

const ALONE: &str = "Anser, embedding alone";
const WHOLE: &str = "Anser, whole ingest";
const COLLECTION: &str = "ingested";
const MIB: f64 = 1024.0 * 1024.0;

/// What the other process is to do.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Errand {
    model: String,
    subject: Subject,
    threads: usize,
    file: PathBuf,
    data: PathBuf,
    python: Option<PathBuf>,
}

/// What it says when it is done.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Done {
    seconds: f64,
    documents: u64,
    chunks: u64,
    backend: String,
    /// Of the whole process, its model included.
    peak_bytes: Option<u64>,
}

/// Documents a second as a share of the pure embedding rate, and peak memory.
pub(crate) fn run(run: &Run, workload: &Workload, task: &IngestTask, limits: &Limits) -> Result<Findings, BenchError> {
    let files = run.model(&task.model)?;
    let threads = workload.thread_count();
    let embedder = TextEmbedder::load(&files, &run.runtime()?, &task.subject.options(threads))?;
    let words = Words::read(&task.corpus, embedder.info().max_tokens, |word| embedder.count_tokens(word))?;
    let drawn = words.draw(task.texts.tokens, task.texts.count.at(run.scale), workload.seed);
    let folder = TempDir::new().map_err(BenchError::io("create a folder in", &std::env::temp_dir()))?;
    let file = folder.path().join("reviews.csv");
    write_csv(&file, &drawn)?;
    let count = drawn.texts.len() as f64;
    let mut findings = Findings { models: vec![ModelRecord::of(&files)], ..Findings::default() };

    let mut alone = Contender::new(ALONE, |_| {
        let started = Instant::now();
        embedder.embed(&drawn.texts, EmbedPurpose::Passage, &CancelToken::new())?;
        Ok(vec![count / started.elapsed().as_secs_f64()])
    });
    alone.rival = Rival::Nobody;
    let mut last = None;
    let mut whole = Contender::new(WHOLE, |round| {
        let done = elsewhere(&Errand {
            model: task.model.clone(),
            subject: task.subject.clone(),
            threads,
            file: file.clone(),
            data: folder.path().join(format!("data-{round}")),
            python: run.python().map(Path::to_path_buf),
        })?;
        let mut values = vec![done.documents as f64 / done.seconds];
        values.extend(done.peak_bytes.map(|bytes| bytes as f64 / MIB));
        last = Some(done);
        Ok(values)
    });
    whole.rival = Rival::Reference(ALONE.to_owned());
    let figures = [
        Figure::new(&task.texts.name, "documents/s"),
        Figure::time(format!("{}, peak memory", task.texts.name), "MiB"),
    ];
    let rounds = workload.repeats.at(run.scale);
    findings.rows = alternate(&workload.name, rounds, &figures, vec![alone, whole], limits)?;
    findings.notes.push(format!(
        "{} documents of {:.1} tokens on average, {}; the ingest reads a CSV file, cuts, embeds, indexes and commits into a \
         fresh collection in a process of its own, whose model is loaded before the time begins and counted in its memory.",
        drawn.texts.len(),
        drawn.mean_tokens(),
        wording::threads(threads),
    ));
    if let Some(done) = last {
        findings.notes.push(format!(
            "Embedding alone: {}; ingest: {}, {} documents in {} chunks.",
            embedder.backend(),
            done.backend,
            done.documents,
            done.chunks
        ));
    }
    Ok(findings)
}

fn write_csv(path: &Path, drawn: &Drawn) -> Result<(), BenchError> {
    let failed = |e: csv::Error| BenchError::Corpus { path: path.to_path_buf(), reason: e.to_string() };
    let mut writer = csv::Writer::from_path(path).map_err(failed)?;
    writer.write_record(["id", "text"]).map_err(failed)?;
    for (at, text) in drawn.texts.iter().enumerate() {
        writer.write_record([&format!("review-{at:07}"), text]).map_err(failed)?;
    }
    writer.flush().map_err(BenchError::io("write", path))
}

/// Runs the errand in another process of this program.
fn elsewhere(errand: &Errand) -> Result<Done, BenchError> {
    let failed = |reason: String| BenchError::Child { reason };
    let program = std::env::current_exe().map_err(|e| failed(e.to_string()))?;
    let errand = serde_json::to_string(errand).map_err(BenchError::Json)?;
    let output = Command::new(program)
        .args(["--ingest-errand", &errand])
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .map_err(|e| failed(e.to_string()))?;
    if !output.status.success() {
        return Err(failed(format!("it ended with {}", output.status)));
    }
    serde_json::from_slice(&output.stdout).map_err(BenchError::Json)
}

/// Does the errand in this process, and says in JSON what came of it.
pub(crate) fn ingest_here(errand: &str) -> Result<String, BenchError> {
    let errand: Errand = serde_json::from_str(errand).map_err(BenchError::Json)?;
    let run = Run::new(crate::workload::Scale::Full, errand.python.as_deref())?;
    let files = run.model(&errand.model)?;
    let embedder = TextEmbedder::load(&files, &run.runtime()?, &errand.subject.options(errand.threads))?;
    let backend = embedder.backend().to_owned();
    let models = ServedModels::new(OnlyEmbedder::new(Arc::new(embedder)));
    let engine = Engine::open(&DataDir::open(&errand.data)?, models, None, EngineOptions::default())?;
    let started = Instant::now();
    let report =
        engine.ingest_file(COLLECTION, &errand.file, &IngestOptions::default(), &NoProgress, &CancelToken::new())?;
    let seconds = started.elapsed().as_secs_f64();
    let done = Done { seconds, documents: report.inserted, chunks: report.chunks, backend, peak_bytes: peak_bytes() };
    serde_json::to_string(&done).map_err(BenchError::Json)
}
