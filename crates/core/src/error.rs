//! Whose fault a failure is, in one closed set that every crate's own error maps onto.

use std::error::Error as StdError;
use std::fmt;

/// The kind of a failure: decides the exit code, the HTTP status and whether trying again can help.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The caller sent something that cannot be accepted; the same call will fail again.
    InvalidInput,
    /// The thing named does not exist.
    NotFound,
    /// The call contradicts what is already stored (another embedder, a name that is taken).
    Conflict,
    /// Larger than a stated limit (body, tokens, context).
    TooLarge,
    /// A bounded queue is full; the same call may succeed later.
    Overloaded,
    /// The caller went away or asked to stop.
    Cancelled,
    /// Something needed is missing: a model that is not downloaded, a runtime library, the network.
    Unavailable,
    /// Stored or downloaded bytes are not what they should be.
    Corrupt,
    /// The operating system refused a file or socket operation.
    Io,
    /// A defect of Anser or of a library under it.
    Internal,
}

/// A failure that crosses one of this crate's traits: a kind, one sentence, the parameter at fault and the cause.
#[derive(Debug)]
pub struct Error {
    kind: ErrorKind,
    message: String,
    param: Option<String>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

/// Result with [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// A failure of this kind, described in one sentence that says what was wrong, where, and what to do.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), param: None, source: None }
    }

    /// [`ErrorKind::InvalidInput`].
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::InvalidInput, message)
    }

    /// [`ErrorKind::NotFound`].
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::NotFound, message)
    }

    /// [`ErrorKind::Internal`].
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Internal, message)
    }

    /// [`ErrorKind::Cancelled`], for work stopped because its caller asked or went away.
    pub fn cancelled() -> Self {
        Self::new(ErrorKind::Cancelled, "the request was cancelled before it finished")
    }

    /// An operating-system failure on `path`; `action` completes "cannot ...".
    pub fn io(action: &str, path: &std::path::Path, source: std::io::Error) -> Self {
        Self {
            kind: ErrorKind::Io,
            message: format!("cannot {action} {}: {source}", path.display()),
            param: None,
            source: Some(Box::new(source)),
        }
    }

    /// Names the request parameter or field at fault.
    #[must_use]
    pub fn with_param(mut self, param: impl Into<String>) -> Self {
        self.param = Some(param.into());
        self
    }

    /// Keeps the underlying error as [`std::error::Error::source`].
    #[must_use]
    pub fn with_source(mut self, source: impl StdError + Send + Sync + 'static) -> Self {
        self.source = Some(Box::new(source));
        self
    }

    /// The kind of failure.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The request parameter or field at fault, when one is known.
    pub fn param(&self) -> Option<&str> {
        self.param.as_deref()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|s| s as &(dyn StdError + 'static))
    }
}
