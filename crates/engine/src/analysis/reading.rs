//! Reading a source outside of a job.

use std::path::Path;

use anser_core::{CancelToken, Progress};

use super::kind::AnalysisParts;
use super::subject::Reading;
use super::{Analysis, AnalysisRequest, AnalysisSource, Subject};
use crate::EngineError;

impl AnalysisParts {
    /// The documents of a source, read into `folder`, which must outlive them.
    pub(crate) fn read(
        &self,
        source: &AnalysisSource,
        folder: &Path,
        progress: &dyn Progress,
        cancel: &CancelToken,
    ) -> Result<Subject, EngineError> {
        let analysis = Analysis::TrainClassifier(crate::classify::ClassifierOptions::default());
        let request = AnalysisRequest { source: source.clone(), analysis };
        Subject::open(&request, &Reading { parts: self, folder, cancel, progress, checkpoint: &|| Ok(()) })
    }
}
