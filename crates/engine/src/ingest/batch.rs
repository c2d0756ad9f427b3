//! Embeds documents and stores them, one durable transaction for each batch. Documents that are stored already are
//! recognised before they are embedded, which is what makes an interrupted ingest cheap to repeat.

use std::collections::HashMap;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anser_core::{CancelToken, Document, DocumentId, EmbedPurpose, Embedded, Embedder, ErrorKind};
use anser_index::{Collection, NewChunk, NewDocument};

use super::chunking::{ChunkSpan, Chunker};
use super::identity::FingerprintBase;
use super::{IngestOptions, IngestReport, RowError};
use crate::EngineError;

/// Texts handed to the embedder in one call: progress moves, and cancelling is heard, within long documents too.
const EMBED_TEXTS: usize = 128;

/// A batch is complete when its texts have this many bytes together, however few documents there are.
const BATCH_BYTES: usize = 256 << 10;

/// How long a full queue is waited for at first, and at most between two attempts.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(1));

/// How often a queue may be full before the ingest gives up: about five minutes.
const BACKOFF_ATTEMPTS: usize = 300;

/// A document on its way into the collection.
#[derive(Debug, Clone)]
pub(super) struct Incoming {
    pub(super) document: Document,
    pub(super) markdown: bool,
    pub(super) line: Option<u64>,
    pub(super) row: u64,
}

/// A document with the texts to embed.
struct Prepared {
    incoming: Incoming,
    fingerprint: String,
    chunks: Vec<ChunkSpan>,
    passages: Vec<String>,
}

/// Collects documents and writes them in batches.
pub(super) struct BatchWriter<'a> {
    collection: Arc<Collection>,
    embedder: &'a dyn Embedder,
    chunker: Chunker<'a>,
    fingerprints: FingerprintBase,
    cancel: &'a CancelToken,
    capacity: usize,
    batch: Vec<Incoming>,
    bytes: usize,
}

impl<'a> BatchWriter<'a> {
    pub(super) fn new(
        collection: Arc<Collection>,
        embedder: &'a dyn Embedder,
        options: &IngestOptions,
        cancel: &'a CancelToken,
    ) -> Result<Self, EngineError> {
        Ok(Self {
            collection,
            embedder,
            chunker: Chunker::new(embedder, options)?,
            fingerprints: FingerprintBase::new(embedder.info(), options),
            cancel,
            capacity: options.batch_documents.max(1),
            batch: Vec::new(),
            bytes: 0,
        })
    }

    /// Adds a document; `true` when the batch is complete and wants to be flushed.
    pub(super) fn push(&mut self, incoming: Incoming) -> bool {
        self.bytes += incoming.document.text.len();
        self.batch.push(incoming);
        self.batch.len() >= self.capacity || self.bytes >= BATCH_BYTES
    }

    /// Embeds and stores what was pushed; `advance` hears which share of it is embedded. All of it is durable when
    /// this returns, or nothing.
    pub(super) fn flush(&mut self, report: &mut IngestReport, advance: &mut dyn FnMut(f64)) -> Result<(), EngineError> {
        let batch = std::mem::take(&mut self.batch);
        self.bytes = 0;
        if batch.is_empty() {
            return Ok(());
        }
        self.cancel.check()?;
        let changed = self.without_unchanged(batch, report)?;
        let mut prepared = Vec::with_capacity(changed.len());
        for (incoming, fingerprint) in changed {
            prepared.push(self.prepare(incoming, fingerprint)?);
        }
        let documents = self.embed(prepared, report, advance)?;
        if documents.is_empty() {
            return Ok(());
        }
        let chunks: usize = documents.iter().map(|document| document.chunks.len()).sum();
        let outcome = patiently(self.cancel, || self.collection.upsert(&documents).map_err(EngineError::from))?;
        report.rows += documents.len() as u64;
        report.inserted += outcome.inserted as u64;
        report.replaced += outcome.replaced as u64;
        report.unchanged += outcome.unchanged as u64;
        report.chunks += chunks as u64;
        Ok(())
    }

    /// Drops documents that are stored already just so, and all but the last one of each id, and counts them.
    fn without_unchanged(
        &self,
        batch: Vec<Incoming>,
        report: &mut IngestReport,
    ) -> Result<Vec<(Incoming, String)>, EngineError> {
        let ids: Vec<DocumentId> = batch.iter().map(|incoming| incoming.document.id.clone()).collect();
        let stored = self.collection.fingerprints(&ids)?;
        let mut places: HashMap<DocumentId, usize> = HashMap::with_capacity(batch.len());
        let mut last: Vec<(Incoming, String)> = Vec::with_capacity(batch.len());
        for incoming in batch {
            let fingerprint = self.fingerprints.of(&incoming.document, incoming.markdown);
            if let Some(earlier) = places.get(&incoming.document.id).and_then(|at| last.get_mut(*at)) {
                report.rows += 1;
                *(if earlier.1 == fingerprint { &mut report.unchanged } else { &mut report.replaced }) += 1;
                *earlier = (incoming, fingerprint);
            } else {
                places.insert(incoming.document.id.clone(), last.len());
                last.push((incoming, fingerprint));
            }
        }
        let before = last.len();
        last.retain(|(incoming, fingerprint)| stored.get(&incoming.document.id) != Some(fingerprint));
        let unchanged = (before - last.len()) as u64;
        report.rows += unchanged;
        report.unchanged += unchanged;
        Ok(last)
    }

    fn prepare(&self, incoming: Incoming, fingerprint: String) -> Result<Prepared, EngineError> {
        let Document { title, text, .. } = &incoming.document;
        let chunks = self.chunker.split(text, incoming.markdown)?;
        let passages = chunks
            .iter()
            .map(|chunk| {
                let slice = chunk.span.slice(text).unwrap_or_default();
                self.chunker.passage(title.as_deref(), slice, chunk.tokens)
            })
            .collect::<anser_core::Result<_>>()?;
        Ok(Prepared { incoming, fingerprint, chunks, passages })
    }

    /// Embeds all documents together, or, when the embedder refuses one of the texts, each by itself, so that only
    /// the refused one is rejected.
    fn embed(
        &self,
        prepared: Vec<Prepared>,
        report: &mut IngestReport,
        advance: &mut dyn FnMut(f64),
    ) -> Result<Vec<NewDocument>, EngineError> {
        let all: Vec<&String> = prepared.iter().flat_map(|document| &document.passages).collect();
        match self.vectors(&all, advance) {
            Ok(vectors) => {
                let mut vectors = vectors.into_iter();
                Ok(prepared.into_iter().map(|document| assemble(document, &mut vectors, report)).collect())
            }
            Err(error) if error.kind() == ErrorKind::InvalidInput => self.embed_each(prepared, report),
            Err(error) => Err(error),
        }
    }

    fn embed_each(&self, prepared: Vec<Prepared>, report: &mut IngestReport) -> Result<Vec<NewDocument>, EngineError> {
        let mut documents = Vec::with_capacity(prepared.len());
        for document in prepared {
            match self.vectors(&document.passages.iter().collect::<Vec<_>>(), &mut |_| ()) {
                Ok(vectors) => documents.push(assemble(document, &mut vectors.into_iter(), report)),
                Err(error) if error.kind() == ErrorKind::InvalidInput => {
                    let Incoming { line, row, .. } = document.incoming;
                    let message = format!("the text cannot be embedded: {error}");
                    report.reject(RowError { line, row: Some(row), field: None, message });
                }
                Err(error) => return Err(error),
            }
        }
        Ok(documents)
    }

    fn vectors(&self, texts: &[&String], advance: &mut dyn FnMut(f64)) -> Result<Vec<Embedded>, EngineError> {
        let mut vectors = Vec::with_capacity(texts.len());
        for part in texts.chunks(EMBED_TEXTS) {
            let part: Vec<String> = part.iter().map(|text| (*text).clone()).collect();
            let embedded = patiently(self.cancel, || {
                self.embedder.embed(&part, EmbedPurpose::Passage, self.cancel).map_err(EngineError::from)
            })?;
            if embedded.len() != part.len() {
                let (got, wanted) = (embedded.len(), part.len());
                let message = format!("the embedder returned {got} vectors for {wanted} texts");
                return Err(anser_core::Error::internal(message).into());
            }
            vectors.extend(embedded);
            advance(vectors.len() as f64 / texts.len() as f64);
        }
        Ok(vectors)
    }
}

/// Puts a document together with the next of `vectors`, one for each of its chunks.
fn assemble(
    prepared: Prepared,
    vectors: &mut impl Iterator<Item = Embedded>,
    report: &mut IngestReport,
) -> NewDocument {
    let Prepared { incoming, fingerprint, chunks, .. } = prepared;
    let document = incoming.document;
    let chunks = chunks
        .into_iter()
        .zip(vectors)
        .map(|(chunk, embedded)| {
            report.truncated_chunks += u64::from(embedded.truncated);
            NewChunk {
                span: chunk.span,
                text: chunk.span.slice(&document.text).unwrap_or_default().to_owned(),
                tokens: u32::try_from(chunk.tokens).unwrap_or(u32::MAX),
                embedding: embedded.embedding,
            }
        })
        .collect();
    NewDocument { document, fingerprint, chunks }
}

/// Repeats `call` while what it needs is overloaded, waiting longer each time.
fn patiently<T>(cancel: &CancelToken, mut call: impl FnMut() -> Result<T, EngineError>) -> Result<T, EngineError> {
    let (mut pause, longest) = BACKOFF;
    for _ in 0..BACKOFF_ATTEMPTS {
        match call() {
            Err(error) if error.kind() == ErrorKind::Overloaded => {
                cancel.check()?;
                thread::sleep(pause);
                pause = (pause * 2).min(longest);
            }
            other => return other,
        }
    }
    call()
}
