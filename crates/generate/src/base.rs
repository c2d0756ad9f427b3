//! [`BaseModel`]: a model on disk, opened and checked, its weights read tensor by tensor.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anser_core::storage::{sha256_file, sha256_hex};

use crate::codec::ChatCodec;
use crate::config::{PROJECTIONS, part_of};
use crate::folder::{self, ModelFolder};
use crate::gguf::{GgufFile, gguf_name};
use crate::rotary_layout::{Direction, reorder_rows};
use crate::{GenerateError, LlamaConfig};

/// A llama-architecture model file or folder: its header has been read and checked, its weights have not.
///
/// Tensors have Hugging Face's names, shapes and layout whatever the file: `model.layers.0.self_attn.q_proj.weight` is
/// `[out, in]`, row-major, and the two halves of a head rotate together.
pub struct BaseModel {
    path: PathBuf,
    config: LlamaConfig,
    codec: Arc<ChatCodec>,
    source: Source,
}

enum Source {
    Gguf(Box<GgufFile>),
    Folder(ModelFolder),
}

impl BaseModel {
    /// Opens a GGUF file, or a folder with `config.json`, `model.safetensors` (or the index of a split one),
    /// `tokenizer.json` and, if it has one, a chat template.
    pub fn open(path: &Path) -> Result<Self, GenerateError> {
        let path = path.to_owned();
        if path.is_dir() {
            let opened = folder::open(&path)?;
            let source = Source::Folder(opened.weights);
            return Ok(Self { path, config: opened.config, codec: Arc::new(opened.codec), source });
        }
        let gguf = GgufFile::open(&path)?;
        let config = gguf.llama_config()?;
        let codec = Arc::new(ChatCodec::from_gguf(&gguf, config.vocabulary)?);
        Ok(Self { path, config, codec, source: Source::Gguf(Box::new(gguf)) })
    }

    /// The file or folder that was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The decoder's shape.
    pub fn config(&self) -> &LlamaConfig {
        &self.config
    }

    /// Its tokenizer and chat template.
    pub fn codec(&self) -> Arc<ChatCodec> {
        Arc::clone(&self.codec)
    }

    /// SHA-256 of the weights, lower-case hexadecimal: of the one file, or of the list of several files' hashes.
    pub fn hash(&self) -> Result<String, GenerateError> {
        let hashes = match &self.source {
            Source::Gguf(gguf) => vec![sha256_file(&gguf.path)?],
            Source::Folder(folder) => folder.weight_files().map(sha256_file).collect::<Result<_, _>>()?,
        };
        match hashes.as_slice() {
            [one] => Ok(one.clone()),
            several => Ok(sha256_hex(several.join("\n").as_bytes())),
        }
    }

    /// The values of a tensor of [`BaseModel::tensor_names`] as f32, row-major. `lm_head.weight` of a model whose
    /// embeddings are tied is its embedding table.
    pub fn tensor(&mut self, name: &str) -> Result<Vec<f32>, GenerateError> {
        let tied = self.config.tied_embeddings && name == "lm_head.weight";
        let name = if tied { "model.embed_tokens.weight" } else { name };
        let gguf = match &mut self.source {
            Source::Folder(folder) => return folder.tensor(name),
            Source::Gguf(gguf) => gguf,
        };
        let stored = gguf_name(name).ok_or_else(|| gguf.damaged(format!("tensor {name} is missing")))?;
        if !gguf.content.tensor_infos.contains_key(&stored) {
            return Err(gguf.damaged(format!("tensor {stored} is missing")));
        }
        let values = gguf.unpack(&stored)?;
        let rotates = name.ends_with("q_proj.weight") || name.ends_with("k_proj.weight");
        Ok(if rotates {
            reorder_rows(&values, self.config.head_dim, self.config.hidden, Direction::FromGguf)
        } else {
            values
        })
    }

    /// Name and shape of every tensor of a model of this shape, in the order in which a forward pass needs them.
    /// `lm_head.weight` is among them only where the embeddings are not tied.
    pub fn tensor_names(config: &LlamaConfig) -> Vec<(String, Vec<usize>)> {
        let mut names = vec![("model.embed_tokens.weight".to_owned(), vec![config.vocabulary, config.hidden])];
        for block in 0..config.blocks {
            let matrix = |projection: &str| {
                let (rows, columns) = config.projection(projection).unwrap_or_default();
                (format!("model.layers.{block}.{}.{projection}.weight", part_of(projection)), vec![rows, columns])
            };
            let norm = |name: &str| (format!("model.layers.{block}.{name}.weight"), vec![config.hidden]);
            let [q, k, v, o, gate, up, down] = PROJECTIONS.map(matrix);
            names.extend([norm("input_layernorm"), q, k, v, o]);
            names.extend([norm("post_attention_layernorm"), gate, up, down]);
        }
        names.push(("model.norm.weight".to_owned(), vec![config.hidden]));
        if !config.tied_embeddings {
            names.push(("lm_head.weight".to_owned(), vec![config.vocabulary, config.hidden]));
        }
        names
    }

    /// The header of the GGUF file, if it is one.
    pub(crate) fn gguf(&self) -> Option<&GgufFile> {
        match &self.source {
            Source::Gguf(gguf) => Some(gguf),
            Source::Folder(_) => None,
        }
    }
}
