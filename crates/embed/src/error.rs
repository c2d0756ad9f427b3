//! What can go wrong while loading or running an embedder or a reranker.

use std::io;
use std::path::PathBuf;

use anser_core::{DeviceError, ErrorKind};
use anser_models::ModelsError;

/// A failure of an embedder, a reranker or the runtime library under them.
#[derive(Debug, thiserror::Error)]
pub enum EmbedError {
    /// A text to embed or a passage to score holds nothing but white space.
    #[error("text {index} (counted from 0) is empty; leave it out or give it some text")]
    EmptyText {
        /// Position in the call.
        index: usize,
    },
    /// The query to rerank against holds nothing but white space.
    #[error("the query is empty; write what the passages should be compared with")]
    EmptyQuery,
    /// As many requests as the queue holds are waiting already.
    #[error("{model} already has {queue} requests waiting; try again in a moment")]
    Overloaded {
        /// The model.
        model: String,
        /// The queue's length.
        queue: usize,
    },
    /// The caller asked to stop.
    #[error("the request was cancelled before it finished")]
    Cancelled,
    /// An option is zero that must be at least 1.
    #[error("the option {option} must be at least 1, not 0")]
    ZeroOption {
        /// The option's name.
        option: &'static str,
    },
    /// The runtime library is not there.
    #[error("there is no ONNX Runtime library at {path}; pull the runtime or correct the path", path = path.display())]
    RuntimeMissing {
        /// Where it was expected.
        path: PathBuf,
    },
    /// The file is not a runtime library that can be used here.
    #[error("{path} cannot be used as the ONNX Runtime library: {reason}", path = path.display())]
    RuntimeUnusable {
        /// The file.
        path: PathBuf,
        /// What the loader said.
        reason: String,
    },
    /// A process can hold only one runtime library.
    #[error(
        "ONNX Runtime is already loaded from {loaded}, so {wanted} cannot be loaded beside it; use the same path or restart",
        loaded = loaded.display(),
        wanted = wanted.display()
    )]
    RuntimeLoaded {
        /// The library in use.
        loaded: PathBuf,
        /// The other one that was asked for.
        wanted: PathBuf,
    },
    /// A model file could not be read.
    #[error("cannot read {path}: {source}", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The model's folder or catalogue entry is at fault.
    #[error(transparent)]
    Files(#[from] ModelsError),
    /// The catalogue entry lacks something that this role needs, or has another role.
    #[error("the catalogue entry of {model} cannot serve as {role}: {reason}; correct the entry")]
    UnfitSpec {
        /// The model.
        model: String,
        /// The role wanted.
        role: &'static str,
        /// What does not fit.
        reason: String,
    },
    /// A model file holds something else than it should.
    #[error("{path} of {model} is not usable: {reason}; remove the model and pull it again", path = path.display())]
    BadFile {
        /// The model.
        model: String,
        /// The file.
        path: PathBuf,
        /// What the parser said.
        reason: String,
    },
    /// The model failed or panicked while it ran, or gave something that is not an answer.
    #[error("{model} failed while running: {reason}")]
    Run {
        /// The model.
        model: String,
        /// What happened.
        reason: String,
    },
    /// The worker thread is gone.
    #[error("the worker of {model} has stopped; load the model again")]
    Stopped {
        /// The model.
        model: String,
    },
    /// No engine of this program runs the model in the way that was asked for.
    #[error("{model} cannot be run {wanted}: {reason}")]
    NoEngine {
        /// The model.
        model: String,
        /// What was asked for, such as "by the native engine in int8".
        wanted: String,
        /// Why not, and what to do.
        reason: String,
    },
    /// The device that should compute cannot be used, or failed.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// The operating system gave no thread.
    #[error("cannot start a worker thread for {model}: {source}")]
    Thread {
        /// The model.
        model: String,
        /// Why.
        source: io::Error,
    },
}

impl EmbedError {
    /// Whose fault it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::EmptyText { .. }
            | Self::EmptyQuery
            | Self::ZeroOption { .. }
            | Self::UnfitSpec { .. }
            | Self::NoEngine { .. } => ErrorKind::InvalidInput,
            Self::Overloaded { .. } => ErrorKind::Overloaded,
            Self::Cancelled => ErrorKind::Cancelled,
            Self::RuntimeMissing { .. } | Self::RuntimeUnusable { .. } => ErrorKind::Unavailable,
            Self::RuntimeLoaded { .. } => ErrorKind::Conflict,
            Self::Read { .. } | Self::Thread { .. } => ErrorKind::Io,
            Self::Files(source) => source.kind(),
            Self::Device(source) => source.kind(),
            Self::BadFile { .. } => ErrorKind::Corrupt,
            Self::Run { .. } | Self::Stopped { .. } => ErrorKind::Internal,
        }
    }
}

impl From<EmbedError> for anser_core::Error {
    fn from(error: EmbedError) -> Self {
        Self::new(error.kind(), error.to_string()).with_source(error)
    }
}
