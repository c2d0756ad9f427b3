//! The engine's one error type.

use std::path::{Path, PathBuf};

use anser_core::{ErrorKind, TrainingFileCheck};
use anser_index::IndexError;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Faults of a training file that its error message spells out.
const SHOWN_FAULTS: usize = 5;

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
        "the collection \"{collection}\" was embedded with {stored}, but {loaded} is loaded; start with --embedder {stored}, or embed it anew with `anser reembed {collection} --model {loaded}`"
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
    /// A training file was refused; nothing of it was kept.
    #[error("the training file \"{filename}\" cannot be used: {}", faults(check))]
    TrainingFile {
        /// Its name.
        filename: String,
        /// All that is wrong with it, the first hundred faults.
        check: Box<TrainingFileCheck>,
    },
    /// What was asked of a job or model does not go together with the state it is in.
    #[error("{message}")]
    WrongState {
        /// One sentence: what stands in the way and what to do.
        message: String,
    },
    /// The control database failed.
    #[error("cannot {action} the database {}: {source}", path.display())]
    Database {
        /// Completes "cannot ... the database".
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The cause.
        source: rusqlite::Error,
    },
    /// The control database was written by a newer version of this program.
    #[error("the database {} has format {found}, but this version knows formats up to {supported}; use a newer version", path.display())]
    NewerDatabase {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: i64,
        /// The newest format known here.
        supported: i64,
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
            Self::InvalidRequest { .. }
            | Self::BadFile { .. }
            | Self::TrainingFile { .. }
            | Self::WrongState { .. } => ErrorKind::InvalidInput,
            Self::Database { source, .. } => database_kind(source),
            Self::NewerDatabase { .. } => ErrorKind::Unavailable,
            Self::EmbedderMismatch { .. } => ErrorKind::Conflict,
            Self::Io { source, .. } if source.kind() == std::io::ErrorKind::NotFound => ErrorKind::NotFound,
            Self::Io { .. } => ErrorKind::Io,
        }
    }

    /// The request field at fault, when one is known.
    pub fn param(&self) -> Option<&str> {
        match self {
            Self::Core(error) => error.param(),
            Self::Index(error) => error.param(),
            Self::InvalidRequest { param, .. } => Some(param),
            Self::TrainingFile { .. } => Some("file"),
            _ => None,
        }
    }

    /// A request field holds something unusable.
    pub fn invalid(param: &'static str, message: impl Into<String>) -> Self {
        Self::InvalidRequest { param, message: message.into() }
    }

    /// Something that does not exist.
    pub(crate) fn not_found(message: impl Into<String>) -> Self {
        Self::Core(anser_core::Error::not_found(message))
    }

    /// A defect of ours.
    pub(crate) fn internal(message: impl Into<String>) -> Self {
        Self::Core(anser_core::Error::internal(message))
    }

    /// A failed statement; `action` completes "cannot ... the database".
    pub(crate) fn database(action: &'static str, path: &Path, source: rusqlite::Error) -> Self {
        Self::Database { action, path: path.to_path_buf(), source }
    }

    /// A value as JSON, for the database.
    pub(crate) fn store_json(value: &impl Serialize) -> Result<String, Self> {
        serde_json::to_string(value).map_err(|e| Self::internal(format!("a value cannot be stored: {e}")))
    }

    /// A value that was stored as JSON; `Corrupt` names the `what` called `id`.
    pub(crate) fn parse_stored<T: DeserializeOwned>(text: &str, what: &str, id: &str) -> Result<T, Self> {
        serde_json::from_str(text).map_err(|e| {
            let message = format!("the stored {what} \"{id}\" cannot be read: {e}; delete it and make it again");
            Self::Core(anser_core::Error::new(ErrorKind::Corrupt, message).with_source(e))
        })
    }

    /// A failed file operation; `action` completes "cannot ...".
    pub fn io(action: &'static str, path: impl AsRef<Path>, source: std::io::Error) -> Self {
        Self::Io { action, path: path.as_ref().to_path_buf(), source }
    }
}

/// Failed statements; whoever opened the database adds its path.
impl From<rusqlite::Error> for EngineError {
    fn from(source: rusqlite::Error) -> Self {
        Self::Database { action: "use", path: PathBuf::new(), source }
    }
}

/// For jobs and other callers behind core's traits.
impl From<EngineError> for anser_core::Error {
    fn from(error: EngineError) -> Self {
        if let EngineError::Core(error) = error {
            return error;
        }
        let (message, param) = (error.to_string(), error.param().map(str::to_owned));
        let outer = Self::new(error.kind(), message).with_source(error);
        match param {
            Some(param) => outer.with_param(param),
            None => outer,
        }
    }
}

fn database_kind(error: &rusqlite::Error) -> ErrorKind {
    use rusqlite::ErrorCode::{
        CannotOpen, DatabaseBusy, DatabaseCorrupt, DiskFull, NotADatabase, ReadOnly, SystemIoFailure,
    };
    match error.sqlite_error_code() {
        Some(NotADatabase | DatabaseCorrupt) => ErrorKind::Corrupt,
        Some(DatabaseBusy) => ErrorKind::Overloaded,
        Some(CannotOpen | DiskFull | ReadOnly | SystemIoFailure) => ErrorKind::Io,
        _ => ErrorKind::Internal,
    }
}

/// The first faults of a file, each with its line, and how many more there are.
fn faults(check: &TrainingFileCheck) -> String {
    let mut shown: Vec<String> = Vec::new();
    for problem in check.problems.iter().take(SHOWN_FAULTS) {
        let line = if problem.line == 0 { String::new() } else { format!("line {}: ", problem.line) };
        let field = problem.field.as_ref().map_or(String::new(), |field| format!("{field}: "));
        shown.push(format!("{line}{field}{}", problem.message));
    }
    let more = check.problem_count.saturating_sub(shown.len());
    let rest = if more == 0 { String::new() } else { format!("; and {more} more") };
    format!("{}{rest}", shown.join("; "))
}
