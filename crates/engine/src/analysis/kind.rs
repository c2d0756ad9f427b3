//! Analyses as kinds of jobs.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anser_core::storage::DataDir;
use anser_core::{CancelToken, Progress};
use anser_index::Store;
use serde::{Deserialize, Serialize};

use super::results::ResultFolder;
use super::subject::Reading;
use super::{AnalysisRequest, AnalysisSource, Subject};
use crate::files::FileStore;
use crate::jobs::{JobContext, JobEnd, JobKind, Moment, in_words, pass, write_detail, write_done};
use crate::predictors::PredictorStore;
use crate::{EngineError, EventLevel, ServedModels};

/// Folder, in a job's, of the results that are being made.
const RESULTS: &str = "results";

/// What the figures of an analysis that has succeeded count.
pub(super) const UNIT: &str = "documents";

/// What an analysis that has succeeded took: the `detail` of its job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AnalysisFigures {
    /// Documents analysed.
    pub documents: u64,
    /// Time from taking the job up to its results, without earlier tries of the same job.
    pub seconds: f64,
    /// The one over the other.
    pub documents_per_second: f64,
    /// Memory that was reserved for it, in bytes: an upper estimate, mapped vectors included.
    pub reserved_bytes: u64,
    /// The most memory that the whole process had resident meanwhile, in bytes, touched pages of mapped files included
    /// (`VmHWM` where the job raised it, else the largest of five samples of `VmRSS` a second); absent where the system does
    /// not tell.
    pub peak_memory_bytes: Option<u64>,
}

impl AnalysisFigures {
    fn new(documents: u64, time: Duration, reserved_bytes: u64, peak_memory_bytes: Option<u64>) -> Self {
        let seconds = time.as_secs_f64();
        let documents_per_second = documents as f64 / seconds.max(1e-9);
        Self { documents, seconds, documents_per_second, reserved_bytes, peak_memory_bytes }
    }
}

impl fmt::Display for AnalysisFigures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { documents, seconds, documents_per_second, .. } = self;
        write!(f, "{documents} documents in {seconds:.1} s, {documents_per_second:.0} a second")?;
        match self.peak_memory_bytes {
            Some(peak) => write!(f, ", peak memory {}", in_words(peak)),
            None => Ok(()),
        }
    }
}

/// What analyses work with.
pub(crate) struct AnalysisParts {
    pub(crate) data: DataDir,
    pub(crate) store: Arc<Store>,
    pub(crate) files: Arc<FileStore>,
    pub(crate) models: Arc<ServedModels>,
    pub(crate) predictors: PredictorStore,
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
    /// What is analysed.
    pub(crate) source: &'a AnalysisSource,
    /// The job's id.
    pub(crate) job: &'a str,
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

    fn run(&self, context: &JobContext<'_>) -> Result<JobEnd, EngineError> {
        let job = context.job();
        let request: AnalysisRequest = context.request()?;
        let begun = Instant::now();
        let (cancel, progress) = (context.stop().token(), context.progress());
        let reading = Reading {
            parts: &self.parts,
            folder: context.folder(),
            cancel: &cancel,
            progress: &progress,
            checkpoint: &|| context.checkpoint(),
        };
        let subject = Subject::open(&request, &reading)?;
        pass(Moment::Collected)?;
        let (rows, dimension) = (subject.len() as u64, subject.vectors.dimension());
        let estimate = request.analysis.memory_bytes(rows, dimension).saturating_add(subject.memory_bytes());
        let reserved = context.reserve_memory(estimate)?;
        let results = ResultFolder::create(context.folder().join(RESULTS))?;
        let work = Work {
            subject: &subject,
            parts: &self.parts,
            cancel: &cancel,
            progress: &progress,
            results: &results,
            folder: context.folder(),
            source: &request.source,
            job: &job.id,
        };
        request.analysis.run(&work)?;
        cancel.check()?;
        let figures = AnalysisFigures::new(rows, begun.elapsed(), estimate, context.peak_memory());
        drop((subject, reserved));
        context.log(EventLevel::Info, figures.to_string(), None);
        let (data, id, key) = (self.parts.data.clone(), job.id.clone(), context.key());
        Ok(JobEnd::Done(Box::new(move |tx| {
            results.install(&data, tx, &id, key)?;
            write_detail(tx, key, &figures)?;
            write_done(tx, key, rows, UNIT)?;
            Ok(Box::new(|| {}))
        })))
    }
}
