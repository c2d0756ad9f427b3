//! What can go wrong between a model file and a finished reply.

use std::path::PathBuf;

use anser_core::{DeviceError, ErrorKind};
use anser_models::ModelsError;

/// A failure of loading a chat model or of generating with it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GenerateError {
    /// The operating system refused the model file.
    #[error("cannot read the model file {}: {source}", path.display())]
    Read {
        /// The model file.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The model file is cut off or is not a GGUF file.
    #[error("the model file {} is damaged ({reason}); delete it and download it again", path.display())]
    Damaged {
        /// The model file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The model file is whole, but describes a model that this crate cannot run.
    #[error("the model file {} cannot be used: {reason}", path.display())]
    Unsupported {
        /// The model file.
        path: PathBuf,
        /// What is not supported.
        reason: String,
    },
    /// An adapter's file is missing, cut off or contradicts itself.
    #[error("the adapter file {} is damaged ({reason}); take it from its source again", path.display())]
    AdapterDamaged {
        /// The adapter's file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// An adapter is whole, but is of a kind that cannot be used here or was made for another model.
    #[error("the adapter {adapter} cannot be used: {reason}")]
    AdapterUnsupported {
        /// Folder or name of the adapter.
        adapter: String,
        /// Why not.
        reason: String,
    },
    /// A model cannot be written in the format asked for.
    #[error("the model cannot be exported: {0}")]
    Export(String),
    /// The operating system refused to write a file.
    #[error("cannot write {}: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// A file could not be hashed or replaced.
    #[error(transparent)]
    Storage(#[from] anser_core::Error),
    /// A file of the model is missing or cannot be found.
    #[error(transparent)]
    Files(#[from] ModelsError),
    /// The chat template refuses these messages.
    #[error("the model's chat template does not accept these messages: {0}")]
    Template(String),
    /// A decoding option is outside its range.
    #[error("{option} {reason}")]
    Option {
        /// Name of the option.
        option: &'static str,
        /// Which values it takes.
        reason: String,
    },
    /// The prompt leaves no room for a reply.
    #[error(
        "the prompt needs at least {prompt_tokens} tokens, but the model's context holds {context_length} including the reply; shorten the messages"
    )]
    PromptTooLong {
        /// Tokens of the prompt, or a lower bound when it is so long that it was not read.
        prompt_tokens: usize,
        /// Tokens of prompt and reply together.
        context_length: usize,
    },
    /// The queue in front of the model is full.
    #[error("the chat model is busy and {waiting} requests are already waiting; try again shortly")]
    Overloaded {
        /// Length of the queue.
        waiting: usize,
    },
    /// The caller asked to stop.
    #[error("the request was cancelled before it finished")]
    Cancelled,
    /// The tokenizer failed on a text.
    #[error("the text cannot be tokenized: {0}")]
    Tokenizer(String),
    /// A defect in the model's arithmetic.
    #[error("the chat model failed while generating: {0}")]
    Model(String),
    /// The device that should compute cannot be used, or failed.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// The operating system refused threads for the model.
    #[error("cannot start the threads of the chat model: {0}")]
    Threads(String),
}

impl GenerateError {
    /// Whose fault it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Read { .. } | Self::Write { .. } => ErrorKind::Io,
            Self::Damaged { .. } | Self::AdapterDamaged { .. } => ErrorKind::Corrupt,
            Self::Unsupported { .. }
            | Self::AdapterUnsupported { .. }
            | Self::Export(_)
            | Self::Template(_)
            | Self::Option { .. } => ErrorKind::InvalidInput,
            Self::Storage(error) => error.kind(),
            Self::Files(error) => error.kind(),
            Self::Device(error) => error.kind(),
            Self::PromptTooLong { .. } => ErrorKind::TooLarge,
            Self::Overloaded { .. } => ErrorKind::Overloaded,
            Self::Cancelled => ErrorKind::Cancelled,
            Self::Tokenizer(_) | Self::Model(_) | Self::Threads(_) => ErrorKind::Internal,
        }
    }

    fn param(&self) -> Option<&'static str> {
        match self {
            Self::Option { option, .. } => Some(option),
            Self::Template(_) | Self::PromptTooLong { .. } => Some("messages"),
            _ => None,
        }
    }
}

impl From<GenerateError> for anser_core::Error {
    fn from(error: GenerateError) -> Self {
        let core = Self::new(error.kind(), error.to_string());
        match error.param() {
            Some(param) => core.with_param(param),
            None => core,
        }
        .with_source(error)
    }
}
