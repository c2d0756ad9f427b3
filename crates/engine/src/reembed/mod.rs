//! Embedding a collection anew by another model, as a job: vectors are made beside those that are searched, compared with
//! them, and take their place in one step. The way back is the same, with the vectors of before.

mod job;
mod report;
#[cfg(test)]
mod tests;

use anser_core::EmbedderInfo;
use anser_index::{Collection, Generation, GenerationState};
use serde::{Deserialize, Serialize};

pub(crate) use job::{KIND, ReembedJobs};
pub use report::ReembedReport;

use crate::{Engine, EngineError, Job};

/// Most chunks embedded in one step.
const MOST_BATCH: usize = 4096;
/// Most chunks whose neighbours are compared.
const MOST_QUERIES: usize = 10_000;

/// How a collection is embedded anew.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ReembedOptions {
    /// The model, which must be the embedder that is loaded; `None` is that one.
    pub model: Option<String>,
    /// Whether to go back to the vectors of before instead.
    pub rollback: bool,
    /// Chunks embedded and stored in one step, 1 to 4,096.
    pub batch: usize,
    /// Share of the time that is spent working, above 0 and at most 1: after each step the job rests so long that others have
    /// the rest of the machine.
    pub load: f64,
    /// Chunks whose 10 nearest neighbours are compared before and after, at most 10,000.
    pub queries: usize,
}

impl Default for ReembedOptions {
    fn default() -> Self {
        Self { model: None, rollback: false, batch: 64, load: 1.0, queries: 100 }
    }
}

impl ReembedOptions {
    fn check(&self) -> Result<(), EngineError> {
        if !(1..=MOST_BATCH).contains(&self.batch) {
            let message = format!("a step of {} chunks is not between 1 and {MOST_BATCH}", self.batch);
            return Err(EngineError::invalid("batch", message));
        }
        if !(self.load > 0.0 && self.load <= 1.0) {
            let message = format!("a load of {} is not above 0 and at most 1", self.load);
            return Err(EngineError::invalid("load", message));
        }
        if self.queries > MOST_QUERIES {
            let message = format!("{} chunks are more than the {MOST_QUERIES} that can be compared", self.queries);
            return Err(EngineError::invalid("queries", message));
        }
        Ok(())
    }
}

/// What a job was given.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct ReembedRequest {
    collection: String,
    /// Whose vectors are to be searched in the end.
    embedder: EmbedderInfo,
    options: ReembedOptions,
}

impl Engine {
    /// Makes a job that embeds a collection anew by the embedder that is loaded, or, for a rollback, goes back to the vectors
    /// of before. A running [`JobRunner`](crate::JobRunner) takes it up, or [`run_job_here`](Engine::run_job_here) does it at
    /// once.
    ///
    /// `InvalidInput` for an option out of range, for another model than the loaded one, for the model that made the
    /// collection's vectors, and for a rollback where there is nothing to go back to; `NotFound` for an unknown collection.
    pub fn create_reembed_job(&self, collection: &str, options: &ReembedOptions) -> Result<Job, EngineError> {
        options.check()?;
        let stored = self.store.get(collection)?;
        let embedder = if options.rollback {
            previous(&stored)?.embedder
        } else {
            self.loaded_embedder(options.model.as_deref())?
        };
        if embedder.fingerprint == stored.embedder().fingerprint {
            return Err(made_already(collection, &embedder));
        }
        let request = ReembedRequest { collection: collection.to_owned(), embedder, options: options.clone() };
        self.queue_job(KIND, &request, "chunks", Vec::new())
    }

    /// Drops the vectors that a collection was searched by before the present ones; false when there are none.
    pub fn drop_previous_vectors(&self, collection: &str) -> Result<bool, EngineError> {
        Ok(self.store.get(collection)?.drop_previous()?)
    }

    /// Who made the vectors that a collection can go back to; `InvalidInput` where there are none.
    pub fn previous_embedder(&self, collection: &str) -> Result<EmbedderInfo, EngineError> {
        Ok(previous(self.store.get(collection)?.as_ref())?.embedder)
    }

    fn loaded_embedder(&self, wanted: Option<&str>) -> Result<EmbedderInfo, EngineError> {
        let loaded = self.models().embedder()?.info().clone();
        match wanted {
            Some(wanted) if wanted != loaded.model => {
                let message = format!(
                    "the embedder {} is loaded, not \"{}\"; start with --embedder and that name",
                    loaded.model,
                    anser_core::excerpt(wanted, 60)
                );
                Err(EngineError::invalid("model", message))
            }
            _ => Ok(loaded),
        }
    }
}

/// The vectors that a collection can go back to: those of before, or, where that was begun already, those that are completed.
fn previous(collection: &Collection) -> Result<Generation, EngineError> {
    let back =
        |generation: &Generation| generation.state != GenerationState::Current && generation.sealed_seq.is_some();
    collection.generations()?.into_iter().find(back).ok_or_else(|| {
        let message = format!("\"{}\" has no vectors of before to go back to", collection.name());
        EngineError::invalid("rollback", message)
    })
}

fn made_already(collection: &str, embedder: &EmbedderInfo) -> EngineError {
    let model = &embedder.model;
    let message = format!(
        "the vectors of \"{collection}\" were made by {model} already; start with --embedder and another model"
    );
    EngineError::invalid("model", message)
}
