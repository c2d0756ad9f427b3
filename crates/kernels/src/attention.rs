//! Causal attention of one sequence, for the query heads that share one key and value head, with its backward pass.
//!
//! Queries go by in chunks. Probabilities are never kept: the backward pass makes them again from the logarithm of each
//! row's sum, as `FlashAttention` does (Dao et al. 2022). All runs on the calling thread.

use crate::cross_entropy::maximum;
use crate::element::{Element, Rows, RowsMut};
use crate::exponential::exp;
use crate::instructions::{InstructionSet, versions};
use crate::packed::PackedMatrix;
use crate::rows::dot;

/// Queries of a chunk.
const CHUNK: usize = 64;
const LANES: usize = 16;

/// One sequence's queries, keys and values. A query row holds the heads of the group one behind another.
#[derive(Debug, Clone, Copy)]
pub struct AttentionInput<'a, E> {
    /// [tokens, heads · `head_dim`].
    pub queries: Rows<'a, E>,
    /// [tokens, `head_dim`].
    pub keys: Rows<'a, E>,
    /// [tokens, `head_dim`].
    pub values: Rows<'a, E>,
}

/// Gradients of [`AttentionInput`], overwritten.
#[derive(Debug)]
pub struct AttentionGradients<'a> {
    /// [tokens, heads · `head_dim`].
    pub queries: &'a mut [f32],
    /// [tokens, `head_dim`].
    pub keys: &'a mut [f32],
    /// [tokens, `head_dim`].
    pub values: &'a mut [f32],
}

/// Memory that calls reuse.
#[derive(Debug)]
pub struct AttentionScratch<E> {
    set: InstructionSet,
    keys: PackedMatrix,
    values: PackedMatrix,
    transposed: PackedMatrix,
    panels: PackedMatrix,
    scores: Vec<f32>,
    slopes: Vec<f32>,
    probabilities: Vec<E>,
    gradients: Vec<E>,
    left: Vec<E>,
    key_sums: Vec<f32>,
    value_sums: Vec<f32>,
}

impl<E: Element> AttentionScratch<E> {
    /// Empty, for kernels with these instructions.
    pub fn new(set: InstructionSet) -> Self {
        let empty = || PackedMatrix::empty(E::FORMAT).with_instructions(set);
        Self {
            set,
            keys: empty(),
            values: empty(),
            transposed: empty(),
            panels: empty(),
            scores: Vec::new(),
            slopes: Vec::new(),
            probabilities: Vec::new(),
            gradients: Vec::new(),
            left: Vec::new(),
            key_sums: Vec::new(),
            value_sums: Vec::new(),
        }
    }
}

/// The head at `head` of some rows of the queries or of something shaped like them.
fn head_rows<'a, E: Element>(all: &Rows<'a, E>, width: usize, head: usize, rows: (usize, usize)) -> Rows<'a, E> {
    Rows::new(&all.values[rows.0 * all.stride + head * width..], rows.1 - rows.0, width, all.stride)
}

/// softmax(q·kᵀ / √`head_dim`)·v, each token looking at itself and those before it. Writes `out` [tokens, heads · `head_dim`]
/// and the logarithm of each row's sum, `log_sums` [heads, tokens].
pub fn attend<E: Element>(
    input: AttentionInput<'_, E>,
    out: &mut [E],
    log_sums: &mut [f32],
    scratch: &mut AttentionScratch<E>,
) {
    let (tokens, width) = (input.keys.rows, input.keys.columns);
    let all = input.queries.columns;
    let scale = 1.0 / (width as f32).sqrt();
    scratch.keys.assign(input.keys);
    scratch.values.assign_transposed(input.values);
    let stride = tokens.next_multiple_of(LANES);
    scratch.scores.resize(CHUNK * stride, 0.0);
    scratch.probabilities.resize(CHUNK * stride, E::default());
    for first in (0..tokens).step_by(CHUNK) {
        let end = (first + CHUNK).min(tokens);
        let rows = end - first;
        for head in 0..all / width {
            let queries = head_rows(&input.queries, width, head, (first, end));
            scratch.keys.product(queries, None, RowsMut::new(&mut scratch.scores, rows, end, stride), false);
            for row in 0..rows {
                let scores = &mut scratch.scores[row * stride..(row + 1) * stride];
                let probabilities = &mut scratch.probabilities[row * stride..(row + 1) * stride];
                let seen = first + row + 1;
                log_sums[head * tokens + first + row] =
                    softmax(scratch.set, &mut scores[..seen], scale, &mut probabilities[..seen]);
                probabilities[seen..].fill(E::default());
            }
            let probabilities = Rows::new(&scratch.probabilities, rows, end, stride);
            let out = RowsMut::new(&mut out[first * all + head * width..], rows, width, all);
            scratch.values.product(probabilities, None, out, false);
        }
    }
}

/// What the backward pass knows of the forward pass and of its result's gradient.
#[derive(Debug, Clone, Copy)]
pub struct Attended<'a, E> {
    /// The result [tokens, heads · `head_dim`].
    pub out: Rows<'a, E>,
    /// The logarithms of the rows' sums [heads, tokens].
    pub log_sums: &'a [f32],
    /// The result's gradient [tokens, heads · `head_dim`].
    pub gradient: Rows<'a, E>,
}

/// Gradients of [`attend`].
pub fn attend_backward<E: Element>(
    input: AttentionInput<'_, E>,
    attended: Attended<'_, E>,
    out: AttentionGradients<'_>,
    scratch: &mut AttentionScratch<E>,
) {
    let (tokens, width) = (input.keys.rows, input.keys.columns);
    let all = input.queries.columns;
    let heads = all / width;
    let stride = tokens.next_multiple_of(LANES);
    scratch.keys.assign(input.keys);
    scratch.transposed.assign_transposed(input.keys);
    scratch.values.assign(input.values);
    for scores in [&mut scratch.scores, &mut scratch.slopes] {
        scores.resize(CHUNK * stride, 0.0);
    }
    for rounded in [&mut scratch.probabilities, &mut scratch.gradients] {
        rounded.resize(heads * CHUNK * stride, E::default());
    }
    for sums in [&mut scratch.key_sums, &mut scratch.value_sums] {
        sums.clear();
        sums.resize(width * stride, 0.0);
    }
    for first in (0..tokens).step_by(CHUNK) {
        let end = (first + CHUNK).min(tokens);
        let rows = end - first;
        for head in 0..heads {
            let queries = head_rows(&input.queries, width, head, (first, end));
            let gradient = head_rows(&attended.gradient, width, head, (first, end));
            let result = head_rows(&attended.out, width, head, (first, end));
            scratch.keys.product(queries, None, RowsMut::new(&mut scratch.scores, rows, end, stride), false);
            scratch.values.product(gradient, None, RowsMut::new(&mut scratch.slopes, rows, end, stride), false);
            for row in 0..rows {
                let place = row * stride..row * stride + first + row + 1;
                let behind = (head * rows + row) * stride;
                let kept = behind..behind + first + row + 1;
                let slopes = SoftmaxSlopes {
                    scores: &scratch.scores[place.clone()],
                    slopes: &scratch.slopes[place],
                    log_sum: attended.log_sums[head * tokens + first + row],
                    mean: dot_rows(scratch.set, gradient.row(row), result.row(row)),
                    scale: 1.0 / (width as f32).sqrt(),
                };
                let probabilities = &mut scratch.probabilities[kept.clone()];
                softmax_backward(scratch.set, slopes, probabilities, &mut scratch.gradients[kept.clone()]);
                scratch.probabilities[kept.end..behind + stride].fill(E::default());
                scratch.gradients[kept.end..behind + stride].fill(E::default());
            }
            let slopes = Rows::new(&scratch.gradients[head * rows * stride..], rows, end, stride);
            let out = RowsMut::new(&mut out.queries[first * all + head * width..], rows, width, all);
            scratch.transposed.product(slopes, None, out, false);
        }
        // The sums over queries: what was a row of a query and head is now a step of the depth.
        let depth = heads * rows;
        let left_stride = depth.next_multiple_of(2);
        scratch.left.resize(width * left_stride, E::default());
        let mut sums = [
            (&attended.gradient, &scratch.probabilities, &mut scratch.value_sums),
            (&input.queries, &scratch.gradients, &mut scratch.key_sums),
        ];
        for (rows_of, weights, sums) in &mut sums {
            transpose_heads(rows_of, width, (first, end), &mut scratch.left);
            scratch.panels.assign_transposed(Rows::new(weights, depth, end, stride));
            let left = Rows::new(&scratch.left, width, depth, left_stride);
            scratch.panels.product(left, None, RowsMut::new(sums, width, end, stride), true);
        }
    }
    for (sums, out) in [(&scratch.key_sums, out.keys), (&scratch.value_sums, out.values)] {
        for (token, out) in out.chunks_exact_mut(width).enumerate() {
            for (column, out) in out.iter_mut().enumerate() {
                *out = sums[column * stride + token];
            }
        }
    }
}

/// Writes some rows of all heads as columns: `out` [`head_dim`, heads · rows], with rows padded to an even length by zeros.
fn transpose_heads<E: Element>(all: &Rows<'_, E>, width: usize, (first, end): (usize, usize), out: &mut [E]) {
    let rows = end - first;
    let heads = all.columns / width;
    let stride = (heads * rows).next_multiple_of(2);
    for head in 0..heads {
        let source = head_rows(all, width, head, (first, end));
        for row in 0..rows {
            for (column, &value) in source.row(row).iter().enumerate() {
                out[column * stride + head * rows + row] = value;
            }
        }
    }
    if stride > heads * rows {
        out.chunks_exact_mut(stride).for_each(|row| row[stride - 1] = E::default());
    }
}

/// Softmax of `scale`·scores into `out`, and the logarithm of its sum. The scores are used up.
fn softmax<E: Element>(set: InstructionSet, scores: &mut [f32], scale: f32, out: &mut [E]) -> f32 {
    let maximum = maximum(set, scores) * scale;
    let sum = exponentials(set, scores, scale, maximum);
    scaled(set, scores, 1.0 / sum, out);
    maximum + sum.ln()
}

#[inline(always)]
fn exponentials_body<const FMA: bool>(scores: &mut [f32], scale: f32, maximum: f32) -> f32 {
    let mut sums = [0.0_f32; LANES];
    let (whole, rest) = scores.as_chunks_mut::<LANES>();
    for scores in whole {
        for lane in 0..LANES {
            let value = exp::<FMA>(scores[lane] * scale - maximum);
            sums[lane] += value;
            scores[lane] = value;
        }
    }
    let mut sum = sums.iter().sum::<f32>();
    for score in rest {
        *score = exp::<FMA>(*score * scale - maximum);
        sum += *score;
    }
    sum
}

versions! { fn exponentials(scores: &mut [f32], scale: f32, maximum: f32) -> f32 = exponentials_body }

#[inline(always)]
fn scaled_body<E: Element, const FMA: bool>(values: &[f32], factor: f32, out: &mut [E]) {
    for (out, value) in out.iter_mut().zip(values) {
        *out = E::from_f32(value * factor);
    }
}

versions! { fn scaled<E>(values: &[f32], factor: f32, out: &mut [E]) = scaled_body }

#[inline(always)]
fn dot_rows_body<E: Element, const FMA: bool>(a: &[E], b: &[E]) -> f32 {
    dot(a, b)
}

versions! { fn dot_rows<E>(a: &[E], b: &[E]) -> f32 = dot_rows_body }

/// One row on the way back through softmax.
struct SoftmaxSlopes<'a> {
    /// Its scores before the scale.
    scores: &'a [f32],
    /// Gradient by its probabilities.
    slopes: &'a [f32],
    log_sum: f32,
    /// The probability-weighted mean of the slopes.
    mean: f32,
    scale: f32,
}

#[inline(always)]
fn softmax_backward_body<E: Element, const FMA: bool>(row: SoftmaxSlopes<'_>, probabilities: &mut [E], out: &mut [E]) {
    let operands = row.scores.iter().zip(row.slopes);
    for ((out, kept), (score, slope)) in out.iter_mut().zip(probabilities).zip(operands) {
        let probability = exp::<FMA>(score * row.scale - row.log_sum);
        *kept = E::from_f32(probability);
        *out = E::from_f32(probability * (slope - row.mean) * row.scale);
    }
}

versions! {
    fn softmax_backward<E>(row: SoftmaxSlopes<'_>, probabilities: &mut [E], out: &mut [E]) = softmax_backward_body
}
