//! What workloads that embed say.

use std::num::NonZeroUsize;

use anser_embed::{EmbedOptions, Engine, NumberFormat};
use serde::{Deserialize, Serialize};

use crate::limits::Work;
use crate::workload::{Amount, Corpus};

/// Texts to vectors.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct EmbeddingTask {
    /// Name in the catalogue.
    pub(crate) model: String,
    pub(crate) corpus: Corpus,
    pub(crate) texts: Vec<TextSet>,
    pub(crate) thread_counts: Vec<NonZeroUsize>,
    /// Texts of each set whose vectors are compared with the reference's.
    pub(crate) compared: Amount,
    /// Label of the subject that the others' vectors are compared with.
    pub(crate) reference: String,
    pub(crate) subjects: Vec<Subject>,
    pub(crate) peers: Vec<EmbeddingPeer>,
}

/// How long it takes to embed one short text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LatencyTask {
    /// Name in the catalogue.
    pub(crate) model: String,
    pub(crate) corpus: Corpus,
    pub(crate) queries: TextSet,
    /// What is embedded meanwhile, again and again, all in one call.
    pub(crate) bulk: TextSet,
    pub(crate) thread_counts: Vec<NonZeroUsize>,
    pub(crate) subjects: Vec<Subject>,
    pub(crate) peers: Vec<EmbeddingPeer>,
}

/// Texts to vectors over HTTP.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ServerTask {
    /// Name in the catalogue.
    pub(crate) model: String,
    pub(crate) corpus: Corpus,
    pub(crate) texts: TextSet,
    /// Connections that ask at the same time.
    pub(crate) clients: NonZeroUsize,
    /// Texts of one request.
    pub(crate) texts_per_request: Vec<NonZeroUsize>,
    pub(crate) subject: Subject,
}

/// A file to a collection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct IngestTask {
    /// Name in the catalogue.
    pub(crate) model: String,
    pub(crate) corpus: Corpus,
    pub(crate) texts: TextSet,
    pub(crate) subject: Subject,
}

/// Texts of certain lengths, made of the corpus.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TextSet {
    pub(crate) name: String,
    pub(crate) tokens: Lengths,
    pub(crate) count: Amount,
}

/// How many tokens a text has, special ones included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Lengths {
    /// So many on average, as unequal as the corpus' own texts are.
    Mean(NonZeroUsize),
    /// Each so many.
    Each(NonZeroUsize),
}

/// One way to run Anser's embedder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Subject {
    /// Begins with "Anser".
    pub(crate) label: String,
    /// Left out, Anser chooses.
    pub(crate) engine: Option<EngineName>,
    /// Left out, Anser chooses.
    pub(crate) format: Option<FormatName>,
}

impl Subject {
    pub(crate) fn options(&self, threads: usize) -> EmbedOptions {
        let engine = self.engine.map(|engine| match engine {
            EngineName::Onnx => Engine::Onnx,
            EngineName::Native => Engine::Native,
            EngineName::Candle => Engine::Candle,
        });
        let format = self.format.map(|format| match format {
            FormatName::F32 => NumberFormat::F32,
            FormatName::Bf16 => NumberFormat::Bf16,
            FormatName::Int8 => NumberFormat::Int8,
        });
        EmbedOptions { threads, engine, format, ..EmbedOptions::default() }
    }
}

/// What multiplies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum EngineName {
    Onnx,
    Native,
    Candle,
}

/// Number format of matrix products.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum FormatName {
    F32,
    Bf16,
    Int8,
}

impl FormatName {
    /// The format that ends the name of an embedder's backend, such as `native bf16`.
    pub(crate) fn of_backend(name: &str) -> Option<Self> {
        match name.rsplit(' ').next()? {
            "f32" => Some(Self::F32),
            "bf16" => Some(Self::Bf16),
            "int8" => Some(Self::Int8),
            _ => None,
        }
    }

    /// So many operations in products of this format.
    pub(crate) fn work(self, operations: f64) -> Work {
        match self {
            Self::F32 => Work::Flops(operations),
            Self::Bf16 => Work::Bf16Flops(operations),
            Self::Int8 => Work::Int8Ops(operations),
        }
    }
}

/// A peer and how it is driven.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct EmbeddingPeer {
    pub(crate) label: String,
    pub(crate) program: PeerProgram,
    /// In int8, weights are quantised by ONNX Runtime's own tool, a scale for each output channel, and activations while
    /// it runs.
    pub(crate) format: FormatName,
    /// Texts in one run of the model; left out, what the program does by itself.
    pub(crate) batch: Option<NonZeroUsize>,
    /// Whether texts are put in order of length first.
    #[serde(default)]
    pub(crate) sort: bool,
    /// Label of the subject that it is compared with; left out, the first.
    pub(crate) against: Option<String>,
}

/// What a peer is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum PeerProgram {
    /// ONNX Runtime and tokenizers from Python.
    Onnxruntime,
    /// The Python package of that name.
    Fastembed,
}
