//! What the loaders need of a model, taken out of its catalogue entry and checked.

use std::fs;
use std::path::{Path, PathBuf};

use anser_models::{ModelFiles, ModelRole, ModelSpec};
use fastembed::TokenizerFiles;

use crate::EmbedError;
use crate::tokens::TextReader;

/// Name of the ONNX graph in a model's folder.
const GRAPH: &str = "model.onnx";

/// A model on disk: its weights and its tokenizer.
#[derive(Debug, Clone)]
pub(crate) struct ModelSource {
    /// Name in the catalogue.
    pub(crate) name: String,
    /// The file that holds the weights, for messages about all of the model.
    pub(crate) weights: PathBuf,
    /// The ONNX graph, when there is one.
    onnx: Option<PathBuf>,
    /// The tokenizer, in the `tokenizers` library's JSON.
    pub(crate) tokenizer: PathBuf,
    /// Tokens read of one text, special tokens included.
    pub(crate) max_tokens: usize,
}

impl ModelSource {
    /// Takes what an embedder and a reranker share out of `files`.
    pub(crate) fn new(files: &ModelFiles, role: ModelRole, title: &'static str) -> Result<Self, EmbedError> {
        let spec = &files.spec;
        if spec.role != role {
            return Err(unfit(spec, title, format!("its role is {:?}", spec.role)));
        }
        let max_tokens = spec.max_tokens.filter(|max| *max >= 8);
        Ok(Self {
            name: spec.name.clone(),
            weights: match spec.files.iter().find(|file| file.name.ends_with(".safetensors")) {
                Some(file) => files.path(&file.name)?,
                None => files.path(GRAPH)?,
            },
            onnx: files.path(GRAPH).ok(),
            tokenizer: files.path("tokenizer.json")?,
            max_tokens: max_tokens.ok_or_else(|| unfit(spec, title, "max_tokens is missing or below 8".into()))?,
        })
    }

    /// The tokenizer, and the same one in the shape in which fastembed takes it.
    ///
    /// fastembed also asks for three configuration files, out of which it reads the padding token and the longest input.
    /// Not every model folder carries them, so they are made here from what the tokenizer itself says.
    pub(crate) fn tokenizer(&self) -> Result<(TextReader, TokenizerFiles), EmbedError> {
        let tokenizer_file = read(&self.tokenizer)?;
        let reader = TextReader::new(&self.name, &tokenizer_file, self.max_tokens)
            .map_err(|reason| self.bad_file(&self.tokenizer, reason))?;
        let (pad_token, pad_id) = reader.padding();
        let files = TokenizerFiles {
            tokenizer_file,
            config_file: serde_json::json!({ "pad_token_id": pad_id }).to_string().into_bytes(),
            special_tokens_map_file: b"{}".to_vec(),
            tokenizer_config_file: serde_json::json!({ "model_max_length": self.max_tokens, "pad_token": pad_token })
                .to_string()
                .into_bytes(),
        };
        Ok((reader, files))
    }

    /// Whether it can run on ONNX Runtime.
    pub(crate) fn has_graph(&self) -> bool {
        self.onnx.is_some()
    }

    /// Where the ONNX graph lies.
    pub(crate) fn graph(&self) -> Result<&Path, EmbedError> {
        self.onnx.as_deref().ok_or_else(|| EmbedError::NoEngine {
            model: self.name.clone(),
            wanted: "by ONNX Runtime".to_owned(),
            reason: format!("it has no {GRAPH}; use another engine, or convert the model"),
        })
    }

    /// The graph's bytes.
    pub(crate) fn onnx(&self) -> Result<Vec<u8>, EmbedError> {
        read(self.graph()?)
    }

    /// `path` is not what it should be.
    pub(crate) fn bad_file(&self, path: &Path, reason: impl Into<String>) -> EmbedError {
        EmbedError::BadFile { model: self.name.clone(), path: path.to_path_buf(), reason: reason.into() }
    }
}

/// The entry cannot serve in this role.
pub(crate) fn unfit(spec: &ModelSpec, role: &'static str, reason: String) -> EmbedError {
    EmbedError::UnfitSpec { model: spec.name.clone(), role, reason }
}

fn read(path: &Path) -> Result<Vec<u8>, EmbedError> {
    fs::read(path).map_err(|source| EmbedError::Read { path: path.to_path_buf(), source })
}
