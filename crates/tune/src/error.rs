//! What can go wrong between a data file and a tuned model.

use std::path::{Path, PathBuf};

use anser_core::{DeviceError, ErrorKind, StopReason};
use anser_generate::GenerateError;

/// A failure of preparing data, of training or of writing the result.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TuneError {
    /// The run was told to end.
    #[error("the run was {} before it finished", match .0 { StopReason::Pause => "paused", StopReason::Cancel => "cancelled" })]
    Stopped(StopReason),
    /// A hyperparameter or option is outside its range.
    #[error("{param} {reason}")]
    Hyperparameter {
        /// Its name, as the caller wrote it.
        param: &'static str,
        /// Which values it takes, completing "param ...".
        reason: String,
    },
    /// A data file has a fault.
    #[error("{}{}: {reason}", place(path, *line), field.as_deref().map(|field| format!(", {field}")).unwrap_or_default())]
    File {
        /// The file.
        path: PathBuf,
        /// Line, from 1; 0 for the file as a whole.
        line: u64,
        /// Field at fault, such as `messages[1].content`.
        field: Option<String>,
        /// What is wrong and what to do.
        reason: String,
    },
    /// The base model, its tokenizer or an adapter cannot be read or used.
    #[error(transparent)]
    Base(#[from] GenerateError),
    /// The device that should compute cannot be used, or failed.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// The operating system refused a file operation.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried, completing "cannot ...".
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The kept state of a run cannot be gone on from.
    #[error("the state of the run in {} cannot be used: {reason}", folder.display())]
    State {
        /// The run's folder.
        folder: PathBuf,
        /// Whether its bytes are damaged; otherwise it belongs to another run.
        damaged: bool,
        /// What is wrong and what to do.
        reason: String,
    },
    /// The loss or a gradient is no longer a finite number.
    #[error("training diverged at step {step}: the loss is no longer a finite number; choose a smaller learning rate")]
    Diverged {
        /// The step, from 1.
        step: usize,
    },
    /// A part that the caller lent or that all crates share has failed: an embedder, finding a model, replacing a file.
    #[error(transparent)]
    Service(#[from] anser_core::Error),
    /// A defect of Anser.
    #[error("training failed: {0}; this is a defect of Anser")]
    Internal(String),
}

fn place(path: &Path, line: u64) -> String {
    if line == 0 { path.display().to_string() } else { format!("{}, line {line}", path.display()) }
}

impl TuneError {
    /// An operating-system failure on `path`; `action` completes "cannot ...".
    pub fn io(action: &'static str, path: impl Into<PathBuf>, source: std::io::Error) -> Self {
        Self::Io { action, path: path.into(), source }
    }

    /// A value that `param` does not take; `reason` completes "param ...".
    pub fn hyperparameter(param: &'static str, reason: impl Into<String>) -> Self {
        Self::Hyperparameter { param, reason: reason.into() }
    }

    /// Whose fault it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Stopped(_) => ErrorKind::Cancelled,
            Self::Hyperparameter { .. } | Self::File { .. } | Self::Diverged { .. } => ErrorKind::InvalidInput,
            Self::State { damaged, .. } => {
                if *damaged {
                    ErrorKind::Corrupt
                } else {
                    ErrorKind::Conflict
                }
            }
            Self::Base(error) => error.kind(),
            Self::Device(error) => error.kind(),
            Self::Service(error) => error.kind(),
            Self::Io { .. } => ErrorKind::Io,
            Self::Internal(_) => ErrorKind::Internal,
        }
    }

    fn param(&self) -> Option<&str> {
        match self {
            Self::Hyperparameter { param, .. } => Some(param),
            Self::File { field, .. } => field.as_deref(),
            Self::Diverged { .. } => Some("learning_rate"),
            Self::Service(error) => error.param(),
            _ => None,
        }
    }
}

impl From<TuneError> for anser_core::Error {
    fn from(error: TuneError) -> Self {
        let error = match error {
            TuneError::Service(error) => return error,
            error => error,
        };
        let core = Self::new(error.kind(), error.to_string());
        match error.param().map(str::to_owned) {
            Some(param) => core.with_param(param),
            None => core,
        }
        .with_source(error)
    }
}
