//! Causal attention of the newest tokens of a sequence over all of it, on a device.

use candle_core::{D, DType, Result, Tensor};

use crate::LlamaConfig;
use crate::decoder::device::{DeviceCache, Place};

/// Added to the score of a token that is not seen yet: representable in 16 bits, and e to its power is 0.
const UNSEEN: f32 = -30_000.0;

/// Sines and cosines of every position (Su et al. 2021), each `[positions, head dimensions / 2]`.
pub(crate) struct Rotary {
    cosines: Tensor,
    sines: Tensor,
}

impl Rotary {
    /// Tables for `positions` positions, computed in f32.
    pub(crate) fn new(config: &LlamaConfig, positions: usize, place: &Place) -> Result<Self> {
        let half = config.head_dim / 2;
        let frequency = |i: usize| 1.0 / config.rope_base.powf(2.0 * i as f32 / config.head_dim as f32);
        let frequencies: Vec<f32> = (0..half).map(frequency).collect();
        let table = |function: fn(f32) -> f32| {
            let angles = (0..positions).flat_map(|at| frequencies.iter().map(move |frequency| at as f32 * frequency));
            place.tensor(angles.map(function).collect(), &[positions, half])
        };
        Ok(Self { cosines: table(f32::cos)?, sines: table(f32::sin)? })
    }

    /// `x` `[heads, tokens, head dimensions]` turned to the positions from `start` on.
    fn turn(&self, x: &Tensor, start: usize) -> Result<Tensor> {
        let tokens = x.dim(1)?;
        let (cosines, sines) = (self.cosines.narrow(0, start, tokens)?, self.sines.narrow(0, start, tokens)?);
        candle_nn::rotary_emb::rope(&x.contiguous()?.unsqueeze(0)?, &cosines, &sines)?.squeeze(0)
    }
}

/// What hides later tokens from earlier ones, `[tokens, all tokens]`; nothing where a single token sees all.
pub(crate) struct Mask(Option<Tensor>);

impl Mask {
    /// For `tokens` tokens behind the first `start`.
    pub(crate) fn new(start: usize, tokens: usize, place: &Place) -> Result<Self> {
        if tokens == 1 {
            return Ok(Self(None));
        }
        let length = start + tokens;
        let hidden =
            (0..tokens).flat_map(|row| (0..length).map(move |key| if key > start + row { UNSEEN } else { 0.0 }));
        Ok(Self(Some(place.tensor(hidden.collect(), &[tokens, length])?)))
    }
}

/// The attention output `[tokens, query width]` of `projected` `[tokens, queries | keys | values]`, whose keys and values
/// go into the cache of this block.
pub(crate) fn attend(
    config: &LlamaConfig,
    projected: &Tensor,
    (rotary, start): (&Rotary, usize),
    (cache, block): (&mut DeviceCache, usize),
    mask: &Mask,
) -> Result<Tensor> {
    let tokens = projected.dim(0)?;
    let (dim, group) = (config.head_dim, config.heads / config.kv_heads);
    let heads_of = |column: usize, heads: usize| {
        projected.narrow(1, column, heads * dim)?.reshape((tokens, heads, dim))?.transpose(0, 1)
    };
    let queries = rotary.turn(&heads_of(0, config.heads)?, start)?;
    let keys = rotary.turn(&heads_of(config.query_width(), config.kv_heads)?, start)?;
    let values = heads_of(config.query_width() + config.kv_width(), config.kv_heads)?;
    let (keys, values) = cache.append(block, start, (&keys, &values))?;
    // Queries that share a head of keys lie below one another, so that one product serves the group.
    let queries = (queries * (1.0 / (dim as f64).sqrt()))?.reshape((config.kv_heads, group * tokens, dim))?;
    let length = keys.dim(1)?;
    let mut scores = queries.matmul(&keys.t()?)?.reshape((config.heads, tokens, length))?;
    if let Mask(Some(mask)) = mask {
        scores = scores.broadcast_add(mask)?;
    }
    let shares = softmax(&scores)?.reshape((config.kv_heads, group * tokens, length))?;
    let mixed = shares.matmul(&values)?.reshape((config.heads, tokens, dim))?;
    mixed.transpose(0, 1)?.reshape((tokens, config.query_width()))
}

/// Softmax of each row. GPUs sum 16-bit rows in 32 bits by themselves; candle on a processor does not.
fn softmax(scores: &Tensor) -> Result<Tensor> {
    if scores.dtype() != DType::F32 && scores.device().is_cpu() {
        return candle_nn::ops::softmax(&scores.to_dtype(DType::F32)?, D::Minus1)?.to_dtype(scores.dtype());
    }
    candle_nn::ops::softmax_last_dim(scores)
}
