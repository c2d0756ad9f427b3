//! The engine's one error type.

use std::path::{Path, PathBuf};

use anser_core::ErrorKind;
use anser_index::IndexError;

/// Why the engine could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// A model, or another part behind a core trait, failed.
    #[error(transparent)]
    Core(#[from] anser_core::Error),
    /// A collection failed.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// A request field holds something unusable.
    #[error("{message}")]
    InvalidRequest {
        /// The field at fault.
        param: &'static str,
        /// One sentence: what is wrong and what to send instead.
        message: String,
    },
    /// The collection's vectors were made by another embedder than the one that is loaded.
    #[error(
        "the collection \"{collection}\" was embedded with {stored}, but {loaded} is loaded; start with --embedder {stored} or ingest into a new collection"
    )]
    EmbedderMismatch {
        /// The collection.
        collection: String,
        /// The model that made its vectors.
        stored: String,
        /// The model that is loaded.
        loaded: String,
    },
    /// A file given by the user cannot be used as a whole (single bad rows are reported, not raised).
    #[error("{}: {message}", path.display())]
    BadFile {
        /// The file.
        path: PathBuf,
        /// One sentence: what is wrong, where, and what to do.
        message: String,
    },
    /// The operating system refused a file operation.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// Completes "cannot ...".
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
}

impl EngineError {
    /// Whose fault it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Core(error) => error.kind(),
            Self::Index(error) => error.kind(),
            Self::InvalidRequest { .. } | Self::BadFile { .. } => ErrorKind::InvalidInput,
            Self::EmbedderMismatch { .. } => ErrorKind::Conflict,
            Self::Io { source, .. } if source.kind() == std::io::ErrorKind::NotFound => ErrorKind::NotFound,
            Self::Io { .. } => ErrorKind::Io,
        }
    }

    /// The request field at fault, when one is known.
    pub fn param(&self) -> Option<&str> {
        match self {
            Self::Core(error) => error.param(),
            Self::InvalidRequest { param, .. } => Some(param),
            _ => None,
        }
    }

    /// A request field holds something unusable.
    pub fn invalid(param: &'static str, message: impl Into<String>) -> Self {
        Self::InvalidRequest { param, message: message.into() }
    }

    /// A failed file operation; `action` completes "cannot ...".
    pub fn io(action: &'static str, path: impl AsRef<Path>, source: std::io::Error) -> Self {
        Self::Io { action, path: path.as_ref().to_path_buf(), source }
    }
}
