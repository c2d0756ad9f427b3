//! Llama-architecture models from GGUF files and safetensors folders: reading, chatting with adapters, writing.
//!
//! [`LlamaGenerator`] implements [`anser_core::Generator`]: it renders the model's own chat template, reads the prompt,
//! and streams the reply. The weights are unpacked to f32 on loading and live on one thread that answers requests in
//! turn behind a bounded queue.

mod adapter;
mod adapter_config;
mod base;
mod codec;
mod config;
mod decoder;
mod device;
mod error;
mod export;
mod folder;
mod generator;
mod gguf;
mod reply;
mod rotary_layout;
mod safetensors;
mod sampling;
mod template;
mod text;
#[cfg(test)]
#[path = "../tests/it/tiny_model.rs"]
mod tiny_model;
mod tokenizer;
mod tokenizer_json;
mod worker;

pub use adapter::{LoraAdapter, LoraPair};
pub use adapter_config::AdapterConfig;
pub use base::BaseModel;
pub use codec::{ChatCodec, EncodedExample};
pub use config::LlamaConfig;
pub use device::{device_failure, open_device, weight_type};
pub use error::GenerateError;
pub use export::{FloatFormat, GgufFormat, export_gguf, export_safetensors, export_safetensors_as, write_model_folder};
pub use generator::{GeneratorOptions, LlamaGenerator};
