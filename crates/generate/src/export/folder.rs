//! A model folder as Hugging Face's libraries read it.

use std::collections::HashMap;
use std::fs;
use std::io::Write;
use std::path::Path;

use anser_core::storage::write_atomic;
use half::{bf16, f16};
use safetensors::Dtype;
use safetensors::tensor::{Metadata, TensorInfo};
use serde_json::{Value, json};

use crate::adapter::LoraAdapter;
use crate::base::BaseModel;
use crate::codec::ChatCodec;
use crate::export::{Merged, check_half, replace_file};
use crate::{GenerateError, LlamaConfig};

/// Number format of the tensors in a model folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FloatFormat {
    /// 32-bit floats: exact.
    #[default]
    F32,
    /// 16-bit floats.
    F16,
    /// 16-bit brain floats.
    Bf16,
}

impl FloatFormat {
    fn dtype(self) -> Dtype {
        match self {
            Self::F32 => Dtype::F32,
            Self::F16 => Dtype::F16,
            Self::Bf16 => Dtype::BF16,
        }
    }

    fn bytes(self) -> usize {
        if self == Self::F32 { 4 } else { 2 }
    }

    /// PyTorch's name.
    fn torch(self) -> &'static str {
        match self {
            Self::F32 => "float32",
            Self::F16 => "float16",
            Self::Bf16 => "bfloat16",
        }
    }

    fn encode(self, values: &[f32]) -> Vec<u8> {
        match self {
            Self::F32 => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
            Self::F16 => values.iter().flat_map(|value| f16::from_f32(*value).to_le_bytes()).collect(),
            Self::Bf16 => values.iter().flat_map(|value| bf16::from_f32(*value).to_le_bytes()).collect(),
        }
    }
}

/// Writes `base`, with `adapter` merged in, as a model folder in f32; files of a previous export are replaced.
pub fn export_safetensors(
    base: &mut BaseModel,
    adapter: Option<&LoraAdapter>,
    folder: &Path,
) -> Result<(), GenerateError> {
    export_safetensors_as(base, adapter, FloatFormat::F32, folder)
}

/// [`export_safetensors`] in another number format.
pub fn export_safetensors_as(
    base: &mut BaseModel,
    adapter: Option<&LoraAdapter>,
    format: FloatFormat,
    folder: &Path,
) -> Result<(), GenerateError> {
    let codec = base.codec();
    let mut merged = Merged::new(base, adapter)?;
    let config = merged.config().clone();
    write_model_folder(folder, &config, &codec, format, &mut |name| merged.tensor(name))
}

/// Writes a model folder whose tensors come from `tensor`, which is asked for each of [`BaseModel::tensor_names`] once,
/// so that one of them lies in memory at a time.
pub fn write_model_folder(
    folder: &Path,
    config: &LlamaConfig,
    codec: &ChatCodec,
    format: FloatFormat,
    tensor: &mut dyn FnMut(&str) -> Result<Vec<f32>, GenerateError>,
) -> Result<(), GenerateError> {
    fs::create_dir_all(folder).map_err(|source| GenerateError::Write { path: folder.to_owned(), source })?;
    write_weights(&folder.join("model.safetensors"), config, format, tensor)?;
    let text = |name: &str, text: &str| write_atomic(&folder.join(name), text.as_bytes());
    text("tokenizer.json", &codec.tokenizer_json()?)?;
    text("tokenizer_config.json", &tokenizer_config(config, codec))?;
    text("special_tokens_map.json", &special_tokens(codec))?;
    text("chat_template.jinja", codec.chat_template())?;
    text("generation_config.json", &generation_config(codec))?;
    text("config.json", &config.to_json(format.torch(), codec.tokenizer().bos(), codec.tokenizer().eos()))?;
    Ok(())
}

fn write_weights(
    path: &Path,
    config: &LlamaConfig,
    format: FloatFormat,
    tensor: &mut dyn FnMut(&str) -> Result<Vec<f32>, GenerateError>,
) -> Result<(), GenerateError> {
    let names = BaseModel::tensor_names(config);
    let mut offset = 0;
    let infos = names.iter().map(|(name, shape)| {
        let start = offset;
        offset += shape.iter().product::<usize>() * format.bytes();
        let info = TensorInfo { dtype: format.dtype(), shape: shape.clone(), data_offsets: (start, offset) };
        (name.clone(), info)
    });
    // What transformers looks for before it reads a file.
    let note = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    let header =
        Metadata::new(Some(note), infos.collect()).map_err(|error| GenerateError::Export(error.to_string()))?;
    let mut header = serde_json::to_vec(&header).map_err(|error| GenerateError::Export(error.to_string()))?;
    header.resize(header.len().next_multiple_of(8), b' ');
    let failed = |source| GenerateError::Write { path: path.to_owned(), source };
    replace_file(path, |file| {
        file.write_all(&(header.len() as u64).to_le_bytes()).map_err(failed)?;
        file.write_all(&header).map_err(failed)?;
        for (name, shape) in &names {
            let values = tensor(name)?;
            if values.len() != shape.iter().product::<usize>() {
                return Err(GenerateError::Export(format!(
                    "{name} has {} values where {shape:?} belong",
                    values.len()
                )));
            }
            if format == FloatFormat::F16 {
                check_half(name, &values)?;
            }
            file.write_all(&format.encode(&values)).map_err(failed)?;
        }
        Ok(())
    })
}

fn name_or_null(text: &str) -> Value {
    if text.is_empty() { Value::Null } else { text.into() }
}

fn tokenizer_config(config: &LlamaConfig, codec: &ChatCodec) -> String {
    let value = json!({
        "add_bos_token": codec.tokenizer().opening().is_some(),
        "add_prefix_space": false,
        "bos_token": name_or_null(codec.bos_text()),
        "chat_template": codec.chat_template(),
        "clean_up_tokenization_spaces": false,
        "eos_token": name_or_null(codec.eos_text()),
        "model_max_length": config.context,
        "pad_token": name_or_null(codec.eos_text()),
        "tokenizer_class": "PreTrainedTokenizerFast",
    });
    format!("{value:#}\n")
}

fn special_tokens(codec: &ChatCodec) -> String {
    let named = [("bos_token", codec.bos_text()), ("eos_token", codec.eos_text()), ("pad_token", codec.eos_text())];
    let value: Value = named
        .into_iter()
        .filter(|(_, text)| !text.is_empty())
        .map(|(name, text)| (name.to_owned(), Value::from(text)))
        .collect();
    format!("{value:#}\n")
}

/// Where generation ends: at the end of a turn first of all.
fn generation_config(codec: &ChatCodec) -> String {
    let mut ends = vec![codec.end_of_turn()];
    ends.extend(codec.tokenizer().eos().filter(|eos| *eos != codec.end_of_turn()));
    let value = json!({
        "bos_token_id": codec.tokenizer().bos(),
        "do_sample": false,
        "eos_token_id": ends,
        "pad_token_id": codec.tokenizer().eos(),
    });
    format!("{value:#}\n")
}
