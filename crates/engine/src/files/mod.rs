//! Uploaded files and the results of jobs: bytes in one folder, everything known about them in the control database.
//!
//! Bytes come first, the row second: a file exists once its row does. Whoever writes bytes holds a lock on them until the
//! row is there, so whatever has neither row nor lock was left by a process that died, and is swept when a data folder is
//! opened.

mod record;
mod staging;
mod store;
mod upload;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::{Engine, EngineError, Page, PageRequest};
pub(crate) use staging::StagedFile;
pub(crate) use store::FileStore;
pub use upload::FileUpload;
pub(crate) use upload::no_trainer;

/// What a file is for, in OpenAI's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum FilePurpose {
    /// Input of assistants.
    #[serde(rename = "assistants")]
    Assistants,
    /// Requests of a batch.
    #[serde(rename = "batch")]
    Batch,
    /// Training or validation data, checked when it is uploaded.
    #[serde(rename = "fine-tune")]
    FineTune,
    /// Images.
    #[serde(rename = "vision")]
    Vision,
    /// Anything.
    #[serde(rename = "user_data")]
    UserData,
    /// Data of evaluations.
    #[serde(rename = "evals")]
    Evals,
    /// Written by assistants.
    #[serde(rename = "assistants_output")]
    AssistantsOutput,
    /// Replies of a batch.
    #[serde(rename = "batch_output")]
    BatchOutput,
    /// Figures of a fine-tuning job.
    #[serde(rename = "fine-tune-results")]
    FineTuneResults,
}

impl FilePurpose {
    const ALL: [Self; 9] = [
        Self::Assistants,
        Self::Batch,
        Self::FineTune,
        Self::Vision,
        Self::UserData,
        Self::Evals,
        Self::AssistantsOutput,
        Self::BatchOutput,
        Self::FineTuneResults,
    ];

    /// As it is written on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Assistants => "assistants",
            Self::Batch => "batch",
            Self::FineTune => "fine-tune",
            Self::Vision => "vision",
            Self::UserData => "user_data",
            Self::Evals => "evals",
            Self::AssistantsOutput => "assistants_output",
            Self::BatchOutput => "batch_output",
            Self::FineTuneResults => "fine-tune-results",
        }
    }

    /// The purpose that is written so.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|purpose| purpose.as_str() == text)
    }

    /// Whether users upload files of this purpose; the others are written by jobs.
    pub fn is_uploaded(self) -> bool {
        !matches!(self, Self::AssistantsOutput | Self::BatchOutput | Self::FineTuneResults)
    }
}

/// How far a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FileStatus {
    /// Stored, not read yet.
    Uploaded,
    /// Ready for use.
    Processed,
    /// Unusable.
    Error,
}

impl FileStatus {
    /// As it is written on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Uploaded => "uploaded",
            Self::Processed => "processed",
            Self::Error => "error",
        }
    }
}

/// What is known about a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StoredFile {
    /// `file-…`.
    pub id: String,
    /// Size.
    pub bytes: u64,
    /// SHA-256 of the bytes, lower-case hexadecimal.
    pub sha256: String,
    /// Seconds since 1970.
    pub created_at: i64,
    /// As the user named it; never a path.
    pub filename: String,
    /// What it is for.
    pub purpose: FilePurpose,
    /// How far it is.
    pub status: FileStatus,
    /// What is wrong with it.
    pub status_details: Option<String>,
    /// When it is deleted by itself; seconds since 1970.
    pub expires_at: Option<i64>,
}

impl Engine {
    /// Begins an upload. `expires_after_seconds` lies between 3,600 and 2,592,000. Write the bytes, then call
    /// [`FileUpload::finish`]; an upload that is dropped leaves nothing.
    pub fn begin_upload(
        &self,
        filename: &str,
        purpose: FilePurpose,
        expires_after_seconds: Option<u64>,
    ) -> Result<FileUpload, EngineError> {
        FileUpload::begin(&self.files, self.trainer.clone(), filename, purpose, expires_after_seconds)
    }

    /// Files, newest first unless the page says otherwise.
    pub fn files(&self, purpose: Option<FilePurpose>, page: &PageRequest) -> Result<Page<StoredFile>, EngineError> {
        self.files.list(purpose, page)
    }

    /// One file; `NotFound` when there is none of that id.
    pub fn file(&self, id: &str) -> Result<StoredFile, EngineError> {
        self.files.get(id)
    }

    /// Where the bytes of a file lie; `NotFound` when there is none of that id.
    pub fn file_path(&self, id: &str) -> Result<PathBuf, EngineError> {
        self.files.path(id)
    }

    /// Deletes a file; `NotFound` when there is none of that id, `WrongState` while an unfinished job needs it.
    pub fn delete_file(&self, id: &str) -> Result<(), EngineError> {
        self.files.delete(id)
    }
}
