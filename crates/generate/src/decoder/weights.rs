//! The decoder's weights, unpacked to f32 and packed for multiplication.

use crate::base::BaseModel;
use crate::decoder::linear::Linear;
use crate::{GenerateError, LlamaConfig};

/// The weights of one transformer block.
pub(crate) struct Block {
    pub(crate) attention_norm: Vec<f32>,
    /// Query, key and value projections, one below another.
    pub(crate) attention_in: Linear,
    pub(crate) attention_out: Linear,
    pub(crate) feed_forward_norm: Vec<f32>,
    /// Gate and up projections, one below another.
    pub(crate) feed_forward_in: Linear,
    pub(crate) feed_forward_out: Linear,
}

/// All weights of a model.
pub(crate) struct Weights {
    pub(crate) embedding: Linear,
    pub(crate) blocks: Vec<Block>,
    pub(crate) norm: Vec<f32>,
    /// `None` where it is the embedding table.
    head: Option<Linear>,
}

impl Weights {
    /// Reads the weights of `base`.
    pub(crate) fn load(base: &mut BaseModel) -> Result<Self, GenerateError> {
        let LlamaConfig { blocks, hidden, feed_forward, tied_embeddings, .. } = *base.config();
        let query_width = base.config().query_width();
        let embedding = Linear::new(&[base.tensor("model.embed_tokens.weight")?], hidden);
        let blocks = (0..blocks).map(|block| {
            let mut tensor = |name: &str| base.tensor(&format!("model.layers.{block}.{name}.weight"));
            let attention_in = [tensor("self_attn.q_proj")?, tensor("self_attn.k_proj")?, tensor("self_attn.v_proj")?];
            Ok(Block {
                attention_norm: tensor("input_layernorm")?,
                attention_in: Linear::new(&attention_in, hidden),
                attention_out: Linear::new(&[tensor("self_attn.o_proj")?], query_width),
                feed_forward_norm: tensor("post_attention_layernorm")?,
                feed_forward_in: Linear::new(&[tensor("mlp.gate_proj")?, tensor("mlp.up_proj")?], hidden),
                feed_forward_out: Linear::new(&[tensor("mlp.down_proj")?], feed_forward),
            })
        });
        let blocks = blocks.collect::<Result<Vec<_>, GenerateError>>()?;
        let norm = base.tensor("model.norm.weight")?;
        let head = if tied_embeddings { None } else { Some(Linear::new(&[base.tensor("lm_head.weight")?], hidden)) };
        Ok(Self { embedding, blocks, norm, head })
    }

    /// The matrix from hidden states to logits.
    pub(crate) fn head(&self) -> &Linear {
        self.head.as_ref().unwrap_or(&self.embedding)
    }

    /// Bytes of memory.
    pub(crate) fn bytes(&self) -> usize {
        let matrices = |block: &Block| {
            [&block.attention_in, &block.attention_out, &block.feed_forward_in, &block.feed_forward_out]
                .map(Linear::bytes)
        };
        let norms: usize = (2 * self.blocks.len() + 1) * self.norm.len() * size_of::<f32>();
        let blocks: usize = self.blocks.iter().flat_map(matrices).sum();
        blocks + norms + self.embedding.bytes() + self.head.as_ref().map_or(0, Linear::bytes)
    }
}
