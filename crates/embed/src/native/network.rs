//! An encoder's weights in the form that the kernels multiply, shared by all sessions.

use anser_kernels::{Epilogue, InstructionSet, PackedMatrix, QuantisedMatrix, Rows, Unary, WeightFormat};
use anser_models::{Activation, Dense, Encoder, EncoderLayer, Norm, Pooling};

use crate::NumberFormat;

/// Columns of activations and weights that share a scale in int8.
const INT8_GROUP: usize = 128;

/// Weights of one product.
#[derive(Debug)]
pub(super) enum Weights {
    /// In `f32` or brain floats.
    Float(PackedMatrix),
    /// In bytes with scales.
    Bytes(QuantisedMatrix),
}

/// x·Wᵀ + b, and the activation behind it.
#[derive(Debug)]
pub(super) struct Product {
    pub(super) weights: Weights,
    bias: Vec<f32>,
    activation: Option<Unary>,
}

impl Product {
    fn new(dense: &Dense, activation: Option<Unary>, format: NumberFormat, set: InstructionSet) -> Self {
        let (weight, bias) = (&dense.weight, dense.bias.clone());
        let n = bias.len();
        let k = weight.len() / n.max(1);
        let float = |format| Weights::Float(PackedMatrix::pack(weight, n, k, format).with_instructions(set));
        let weights = match format {
            NumberFormat::F32 => float(WeightFormat::F32),
            NumberFormat::Bf16 => float(WeightFormat::Bf16),
            NumberFormat::Int8 => {
                let matrix = QuantisedMatrix::pack(Rows::dense(weight, n, k), INT8_GROUP);
                Weights::Bytes(matrix.with_instructions(set))
            }
        };
        Self { weights, bias, activation }
    }

    /// What happens to its sums.
    pub(super) fn epilogue(&self) -> Epilogue<'_> {
        let epilogue = Epilogue::bias(&self.bias);
        self.activation.map_or(epilogue, |activation| epilogue.then(activation))
    }
}

/// One block.
#[derive(Debug)]
pub(super) struct Layer {
    /// Queries, keys and values of all heads: [3 · hidden, hidden].
    pub(super) input: Product,
    pub(super) attention_output: Product,
    pub(super) attention_norm: Norm,
    pub(super) up: Product,
    pub(super) down: Product,
    pub(super) output_norm: Norm,
}

impl Layer {
    fn new(layer: EncoderLayer, activation: Activation, format: NumberFormat, set: InstructionSet) -> Self {
        let mut input = layer.query;
        for part in [layer.key, layer.value] {
            input.weight.extend(part.weight);
            input.bias.extend(part.bias);
        }
        let activation = match activation {
            Activation::Gelu => Unary::Gelu,
            Activation::GeluTanh => Unary::GeluTanh,
            Activation::Relu => Unary::Relu,
        };
        Self {
            input: Product::new(&input, None, format, set),
            attention_output: Product::new(&layer.attention_output, None, format, set),
            attention_norm: layer.attention_norm,
            up: Product::new(&layer.up, Some(activation), format, set),
            down: Product::new(&layer.down, None, format, set),
            output_norm: layer.output_norm,
        }
    }
}

/// A whole encoder.
#[derive(Debug)]
pub(super) struct Network {
    pub(super) set: InstructionSet,
    pub(super) pooling: Pooling,
    pub(super) hidden: usize,
    pub(super) heads: usize,
    pub(super) intermediate: usize,
    pub(super) epsilon: f32,
    /// [vocabulary, hidden].
    tokens: Vec<f32>,
    /// Sums of each position's embedding and the token type's, from the first position that a token can have on.
    positions: Vec<f32>,
    pub(super) norm: Norm,
    pub(super) layers: Vec<Layer>,
}

impl Network {
    /// Packs an encoder. The error says why these kernels cannot run it; it completes "the model ...".
    pub(super) fn new(
        encoder: Encoder,
        pooling: Pooling,
        format: NumberFormat,
        set: InstructionSet,
    ) -> Result<Self, String> {
        let config = encoder.config;
        check_shape(config.hidden, config.heads, format)?;
        if format != NumberFormat::F32 && !config.intermediate.is_multiple_of(2) {
            return Err(format!("has an odd intermediate size, {}, which only f32 can do", config.intermediate));
        }
        let first = config.first_position * config.hidden;
        let mut positions = encoder.positions.get(first..).unwrap_or_default().to_vec();
        for row in positions.chunks_exact_mut(config.hidden) {
            row.iter_mut().zip(&encoder.token_type).for_each(|(position, kind)| *position += kind);
        }
        let layers = encoder.layers.into_iter();
        Ok(Self {
            set,
            pooling,
            hidden: config.hidden,
            heads: config.heads,
            intermediate: config.intermediate,
            epsilon: config.epsilon,
            tokens: encoder.tokens,
            positions,
            norm: encoder.norm,
            layers: layers.map(|layer| Layer::new(layer, config.activation, format, set)).collect(),
        })
    }

    /// Writes the sums of the embeddings of a text's tokens and of their positions to `out` [tokens, hidden].
    /// The reason of a failure completes "MODEL failed while running: ...".
    pub(super) fn embed(&self, ids: &[u32], out: &mut [f32]) -> Result<(), String> {
        let hidden = self.hidden;
        let Some(places) = self.positions.get(..out.len()) else {
            let room = self.positions.len() / hidden;
            return Err(format!("a text has {} tokens, and its network has positions for {room}", ids.len()));
        };
        for ((out, position), &id) in out.chunks_exact_mut(hidden).zip(places.chunks_exact(hidden)).zip(ids) {
            let first = (id as usize).saturating_mul(hidden);
            let Some(token) = self.tokens.get(first..first.saturating_add(hidden)) else {
                let known = self.tokens.len() / hidden;
                return Err(format!("the tokenizer made the id {id}, and its network knows {known} tokens"));
            };
            out.iter_mut().zip(token).zip(position).for_each(|((out, token), position)| *out = token + position);
        }
        Ok(())
    }
}

fn check_shape(hidden: usize, heads: usize, format: NumberFormat) -> Result<(), String> {
    if hidden == 0 || heads == 0 || !hidden.is_multiple_of(heads) {
        return Err(format!("has {heads} heads on a hidden size of {hidden}, which they do not divide"));
    }
    if format != NumberFormat::F32 && !hidden.is_multiple_of(2) {
        return Err(format!("has an odd hidden size, {hidden}, which only f32 can do"));
    }
    Ok(())
}
