//! What Anser does, independent of how it is asked: read files into collections, search them, answer from them with
//! citations, cluster them, and measure how well all that works.
//!
//! The engine knows models only through the traits of [`anser_core`]; whoever composes the program hands it a
//! [`ModelLoader`]. Every call is blocking.

mod engine;
mod error;
mod served;

pub use engine::{Engine, EngineOptions};
pub use error::EngineError;
pub use served::{ModelLoader, ServedModel, ServedModels, ServedRole};
