//! Attention of every token over its own text's tokens, and what tells places apart.

#[cfg(test)]
use std::cell::Cell;

use candle_core::{D, DType, Device, Result, Tensor};

use super::architecture::{Architecture, Positions};
use super::weights::{Norm, Weights};

/// Added to the score of a place that is not seen. Twice this is still a 16-bit float, and e to its power is 0.
const UNSEEN: f32 = -30_000.0;
/// Scores of one block of queries, over all texts and heads: bounds the memory that long texts take.
const BLOCK: usize = 1 << 28;

#[cfg(test)]
thread_local! {
    static ROWS: Cell<Option<usize>> = const { Cell::new(None) };
}

/// Runs `body` with blocks of `rows` queries on this thread.
#[cfg(test)]
pub(super) fn in_blocks_of(rows: usize, body: impl FnOnce()) {
    ROWS.set(Some(rows));
    body();
    ROWS.set(None);
}

/// Queries of one block.
fn block_rows(texts: usize, heads: usize, tokens: usize) -> usize {
    #[cfg(test)]
    if let Some(rows) = ROWS.get() {
        return rows.min(tokens);
    }
    (BLOCK / (texts * heads * tokens)).clamp(1, tokens)
}

/// Sines and cosines of every position (Su et al. 2021).
pub(super) struct Rotary {
    /// [positions, head dimensions / 2].
    cosines: Tensor,
    sines: Tensor,
}

impl Rotary {
    /// Tables for `positions` positions, computed in f32 and then brought to the weights' type and device.
    pub(super) fn new(head_dim: usize, base: f32, positions: usize, weights: &Weights) -> Result<Self> {
        let half = head_dim / 2;
        let frequencies: Vec<f32> = (0..half).map(|i| 1.0 / base.powf(2.0 * i as f32 / head_dim as f32)).collect();
        let table = |function: fn(f32) -> f32| {
            let angles = (0..positions).flat_map(|at| frequencies.iter().map(move |frequency| at as f32 * frequency));
            let values: Vec<f32> = angles.map(function).collect();
            Tensor::from_vec(values, (positions, half), &Device::Cpu)?
                .to_dtype(weights.dtype())?
                .to_device(weights.device())
        };
        Ok(Self { cosines: table(f32::cos)?, sines: table(f32::sin)? })
    }

    /// `x` [texts, heads, tokens, head dimensions] turned to its places.
    fn turn(&self, x: &Tensor) -> Result<Tensor> {
        let tokens = x.dim(2)?;
        let (cosines, sines) = (self.cosines.narrow(0, 0, tokens)?, self.sines.narrow(0, 0, tokens)?);
        candle_nn::rotary_emb::rope(&x.contiguous()?, &cosines, &sines)
    }
}

/// What is added to the scores before the softmax.
pub(super) struct Mask {
    /// [texts, 1, 1, tokens]: hides padding.
    padding: Option<Tensor>,
    /// [1, 1 or heads, tokens, tokens]: what a place's distance does.
    distance: Option<Tensor>,
}

impl Mask {
    /// The mask of texts of these `lengths`, padded to `longest`, for layers that see everything or a `window`.
    pub(super) fn new(
        of: &Architecture,
        (lengths, longest): (&[usize], usize),
        window: Option<usize>,
        (dtype, device): (DType, &Device),
    ) -> Result<Self> {
        // A causal token never sees what is behind it, and all padding is behind it.
        let padding = if of.causal || lengths.iter().all(|length| *length == longest) {
            None
        } else {
            let mut values = vec![0.0_f32; lengths.len() * longest];
            for (row, length) in values.chunks_exact_mut(longest).zip(lengths) {
                row[*length..].fill(UNSEEN);
            }
            let values = Tensor::from_vec(values, (lengths.len(), 1, 1, longest), device)?;
            Some(values.to_dtype(dtype)?)
        };
        let square = |value: &dyn Fn(usize, usize) -> f32| {
            let values = (0..longest).flat_map(|query| (0..longest).map(move |key| (query, key)));
            let values: Vec<f32> = values.map(|(query, key)| value(query, key)).collect();
            Tensor::from_vec(values, (1, 1, longest, longest), device)
        };
        let distance = if of.causal {
            Some(square(&|query, key| if key > query { UNSEEN } else { 0.0 })?.to_dtype(dtype)?)
        } else if let Some(window) = window.filter(|window| *window < longest) {
            Some(square(&|query, key| if query.abs_diff(key) > window { UNSEEN } else { 0.0 })?.to_dtype(dtype)?)
        } else if of.positions == Positions::LinearBias {
            let slopes = Tensor::from_vec(slopes(of.heads), (1, of.heads, 1, 1), device)?;
            let distances = square(&|query, key| -(query.abs_diff(key) as f32))?;
            Some(distances.broadcast_mul(&slopes)?.to_dtype(dtype)?)
        } else {
            None
        };
        Ok(Self { padding, distance })
    }

    /// The scores of the queries from `first` on, masked.
    fn apply(&self, mut scores: Tensor, first: usize) -> Result<Tensor> {
        if let Some(padding) = &self.padding {
            scores = scores.broadcast_add(padding)?;
        }
        if let Some(distance) = &self.distance {
            let rows = scores.dim(2)?;
            scores = scores.broadcast_add(&distance.narrow(2, first, rows)?)?;
        }
        Ok(scores)
    }
}

/// How steeply the bias of each head falls (Press et al. 2022): a geometric series; for a number of heads that is no
/// power of 2, every other member of the next longer series and then the shorter one's.
fn slopes(heads: usize) -> Vec<f32> {
    let series = |count: usize| (1..=count).map(move |i| 2_f32.powf(-8.0 * i as f32 / count as f32));
    if heads.is_power_of_two() {
        return series(heads).collect();
    }
    let shorter = heads.next_power_of_two() / 2;
    series(shorter).chain(series(2 * shorter).step_by(2)).take(heads).collect()
}

/// Attention of `projected` [texts · tokens, queries | keys | values] as [texts · tokens, query width].
pub(super) fn attend(
    of: &Architecture,
    projected: &Tensor,
    (texts, tokens): (usize, usize),
    head_norms: Option<&(Norm, Norm)>,
    (mask, rotary): (&Mask, Option<&Rotary>),
) -> Result<Tensor> {
    let (dim, group) = (of.head_dim, of.heads / of.key_heads);
    let heads_of = |start: usize, heads: usize| {
        let part = projected.narrow(D::Minus1, start, heads * dim)?;
        part.reshape((texts, tokens, heads, dim))?.transpose(1, 2)?.contiguous()
    };
    let mut queries = heads_of(0, of.heads)?;
    let mut keys = heads_of(of.query_width(), of.key_heads)?;
    let values = heads_of(of.query_width() + of.key_width(), of.key_heads)?;
    if let Some((query_norm, key_norm)) = head_norms {
        (queries, keys) = (query_norm.of(&queries)?, key_norm.of(&keys)?);
    }
    if let Some(rotary) = rotary {
        (queries, keys) = (rotary.turn(&queries)?, rotary.turn(&keys)?);
    }
    // Queries that share a head of keys lie below one another, so that one product serves the group.
    let queries = (queries * (1.0 / (dim as f64).sqrt()))?.reshape((texts, of.key_heads, group, tokens, dim))?;
    let keys = keys.t()?;
    let rows = block_rows(texts, of.heads, tokens);
    let mut blocks = Vec::with_capacity(tokens.div_ceil(rows));
    for first in (0..tokens).step_by(rows) {
        let rows = rows.min(tokens - first);
        let block = queries.narrow(3, first, rows)?.reshape((texts, of.key_heads, group * rows, dim))?;
        let scores = block.matmul(&keys)?.reshape((texts, of.heads, rows, tokens))?;
        let shares = softmax(&mask.apply(scores, first)?)?.reshape((texts, of.key_heads, group * rows, tokens))?;
        blocks.push(shares.matmul(&values)?.reshape((texts, of.heads, rows, dim))?);
    }
    let mixed = if blocks.len() == 1 { blocks.remove(0) } else { Tensor::cat(&blocks, 2)? };
    mixed.transpose(1, 2)?.reshape((texts * tokens, of.query_width()))
}

/// Softmax of each row. GPUs sum 16-bit rows in 32 bits by themselves; candle on a processor does not.
fn softmax(scores: &Tensor) -> Result<Tensor> {
    if scores.dtype() != DType::F32 && scores.device().is_cpu() {
        let shares = candle_nn::ops::softmax_last_dim(&scores.to_dtype(DType::F32)?)?;
        return shares.to_dtype(scores.dtype());
    }
    candle_nn::ops::softmax_last_dim(scores)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slopes_are_those_of_the_paper() {
        assert_eq!(slopes(8), [0.5, 0.25, 0.125, 0.0625, 0.03125, 0.015_625, 0.007_812_5, 0.003_906_25]);
        let twelve = slopes(12);
        assert_eq!(twelve[..8], slopes(8)[..]);
        assert!((twelve[8] - 0.5_f32.sqrt()).abs() < 1e-6, "{twelve:?}");
        assert_eq!(twelve.len(), 12);
    }
}
