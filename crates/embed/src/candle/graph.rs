//! Weights that were read out of an ONNX graph, under the names that they have in safetensors files of BERT.

use std::collections::BTreeMap;

use anser_models::{Dense, Encoder, EncoderConfig, Norm};
use candle_core::{Device, Result, Tensor};

use super::architecture::{Activation, Architecture, Family, Positions};

/// The architecture of an encoder whose weights come from [`tensors`].
pub(super) fn architecture(config: &EncoderConfig) -> Result<Architecture> {
    if config.heads == 0 || !config.hidden.is_multiple_of(config.heads) || config.positions <= config.first_position {
        candle_core::bail!("its heads or positions do not fit its size");
    }
    Ok(Architecture {
        family: Family::Bert,
        hidden: config.hidden,
        layers: config.layers,
        heads: config.heads,
        key_heads: config.heads,
        head_dim: config.hidden / config.heads,
        intermediate: config.intermediate,
        vocabulary: config.vocabulary,
        token_types: 1,
        epsilon: config.epsilon,
        activation: match config.activation {
            anser_models::Activation::Gelu => Activation::Gelu,
            anser_models::Activation::GeluTanh => Activation::GeluTanh,
            anser_models::Activation::Relu => Activation::Relu,
        },
        positions: Positions::Learned { rows: config.positions, first: config.first_position },
        max_tokens: config.positions - config.first_position,
        causal: false,
        window: None,
        pre_norm: false,
    })
}

/// The encoder's tensors by name.
pub(super) fn tensors(encoder: Encoder) -> Result<BTreeMap<String, Tensor>> {
    let Encoder { config, tokens, positions, token_type, norm, layers } = encoder;
    let (hidden, inner) = (config.hidden, config.intermediate);
    let mut named = Named(BTreeMap::new());
    named.add("embeddings.word_embeddings.weight", tokens, &[config.vocabulary, hidden])?;
    named.add("embeddings.position_embeddings.weight", positions, &[config.positions, hidden])?;
    named.add("embeddings.token_type_embeddings.weight", token_type, &[1, hidden])?;
    named.norm("embeddings.LayerNorm", norm)?;
    for (index, layer) in layers.into_iter().enumerate() {
        let at = |name: &str| format!("encoder.layer.{index}.{name}");
        named.dense(&at("attention.self.query"), layer.query, [hidden, hidden])?;
        named.dense(&at("attention.self.key"), layer.key, [hidden, hidden])?;
        named.dense(&at("attention.self.value"), layer.value, [hidden, hidden])?;
        named.dense(&at("attention.output.dense"), layer.attention_output, [hidden, hidden])?;
        named.norm(&at("attention.output.LayerNorm"), layer.attention_norm)?;
        named.dense(&at("intermediate.dense"), layer.up, [inner, hidden])?;
        named.dense(&at("output.dense"), layer.down, [hidden, inner])?;
        named.norm(&at("output.LayerNorm"), layer.output_norm)?;
    }
    Ok(named.0)
}

struct Named(BTreeMap<String, Tensor>);

impl Named {
    fn add(&mut self, name: &str, values: Vec<f32>, shape: &[usize]) -> Result<()> {
        self.0.insert(name.to_owned(), Tensor::from_vec(values, shape, &Device::Cpu)?);
        Ok(())
    }

    fn dense(&mut self, name: &str, dense: Dense, shape: [usize; 2]) -> Result<()> {
        self.add(&format!("{name}.bias"), dense.bias, &shape[..1])?;
        self.add(&format!("{name}.weight"), dense.weight, &shape)
    }

    fn norm(&mut self, name: &str, norm: Norm) -> Result<()> {
        let width = norm.weight.len();
        self.add(&format!("{name}.weight"), norm.weight, &[width])?;
        self.add(&format!("{name}.bias"), norm.bias, &[width])
    }
}
