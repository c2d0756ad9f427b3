//! Analyses as kinds of jobs.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use anser_core::storage::DataDir;
use anser_core::{CancelToken, ErrorKind, Progress};
use anser_index::Store;

use super::results::ResultFolder;
use super::{AnalysisRequest, Subject};
use crate::files::FileStore;
use crate::jobs::{JobContext, JobEnd, JobKind};
use crate::{EngineError, EventLevel, JobFailure, ServedModels};

/// Folder, in a job's, of the results that are being made.
const RESULTS: &str = "results";

/// What analyses work with.
pub(crate) struct AnalysisParts {
    pub(crate) data: DataDir,
    pub(crate) store: Arc<Store>,
    pub(crate) files: Arc<FileStore>,
    pub(crate) models: Arc<ServedModels>,
}

/// What one run of an analysis works with.
pub(crate) struct Work<'a> {
    /// The documents.
    pub(crate) subject: &'a Subject,
    /// Collections and models, for what needs more than the subject.
    pub(crate) parts: &'a AnalysisParts,
    /// Looked at many times a second.
    pub(crate) cancel: &'a CancelToken,
    /// Told what begins and how far it is.
    pub(crate) progress: &'a dyn Progress,
    /// Where results go.
    pub(crate) results: &'a ResultFolder,
    /// For files that are not kept.
    pub(crate) folder: &'a Path,
}

/// One kind of analysis, by its name.
pub(crate) struct AnalysisJobs {
    pub(crate) kind: &'static str,
    pub(crate) parts: Arc<AnalysisParts>,
}

impl JobKind for AnalysisJobs {
    fn name(&self) -> &'static str {
        self.kind
    }

    fn validate(&self, _: &JobContext<'_>) -> Result<(), EngineError> {
        Ok(())
    }

    fn run(&self, context: &JobContext<'_>) -> Result<JobEnd, EngineError> {
        let job = context.job();
        let request: AnalysisRequest = serde_json::from_value(job.request.clone())
            .map_err(|e| EngineError::internal(format!("the request of the job {} cannot be read: {e}", job.id)))?;
        let begun = Instant::now();
        let (cancel, progress) = (context.stop().token(), context.progress());
        let subject = Subject::open(&request, &self.parts, context.folder(), (&cancel, &progress))?;
        let results = ResultFolder::create(context.folder().join(RESULTS))?;
        let work = Work {
            subject: &subject,
            parts: &self.parts,
            cancel: &cancel,
            progress: &progress,
            results: &results,
            folder: context.folder(),
        };
        request.analysis.run(&work)?;
        let seconds = begun.elapsed().as_secs_f64();
        let rate = subject.len() as f64 / seconds.max(1e-9);
        let message = format!("{} documents in {seconds:.1} s, {rate:.0} a second", subject.len());
        context.log(EventLevel::Info, message, None);
        let (data, id, key) = (self.parts.data.clone(), job.id.clone(), context.key());
        Ok(JobEnd::Done(Box::new(move |tx| {
            results.install(&data, tx, &id, key)?;
            Ok(Box::new(|| {}))
        })))
    }

    fn failure(&self, error: &EngineError) -> JobFailure {
        let code = match error.kind() {
            ErrorKind::InvalidInput | ErrorKind::Conflict => "invalid_request",
            ErrorKind::TooLarge => "out_of_memory",
            ErrorKind::NotFound | ErrorKind::Unavailable | ErrorKind::Overloaded => "unavailable",
            ErrorKind::Corrupt | ErrorKind::Io => "storage_error",
            ErrorKind::Internal | ErrorKind::Cancelled => "internal_error",
        };
        JobFailure { code: code.to_owned(), message: error.to_string(), param: error.param().map(str::to_owned) }
    }
}
