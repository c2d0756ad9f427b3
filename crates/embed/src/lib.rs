//! Text embedders and cross-encoder rerankers.
//!
//! [`TextEmbedder`] and [`OnnxReranker`] each own a model on threads of its own. Callers tokenise their texts, hand them
//! to those threads through a bounded queue and block until the answer comes; the threads take turns between the requests
//! so that a question never waits for a whole bulk job (the rule is stated in `schedule`). What multiplies is behind one
//! trait (`backend`): our own kernels, ONNX Runtime or candle, whichever is the fastest correct one here (`choose`).
//! ONNX Runtime is a shared library that is loaded once per process, from a path given by the caller.

mod backend;
mod candle;
mod choose;
mod embedder;
mod engines;
mod error;
mod measurements;
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
pub use measurements::{EngineChoice, EngineMeasurement, recorded_choice};
pub use options::{EmbedOptions, Engine, NumberFormat};
pub use reranker::OnnxReranker;
pub use runtime::{RuntimeLibrary, load_runtime};
