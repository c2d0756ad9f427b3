//! Chat with a llama-architecture model from a GGUF file.
//!
//! [`LlamaGenerator`] implements [`anser_core::Generator`]: it renders the model's own chat template, reads the prompt,
//! and streams the reply. The weights are unpacked to f32 on loading and live on one thread that answers requests in
//! turn behind a bounded queue.

mod decoder;
mod dequantize;
mod error;
mod generator;
mod gguf;
mod sampling;
mod template;
mod text;
#[cfg(test)]
#[path = "../tests/it/tiny_model.rs"]
mod tiny_model;
mod tokenizer;
mod worker;

pub use error::GenerateError;
pub use generator::{GeneratorOptions, LlamaGenerator};
