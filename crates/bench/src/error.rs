//! How a bench ends badly.

use std::io;
use std::path::{Path, PathBuf};

use anser_core::ErrorKind;

/// Why a bench could not be run to its end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BenchError {
    /// `--only` names no workload.
    #[error("there is no workload \"{name}\"; there are: {known}")]
    NoSuchWorkload { name: String, known: String },
    /// A workload file says something that cannot be understood.
    #[error("the workload {} cannot be read: {reason}", path.display())]
    Workload { path: PathBuf, reason: String },
    /// A corpus has no text to offer.
    #[error("the corpus {} cannot be used: {reason}", path.display())]
    Corpus { path: PathBuf, reason: String },
    /// A peer failed after it had started well.
    #[error("the peer {script} failed: {reason}")]
    Peer { script: String, reason: String },
    /// None of a workload's ways to embed exists on this machine or in this build.
    #[error("the workload \"{workload}\" has nobody to measure: every subject failed to load")]
    NobodyLoaded { workload: String },
    /// One of Anser's ways to embed returned something that cannot be compared.
    #[error("{label} failed: {reason}")]
    Subject { label: String, reason: String },
    /// The service that is measured, or one of its clients, failed.
    #[error("the service failed: {0}")]
    Service(String),
    /// The other process of this program failed.
    #[error("the process that ingests failed: {reason}")]
    Child { reason: String },
    /// A thread pool could not be made, or a matrix product failed.
    #[error("this machine cannot compute what is needed: {0}")]
    Compute(String),
    /// A file or folder could not be read or written.
    #[error("cannot {action} {}: {source}", path.display())]
    Io { action: &'static str, path: PathBuf, source: io::Error },
    /// The results could not be written as JSON.
    #[error("the results cannot be written as JSON: {0}")]
    Json(serde_json::Error),
    /// A job of Anser failed.
    #[error("the job failed: {0}")]
    Job(String),
    /// A part of Anser failed.
    #[error("{0}")]
    Anser(anser_core::Error),
}

impl BenchError {
    /// For `map_err` on file operations; `action` completes "cannot ...".
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::Io { action, path, source }
    }

    /// The kind of failure.
    pub(crate) fn kind(&self) -> ErrorKind {
        match self {
            Self::NoSuchWorkload { .. } | Self::Workload { .. } | Self::Corpus { .. } => ErrorKind::InvalidInput,
            Self::Peer { .. } | Self::NobodyLoaded { .. } => ErrorKind::Unavailable,
            Self::Io { .. } => ErrorKind::Io,
            Self::Subject { .. }
            | Self::Service(_)
            | Self::Child { .. }
            | Self::Compute(_)
            | Self::Json(_)
            | Self::Job(_) => ErrorKind::Internal,
            Self::Anser(error) => error.kind(),
        }
    }

    /// What the process ends with: 2 when it was asked for wrongly, else 1.
    pub(crate) fn exit_code(&self) -> u8 {
        if self.kind() == ErrorKind::InvalidInput { 2 } else { 1 }
    }
}

impl From<anser_core::Error> for BenchError {
    fn from(error: anser_core::Error) -> Self {
        Self::Anser(error)
    }
}

/// Every crate's own error becomes the contract's first.
macro_rules! from_part {
    ($($error:ty),+) => {$(
        impl From<$error> for BenchError {
            fn from(error: $error) -> Self {
                Self::Anser(error.into())
            }
        }
    )+};
}
from_part!(
    anser_embed::EmbedError,
    anser_engine::EngineError,
    anser_generate::GenerateError,
    anser_index::IndexError,
    anser_models::ModelsError,
    anser_tune::TuneError
);
