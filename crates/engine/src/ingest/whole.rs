//! Vectors of texts that are not kept, made as those of documents are.

use anser_core::{CancelToken, EmbedPurpose, Embedder, Embedding};

use super::IngestOptions;
use super::chunking::Chunker;
use crate::EngineError;

/// One vector for each text: the normalised mean of its chunks' vectors, as a document of the same text without a title has
/// in an analysis. A blank text is `InvalidInput`.
pub(crate) fn embed_whole(
    embedder: &dyn Embedder,
    texts: &[String],
    cancel: &CancelToken,
) -> Result<Vec<Embedding>, EngineError> {
    let chunker = Chunker::new(embedder, &IngestOptions::default())?;
    let (mut passages, mut owners) = (Vec::new(), Vec::new());
    for (at, text) in texts.iter().enumerate() {
        let chunks = chunker.split(text, false)?;
        if chunks.is_empty() {
            return Err(EngineError::invalid("texts", format!("text {at} is blank; leave it out")));
        }
        for chunk in chunks {
            passages.push(chunker.passage(None, chunk.span.slice(text).unwrap_or_default(), chunk.tokens)?);
            owners.push(at);
        }
    }
    let mut sums: Vec<Vec<f32>> = vec![Vec::new(); texts.len()];
    let mut firsts: Vec<Option<Embedding>> = vec![None; texts.len()];
    let embedded = embedder.embed(&passages, EmbedPurpose::Passage, cancel)?;
    for (at, embedded) in owners.into_iter().zip(embedded) {
        let vector = embedded.embedding;
        if sums[at].is_empty() {
            sums[at] = vec![0.0; vector.dimension()];
        }
        sums[at].iter_mut().zip(vector.as_slice()).for_each(|(sum, value)| *sum += value);
        firsts[at].get_or_insert(vector);
    }
    // Vectors that cancel out have no mean direction; then the first chunk stands for all.
    let mean = |(sum, first): (Vec<f32>, Option<Embedding>)| {
        Embedding::normalize(sum).ok().or(first).ok_or_else(|| EngineError::internal("a text got no vector"))
    };
    sums.into_iter().zip(firsts).map(mean).collect()
}
