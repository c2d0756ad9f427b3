//! Text embedders and cross-encoder rerankers on ONNX Runtime.
//!
//! [`TextEmbedder`] and [`OnnxReranker`] each own a model on a thread of its own. Callers tokenise their texts on their
//! own thread, hand them to that worker through a bounded queue and block until the answer comes; the worker takes turns
//! between the requests so that a question never waits for a whole bulk job (the rule is stated in `schedule`).
//! ONNX Runtime is a shared library that is loaded once per process, from a path given by the caller.

mod backend;
mod candle;
mod embedder;
mod error;
mod native;
mod onnx;
mod options;
mod panics;
mod pipeline;
mod ragged;
mod reranker;
mod runtime;
mod schedule;
mod source;
mod tokens;
mod worker;

pub use anser_core::Device;
pub use embedder::TextEmbedder;
pub use error::EmbedError;
pub use options::{EmbedOptions, Engine, NumberFormat};
pub use reranker::OnnxReranker;
pub use runtime::{RuntimeLibrary, load_runtime};
