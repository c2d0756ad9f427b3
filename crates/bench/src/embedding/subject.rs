//! Who embeds: Anser in several ways, and peers that are given the same weights.

use std::fs;
use std::path::Path;

use anser_core::{CancelToken, EmbedPurpose, Embedder, Embedding};
use anser_embed::TextEmbedder;
use anser_models::{Encoder, GraphFormat, ModelFiles, Pooling};
use serde::Deserialize;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::task::{EmbeddingPeer, FormatName, PeerProgram, Subject};
use crate::error::BenchError;
use crate::peer::Peer;
use crate::report::{PeerRecord, PeerState, Quality};
use crate::run::{Findings, Run};

/// One of Anser's ways, loaded.
pub(crate) struct LoadedSubject {
    pub(crate) label: String,
    pub(crate) embedder: TextEmbedder,
}

impl LoadedSubject {
    /// Loads it. `None` when this machine, model or build has no such way; the findings then say why.
    pub(crate) fn load(
        run: &Run,
        files: &ModelFiles,
        subject: &Subject,
        threads: usize,
        findings: &mut Findings,
    ) -> Result<Option<Self>, BenchError> {
        let label = subject.label.clone();
        match TextEmbedder::load(files, &run.runtime()?, &subject.options(threads)) {
            Ok(embedder) => Ok(Some(Self { label, embedder })),
            Err(error) => {
                findings.record(PeerRecord { label, state: PeerState::Absent(error.to_string()) });
                Ok(None)
            }
        }
    }

    pub(crate) fn embed(&self, texts: &[String]) -> Result<Vec<Embedding>, BenchError> {
        let embedded = self.embedder.embed(texts, EmbedPurpose::Passage, &CancelToken::new())?;
        Ok(embedded.into_iter().map(|e| e.embedding).collect())
    }

    pub(crate) fn format(&self) -> Option<FormatName> {
        FormatName::of_backend(self.embedder.backend())
    }
}

/// A model's files as peers want them.
pub(crate) struct PeerModel {
    folder: TempDir,
    pooling: &'static str,
    dimension: usize,
    max_tokens: usize,
}

impl PeerModel {
    /// A folder with the model in f32 as ONNX, and its tokenizer. A model that comes as safetensors is converted.
    pub(crate) fn new(files: &ModelFiles, embedder: &TextEmbedder) -> Result<Self, BenchError> {
        let folder = TempDir::new().map_err(BenchError::io("create a folder in", &std::env::temp_dir()))?;
        let onnx = folder.path().join("model.onnx");
        let pooling = files.spec.pooling.unwrap_or(Pooling::Cls);
        match files.path("model.onnx") {
            Ok(path) => drop(fs::copy(&path, &onnx).map_err(BenchError::io("copy", &path))?),
            Err(_) => Encoder::read(files)?.to_onnx(pooling, GraphFormat::F32)?.write(&onnx)?,
        }
        for name in ["tokenizer.json", "config.json", "tokenizer_config.json"] {
            let path = files.path(name)?;
            fs::copy(&path, folder.path().join(name)).map_err(BenchError::io("copy", &path))?;
        }
        // fastembed wants the file; what it says stands in the tokenizer already.
        let special = folder.path().join("special_tokens_map.json");
        fs::write(&special, "{}").map_err(BenchError::io("write", &special))?;
        let pooling = if pooling == Pooling::Mean { "mean" } else { "cls" };
        let info = embedder.info();
        Ok(Self { folder, pooling, dimension: info.dimension, max_tokens: info.max_tokens })
    }

    fn request(&self, peer: &EmbeddingPeer, threads: usize) -> Value {
        json!({
            "op": "load",
            "folder": self.folder.path(),
            "pooling": self.pooling,
            "dimension": self.dimension,
            "max_tokens": self.max_tokens,
            "threads": threads,
            "int8": peer.format == FormatName::Int8,
        })
    }
}

/// The vectors that a peer made, and how long that took.
#[derive(Deserialize)]
pub(crate) struct Embedded {
    pub(crate) seconds: f64,
    pub(crate) vectors: Vec<Vec<f32>>,
}

/// A peer that is ready.
pub(crate) struct LoadedPeer<'a> {
    pub(crate) peer: &'a EmbeddingPeer,
    process: Peer,
}

impl<'a> LoadedPeer<'a> {
    /// Starts it; `None` when it cannot be had here, and the findings say why.
    pub(crate) fn start(
        run: &Run,
        peer: &'a EmbeddingPeer,
        model: &PeerModel,
        threads: usize,
        findings: &mut Findings,
    ) -> Option<Self> {
        let script = match peer.program {
            PeerProgram::Onnxruntime => "onnx_embed.py",
            PeerProgram::Fastembed => "fastembed_embed.py",
        };
        let process = run.peer(&peer.label, script, threads, &model.request(peer, threads), findings)?;
        Some(Self { peer, process })
    }

    pub(crate) fn embed(&mut self, texts: &[String], return_vectors: bool) -> Result<Embedded, BenchError> {
        let EmbeddingPeer { batch, sort, .. } = self.peer;
        self.process.ask(&json!({
            "op": "embed", "texts": texts, "batch": batch, "sort": sort, "return_vectors": return_vectors,
        }))
    }

    /// Milliseconds that each text takes by itself.
    pub(crate) fn latencies(&mut self, texts: &[String]) -> Result<Vec<f64>, BenchError> {
        self.process.ask(&json!({ "op": "latencies", "texts": texts }))
    }

    /// How close its vectors of the texts are to the reference.
    pub(crate) fn quality(&mut self, texts: &[String], reference: &[Embedding]) -> Result<Quality, BenchError> {
        let vectors = self.embed(texts, true)?.vectors;
        let vectors: Result<Vec<Embedding>, _> = vectors.into_iter().map(Embedding::normalize).collect();
        let compared = vectors.map_err(|e| e.to_string()).and_then(|vectors| cosines(reference, &vectors));
        compared.map_err(|reason| self.process.failed(reason))
    }
}

/// Mean and lowest cosine of vectors of the same texts, or why they cannot be compared.
pub(crate) fn cosines(reference: &[Embedding], vectors: &[Embedding]) -> Result<Quality, String> {
    if reference.len() != vectors.len() {
        return Err(format!("it returned {} vectors for {} texts", vectors.len(), reference.len()));
    }
    let (mut sum, mut worst) = (0.0, f64::INFINITY);
    for (reference, vector) in reference.iter().zip(vectors) {
        if reference.dimension() != vector.dimension() {
            return Err(format!("its vectors have {} dimensions, not {}", vector.dimension(), reference.dimension()));
        }
        // In f64: f32 cannot tell cosines this near to 1 apart.
        let dot = |a: &Embedding, b: &Embedding| -> f64 {
            a.as_slice().iter().zip(b.as_slice()).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
        };
        let cosine = dot(reference, vector) / (dot(reference, reference) * dot(vector, vector)).sqrt();
        sum += cosine;
        worst = worst.min(cosine);
    }
    Ok(Quality { worst: Some(worst), ..Quality::new("cosine", sum / reference.len().max(1) as f64) })
}

/// The sizes of a BERT-family encoder, from its `config.json`.
#[derive(Deserialize)]
pub(crate) struct EncoderShape {
    hidden_size: f64,
    num_hidden_layers: f64,
    intermediate_size: f64,
}

impl EncoderShape {
    pub(crate) fn read(path: &Path) -> Result<Self, BenchError> {
        let bytes = fs::read(path).map_err(BenchError::io("read", path))?;
        serde_json::from_slice(&bytes).map_err(BenchError::Json)
    }

    /// Operations in the matrix products of one text: four projections and two feed-forward products for each token, and
    /// every token with every other twice, in scores and in values.
    pub(crate) fn operations(&self, tokens: f64) -> f64 {
        let (d, ff) = (self.hidden_size, self.intermediate_size);
        self.num_hidden_layers * (2.0 * tokens * (4.0 * d * d + 2.0 * d * ff) + 4.0 * tokens * tokens * d)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cosines_are_told_apart_near_1_and_other_vectors_are_refused() {
        let vector = |values: &[f32]| Embedding::normalize(values.to_vec()).unwrap();
        let reference = [vector(&[1.0, 0.0]), vector(&[0.0, 1.0])];
        let close = [vector(&[1.0, 1e-3]), vector(&[0.0, 1.0])];
        let quality = cosines(&reference, &close).unwrap();
        let worst = quality.worst.unwrap();
        assert!((worst - (1.0 - 5e-7)).abs() < 1e-8, "{worst}");
        assert!((quality.value - f64::midpoint(1.0, worst)).abs() < 1e-9);
        assert!(cosines(&reference, &close[..1]).unwrap_err().contains("1 vectors for 2"));
        assert!(cosines(&reference[..1], &[vector(&[1.0, 0.0, 0.0])]).unwrap_err().contains("3 dimensions"));
    }

    #[test]
    fn operations_grow_with_the_square_of_a_text_only_in_attention() {
        let shape = EncoderShape { hidden_size: 4.0, num_hidden_layers: 2.0, intermediate_size: 16.0 };
        // Two layers of 2 * (4 * 16 + 2 * 64) for a token, and 4 * 4 for a pair.
        assert!((shape.operations(1.0) - 2.0 * (2.0 * 192.0 + 16.0)).abs() < 1e-9);
        assert!((shape.operations(3.0) - 2.0 * (6.0 * 192.0 + 9.0 * 16.0)).abs() < 1e-9);
    }
}
