//! A GGUF file as llama.cpp reads it.

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::quantized::gguf_file::{self, Value};
use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{Device, Tensor};

use crate::adapter::LoraAdapter;
use crate::base::BaseModel;
use crate::codec::ChatCodec;
use crate::export::{Merged, check_half, replace_file};
use crate::gguf::{first_line, gguf_name};
use crate::rotary_layout::{Direction, reorder_rows};
use crate::tokenizer_json::gguf_rules;
use crate::{GenerateError, LlamaConfig};

/// How a GGUF file keeps its matrices; norms are f32 in each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GgufFormat {
    /// 16-bit floats.
    F16,
    /// Blocks of 32 eight-bit numbers with a scale.
    Q8_0,
    /// Blocks of 32 four-bit numbers with a scale and an offset.
    Q4_1,
}

impl GgufFormat {
    fn dtype(self) -> GgmlDType {
        match self {
            Self::F16 => GgmlDType::F16,
            Self::Q8_0 => GgmlDType::Q8_0,
            Self::Q4_1 => GgmlDType::Q4_1,
        }
    }

    /// `general.file_type` of the GGUF specification.
    fn file_type(self) -> u32 {
        match self {
            Self::F16 => 1,
            Self::Q8_0 => 7,
            Self::Q4_1 => 3,
        }
    }
}

/// Writes `base`, with `adapter` merged in, as the GGUF file `path`. Matrices whose rows are no whole number of blocks
/// are kept as 16-bit floats. The whole file lies in memory while it is written.
pub fn export_gguf(
    base: &mut BaseModel,
    adapter: Option<&LoraAdapter>,
    format: GgufFormat,
    path: &Path,
) -> Result<(), GenerateError> {
    let metadata = metadata(base, format)?;
    let mut merged = Merged::new(base, adapter)?;
    let config = merged.config().clone();
    let mut tensors = Vec::new();
    for (name, shape) in BaseModel::tensor_names(&config) {
        let values = merged.tensor(&name)?;
        let stored = gguf_name(&name).ok_or_else(|| GenerateError::Export(format!("{name} has no name in GGUF")))?;
        tensors.push((stored, quantized(&name, values, &shape, &config, format)?));
    }
    let metadata: Vec<(&str, &Value)> = metadata.iter().map(|(key, value)| (key.as_str(), value)).collect();
    let tensors: Vec<(&str, &QTensor)> = tensors.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
    replace_file(path, |file| {
        gguf_file::write(file, &metadata, &tensors).map_err(|error| GenerateError::Write {
            path: path.to_owned(),
            source: std::io::Error::other(first_line(&error)),
        })
    })
}

fn quantized(
    name: &str,
    values: Vec<f32>,
    shape: &[usize],
    config: &LlamaConfig,
    format: GgufFormat,
) -> Result<QTensor, GenerateError> {
    let rotates = name.ends_with("q_proj.weight") || name.ends_with("k_proj.weight");
    let values =
        if rotates { reorder_rows(&values, config.head_dim, config.hidden, Direction::ToGguf) } else { values };
    let dtype = match shape {
        [_] => GgmlDType::F32,
        [.., columns] if columns.is_multiple_of(format.dtype().block_size()) => format.dtype(),
        _ => GgmlDType::F16,
    };
    if dtype != GgmlDType::F32 {
        check_half(name, &values)?;
    }
    Tensor::from_vec(values, shape, &Device::Cpu)
        .and_then(|tensor| QTensor::quantize(&tensor, dtype))
        .map_err(|error| GenerateError::Export(format!("{name}: {}", first_line(&error))))
}

/// What stands before the tensors: the base's own metadata if it was a GGUF file, and everything that a reader needs.
fn metadata(base: &BaseModel, format: GgufFormat) -> Result<BTreeMap<String, Value>, GenerateError> {
    let mut metadata: BTreeMap<String, Value> = BTreeMap::new();
    if let Some(gguf) = base.gguf() {
        // The alignment is the writer's own business.
        let kept = gguf.content.metadata.iter().filter(|(key, _)| *key != "general.alignment");
        metadata.extend(kept.map(|(key, value)| (key.clone(), value.clone())));
    } else {
        let name =
            base.path().file_name().map_or_else(|| "model".to_owned(), |name| name.to_string_lossy().into_owned());
        metadata.insert("general.name".to_owned(), Value::String(name));
    }
    metadata.extend(decoder_metadata(base.config(), format).into_iter().map(|(key, value)| (key.to_owned(), value)));
    let tokenizer = tokenizer_metadata(&base.codec()).map_err(GenerateError::Export)?;
    metadata.extend(tokenizer.into_iter().map(|(key, value)| (key.to_owned(), value)));
    Ok(metadata)
}

fn decoder_metadata(config: &LlamaConfig, format: GgufFormat) -> Vec<(&'static str, Value)> {
    let count = |number: usize| Value::U32(number as u32);
    let mut entries = vec![
        ("general.architecture", Value::String("llama".to_owned())),
        ("general.file_type", Value::U32(format.file_type())),
        ("general.quantization_version", Value::U32(2)),
        ("llama.attention.head_count", count(config.heads)),
        ("llama.attention.head_count_kv", count(config.kv_heads)),
        ("llama.attention.layer_norm_rms_epsilon", Value::F32(config.norm_epsilon)),
        ("llama.block_count", count(config.blocks)),
        ("llama.context_length", count(config.context)),
        ("llama.embedding_length", count(config.hidden)),
        ("llama.feed_forward_length", count(config.feed_forward)),
        ("llama.rope.dimension_count", count(config.head_dim)),
        ("llama.rope.freq_base", Value::F32(config.rope_base)),
        ("llama.vocab_size", count(config.vocabulary)),
    ];
    if config.query_width() != config.hidden {
        entries.push(("llama.attention.key_length", count(config.head_dim)));
        entries.push(("llama.attention.value_length", count(config.head_dim)));
    }
    entries
}

fn tokenizer_metadata(codec: &ChatCodec) -> Result<Vec<(&'static str, Value)>, String> {
    let tokenizer = codec.tokenizer();
    let (rule, merges) = gguf_rules(tokenizer)?;
    let texts = |texts: Vec<String>| Value::Array(texts.into_iter().map(Value::String).collect());
    let tokens = tokenizer.tokens().iter().map(|(text, _)| text.clone()).collect();
    let types = tokenizer.tokens().iter().map(|(_, kind)| Value::I32(*kind as i32)).collect();
    let mut entries = vec![
        ("tokenizer.ggml.model", Value::String("gpt2".to_owned())),
        ("tokenizer.ggml.pre", Value::String(rule.to_owned())),
        ("tokenizer.ggml.tokens", texts(tokens)),
        ("tokenizer.ggml.token_type", Value::Array(types)),
        ("tokenizer.ggml.merges", texts(merges)),
        ("tokenizer.ggml.add_bos_token", Value::Bool(tokenizer.opening().is_some())),
        ("tokenizer.chat_template", Value::String(codec.chat_template().to_owned())),
        ("tokenizer.ggml.eot_token_id", Value::U32(codec.end_of_turn())),
    ];
    let ids = [("tokenizer.ggml.bos_token_id", tokenizer.bos()), ("tokenizer.ggml.eos_token_id", tokenizer.eos())];
    entries.extend(ids.into_iter().filter_map(|(key, id)| Some((key, Value::U32(id?)))));
    Ok(entries)
}
