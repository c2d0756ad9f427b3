//! Analyses of a large collection as jobs: rows a second and peak memory, from stored documents to files of results.

use std::sync::Arc;
use std::time::Instant;

use anser_core::storage::DataDir;
use anser_core::{Attributes, ByteSpan, Document, DocumentId, EmbedderInfo, NoProgress, StopSignal};
use anser_engine::{
    Analysis, AnalysisRequest, AnalysisSource, Engine, EngineOptions, IndexOptions, JobState, ServedModels,
};
use anser_index::{NewChunk, NewDocument, Store};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::json;
use tempfile::TempDir;

use crate::contest::{ANSER, Contender, Figure, alternate};
use crate::corpus;
use crate::error::BenchError;
use crate::limits::Limits;
use crate::loader::OnlyEmbedder;
use crate::memory::{forget_peak, peak_bytes};
use crate::run::{Findings, Run};
use crate::workload::{ScaleTask, Workload};

const COLLECTION: &str = "large";
/// Documents in one transaction, and drawn at a time.
const INSERT: usize = 5000;
/// Words in a text, and words there are.
const WORDS: usize = 8;
const VOCABULARY: usize = 20_000;

/// Runs every analysis that is named once, and says what it took.
pub(crate) fn run(run: &Run, workload: &Workload, task: &ScaleTask, limits: &Limits) -> Result<Findings, BenchError> {
    let count = task.documents.at(run.scale);
    let folder = TempDir::new().map_err(BenchError::io("create a folder in", &std::env::temp_dir()))?;
    let data = DataDir::open(folder.path())?;
    // No graphs: an analysis reads the vectors themselves.
    let index =
        IndexOptions { seal_threshold: usize::MAX, threads: workload.thread_count(), ..IndexOptions::default() };
    fill(&Store::open(&data, index.clone())?, task, count, workload.seed)?;
    let options = EngineOptions { index, ..EngineOptions::default() };
    let engine = Arc::new(Engine::open(&data, ServedModels::new(OnlyEmbedder::none()), None, options)?);
    let mut findings = Findings::default();
    for analysis in &task.analyses {
        let kind = analysis.kind();
        forget_peak();
        let contender = Contender::new(ANSER, |_| {
            let started = Instant::now();
            analyse(&engine, analysis)?;
            Ok(vec![count as f64 / started.elapsed().as_secs_f64()])
        });
        let figures = [Figure::new(kind, "documents/s")];
        let rounds = workload.repeats.at(run.scale);
        findings.rows.extend(alternate(
            &format!("{}, {kind}", workload.name),
            rounds,
            &figures,
            vec![contender],
            limits,
        )?);
        if let Some(peak) = peak_bytes() {
            findings.notes.push(format!("Peak memory of {kind}, mapped pages included: {} MiB.", peak >> 20));
        }
    }
    let options = json!(task.analyses);
    findings.notes.push(format!(
        "{count} documents of {WORDS} words with vectors of {} dimensions, read from SQLite; threads: {}; options: {options}.",
        task.shape.dimension,
        workload.thread_count()
    ));
    Ok(findings)
}

fn analyse(engine: &Arc<Engine>, analysis: &Analysis) -> Result<(), BenchError> {
    let source = AnalysisSource::Collection { name: COLLECTION.to_owned(), filter: None };
    let job = engine.create_analysis_job(&AnalysisRequest { source, analysis: analysis.clone() })?;
    let job = engine.run_job_here(&job.id, &StopSignal::default(), &mut |_| {}, &NoProgress)?;
    match (job.state, job.failure) {
        (JobState::Succeeded, _) => Ok(()),
        (_, Some(failure)) => Err(BenchError::Job(failure.message)),
        (state, None) => Err(BenchError::Job(format!("it is {}", state.as_str()))),
    }
}

/// A collection of drawn documents, a few thousand in memory at a time.
fn fill(store: &Store, task: &ScaleTask, count: usize, seed: u64) -> Result<(), BenchError> {
    let info = EmbedderInfo {
        model: "clustered".to_owned(),
        dimension: task.shape.dimension.get(),
        max_tokens: 512,
        fingerprint: format!("clustered-{seed}"),
    };
    let collection = store.create(COLLECTION, &info)?;
    let mut words = ChaCha8Rng::seed_from_u64(seed);
    let mut drawn = corpus::Clusters::new(task.shape, seed)?;
    for begin in (0..count).step_by(INSERT) {
        let mut documents = Vec::with_capacity(INSERT);
        for at in begin..count.min(begin + INSERT) {
            let text: Vec<String> = (0..WORDS).map(|_| format!("word{}", words.random_range(0..VOCABULARY))).collect();
            let text = text.join(" ");
            let chunk = NewChunk {
                span: ByteSpan { start: 0, end: text.len() },
                text: text.clone(),
                tokens: WORDS as u32,
                embedding: drawn.draw()?,
            };
            let id = DocumentId::new(format!("d{at:07}"))?;
            let document = Document { id, title: None, text, attributes: Attributes::new() };
            documents.push(NewDocument { document, fingerprint: String::new(), chunks: vec![chunk] });
        }
        collection.upsert(&documents)?;
    }
    Ok(())
}
