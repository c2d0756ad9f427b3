//! What is done with a batch of documents on its way into a collection, one durable transaction for each. Documents that are stored already are
//! recognised before they are embedded, which is what makes an interrupted ingest cheap to repeat.

use std::collections::{HashMap, HashSet};
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

/// A document with its vectors, ready to be stored.
pub(super) struct Made {
    pub(super) document: NewDocument,
    /// Chunks that were longer than the embedder reads.
    pub(super) truncated: u64,
}

/// What is done with batches of documents; shared by the threads that do it.
pub(super) struct BatchMaker<'a> {
    collection: Arc<Collection>,
    maker: Maker<'a>,
    fingerprints: FingerprintBase,
    pub(super) cancel: &'a CancelToken,
    capacity: usize,
    batch_bytes: usize,
}

impl<'a> BatchMaker<'a> {
    /// For documents with the vectors of `embedder`, or, without one, with those that they bring along.
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
        })
    }

    /// Whether a batch of so many documents with so many bytes of text is complete.
    pub(super) fn is_complete(&self, documents: usize, bytes: usize) -> bool {
        documents >= self.capacity || bytes >= self.batch_bytes
    }

    /// Whether vectors are made here.
    pub(super) fn embeds(&self) -> bool {
        matches!(self.maker, Maker::Embedder(..))
    }

    /// Cuts and embeds documents, each with its fingerprint; `advance` hears which share of them is embedded. Those that
    /// the embedder refuses are reported and left out.
    pub(super) fn make(
        &self,
        documents: Vec<(Incoming, String)>,
        report: &mut IngestReport,
        advance: &mut dyn FnMut(f64),
    ) -> Result<Vec<Made>, EngineError> {
        if documents.is_empty() {
            return Ok(Vec::new());
        }
        match &self.maker {
            Maker::Rows => Ok(documents.into_iter().filter_map(brought_along).collect()),
            Maker::Embedder(embedder, chunker) => {
                self.cancel.check()?;
                PassageEmbedder { embedder: *embedder, chunker, cancel: self.cancel }
                    .documents(documents, report, advance)
            }
        }
    }

    /// Stores documents and counts them. All of it is durable when this returns, or nothing. `look_again`: some of them may
    /// have been stored just so since [`BatchMaker::without_unchanged`] looked.
    pub(super) fn store(
        &self,
        mut documents: Vec<Made>,
        look_again: bool,
        report: &mut IngestReport,
    ) -> Result<(), EngineError> {
        if look_again {
            let ids: Vec<DocumentId> = documents.iter().map(|made| made.document.document.id.clone()).collect();
            let stored = self.collection.fingerprints(&ids)?;
            let before = documents.len();
            documents.retain(|made| stored.get(&made.document.document.id) != Some(&made.document.fingerprint));
            let unchanged = (before - documents.len()) as u64;
            report.rows += unchanged;
            report.unchanged += unchanged;
        }
        if documents.is_empty() {
            return Ok(());
        }
        let truncated: u64 = documents.iter().map(|made| made.truncated).sum();
        let documents: Vec<NewDocument> = documents.into_iter().map(|made| made.document).collect();
        let chunks: usize = documents.iter().map(|document| document.chunks.len()).sum();
        let outcome = patiently(self.cancel, || self.collection.upsert(&documents).map_err(EngineError::from))?;
        report.rows += documents.len() as u64;
        report.inserted += outcome.inserted as u64;
        report.replaced += outcome.replaced as u64;
        report.unchanged += outcome.unchanged as u64;
        report.chunks += chunks as u64;
        report.truncated_chunks += truncated;
        Ok(())
    }

    /// Drops documents that are stored already just so, and all but the last one of each id, and counts them. What is
    /// stored says nothing about documents that are `under_way`: they are all kept.
    pub(super) fn without_unchanged(
        &self,
        batch: Vec<Incoming>,
        under_way: &HashSet<DocumentId>,
        report: &mut IngestReport,
    ) -> Result<Vec<(Incoming, String)>, EngineError> {
        if batch.is_empty() {
            return Ok(Vec::new());
        }
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
        last.retain(|(incoming, fingerprint)| {
            let id = &incoming.document.id;
            under_way.contains(id) || stored.get(id) != Some(fingerprint)
        });
        let unchanged = (before - last.len()) as u64;
        report.rows += unchanged;
        report.unchanged += unchanged;
        Ok(last)
    }
}

/// A document that brought its vector along, as one chunk without white space at its ends. Nobody counted its tokens.
fn brought_along((incoming, fingerprint): (Incoming, String)) -> Option<Made> {
    let (document, embedding) = (incoming.document, incoming.vector?);
    let start = document.text.len() - document.text.trim_start().len();
    let text = document.text.trim().to_owned();
    let span = ByteSpan::new(start, start + text.len())?;
    let chunks = vec![NewChunk { span, text, tokens: 0, embedding }];
    Some(Made { document: NewDocument { document, fingerprint, chunks }, truncated: 0 })
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
