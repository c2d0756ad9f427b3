//! A user's own folder as an embedder, described by its own files.

use std::fs;
use std::path::Path;

use anser_core::storage::sha256_file;

use crate::sentence_transformers::{CONFIG, EmbedderFacts, TOKENIZER_CONFIG};
use crate::{EmbedderSettings, FileSpec, ModelFiles, ModelRole, ModelSpec, ModelsError};

/// Weights, of which a folder must have one; the first is read when both are there.
pub(crate) const WEIGHTS: [&str; 2] = ["model.safetensors", "model.onnx"];
/// The tokenizer, which it must have.
pub(crate) const TOKENIZER: &str = "tokenizer.json";
/// Other files that belong to the model where they are there.
pub(crate) const FURTHER: [&str; 3] = [TOKENIZER_CONFIG, "special_tokens_map.json", "model.onnx_data"];

impl ModelFiles {
    /// The embedder in `folder`, named `name`. Weights, `tokenizer.json` and `config.json` must be there
    /// ([`ModelsError::FolderIncomplete`] names what is not); what else the model needs to know comes from the files of
    /// sentence-transformers beside them, or from `settings`.
    pub fn from_folder(name: &str, folder: &Path, settings: &EmbedderSettings) -> Result<Self, ModelsError> {
        let lacking = |file: &str| ModelsError::FolderIncomplete { folder: folder.to_owned(), file: file.to_owned() };
        let is_there = |file: &&str| folder.join(file).is_file();
        let mut names: Vec<&str> = WEIGHTS.into_iter().filter(|file| is_there(file)).collect();
        if names.is_empty() {
            return Err(lacking(&WEIGHTS.join(" or ")));
        }
        if let Some(file) = [TOKENIZER, CONFIG].into_iter().find(|file| !is_there(file)) {
            return Err(lacking(file));
        }
        names.extend([TOKENIZER, CONFIG]);
        names.extend(FURTHER.into_iter().filter(|file| is_there(file)));
        let facts = EmbedderFacts::read(folder, settings)?;
        let files = names.into_iter().map(|file| file_spec(folder, file)).collect::<Result<Vec<_>, _>>()?;
        Ok(Self { spec: embedder_spec(name, &folder.display().to_string(), facts, files), dir: folder.to_owned() })
    }
}

/// Name, size and hash of a file as it lies in `folder`.
pub(crate) fn file_spec(folder: &Path, name: &str) -> Result<FileSpec, ModelsError> {
    let path = folder.join(name);
    let bytes = fs::metadata(&path).map_err(ModelsError::io("look at", &path))?.len();
    Ok(FileSpec {
        name: name.to_owned(),
        bytes,
        sha256: sha256_file(&path)?,
        hub_file: None,
        wheel_entry: None,
        derived: None,
    })
}

/// An entry for an embedder that came from `origin`.
pub(crate) fn embedder_spec(name: &str, origin: &str, facts: EmbedderFacts, files: Vec<FileSpec>) -> ModelSpec {
    ModelSpec {
        name: name.to_owned(),
        role: ModelRole::Embedder,
        description: format!("Text embeddings, {} dimensions, added by the user", facts.dimension),
        upstream: origin.to_owned(),
        licence: "not stated".to_owned(),
        platform: None,
        dimension: Some(facts.dimension),
        dimensions: facts.dimensions,
        max_tokens: Some(facts.max_tokens),
        graph: None,
        pooling: Some(facts.pooling),
        query_prefix: facts.query_prefix,
        passage_prefix: facts.passage_prefix,
        hub: None,
        wheel: None,
        files,
    }
}
