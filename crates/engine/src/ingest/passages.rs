//! Cuts documents into passages and embeds them.

use anser_core::{CancelToken, Document, EmbedPurpose, Embedded, Embedder, ErrorKind};
use anser_index::{NewChunk, NewDocument};

use super::batch::{Incoming, Made, patiently};
use super::chunking::{ChunkSpan, Chunker};
use super::{IngestReport, RowError};
use crate::EngineError;

/// Texts handed to the embedder in one call: progress moves, and cancelling is heard, within long documents too.
const EMBED_TEXTS: usize = 128;

/// A document with the texts to embed.
struct Prepared {
    incoming: Incoming,
    fingerprint: String,
    chunks: Vec<ChunkSpan>,
    passages: Vec<String>,
}

/// Embeds documents with a model.
pub(super) struct PassageEmbedder<'a> {
    pub(super) embedder: &'a dyn Embedder,
    pub(super) chunker: &'a Chunker<'a>,
    pub(super) cancel: &'a CancelToken,
}

impl PassageEmbedder<'_> {
    /// The documents with their fingerprints, cut and embedded; `advance` hears which share of it is embedded.
    pub(super) fn documents(
        &self,
        incoming: Vec<(Incoming, String)>,
        report: &mut IngestReport,
        advance: &mut dyn FnMut(f64),
    ) -> Result<Vec<Made>, EngineError> {
        let prepare = |(incoming, fingerprint)| self.prepare(incoming, fingerprint);
        let prepared = incoming.into_iter().map(prepare).collect::<Result<Vec<_>, _>>()?;
        self.embed(prepared, report, advance)
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
    ) -> Result<Vec<Made>, EngineError> {
        let all: Vec<&String> = prepared.iter().flat_map(|document| &document.passages).collect();
        match self.vectors(&all, advance) {
            Ok(vectors) => {
                let mut vectors = vectors.into_iter();
                Ok(prepared.into_iter().map(|document| assemble(document, &mut vectors)).collect())
            }
            Err(error) if error.kind() == ErrorKind::InvalidInput => self.embed_each(prepared, report),
            Err(error) => Err(error),
        }
    }

    fn embed_each(&self, prepared: Vec<Prepared>, report: &mut IngestReport) -> Result<Vec<Made>, EngineError> {
        let mut documents = Vec::with_capacity(prepared.len());
        for document in prepared {
            match self.vectors(&document.passages.iter().collect::<Vec<_>>(), &mut |_| ()) {
                Ok(vectors) => documents.push(assemble(document, &mut vectors.into_iter())),
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
fn assemble(prepared: Prepared, vectors: &mut impl Iterator<Item = Embedded>) -> Made {
    let Prepared { incoming, fingerprint, chunks, .. } = prepared;
    let document = incoming.document;
    let mut truncated = 0;
    let chunks = chunks
        .into_iter()
        .zip(vectors)
        .map(|(chunk, embedded)| {
            truncated += u64::from(embedded.truncated);
            NewChunk {
                span: chunk.span,
                text: chunk.span.slice(&document.text).unwrap_or_default().to_owned(),
                tokens: u32::try_from(chunk.tokens).unwrap_or(u32::MAX),
                embedding: embedded.embedding,
            }
        })
        .collect();
    Made { document: NewDocument { document, fingerprint, chunks }, truncated }
}
