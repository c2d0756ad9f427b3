//! Where the documents of an analysis come from.

use std::path::PathBuf;

use anser_index::Filter;
use serde::{Deserialize, Serialize};

use crate::{Engine, EngineError, FieldMapping, FileFormat};

/// The documents to analyse.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum AnalysisSource {
    /// Those of a collection.
    Collection {
        /// Its name.
        name: String,
        /// Only those that this lets through.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        filter: Option<Filter>,
    },
    /// The rows of a file on this machine, read, embedded and forgotten again. For commands; the server offers
    /// [`AnalysisSource::Upload`].
    Path {
        /// Where it lies, absolute.
        path: PathBuf,
        /// Its format; without it the name says.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        format: Option<FileFormat>,
        /// Which columns hold what.
        #[serde(default)]
        fields: FieldMapping,
        /// Only the rows that this lets through.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        filter: Option<Filter>,
    },
    /// The rows of an uploaded file, read, embedded and forgotten again.
    Upload {
        /// `file-…`.
        file: String,
        /// Its format; without it the name says.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        format: Option<FileFormat>,
        /// Which columns hold what.
        #[serde(default)]
        fields: FieldMapping,
        /// Only the rows that this lets through.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        filter: Option<Filter>,
    },
}

impl AnalysisSource {
    /// What messages and reports call it.
    pub fn name(&self) -> String {
        match self {
            Self::Collection { name, .. } => name.clone(),
            Self::Path { path, .. } => {
                path.file_name().map_or_else(|| path.display().to_string(), |name| name.to_string_lossy().into_owned())
            }
            Self::Upload { file, .. } => file.clone(),
        }
    }

    /// What may pass.
    pub(crate) fn filter(&self) -> Option<&Filter> {
        match self {
            Self::Collection { filter, .. } | Self::Path { filter, .. } | Self::Upload { filter, .. } => {
                filter.as_ref()
            }
        }
    }

    /// Looks whether it is there, and lists the uploaded files that must stay until the job has ended.
    pub(super) fn check(&self, engine: &Engine) -> Result<Vec<String>, EngineError> {
        match self {
            Self::Collection { name, .. } => engine.collection(name).map(|_| Vec::new()),
            Self::Path { path, .. } => match std::fs::metadata(path) {
                Ok(_) => Ok(Vec::new()),
                Err(error) => Err(EngineError::io("read", path, error)),
            },
            Self::Upload { file, .. } => engine.file(file).map(|stored| vec![stored.id]),
        }
    }
}
