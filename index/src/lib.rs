//! Collections of documents and their vectors: what is stored, how it is searched, and what can be computed over it.
//!
//! SQLite is the only truth; vector files and graphs are caches that are rebuilt from it when missing or damaged.

pub mod analysis;
mod error;

pub use error::{IndexError, Result};
