//! A model folder as Hugging Face's libraries write it: `config.json`, safetensors weights, `tokenizer.json`, and what
//! names the special tokens and the chat template.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::base::BaseModel;
use crate::codec::ChatCodec;
use crate::safetensors::{Fault, TensorFiles, files_of_index};
use crate::tokenizer::NamedTokens;
use crate::tokenizer_json::TokenizerJson;
use crate::{GenerateError, LlamaConfig};

/// Longest text file of a model folder that is read: far above any tokenizer.
const LONGEST_TEXT: u64 = 256 << 20;

/// A model folder, opened.
pub(crate) struct Opened {
    pub(crate) config: LlamaConfig,
    pub(crate) codec: ChatCodec,
    pub(crate) weights: ModelFolder,
}

/// The weights of a model folder.
pub(crate) struct ModelFolder {
    tensors: TensorFiles,
}

/// Opens `folder` and holds every tensor against its configuration.
pub(crate) fn open(folder: &Path) -> Result<Opened, GenerateError> {
    let unsupported = |reason: String| GenerateError::Unsupported { path: folder.to_owned(), reason };
    let config = required_text(folder, "config.json")?;
    let raw: Value = serde_json::from_str(&config).unwrap_or_default();
    let mut config = LlamaConfig::from_json(&config).map_err(unsupported)?;
    let tensors = TensorFiles::open(&weight_files(folder)?).map_err(model_error)?;
    // Some writers leave the output matrix out, others write the tied table twice; the file decides.
    config.tied_embeddings |= tensors.shape("lm_head.weight").is_none();
    let weights = ModelFolder { tensors };
    weights.check(folder, &config)?;
    let codec = codec(folder, &raw, config.vocabulary)?;
    Ok(Opened { config, codec, weights })
}

impl ModelFolder {
    fn check(&self, folder: &Path, config: &LlamaConfig) -> Result<(), GenerateError> {
        let damaged = |reason: String| GenerateError::Damaged { path: folder.to_owned(), reason };
        // An absurd number of blocks ends here at the first that is missing.
        for block in 0..config.blocks {
            let name = format!("model.layers.{block}.input_layernorm.weight");
            if self.tensors.shape(&name).is_none() {
                return Err(damaged(format!("tensor {name} is missing")));
            }
        }
        for (name, expected) in BaseModel::tensor_names(config) {
            let found = self.tensors.shape(&name).ok_or_else(|| damaged(format!("tensor {name} is missing")))?;
            if found.0 != expected {
                return Err(damaged(format!("tensor {name} has shape {:?} where {expected:?} belongs", found.0)));
            }
            if !found.1 {
                return Err(damaged(format!("tensor {name} is not F32, F16 or BF16")));
            }
        }
        match self.tensors.names().find(|name| name.rsplit('.').next() == Some("bias") || name.contains("experts")) {
            Some(name) => Err(GenerateError::Unsupported {
                path: folder.to_owned(),
                reason: format!("it has the tensor {name}, which the decoder does not use"),
            }),
            None => Ok(()),
        }
    }

    /// The files that hold the weights.
    pub(crate) fn weight_files(&self) -> impl Iterator<Item = &Path> {
        self.tensors.paths()
    }

    /// The values of a tensor as f32, row-major.
    pub(crate) fn tensor(&mut self, name: &str) -> Result<Vec<f32>, GenerateError> {
        self.tensors.read(name).map_err(model_error)
    }
}

/// The tokenizer and the template of `folder`; `config` is its whole `config.json`.
pub(crate) fn codec(folder: &Path, config: &Value, vocabulary: usize) -> Result<ChatCodec, GenerateError> {
    let unsupported = |reason: String| GenerateError::Unsupported { path: folder.join("tokenizer.json"), reason };
    let text = required_text(folder, "tokenizer.json")?;
    let json = TokenizerJson::parse(&text, vocabulary).map_err(unsupported)?;
    let settings = optional_json(folder, "tokenizer_config.json")?;
    let map = optional_json(folder, "special_tokens_map.json")?;
    let generation = optional_json(folder, "generation_config.json")?;

    let by_text = |key: &str| {
        let entry = [&settings, &map].into_iter().find_map(|file| match &file[key] {
            Value::String(text) => Some(text.clone()),
            Value::Object(token) => token.get("content")?.as_str().map(str::to_owned),
            _ => None,
        })?;
        json.id(&entry)
    };
    let ids = |value: &Value| -> Vec<u32> {
        let list = value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice);
        let known = list.iter().filter_map(Value::as_u64).filter(|id| (*id as usize) < vocabulary);
        known.map(|id| id as u32).collect()
    };
    let end: Vec<u32> = [&config["eos_token_id"], &generation["eos_token_id"]].into_iter().flat_map(ids).collect();
    let named = NamedTokens {
        bos: by_text("bos_token").or_else(|| ids(&config["bos_token_id"]).first().copied()),
        eos: by_text("eos_token").or_else(|| end.first().copied()),
        end,
        adds_bos: settings["add_bos_token"].as_bool().unwrap_or(false),
    };
    let template = match optional_text(folder, "chat_template.jinja")? {
        Some(text) => Some(text),
        None => template_of(&settings["chat_template"]),
    };
    ChatCodec::new(json.into_tokenizer(&named), template.as_deref(), Some(text)).map_err(unsupported)
}

/// The chat template in `tokenizer_config.json`: a text, or a list of named ones.
fn template_of(value: &Value) -> Option<String> {
    if let Some(text) = value.as_str() {
        return Some(text.to_owned());
    }
    let list = value.as_array()?;
    let default = list.iter().find(|entry| entry["name"] == "default").or(list.first())?;
    default["template"].as_str().map(str::to_owned)
}

fn weight_files(folder: &Path) -> Result<Vec<PathBuf>, GenerateError> {
    let single = folder.join("model.safetensors");
    let index = folder.join("model.safetensors.index.json");
    if single.is_file() || !index.is_file() {
        return Ok(vec![single]);
    }
    let text = required_text(folder, "model.safetensors.index.json")?;
    let names = files_of_index(&text).map_err(|reason| GenerateError::Damaged { path: index, reason })?;
    Ok(names.into_iter().map(|name| folder.join(name)).collect())
}

fn required_text(folder: &Path, name: &str) -> Result<String, GenerateError> {
    let missing = || GenerateError::Read { path: folder.join(name), source: ErrorKind::NotFound.into() };
    optional_text(folder, name)?.ok_or_else(missing)
}

fn optional_text(folder: &Path, name: &str) -> Result<Option<String>, GenerateError> {
    let path = folder.join(name);
    let length = match fs::metadata(&path) {
        Ok(metadata) => metadata.len(),
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(GenerateError::Read { path, source }),
    };
    if length > LONGEST_TEXT {
        return Err(GenerateError::Damaged { path, reason: format!("it has {length} bytes") });
    }
    match fs::read_to_string(&path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == ErrorKind::InvalidData => {
            Err(GenerateError::Damaged { path, reason: "it is not UTF-8".to_owned() })
        }
        Err(source) => Err(GenerateError::Read { path, source }),
    }
}

fn optional_json(folder: &Path, name: &str) -> Result<Value, GenerateError> {
    let Some(text) = optional_text(folder, name)? else { return Ok(Value::Null) };
    serde_json::from_str(&text)
        .map_err(|error| GenerateError::Damaged { path: folder.join(name), reason: format!("it is not JSON: {error}") })
}

fn model_error(fault: Fault) -> GenerateError {
    match fault {
        Fault::Io(path, source) => GenerateError::Read { path, source },
        Fault::Damaged(path, reason) => GenerateError::Damaged { path, reason },
    }
}
