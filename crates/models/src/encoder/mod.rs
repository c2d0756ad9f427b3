//! Transformer encoders of the BERT family as plain numbers: what a folder's files say about the network, and its weights
//! as `f32`, whatever file they lie in. What runs an encoder, and what writes it as another file, starts from here.

mod assemble;
mod config;
mod graph;
mod names;
mod tensor_file;
#[cfg(test)]
pub(crate) mod tests;
mod to_graph;
mod walk;
mod write;

use std::fs;
use std::path::Path;

pub use to_graph::GraphFormat;

use crate::onnx::ModelProto;
use crate::{ModelFiles, ModelsError};

/// Name of the weights in the folder of a model that comes as safetensors.
const SAFETENSORS: &str = "model.safetensors";
/// Name of the weights in the folder of a model that comes as an ONNX graph.
const ONNX: &str = "model.onnx";
/// Name of the file that holds an encoder's shape.
const CONFIG: &str = "config.json";

/// How a family names and arranges what all of them have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EncoderFamily {
    /// BERT (Devlin et al. 2018), and MiniLM, BGE, E5, GTE and others that share its files.
    Bert,
    /// `DistilBERT` (Sanh et al. 2019): no token types, other names.
    DistilBert,
    /// `RoBERTa` (Liu et al. 2019) and XLM-R: positions count from the padding token's id + 1.
    Roberta,
}

/// The function between the two products of a feed-forward block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// x·Φ(x) with the error function (Hendrycks and Gimpel 2016).
    Gelu,
    /// Its approximation by tanh.
    GeluTanh,
    /// max(x, 0).
    Relu,
}

/// Shape of an encoder.
#[derive(Debug, Clone, PartialEq)]
pub struct EncoderConfig {
    /// How its files are arranged.
    pub family: EncoderFamily,
    /// Numbers of a token's state.
    pub hidden: usize,
    /// Blocks.
    pub layers: usize,
    /// Attention heads; `hidden` is a multiple.
    pub heads: usize,
    /// Numbers between the two products of a feed-forward block.
    pub intermediate: usize,
    /// Rows of the token embeddings.
    pub vocabulary: usize,
    /// Rows of the position embeddings.
    pub positions: usize,
    /// Position of the first token: 0, but 2 for the `RoBERTa` family.
    pub first_position: usize,
    /// Added to the variance in every layer norm.
    pub epsilon: f32,
    /// Between the two products of a feed-forward block.
    pub activation: Activation,
}

/// Weights and bias of x·Wᵀ + b.
#[derive(Debug, Clone, PartialEq)]
pub struct Dense {
    /// [outputs, inputs], row-major.
    pub weight: Vec<f32>,
    /// [outputs].
    pub bias: Vec<f32>,
}

/// Factor and addend of a layer norm, each [hidden].
#[derive(Debug, Clone, PartialEq)]
pub struct Norm {
    /// Factor of each column.
    pub weight: Vec<f32>,
    /// Addend of each column.
    pub bias: Vec<f32>,
}

/// One block. The norms come after the sums, as in the original transformer.
#[derive(Debug, Clone, PartialEq)]
pub struct EncoderLayer {
    /// [hidden, hidden].
    pub query: Dense,
    /// [hidden, hidden].
    pub key: Dense,
    /// [hidden, hidden].
    pub value: Dense,
    /// [hidden, hidden]: what brings the heads together.
    pub attention_output: Dense,
    /// After the sum of the block's input and its attention.
    pub attention_norm: Norm,
    /// [intermediate, hidden].
    pub up: Dense,
    /// [hidden, intermediate].
    pub down: Dense,
    /// After the sum of the attention's result and the feed-forward's.
    pub output_norm: Norm,
}

/// An encoder's shape and numbers.
#[derive(Debug, Clone, PartialEq)]
pub struct Encoder {
    /// Its shape.
    pub config: EncoderConfig,
    /// [vocabulary, hidden].
    pub tokens: Vec<f32>,
    /// [positions, hidden]; rows before `first_position` are never read.
    pub positions: Vec<f32>,
    /// [hidden]: the embedding of token type 0, which every token of a single text has; zeros in families without types.
    pub token_type: Vec<f32>,
    /// Of the sum of the three embeddings.
    pub norm: Norm,
    /// The blocks, first to last.
    pub layers: Vec<EncoderLayer>,
}

impl Encoder {
    /// Whether [`Self::read`] finds a shape that it knows and a file that may hold its weights.
    pub fn readable(files: &ModelFiles) -> bool {
        let shape = files.path(CONFIG).and_then(|path| EncoderConfig::read(&path));
        shape.is_ok() && [SAFETENSORS, ONNX].iter().any(|name| files.path(name).is_ok())
    }

    /// Reads the encoder in `files`: shape out of `config.json`, weights out of `model.safetensors` (f32, f16 or bf16), or
    /// where there is none out of `model.onnx`, quantised weights made floats again.
    ///
    /// [`ModelsError::NoSuchFile`] when the model lacks them, [`ModelsError::UnsupportedModel`] when it is of another
    /// family, [`ModelsError::BadModelFile`] when a tensor is missing or has another shape than the config says.
    pub fn read(files: &ModelFiles) -> Result<Self, ModelsError> {
        let config_path = files.path(CONFIG)?;
        let config = EncoderConfig::read(&config_path)?;
        let has = |name: &str| files.spec.files.iter().any(|file| file.name == name);
        let graph = has(ONNX) && !has(SAFETENSORS);
        let path = files.path(if graph { ONNX } else { SAFETENSORS })?;
        // Every number takes a byte at least; twice that allows for tensors that a graph uses more than once.
        if config.parameters() > 2 * u128::from(bytes_on_disk(files)?) {
            let reason = format!("describes {} numbers, more than the model's files can hold", config.parameters());
            return Err(ModelsError::BadModelFile { path: config_path, reason });
        }
        let encoder = if graph {
            let model = ModelProto::open(&path)?;
            let tensors = graph::GraphTensors::new(&model, &config);
            assemble::encoder(config, &tensors)
        } else {
            assemble::encoder(config, &tensor_file::MappedTensors::open(&path)?)
        };
        encoder.map_err(|reason| ModelsError::BadModelFile { path, reason })
    }
}

/// Bytes of a model's files together, as they lie there.
fn bytes_on_disk(files: &ModelFiles) -> Result<u64, ModelsError> {
    let mut bytes = 0;
    for file in &files.spec.files {
        let path = files.path(&file.name)?;
        bytes += fs::metadata(&path).map_err(ModelsError::io("look at", &path))?.len();
    }
    Ok(bytes)
}

impl EncoderConfig {
    /// Numbers of an encoder of this shape.
    pub fn parameters(&self) -> u128 {
        let [hidden, layers, intermediate, vocabulary, positions] =
            [self.hidden, self.layers, self.intermediate, self.vocabulary, self.positions].map(|count| count as u128);
        let squares = hidden.saturating_mul(4 * hidden + 9);
        let feed_forward = intermediate.saturating_mul(2 * hidden + 1);
        let tables = vocabulary.saturating_add(positions).saturating_add(3).saturating_mul(hidden);
        layers.saturating_mul(squares.saturating_add(feed_forward)).saturating_add(tables)
    }
}

/// Whether the `config.json` at `path` describes an encoder that [`Encoder::read`] reads.
pub(crate) fn is_read(path: &Path) -> bool {
    EncoderConfig::read(path).is_ok()
}
