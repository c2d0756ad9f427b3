//! One pass of tokens through the blocks.

use rayon::prelude::*;

use crate::config::LlamaConfig;
use crate::decoder::adapter::{LoadedAdapter, Projection};
use crate::decoder::attention::attend;
use crate::decoder::cache::Sequence;
use crate::decoder::rotary::Rotary;
use crate::decoder::weights::{Block, Weights};

/// Tokens to append to a sequence, with the adapter to read them through.
pub(crate) struct Piece<'a> {
    pub(crate) sequence: &'a mut Sequence,
    pub(crate) tokens: &'a [u32],
    pub(crate) adapter: Option<&'a LoadedAdapter>,
}

/// What a pass reads and does not change.
pub(crate) struct Pass<'a> {
    pub(crate) config: &'a LlamaConfig,
    pub(crate) weights: &'a Weights,
    pub(crate) rotary: &'a Rotary,
}

impl Pass<'_> {
    /// Appends every piece's tokens to its sequence and returns the hidden states after the last block, `[tokens of all
    /// pieces, hidden]`, in order. Each piece's rows are what they would be alone. `None` if a token is outside the
    /// vocabulary; then nothing was appended.
    pub(crate) fn run(&self, pieces: &mut [Piece<'_>]) -> Option<Vec<f32>> {
        let width = self.config.hidden;
        let rows: usize = pieces.iter().map(|piece| piece.tokens.len()).sum();
        let mut states = vec![0.0; rows * width];
        let tokens = pieces.iter().flat_map(|piece| piece.tokens);
        for (state, token) in states.chunks_exact_mut(width).zip(tokens) {
            self.weights.embedding.row(*token as usize, state)?;
        }
        for (index, block) in self.weights.blocks.iter().enumerate() {
            self.attention(index, block, pieces, &mut states);
            self.feed_forward(index, block, pieces, &mut states);
        }
        for piece in pieces {
            piece.sequence.advance(piece.tokens.len());
        }
        Some(states)
    }

    /// Logits of hidden states, `[_, vocabulary]`.
    pub(crate) fn logits(&self, states: &[f32]) -> Vec<f32> {
        self.weights.head().multiply(&self.normalise(states, &self.weights.norm))
    }

    fn attention(&self, index: usize, block: &Block, pieces: &mut [Piece<'_>], states: &mut [f32]) {
        let config = self.config;
        let (q, kv) = (config.query_width(), config.kv_width());
        let stride = q + 2 * kv;
        let normal = self.normalise(states, &block.attention_norm);
        let mut projected = block.attention_in.multiply(&normal);
        adapt(pieces, &normal, &mut projected, |adapter, x, y| {
            adapter.add(index, Projection::Query, x, y, stride);
            adapter.add(index, Projection::Key, x, &mut y[q..], stride);
            adapter.add(index, Projection::Value, x, &mut y[q + kv..], stride);
        });
        let mut mixed = Vec::with_capacity(projected.len() / stride * q);
        let mut rest = projected.as_mut_slice();
        for piece in &mut *pieces {
            let rows = piece.tokens.len();
            let (own, others) = rest.split_at_mut(rows * stride);
            rest = others;
            let start = piece.sequence.length();
            for (at, row) in own.chunks_exact_mut(stride).enumerate() {
                self.rotary.turn(&mut row[..q + kv], start + at);
                piece.sequence.push(index, &row[q..q + kv], &row[q + kv..]);
            }
            mixed.extend(attend(config, own, stride, rows, piece.sequence.block(index)));
        }
        let mut output = block.attention_out.multiply(&mixed);
        adapt(pieces, &mixed, &mut output, |adapter, x, y| {
            adapter.add(index, Projection::Output, x, y, config.hidden);
        });
        add(states, &output);
    }

    fn feed_forward(&self, index: usize, block: &Block, pieces: &[Piece<'_>], states: &mut [f32]) {
        let inner = self.config.feed_forward;
        let normal = self.normalise(states, &block.feed_forward_norm);
        let mut projected = block.feed_forward_in.multiply(&normal);
        adapt(pieces, &normal, &mut projected, |adapter, x, y| {
            adapter.add(index, Projection::Gate, x, y, 2 * inner);
            adapter.add(index, Projection::Up, x, &mut y[inner..], 2 * inner);
        });
        let mut gated = vec![0.0; projected.len() / 2];
        gated.par_chunks_exact_mut(inner).zip(projected.par_chunks_exact(2 * inner)).for_each(|(gated, row)| {
            let (gate, up) = row.split_at(inner);
            for ((out, gate), up) in gated.iter_mut().zip(gate).zip(up) {
                *out = gate / (1.0 + (-gate).exp()) * up;
            }
        });
        let mut output = block.feed_forward_out.multiply(&gated);
        adapt(pieces, &gated, &mut output, |adapter, x, y| {
            adapter.add(index, Projection::Down, x, y, self.config.hidden);
        });
        add(states, &output);
    }

    /// RMS norm (Zhang and Sennrich 2019) of each row.
    fn normalise(&self, states: &[f32], gains: &[f32]) -> Vec<f32> {
        let mut normal = Vec::with_capacity(states.len());
        for row in states.chunks_exact(gains.len()) {
            let mean = row.iter().map(|value| value * value).sum::<f32>() / row.len() as f32;
            let factor = 1.0 / (mean + self.config.norm_epsilon).sqrt();
            normal.extend(row.iter().zip(gains).map(|(value, gain)| value * factor * gain));
        }
        normal
    }
}

/// Calls `update` with the rows of `x` and `y` of each piece that has an adapter.
fn adapt(pieces: &[Piece<'_>], mut x: &[f32], mut y: &mut [f32], update: impl Fn(&LoadedAdapter, &[f32], &mut [f32])) {
    let rows: usize = pieces.iter().map(|piece| piece.tokens.len()).sum();
    if rows == 0 || pieces.iter().all(|piece| piece.adapter.is_none()) {
        return;
    }
    let (x_width, y_width) = (x.len() / rows, y.len() / rows);
    for piece in pieces {
        let rows = piece.tokens.len();
        let (own_x, rest_x) = x.split_at(rows * x_width);
        let (own_y, rest_y) = y.split_at_mut(rows * y_width);
        (x, y) = (rest_x, rest_y);
        if let Some(adapter) = piece.adapter {
            update(adapter, own_x, own_y);
        }
    }
}

fn add(states: &mut [f32], more: &[f32]) {
    for (state, more) in states.iter_mut().zip(more) {
        *state += more;
    }
}
