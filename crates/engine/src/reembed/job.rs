//! The job: embed what has no vector yet, make segments, compare, exchange.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anser_core::{
    CancelToken, ChunkId, EmbedPurpose, Embedded, Embedder, Embedding, ErrorKind, Progress, ProgressUnit, StopReason,
    storage,
};
use anser_index::{ChunkText, Reembedding, Store};

use super::{ReembedReport, ReembedRequest, made_already};
use crate::ingest::{passage, patiently};
use crate::jobs::{JobContext, JobEnd, JobKind, Moment, pass, write_detail, write_done};
use crate::{EngineError, EventLevel, ServedModels};

/// Name in the table of jobs.
pub(crate) const KIND: &str = "reembed";

/// File in the job's folder that says what came of it, written before the vectors are exchanged.
const REPORT: &str = "report.json";
/// Neighbours compared of each chunk.
const NEIGHBOURS: usize = 10;
/// Chunks to compare are drawn by this.
const SEED: u64 = 5;
/// Segments are made again so often when chunks come meanwhile; what is missing in them then is searched without.
const PREPARATIONS: usize = 3;
/// Memory for links and codes of a vector's row, beside the row itself.
const ROW_OVERHEAD: u64 = 1024;
/// How often a resting job looks whether it is to stop.
const LOOK: Duration = Duration::from_millis(100);

/// What these jobs work with.
pub(crate) struct ReembedJobs {
    pub(crate) store: Arc<Store>,
    pub(crate) models: Arc<ServedModels>,
}

impl JobKind for ReembedJobs {
    fn name(&self) -> &'static str {
        KIND
    }

    fn run(&self, context: &JobContext<'_>) -> Result<JobEnd, EngineError> {
        let request: ReembedRequest = context.request()?;
        let collection = self.store.get(&request.collection)?;
        if collection.embedder().fingerprint == request.embedder.fingerprint {
            // A run before this one died between the exchange and the job's end.
            let written = read_report(context)?;
            let report = written.ok_or_else(|| made_already(&request.collection, &request.embedder))?;
            return Ok(done(context, report));
        }
        let making = collection.reembed(&request.embedder)?;
        let run = Run { kind: self, context, request: &request, making: &making, cancel: context.stop().token() };
        match run.work() {
            Ok(report) => Ok(done(context, report)),
            Err(error) => {
                let given_up = match error.kind() {
                    ErrorKind::Cancelled => context.stop().get() == Some(StopReason::Cancel),
                    // Without the model nothing more can come of what was begun for a rollback.
                    ErrorKind::Unavailable => true,
                    _ => false,
                };
                if given_up {
                    making.abandon()?;
                }
                Err(error)
            }
        }
    }
}

/// One run under way.
struct Run<'a, 'c> {
    kind: &'a ReembedJobs,
    context: &'a JobContext<'c>,
    request: &'a ReembedRequest,
    making: &'a Reembedding,
    cancel: CancelToken,
}

/// What a run embedded.
#[derive(Default)]
struct Embeddings {
    embedded: u64,
    truncated: u64,
}

impl Run<'_, '_> {
    fn work(&self) -> Result<ReembedReport, EngineError> {
        let begun = Instant::now();
        let chunks = self.making.chunks()?.total;
        let row = (self.request.embedder.dimension as u64).saturating_mul(4);
        // The rows once as they are read and once as they are sorted into a segment.
        let _reserved = self.context.reserve_memory(chunks.saturating_mul(2 * row + ROW_OVERHEAD))?;
        let mut made = Embeddings::default();
        for _ in 0..PREPARATIONS {
            self.embed_all(&mut made)?;
            pass(Moment::Collected)?;
            self.context.progress().start("making segments", None, ProgressUnit::Items);
            if self.making.prepare(&self.cancel)? {
                break;
            }
        }
        self.context.progress().start("comparing neighbours", None, ProgressUnit::Items);
        let options = &self.request.options;
        let overlap = match chunks {
            0 => None,
            _ => self.making.overlap(options.queries, NEIGHBOURS, SEED, &self.cancel)?,
        };
        let mut report = ReembedReport {
            collection: self.request.collection.clone(),
            from: self.making.searched().embedder().model.clone(),
            to: self.request.embedder.model.clone(),
            chunks,
            embedded: made.embedded,
            truncated: made.truncated,
            overlap,
            seconds: begun.elapsed().as_secs_f64(),
        };
        loop {
            self.embed_all(&mut made)?;
            report.chunks = self.making.chunks()?.total;
            (report.embedded, report.truncated) = (made.embedded, made.truncated);
            write_report(self.context, &report)?;
            self.cancel.check()?;
            pass(Moment::BeforeMove)?;
            if self.making.swap()? {
                break;
            }
        }
        pass(Moment::AfterMove)?;
        Ok(report)
    }

    /// Embeds every chunk that has no vector yet, those that come meanwhile too.
    fn embed_all(&self, made: &mut Embeddings) -> Result<(), EngineError> {
        let options = &self.request.options;
        let mut first = self.making.next(options.batch)?;
        if first.is_empty() {
            return Ok(());
        }
        let embedder = self.embedder()?;
        let progress = self.context.progress();
        let chunks = self.making.chunks()?;
        progress.start("embedding", Some(chunks.total), ProgressUnit::Items);
        let mut done = chunks.done;
        while !first.is_empty() {
            self.cancel.check()?;
            pass(Moment::Read)?;
            let begun = Instant::now();
            let embedded = self.embed(embedder.as_ref(), &first)?;
            made.embedded += embedded.len() as u64;
            made.truncated += embedded.iter().filter(|embedded| embedded.truncated).count() as u64;
            let vectors: Vec<(ChunkId, Embedding)> =
                first.iter().zip(embedded).map(|(chunk, embedded)| (chunk.id, embedded.embedding)).collect();
            patiently(&self.cancel, || self.making.store(&vectors).map_err(EngineError::from))?;
            self.context.checkpoint()?;
            done += vectors.len() as u64;
            progress.set(done);
            pass(Moment::Write)?;
            self.rest(begun.elapsed())?;
            first = self.making.next(options.batch)?;
        }
        progress.finish();
        Ok(())
    }

    /// The model, if it is the one that the job was made for.
    fn embedder(&self) -> Result<Arc<dyn Embedder>, EngineError> {
        let wanted = &self.request.embedder;
        let missing = |why: String| {
            let message = match self.making.chunks() {
                Ok(chunks) => format!(
                    "{} of {} chunks of \"{}\" have no vector of {} yet and {why}; {}",
                    chunks.total - chunks.done,
                    chunks.total,
                    self.request.collection,
                    wanted.model,
                    if wanted.is_external() {
                        "delete their documents and ingest them with those vectors afterwards".to_owned()
                    } else {
                        format!("start with --embedder {}", wanted.model)
                    }
                ),
                Err(e) => e.to_string(),
            };
            EngineError::from(anser_core::Error::new(ErrorKind::Unavailable, message))
        };
        if wanted.is_external() {
            return Err(missing("those are brought along, so that nobody can make them".to_owned()));
        }
        let (loaded, _) = self
            .kind
            .models
            .embedder_for(&self.request.collection)
            .map_err(|e| missing(format!("it cannot be loaded ({e})")))?;
        if loaded.info().fingerprint != wanted.fingerprint {
            return Err(missing(format!("{} is loaded", loaded.info().model)));
        }
        Ok(loaded)
    }

    fn embed(&self, embedder: &dyn Embedder, chunks: &[ChunkText]) -> Result<Vec<Embedded>, EngineError> {
        let texts = chunks
            .iter()
            .map(|chunk| passage(embedder, chunk.title.as_deref(), &chunk.text, embedder.count_tokens(&chunk.text)?))
            .collect::<anser_core::Result<Vec<String>>>()?;
        let embedded = patiently(&self.cancel, || {
            embedder.embed(&texts, EmbedPurpose::Passage, &self.cancel).map_err(EngineError::from)
        })?;
        if embedded.len() != texts.len() {
            let message = format!("the embedder returned {} vectors for {} texts", embedded.len(), texts.len());
            return Err(EngineError::internal(message));
        }
        Ok(embedded)
    }

    /// Leaves the machine to others for as long as the share of time that was asked for says.
    fn rest(&self, worked: Duration) -> Result<(), EngineError> {
        let load = self.request.options.load;
        let mut left = worked.mul_f64((1.0 - load) / load);
        while !left.is_zero() {
            self.cancel.check()?;
            let pause = left.min(LOOK);
            thread::sleep(pause);
            left -= pause;
        }
        Ok(())
    }
}

fn done(context: &JobContext<'_>, report: ReembedReport) -> JobEnd {
    context.log(EventLevel::Info, report.to_string(), None);
    let key = context.key();
    JobEnd::Done(Box::new(move |tx| {
        write_detail(tx, key, &report)?;
        write_done(tx, key, report.chunks, "chunks")?;
        Ok(Box::new(|| {}))
    }))
}

fn write_report(context: &JobContext<'_>, report: &ReembedReport) -> Result<(), EngineError> {
    let json = serde_json::to_vec(report).map_err(|e| EngineError::internal(e.to_string()))?;
    Ok(storage::write_atomic(&context.folder().join(REPORT), &json)?)
}

/// What a run that came to the exchange said; `None` when none did.
fn read_report(context: &JobContext<'_>) -> Result<Option<ReembedReport>, EngineError> {
    let path = context.folder().join(REPORT);
    let json = match std::fs::read(&path) {
        Ok(json) => json,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(EngineError::io("read", &path, e)),
    };
    let read = serde_json::from_slice(&json);
    read.map(Some).map_err(|e| EngineError::internal(format!("{} cannot be read: {e}", path.display())))
}
