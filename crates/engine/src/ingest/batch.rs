//! Stores documents with their vectors, one durable transaction for each batch. Documents that are stored already are
//! recognised before they are embedded, which is what makes an interrupted ingest cheap to repeat.

use std::collections::HashMap;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anser_core::{ByteSpan, CancelToken, Document, DocumentId, Embedder, Embedding, ErrorKind};
use anser_index::{Collection, NewChunk, NewDocument};

use super::chunking::Chunker;
use super::identity::FingerprintBase;
use super::passages::PassageEmbedder;
use super::{IngestOptions, IngestReport};
use crate::EngineError;

/// A batch is complete when its texts have this many bytes together, however few documents there are.
const BATCH_BYTES: usize = 256 << 10;

/// Batches are this much larger when nothing has to be embedded: then the transactions take most of the time.
const WITHOUT_EMBEDDING: usize = 16;

/// How long a full queue is waited for at first, and at most between two attempts.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(1));

/// How often a queue may be full before the ingest gives up: about five minutes.
const BACKOFF_ATTEMPTS: usize = 300;

/// A document on its way into the collection.
#[derive(Debug, Clone)]
pub(super) struct Incoming {
    pub(super) document: Document,
    pub(super) markdown: bool,
    /// The vector that the row brings along.
    pub(super) vector: Option<Embedding>,
    pub(super) line: Option<u64>,
    pub(super) row: u64,
}

/// Who makes the vectors of a collection.
enum Maker<'a> {
    /// An embedder, which also says how texts are cut.
    Embedder(&'a dyn Embedder, Chunker<'a>),
    /// Whoever made the rows: each document is one chunk.
    Rows,
}

/// Collects documents and writes them in batches.
pub(super) struct BatchWriter<'a> {
    collection: Arc<Collection>,
    maker: Maker<'a>,
    fingerprints: FingerprintBase,
    cancel: &'a CancelToken,
    capacity: usize,
    batch_bytes: usize,
    batch: Vec<Incoming>,
    bytes: usize,
}

impl<'a> BatchWriter<'a> {
    /// A writer of documents with the vectors of `embedder`, or, without one, with those that they bring along.
    pub(super) fn new(
        collection: Arc<Collection>,
        embedder: Option<&'a dyn Embedder>,
        options: &IngestOptions,
        cancel: &'a CancelToken,
    ) -> Result<Self, EngineError> {
        let maker = match embedder {
            Some(embedder) => Maker::Embedder(embedder, Chunker::new(embedder, options)?),
            None => Maker::Rows,
        };
        let larger = if embedder.is_some() { 1 } else { WITHOUT_EMBEDDING };
        Ok(Self {
            fingerprints: FingerprintBase::new(collection.embedder(), options),
            collection,
            maker,
            cancel,
            capacity: options.batch_documents.max(1) * larger,
            batch_bytes: BATCH_BYTES * larger,
            batch: Vec::new(),
            bytes: 0,
        })
    }

    /// Adds a document; `true` when the batch is complete and wants to be flushed.
    pub(super) fn push(&mut self, incoming: Incoming) -> bool {
        self.bytes += incoming.document.text.len();
        self.batch.push(incoming);
        self.batch.len() >= self.capacity || self.bytes >= self.batch_bytes
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
        let documents = match &self.maker {
            Maker::Rows => changed.into_iter().filter_map(brought_along).collect(),
            Maker::Embedder(embedder, chunker) => PassageEmbedder { embedder: *embedder, chunker, cancel: self.cancel }
                .documents(changed, report, advance)?,
        };
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
            let fingerprint = self.fingerprints.of(&incoming.document, incoming.markdown, incoming.vector.as_ref());
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
}

/// A document that brought its vector along, as one chunk without white space at its ends. Nobody counted its tokens.
fn brought_along((incoming, fingerprint): (Incoming, String)) -> Option<NewDocument> {
    let (document, embedding) = (incoming.document, incoming.vector?);
    let start = document.text.len() - document.text.trim_start().len();
    let text = document.text.trim().to_owned();
    let span = ByteSpan::new(start, start + text.len())?;
    Some(NewDocument { document, fingerprint, chunks: vec![NewChunk { span, text, tokens: 0, embedding }] })
}

/// Repeats `call` while what it needs is overloaded, waiting longer each time.
pub(crate) fn patiently<T>(
    cancel: &CancelToken,
    mut call: impl FnMut() -> Result<T, EngineError>,
) -> Result<T, EngineError> {
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
