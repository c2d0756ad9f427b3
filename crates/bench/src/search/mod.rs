//! Nearest neighbours of real text embeddings: Anser's collections beside HNSW libraries and embedded vector databases.

mod filtered;
mod growth;
mod hnsw;
mod subject;

pub(crate) use filtered::run as run_filtered;
pub(crate) use growth::run as run_growth;
pub(crate) use hnsw::run as run_hnsw;
