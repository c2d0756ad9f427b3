//! `anser cache`: the vectors kept of texts that were embedded before.

use clap::Subcommand;

use crate::compose;
use crate::config::Settings;
use crate::failure::Failure;
use crate::terminal::{Terminal, bytes};

/// What to do with the cache.
#[derive(Debug, Subcommand)]
pub(crate) enum CacheCommand {
    /// How much it holds
    Show,
    /// Remove everything; texts are embedded again when they are needed
    ///
    /// Deleting or compacting a collection already removes the vectors of that collection's texts. Vectors that
    /// /v1/embeddings made, or an analysis of a file, stay until this command, or until they were not used for longest.
    Clear,
}

impl CacheCommand {
    pub(crate) fn run(&self, settings: &Settings, terminal: &Terminal) -> Result<(), Failure> {
        let engine = compose::engine(settings, terminal.progress())?;
        if matches!(self, Self::Clear) && !engine.clear_embedding_cache() {
            return Err(Failure::failed(
                "the cache is not cleared from every file: another process reads it or it cannot be written; stop that \
                 process and run this again",
            ));
        }
        let found = engine.embedding_cache();
        if terminal.is_json() {
            return terminal.json(&found);
        }
        terminal.line(format!(
            "{} texts in {} of at most {}",
            found.entries,
            bytes(found.bytes),
            bytes(found.limit_bytes)
        ))
    }
}
