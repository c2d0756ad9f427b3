//! The words and contracts that every part of Anser shares.
//!
//! This crate knows nothing about HTTP, async runtimes, Arrow or any model library. It holds the domain types
//! ([`Document`], [`Chunk`], [`Embedding`], [`ChatMessage`], [`Answer`]), the small synchronous traits that let the
//! parts meet without knowing each other ([`Embedder`], [`Reranker`], [`Generator`], [`Trainer`], [`VectorBackend`]), the error
//! kinds and the layout of the data folder.

mod answer;
mod attribute;
mod cancel;
mod chat;
mod device;
mod document;
mod embedding;
mod error;
mod excerpt;
mod progress;
pub mod storage;
mod training;
mod traits;

pub use answer::{Answer, AnswerTimings, Citation, ContextPassage};
pub use attribute::{AttributeKind, AttributeValue, Attributes};
pub use cancel::CancelToken;
pub use chat::{
    ChatMessage, FinishReason, GenerateOptions, Generation, GenerationTimings, Prompt, Role, TokenScores, TokenUsage,
};
pub use device::{Device, DeviceError, DeviceFault};
pub use document::{ByteSpan, Chunk, ChunkId, Document, DocumentId, ScoredChunk};
pub use embedding::{Embedded, EmbedderInfo, Embedding};
pub use error::{Error, ErrorKind, Result};
pub use excerpt::excerpt;
pub use progress::{NoProgress, Progress, ProgressUnit};
pub use training::{
    Hyperparameters, LineProblem, LoraOptions, Objective, Precision, Schedule, StopReason, StopSignal, TrainableParts,
    TrainedKind, Trainer, TrainingEvent, TrainingFileCheck, TrainingMetrics, TrainingOutcome, TrainingPlan,
    TrainingRequest,
};
pub use traits::{EmbedPurpose, Embedder, Generator, GeneratorInfo, Reranker, VectorBackend};
