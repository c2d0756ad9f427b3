//! Giving the space of deleted documents back, as a job.

use std::sync::Arc;

use anser_index::{Compaction, Store};
use serde::{Deserialize, Serialize};

use crate::embedding_cache::EmbeddingCache;
use crate::jobs::{JobContext, JobEnd, JobKind, in_words, write_detail, write_done};
use crate::{Engine, EngineError, EventLevel, Job};

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
    pub(crate) embedding_cache: Arc<EmbeddingCache>,
}

impl Engine {
    /// Makes a job that rewrites everything that holds documents of a collection from those that are left, so that nothing of
    /// deleted ones stays on disk. `NotFound` for an unknown collection.
    pub fn create_compaction_job(&self, collection: &str) -> Result<Job, EngineError> {
        let request = CompactionRequest { collection: self.store.get(collection)?.name().to_owned() };
        self.queue_job(KIND, &request, "items", Vec::new())
    }
}

impl JobKind for CompactionJobs {
    fn name(&self) -> &'static str {
        KIND
    }

    fn run(&self, context: &JobContext<'_>) -> Result<JobEnd, EngineError> {
        let request: CompactionRequest = context.request()?;
        let collection = self.store.get(&request.collection)?;
        let mut done = collection.compact(&context.progress(), &context.stop().token())?;
        // Which of the vectors kept belong to deleted documents is not known: all of this collection's go.
        done.erased &= self.embedding_cache.forget_collection(&request.collection);
        context.log(EventLevel::Info, said(&request.collection, &done), None);
        if !done.erased {
            let message = "what was deleted is not gone from every file yet: somebody still reads an older state, or \
                           vectors are being made, or a damaged database lies beside the present one; compact again \
                           once that is over, or remove the damaged one";
            context.log(EventLevel::Warn, message, None);
        }
        let key = context.key();
        Ok(JobEnd::Done(Box::new(move |tx| {
            write_detail(tx, key, &done)?;
            write_done(tx, key, 1, "items")?;
            Ok(Box::new(|| {}))
        })))
    }
}

/// What a compaction did, for people.
fn said(collection: &str, done: &Compaction) -> String {
    let (before, after) = (in_words(done.bytes_before), in_words(done.bytes_after));
    format!("{collection} takes {after} on disk instead of {before}")
}
