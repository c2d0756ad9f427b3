//! Groups of documents that say nearly the same.

use serde::{Deserialize, Serialize};

use crate::EngineError;
use crate::analysis::Work;

/// What is asked.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DuplicateOptions {}

impl DuplicateOptions {
    /// `InvalidInput` for an option out of range.
    pub(crate) fn check(&self) -> Result<(), EngineError> {
        Ok(())
    }

    /// Memory that the run takes beside the mapped vectors, in bytes.
    pub(crate) fn memory_bytes(&self, _rows: u64, _dimension: usize) -> u64 {
        0
    }

    /// Does the work.
    pub(crate) fn run(&self, work: &Work<'_>) -> Result<(), EngineError> {
        work.results.report(&work.subject.len())
    }
}
