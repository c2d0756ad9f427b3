//! Opens a GGUF file and checks, before any weight is read, that it is whole and describes a llama model that the
//! decoder can run: every size that later decides an allocation or an index is compared with the file here.

use std::fs::File;
use std::io::BufReader;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use candle_core::Device;
use candle_core::quantized::gguf_file::{Content, TensorInfo, Value};

use crate::GenerateError;
use crate::config::{LlamaConfig, PROJECTIONS};

/// A GGUF file whose header has been read and checked.
pub(crate) struct GgufFile {
    pub(crate) path: PathBuf,
    pub(crate) content: Content,
    pub(crate) reader: BufReader<File>,
}

impl GgufFile {
    /// Reads the header of `path`.
    pub(crate) fn open(path: &Path) -> Result<Self, GenerateError> {
        let read = |source| GenerateError::Read { path: path.to_owned(), source };
        let file = File::open(path).map_err(read)?;
        let length = file.metadata().map_err(read)?.len();
        let mut reader = BufReader::with_capacity(1 << 20, file);
        // The parser checks lengths against the file, yet some nonsense (an alignment of zero) still makes it panic.
        let content = catch_unwind(AssertUnwindSafe(|| Content::read(&mut reader)))
            .map_err(|_| damaged(path, "its header makes no sense"))?
            .map_err(|error| damaged(path, first_line(&error)))?;
        let gguf = Self { path: path.to_owned(), content, reader };
        gguf.check_tensor_data(length)?;
        Ok(gguf)
    }

    /// Every tensor lies inside the file, and its blocks fill its rows.
    fn check_tensor_data(&self, file_length: u64) -> Result<(), GenerateError> {
        for (name, info) in &self.content.tensor_infos {
            let bytes = tensor_bytes(info).ok_or_else(|| {
                damaged(&self.path, format!("tensor {name} has the impossible shape {:?}", info.shape.dims()))
            })?;
            let end =
                self.content.tensor_data_offset.checked_add(info.offset).and_then(|start| start.checked_add(bytes));
            if end.is_none_or(|end| end > file_length) {
                return Err(damaged(
                    &self.path,
                    format!("tensor {name} should end at byte {}, the file has {file_length}", end.unwrap_or(u64::MAX)),
                ));
            }
        }
        Ok(())
    }

    /// Reads the decoder's shape and holds every tensor against it.
    pub(crate) fn llama_config(&self) -> Result<LlamaConfig, GenerateError> {
        let architecture = self.text("general.architecture").unwrap_or("an unnamed one");
        if architecture != "llama" {
            return Err(self.unsupported(format!("its architecture is {architecture}, and only llama is known")));
        }
        if self.count("llama.expert_count").is_some_and(|experts| experts > 1) {
            return Err(self.unsupported("it is a mixture of experts, and only dense models are known"));
        }
        let scaling = self.text("llama.rope.scaling.type").unwrap_or("none");
        if scaling != "none" || self.content.tensor_infos.contains_key("rope_freqs.weight") {
            return Err(self.unsupported("it scales its rotary positions, which the decoder does not do"));
        }
        let heads = self.required_count("llama.attention.head_count")?;
        let embedding = self.required_count("llama.embedding_length")?;
        let kv_heads = self.count("llama.attention.head_count_kv").unwrap_or(heads);
        if heads == 0
            || kv_heads == 0
            || heads % kv_heads != 0
            || embedding == 0
            || (embedding % heads != 0 && self.count("llama.attention.key_length").is_none())
        {
            return Err(self.unsupported(format!(
                "{heads} attention heads, {kv_heads} key heads and width {embedding} do not fit together"
            )));
        }
        let head_dim = self.count("llama.attention.key_length").unwrap_or(embedding / heads);
        let value_dim = self.count("llama.attention.value_length").unwrap_or(head_dim);
        let rope = self.count("llama.rope.dimension_count").unwrap_or(head_dim);
        if rope != head_dim || !head_dim.is_multiple_of(2) || value_dim != head_dim {
            return Err(self.unsupported(format!("it rotates {rope} of the {head_dim} dimensions of a head")));
        }
        let config = LlamaConfig {
            blocks: self.required_count("llama.block_count")?,
            hidden: embedding,
            feed_forward: self.required_count("llama.feed_forward_length")?,
            heads,
            kv_heads,
            head_dim,
            vocabulary: self.tensor_shape("token_embd.weight")?.first().copied().unwrap_or(0),
            context: self.required_count("llama.context_length")?,
            norm_epsilon: self.float("llama.attention.layer_norm_rms_epsilon").unwrap_or(1e-5),
            rope_base: self.float("llama.rope.freq_base").unwrap_or(10_000.0),
            tied_embeddings: !self.content.tensor_infos.contains_key("output.weight"),
        };
        config.check().map_err(|reason| self.unsupported(reason))?;
        self.check_tensor_shapes(&config)?;
        Ok(config)
    }

    fn check_tensor_shapes(&self, config: &LlamaConfig) -> Result<(), GenerateError> {
        let (width, vocabulary) = (config.hidden, config.vocabulary);
        self.expect_shape("token_embd.weight", &[vocabulary, width])?;
        self.expect_shape("output_norm.weight", &[width])?;
        if !config.tied_embeddings {
            self.expect_shape("output.weight", &[vocabulary, width])?;
        }
        // A missing block ends this loop, so an absurd block count costs nothing.
        for block in 0..config.blocks {
            for projection in PROJECTIONS {
                let name = gguf_projection(projection);
                let (rows, columns) = config.projection(projection).unwrap_or_default();
                self.expect_shape(&format!("blk.{block}.{name}.weight"), &[rows, columns])?;
                if self.content.tensor_infos.contains_key(&format!("blk.{block}.{name}.bias")) {
                    return Err(
                        self.unsupported(format!("block {block} has a bias on {name}, which the decoder does not add"))
                    );
                }
            }
            for name in ["attn_norm", "ffn_norm"] {
                self.expect_shape(&format!("blk.{block}.{name}.weight"), &[width])?;
            }
        }
        Ok(())
    }

    /// The values of a tensor, unpacked to f32, in the file's own layout.
    pub(crate) fn unpack(&mut self, name: &str) -> Result<Vec<f32>, GenerateError> {
        let Self { content, reader, path } = self;
        // Block formats that exist only inside a computation cannot be unpacked, and the library panics on them.
        let unpacked = catch_unwind(AssertUnwindSafe(|| {
            let tensor = content.tensor(reader, name, &Device::Cpu)?;
            tensor.dequantize(&Device::Cpu)?.flatten_all()?.to_vec1::<f32>()
        }));
        unpacked
            .map_err(|_| damaged(path, format!("tensor {name} is in a format that cannot be unpacked")))?
            .map_err(|error| damaged(path, format!("tensor {name}: {}", first_line(&error))))
    }

    fn tensor_shape(&self, name: &str) -> Result<&[usize], GenerateError> {
        match self.content.tensor_infos.get(name) {
            Some(info) => Ok(info.shape.dims()),
            None => Err(damaged(&self.path, format!("tensor {name} is missing"))),
        }
    }

    fn expect_shape(&self, name: &str, expected: &[usize]) -> Result<(), GenerateError> {
        let found = self.tensor_shape(name)?;
        if found == expected && !expected.contains(&0) {
            return Ok(());
        }
        Err(damaged(&self.path, format!("tensor {name} has shape {found:?} where {expected:?} belongs")))
    }

    /// A non-negative whole number of the metadata, whatever integer type it is stored in.
    pub(crate) fn count(&self, key: &str) -> Option<usize> {
        self.content.metadata.get(key).and_then(whole_number)
    }

    fn required_count(&self, key: &str) -> Result<usize, GenerateError> {
        self.count(key).ok_or_else(|| damaged(&self.path, format!("the number {key} is missing from its metadata")))
    }

    /// A finite, positive float of the metadata.
    fn float(&self, key: &str) -> Option<f32> {
        let value = match self.content.metadata.get(key)? {
            Value::F32(value) => *value,
            Value::F64(value) => *value as f32,
            _ => return None,
        };
        (value.is_finite() && value > 0.0).then_some(value)
    }

    /// Whether a switch of the metadata is on.
    pub(crate) fn flag(&self, key: &str) -> bool {
        matches!(self.content.metadata.get(key), Some(Value::Bool(true)))
    }

    /// A text of the metadata.
    pub(crate) fn text(&self, key: &str) -> Option<&str> {
        match self.content.metadata.get(key)? {
            Value::String(text) => Some(text),
            _ => None,
        }
    }

    /// A list of texts of the metadata.
    pub(crate) fn texts(&self, key: &str) -> Result<Vec<&str>, GenerateError> {
        self.list(key, |value| match value {
            Value::String(text) => Some(text.as_str()),
            _ => None,
        })
    }

    /// A list of non-negative whole numbers of the metadata.
    pub(crate) fn counts(&self, key: &str) -> Result<Vec<usize>, GenerateError> {
        self.list(key, whole_number)
    }

    fn list<'a, T>(&'a self, key: &str, item: impl Fn(&'a Value) -> Option<T>) -> Result<Vec<T>, GenerateError> {
        let items: Option<Vec<T>> = match self.content.metadata.get(key) {
            Some(Value::Array(values)) => values.iter().map(item).collect(),
            _ => None,
        };
        items.ok_or_else(|| damaged(&self.path, format!("the list {key} is missing from its metadata")))
    }

    /// An error about a file that is whole but cannot be run.
    pub(crate) fn unsupported(&self, reason: impl Into<String>) -> GenerateError {
        GenerateError::Unsupported { path: self.path.clone(), reason: reason.into() }
    }

    /// An error about a file that is not what it should be.
    pub(crate) fn damaged(&self, reason: impl Into<String>) -> GenerateError {
        damaged(&self.path, reason)
    }
}

/// GGUF's name of a projection that PEFT and Hugging Face call `projection`.
pub(crate) fn gguf_projection(projection: &str) -> &'static str {
    match projection {
        "q_proj" => "attn_q",
        "k_proj" => "attn_k",
        "v_proj" => "attn_v",
        "o_proj" => "attn_output",
        "gate_proj" => "ffn_gate",
        "up_proj" => "ffn_up",
        _ => "ffn_down",
    }
}

/// GGUF's name of a llama tensor that Hugging Face calls `name`.
pub(crate) fn gguf_name(name: &str) -> Option<String> {
    let fixed = match name {
        "model.embed_tokens.weight" => Some("token_embd.weight"),
        "model.norm.weight" => Some("output_norm.weight"),
        "lm_head.weight" => Some("output.weight"),
        _ => None,
    };
    if let Some(fixed) = fixed {
        return Some(fixed.to_owned());
    }
    let (block, rest) = name.strip_prefix("model.layers.")?.split_once('.')?;
    let block: usize = block.parse().ok()?;
    let part = match rest.strip_suffix(".weight")? {
        "input_layernorm" => "attn_norm",
        "post_attention_layernorm" => "ffn_norm",
        projection => {
            let (_, name) = projection.split_once('.')?;
            gguf_projection(PROJECTIONS.iter().find(|known| **known == name)?)
        }
    };
    Some(format!("blk.{block}.{part}.weight"))
}

/// Bytes that a tensor takes in the file; `None` if its shape cannot be.
fn tensor_bytes(info: &TensorInfo) -> Option<u64> {
    let dims = info.shape.dims();
    let block = info.ggml_dtype.block_size();
    let elements = dims.iter().try_fold(1_usize, |product, &dim| product.checked_mul(dim))?;
    // Four bytes an element must be addressable too: that is what a weight becomes in memory.
    elements.checked_mul(4).filter(|bytes| isize::try_from(*bytes).is_ok())?;
    if elements == 0 || dims.last().is_none_or(|last| last % block != 0) {
        return None;
    }
    (elements / block).checked_mul(info.ggml_dtype.type_size()).map(|bytes| bytes as u64)
}

fn whole_number(value: &Value) -> Option<usize> {
    match *value {
        Value::U8(number) => Some(number.into()),
        Value::U16(number) => Some(number.into()),
        Value::U32(number) => usize::try_from(number).ok(),
        Value::U64(number) => usize::try_from(number).ok(),
        Value::I8(number) => usize::try_from(number).ok(),
        Value::I16(number) => usize::try_from(number).ok(),
        Value::I32(number) => usize::try_from(number).ok(),
        Value::I64(number) => usize::try_from(number).ok(),
        _ => None,
    }
}

fn damaged(path: &Path, reason: impl Into<String>) -> GenerateError {
    GenerateError::Damaged { path: path.to_owned(), reason: reason.into() }
}

/// The library appends a backtrace to its messages; a person needs the first line.
pub(crate) fn first_line(error: &candle_core::Error) -> String {
    error.to_string().lines().next().unwrap_or_default().to_owned()
}
