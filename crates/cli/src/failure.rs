//! How a command ends badly: one sentence and an exit code.

use std::fmt;
use std::io::ErrorKind;

use anser_engine::EngineError;
use anser_generate::GenerateError;
use anser_models::ModelsError;
use anser_server::ServerError;
use anser_tune::TuneError;

use crate::config::env;

/// A command's failure. Exit code 1 when the work failed, 2 when it was asked for wrongly.
#[derive(Debug)]
pub(crate) struct Failure {
    message: String,
    exit_code: u8,
}

impl Failure {
    /// The work failed.
    pub(crate) fn failed(message: impl Into<String>) -> Self {
        Self { message: message.into(), exit_code: 1 }
    }

    /// The command was asked for wrongly.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self { message: message.into(), exit_code: 2 }
    }

    /// No failure at all: the command has said what there is to say and ends early.
    pub(crate) fn nothing_more() -> Self {
        Self { message: String::new(), exit_code: 0 }
    }

    /// The output could not be written. A reader that has seen enough, like `head`, is no failure.
    fn output(kind: ErrorKind, error: &dyn std::error::Error) -> Self {
        if kind == ErrorKind::BrokenPipe {
            return Self { message: String::new(), exit_code: 0 };
        }
        Self::failed(format!("cannot write the output: {error}"))
    }

    /// Whether there is nothing to tell anybody.
    pub(crate) fn is_silent(&self) -> bool {
        self.message.is_empty()
    }

    /// What the process ends with.
    pub(crate) fn exit_code(&self) -> u8 {
        self.exit_code
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl From<EngineError> for Failure {
    fn from(error: EngineError) -> Self {
        Self::failed(error.to_string())
    }
}

impl From<anser_core::Error> for Failure {
    fn from(error: anser_core::Error) -> Self {
        Self::failed(error.to_string())
    }
}

impl From<GenerateError> for Failure {
    fn from(error: GenerateError) -> Self {
        Self::failed(error.to_string())
    }
}

impl From<TuneError> for Failure {
    fn from(error: TuneError) -> Self {
        Self::failed(error.to_string())
    }
}

impl From<ModelsError> for Failure {
    fn from(error: ModelsError) -> Self {
        Self::failed(error.to_string())
    }
}

impl From<ServerError> for Failure {
    fn from(error: ServerError) -> Self {
        let hint = match error {
            ServerError::KeysRequired { .. } => format!(" ({}=key1,key2)", env::API_KEYS),
            _ => String::new(),
        };
        Self::failed(format!("{error}{hint}"))
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::output(error.kind(), &error)
    }
}

impl From<serde_json::Error> for Failure {
    fn from(error: serde_json::Error) -> Self {
        Self::output(error.io_error_kind().unwrap_or(ErrorKind::Other), &error)
    }
}
