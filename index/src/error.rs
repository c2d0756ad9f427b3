//! What can go wrong with collections, and whose fault each failure is.

use std::path::{Path, PathBuf};

use anser_core::ErrorKind;
use thiserror::Error;

use crate::filter::FilterPlace;

/// Result with [`IndexError`].
pub type Result<T> = std::result::Result<T, IndexError>;

/// A failure of the index.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum IndexError {
    /// The caller gave something that cannot be accepted.
    #[error("{message}")]
    InvalidInput {
        /// One sentence: what was wrong, where, what to do.
        message: String,
        /// The parameter at fault.
        param: Option<&'static str>,
    },
    /// No collection has this name.
    #[error("there is no collection called \"{name}\"; `anser collections list` shows those that exist")]
    NotFound {
        /// The name asked for.
        name: String,
    },
    /// A collection of this name exists already.
    #[error("a collection called \"{name}\" exists already; choose another name or delete it first")]
    Exists {
        /// The name that is taken.
        name: String,
    },
    /// The collection was written by a newer program.
    #[error(
        "the collection at {} has format {found}, but this version reads up to {supported}; use a newer version of Anser",
        path.display()
    )]
    NewerFormat {
        /// The database file, or the manifest of its vectors.
        path: PathBuf,
        /// Its format.
        found: i64,
        /// The newest format known here.
        supported: i64,
    },
    /// Other vectors took the place of those that a collection was opened for.
    #[error(
        "the collection \"{}\" is no longer searched by the vectors of \"{model}\"; try again with its present ones",
        collection_of(path)
    )]
    Superseded {
        /// The database file.
        path: PathBuf,
        /// The model that made the vectors of before.
        model: String,
    },
    /// Another file took the place of the database that was opened.
    #[error("the database of the collection \"{}\" was replaced by another; try again", collection_of(path))]
    Replaced {
        /// The database file.
        path: PathBuf,
    },
    /// Somebody makes vectors for a collection already.
    #[error("the collection \"{name}\" is being embedded anew already; wait for that, or cancel its job")]
    Busy {
        /// The collection.
        name: String,
    },
    /// Chunks came while vectors were made for all of them.
    #[error("the collection \"{}\" has chunks without a vector of \"{model}\"; embed them first", collection_of(path))]
    Unembedded {
        /// The database file.
        path: PathBuf,
        /// The model that makes the vectors.
        model: String,
    },
    /// Stored bytes are not what they should be.
    #[error("the stored {what} cannot be used: {reason}")]
    Corrupt {
        /// What was read, with its place.
        what: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The database refused an operation.
    #[error("cannot {action} {}: {source}", path.display())]
    Database {
        /// Completes "cannot ...".
        action: &'static str,
        /// The database file.
        path: PathBuf,
        /// What the database said.
        source: rusqlite::Error,
    },
    /// The database file is damaged.
    #[error("cannot {action} {}: {source}; `anser doctor --repair` saves what can still be read", path.display())]
    Damaged {
        /// Completes "cannot ...".
        action: &'static str,
        /// The database file.
        path: PathBuf,
        /// What the database said.
        source: rusqlite::Error,
    },
    /// The database may not be written.
    #[error(
        "the database {} cannot be opened ({source}); even searches write beside it, so it and its folder must be writable",
        path.display()
    )]
    Unwritable {
        /// The database file.
        path: PathBuf,
        /// What the database said.
        source: rusqlite::Error,
    },
    /// The operating system refused an operation.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// Completes "cannot ...".
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A condition on attributes cannot be used.
    #[error("the filter cannot be used: {place}{reason}")]
    Filter {
        /// Where in the filter.
        place: FilterPlace,
        /// What is wrong there and what belongs there.
        reason: String,
    },
    /// A failure of a shared part, such as a name check or a cancelled computation.
    #[error(transparent)]
    Core(#[from] anser_core::Error),
    /// A defect of this crate or of a library under it.
    #[error("{message}; this is a defect, please report it")]
    Internal {
        /// What happened.
        message: String,
    },
}

impl IndexError {
    /// The caller's fault, without a parameter to name.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::InvalidInput { message: message.into(), param: None }
    }

    /// The caller's fault, in the parameter `param`.
    pub fn invalid_param(message: impl Into<String>, param: &'static str) -> Self {
        Self::InvalidInput { message: message.into(), param: Some(param) }
    }

    /// A condition on attributes that cannot be used.
    pub(crate) fn filter(place: FilterPlace, reason: impl Into<String>) -> Self {
        Self::Filter { place, reason: reason.into() }
    }

    /// A defect.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::Internal { message: message.into() }
    }

    pub(crate) fn corrupt(what: impl Into<String>, reason: impl std::fmt::Display) -> Self {
        Self::Corrupt { what: what.into(), reason: reason.to_string() }
    }

    /// For `map_err` on a file operation.
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::Io { action, path, source }
    }

    /// For `map_err` on a database operation.
    pub(crate) fn database(action: &'static str, path: &Path) -> impl FnOnce(rusqlite::Error) -> Self {
        let path = path.to_path_buf();
        move |source| {
            if database_kind(&source) == ErrorKind::Corrupt {
                return Self::Damaged { action, path, source };
            }
            Self::Database { action, path, source }
        }
    }

    /// The parameter at fault, where one is.
    pub fn param(&self) -> Option<&str> {
        match self {
            Self::InvalidInput { param, .. } => *param,
            Self::Filter { .. } => Some("filter"),
            Self::NotFound { .. } | Self::Exists { .. } => Some("name"),
            Self::Core(error) => error.param(),
            _ => None,
        }
    }

    /// Whose fault it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::InvalidInput { .. } | Self::Filter { .. } => ErrorKind::InvalidInput,
            Self::NotFound { .. } => ErrorKind::NotFound,
            Self::Exists { .. }
            | Self::NewerFormat { .. }
            | Self::Superseded { .. }
            | Self::Replaced { .. }
            | Self::Busy { .. }
            | Self::Unembedded { .. } => ErrorKind::Conflict,
            Self::Corrupt { .. } | Self::Damaged { .. } => ErrorKind::Corrupt,
            Self::Database { source, .. } => database_kind(source),
            Self::Io { .. } | Self::Unwritable { .. } => ErrorKind::Io,
            Self::Core(e) => e.kind(),
            Self::Internal { .. } => ErrorKind::Internal,
        }
    }
}

/// The name of the collection whose database lies at `path`.
pub(crate) fn collection_of(path: &Path) -> std::borrow::Cow<'_, str> {
    path.parent().and_then(Path::file_name).unwrap_or_default().to_string_lossy()
}

/// A busy database may be free later, a damaged one is damaged, a full disk is the system's.
fn database_kind(error: &rusqlite::Error) -> ErrorKind {
    use rusqlite::ErrorCode as C;
    match error.sqlite_error_code() {
        Some(C::DatabaseBusy | C::DatabaseLocked) => ErrorKind::Overloaded,
        Some(C::DatabaseCorrupt | C::NotADatabase) => ErrorKind::Corrupt,
        Some(C::CannotOpen | C::DiskFull | C::PermissionDenied | C::ReadOnly | C::SystemIoFailure) => ErrorKind::Io,
        _ => ErrorKind::Internal,
    }
}

impl From<IndexError> for anser_core::Error {
    fn from(error: IndexError) -> Self {
        let error = match error {
            IndexError::Core(inner) => return inner,
            other => other,
        };
        let made = Self::new(error.kind(), error.to_string());
        let made = if let Some(param) = error.param() { made.with_param(param) } else { made };
        made.with_source(error)
    }
}
