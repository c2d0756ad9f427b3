//! Giving the space of deleted documents back, as a job.

use std::sync::Arc;

use anser_core::ErrorKind;
use anser_index::{Compaction, Store};
use serde::{Deserialize, Serialize};

use crate::control::new_id;
use crate::jobs::{JobContext, JobEnd, JobKind, NewJob, in_words, write_detail, write_done};
use crate::{Engine, EngineError, EventLevel, Job, JobFailure, JobState, Jobs};

/// Name in the table of jobs.
const KIND: &str = "compact";

/// What a job was given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct CompactionRequest {
    collection: String,
}

/// What these jobs work with.
pub(crate) struct CompactionJobs {
    pub(crate) store: Arc<Store>,
}

impl Engine {
    /// Makes a job that rewrites everything that holds documents of a collection from those that are left, so that nothing of
    /// deleted ones stays on disk. `NotFound` for an unknown collection.
    pub fn create_compaction_job(&self, collection: &str) -> Result<Job, EngineError> {
        let request = CompactionRequest { collection: self.store.get(collection)?.name().to_owned() };
        let id = new_id("job");
        let new = NewJob {
            id: &id,
            kind: KIND,
            state: JobState::Queued,
            request: serde_json::to_value(&request).map_err(|e| EngineError::internal(e.to_string()))?,
            detail: serde_json::Value::Null,
            unit: "items",
            files: Vec::new(),
        };
        self.control.write(|tx| Jobs::insert(tx, &new))?;
        self.jobs.announce();
        self.job(&id)
    }
}

impl JobKind for CompactionJobs {
    fn name(&self) -> &'static str {
        KIND
    }

    fn validate(&self, _: &JobContext<'_>) -> Result<(), EngineError> {
        Ok(())
    }

    fn run(&self, context: &JobContext<'_>) -> Result<JobEnd, EngineError> {
        let job = context.job();
        let request: CompactionRequest = serde_json::from_value(job.request.clone())
            .map_err(|e| EngineError::internal(format!("the request of the job {} cannot be read: {e}", job.id)))?;
        let collection = self.store.get(&request.collection)?;
        let done = collection.compact(&context.progress(), &context.stop().token())?;
        context.log(EventLevel::Info, said(&request.collection, &done), None);
        if !done.erased {
            let message = "somebody still reads an older state; what was deleted stays in the log of the database until \
                           they are done";
            context.log(EventLevel::Warn, message, None);
        }
        let key = context.key();
        Ok(JobEnd::Done(Box::new(move |tx| {
            write_detail(tx, key, &done)?;
            write_done(tx, key, 1, "items")?;
            Ok(Box::new(|| {}))
        })))
    }

    fn failure(&self, error: &EngineError) -> JobFailure {
        let code = match error.kind() {
            ErrorKind::NotFound | ErrorKind::Unavailable | ErrorKind::Overloaded => "unavailable",
            ErrorKind::Corrupt | ErrorKind::Io => "storage_error",
            ErrorKind::InvalidInput | ErrorKind::Conflict | ErrorKind::TooLarge => "invalid_request",
            ErrorKind::Internal | ErrorKind::Cancelled => "internal_error",
        };
        JobFailure { code: code.to_owned(), message: error.to_string(), param: error.param().map(str::to_owned) }
    }
}

/// What a compaction did, for people.
fn said(collection: &str, done: &Compaction) -> String {
    let (before, after) = (in_words(done.bytes_before), in_words(done.bytes_after));
    format!("{collection} takes {after} on disk instead of {before}")
}
