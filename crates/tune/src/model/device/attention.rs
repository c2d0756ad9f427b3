//! Causal attention within each sequence, forward and back. Sequences are padded for it, and only for it.

use anser_generate::LlamaConfig;
use candle_core::{D, DType, Result, Tensor};

use super::Place;

/// Added to the score of a token that is not seen yet.
const UNSEEN: f32 = -1e30;

/// Sines and cosines of every position (Su et al. 2021), each [positions, head dimensions / 2].
pub(super) struct Rotary {
    cosines: Tensor,
    sines: Tensor,
}

impl Rotary {
    /// Tables for the model's whole context, computed in f32.
    pub(super) fn new(place: &Place, config: &LlamaConfig) -> Result<Self> {
        let half = config.head_dim / 2;
        let frequency = |i: usize| 1.0 / config.rope_base.powf(2.0 * i as f32 / config.head_dim as f32);
        let frequencies: Vec<f32> = (0..half).map(frequency).collect();
        let table = |function: fn(f32) -> f32| {
            let angles = (0..config.context).flat_map(|at| frequencies.iter().map(move |one| at as f32 * one));
            place.matrix(&angles.map(function).collect::<Vec<_>>(), &[config.context, half])
        };
        Ok(Self { cosines: table(f32::cos)?, sines: table(f32::sin)? })
    }

    /// `x` [sequences, heads, tokens, head dimensions] turned to its places, or back.
    fn turn(&self, x: &Tensor, back: bool) -> Result<Tensor> {
        let tokens = x.dim(2)?;
        let (cosines, sines) = (self.cosines.narrow(0, 0, tokens)?, self.sines.narrow(0, 0, tokens)?);
        let sines = if back { sines.neg()? } else { sines };
        candle_nn::rotary_emb::rope(&x.contiguous()?, &cosines, &sines)
    }
}

/// Where the rows of a batch lie in its padded form [sequences, longest].
pub(super) struct Sequences {
    count: usize,
    longest: usize,
    /// For each padded place its row, and for padding the row behind the last.
    rows: Tensor,
    /// For each row its padded place.
    places: Tensor,
    /// [longest, longest], in f32.
    mask: Tensor,
}

/// What attention's way back needs: queries, keys and values of each sequence, turned to their places.
pub(super) struct SavedAttention {
    /// [sequences, kv heads, group · longest, head dimensions]
    queries: Tensor,
    /// [sequences, kv heads, longest, head dimensions]
    keys: Tensor,
    values: Tensor,
    /// [sequences, kv heads, group · longest, longest]
    shares: Tensor,
}

impl Sequences {
    /// Of a batch whose sequences start at `starts`.
    pub(super) fn new(place: &Place, starts: &[usize]) -> Result<Self> {
        let spans: Vec<(usize, usize)> = starts.windows(2).map(|pair| (pair[0], pair[1] - pair[0])).collect();
        let longest = spans.iter().map(|span| span.1).max().unwrap_or(0);
        let total = starts.last().copied().unwrap_or(0);
        let mut rows = vec![total as u32; spans.len() * longest];
        let mut places = Vec::with_capacity(total);
        for (sequence, (start, length)) in spans.iter().enumerate() {
            for at in 0..*length {
                rows[sequence * longest + at] = (start + at) as u32;
                places.push((sequence * longest + at) as u32);
            }
        }
        let hidden = (0..longest).flat_map(|row| (0..longest).map(move |key| if key > row { UNSEEN } else { 0.0 }));
        let mask = place.exact(&hidden.collect::<Vec<_>>(), &[longest, longest])?;
        let rows = Tensor::from_vec(rows, spans.len() * longest, &place.device)?;
        let places = Tensor::from_vec(places, total, &place.device)?;
        Ok(Self { count: spans.len(), longest, rows, places, mask })
    }

    /// The heads of some columns of `x` [rows, _] as [sequences, heads, longest, head dimensions]; padding is 0.
    fn padded(&self, x: &Tensor, (column, heads, dim): (usize, usize, usize)) -> Result<Tensor> {
        let x = x.narrow(1, column, heads * dim)?;
        let nothing = Tensor::zeros((1, heads * dim), x.dtype(), x.device())?;
        let x = Tensor::cat(&[&x.contiguous()?, &nothing], 0)?.index_select(&self.rows, 0)?;
        x.reshape((self.count, self.longest, heads, dim))?.transpose(1, 2)?.contiguous()
    }

    /// The other way: [rows, heads · head dimensions].
    fn rows(&self, x: &Tensor) -> Result<Tensor> {
        let (_, heads, _, dim) = x.dims4()?;
        let x = x.transpose(1, 2)?.reshape((self.count * self.longest, heads * dim))?;
        x.index_select(&self.places, 0)
    }
}

/// The attention output [rows, query width] of `projected` [rows, queries | keys | values].
pub(super) fn attend(
    config: &LlamaConfig,
    rotary: &Rotary,
    sequences: &Sequences,
    projected: &Tensor,
) -> Result<(SavedAttention, Tensor)> {
    let (dim, kv_heads) = (config.head_dim, config.kv_heads);
    let (query_width, key_width) = (config.heads * dim, kv_heads * dim);
    let (count, longest) = (sequences.count, sequences.longest);
    let grouped = config.heads / kv_heads * longest;
    let queries = rotary.turn(&sequences.padded(projected, (0, config.heads, dim))?, false)?;
    // Queries that share a head of keys lie below one another, so that one product serves the group.
    let queries = queries.reshape((count, kv_heads, grouped, dim))?;
    let keys = rotary.turn(&sequences.padded(projected, (query_width, kv_heads, dim))?, false)?;
    let values = sequences.padded(projected, (query_width + key_width, kv_heads, dim))?;
    let scores = (queries.matmul(&keys.t()?)?.to_dtype(DType::F32)? * scale(config))?;
    let scores = scores.reshape((count, config.heads, longest, longest))?.broadcast_add(&sequences.mask)?;
    let shares = candle_nn::ops::softmax_last_dim(&scores)?.to_dtype(projected.dtype())?;
    let shares = shares.reshape((count, kv_heads, grouped, longest))?;
    let attended = shares.matmul(&values)?.reshape((count, config.heads, longest, dim))?;
    let output = sequences.rows(&attended)?;
    Ok((SavedAttention { queries, keys, values, shares }, output))
}

/// The gradient of `projected` [rows, queries | keys | values] from that of the output.
pub(super) fn attend_backward(
    config: &LlamaConfig,
    rotary: &Rotary,
    sequences: &Sequences,
    (saved, gradient): (&SavedAttention, &Tensor),
) -> Result<Tensor> {
    let (dim, kv_heads, longest) = (config.head_dim, config.kv_heads, sequences.longest);
    let grouped = config.heads / kv_heads * longest;
    let gradient = sequences.padded(gradient, (0, config.heads, dim))?;
    let gradient = gradient.reshape((sequences.count, kv_heads, grouped, dim))?;
    let values = saved.shares.t()?.matmul(&gradient)?;
    // Softmax: dS = P∘(dP - Σ P∘dP).
    let shares = saved.shares.to_dtype(DType::F32)?;
    let by_share = gradient.matmul(&saved.values.t()?)?.to_dtype(DType::F32)?;
    let mean = (&shares * &by_share)?.sum_keepdim(D::Minus1)?;
    let scores = (shares * by_share.broadcast_sub(&mean)?)? * scale(config);
    let scores = scores?.to_dtype(gradient.dtype())?;
    let queries = scores.matmul(&saved.keys)?.reshape((sequences.count, config.heads, longest, dim))?;
    let keys = scores.t()?.matmul(&saved.queries)?;
    let parts = [
        sequences.rows(&rotary.turn(&queries, true)?)?,
        sequences.rows(&rotary.turn(&keys, true)?)?,
        sequences.rows(&values)?,
    ];
    Tensor::cat(&parts, 1)
}

fn scale(config: &LlamaConfig) -> f64 {
    1.0 / (config.head_dim as f64).sqrt()
}
