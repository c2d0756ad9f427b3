//! Log probabilities of target tokens over a large vocabulary, and the gradient of their sum, without ever holding all
//! logits: the vocabulary goes by in chunks, with a running maximum and a running sum as in online softmax (Milakov and
//! Gimelshein 2018), and the probability-weighted mean of the output matrix's rows is rescaled along with them.

use crate::element::{Element, Rows, RowsMut};
use crate::exponential::exp;
use crate::instructions::versions;
use crate::packed::PackedMatrix;

/// Tokens of the vocabulary that are looked at together: eight panels.
const CHUNK: usize = 384;
const LANES: usize = 16;

/// The output matrix [vocabulary, hidden], for logits and for their gradient.
#[derive(Debug, Clone, Copy)]
pub struct OutputMatrix<'a> {
    /// Packed for logits: n = vocabulary, k = hidden.
    pub forward: &'a PackedMatrix,
    /// Packed for the way back: n = hidden, k = vocabulary.
    pub backward: &'a PackedMatrix,
}

/// What is known of each row's target.
#[derive(Debug)]
pub struct TargetScores<'a> {
    /// Logarithm of the target's probability.
    pub log_probabilities: &'a mut [f32],
    /// Logarithm of the sum of all exponentiated logits.
    pub log_sums: &'a mut [f32],
    /// Whether no other token was likelier.
    pub likeliest: &'a mut [bool],
}

/// Memory that calls reuse.
#[derive(Debug, Default)]
pub struct CrossEntropyScratch<E> {
    logits: Vec<f32>,
    probabilities: Vec<E>,
    maxima: Vec<f32>,
    sums: Vec<f32>,
    targets: Vec<f32>,
}

/// Scores the target of each row of `hidden`. With `gradient` [rows, hidden], which is overwritten, also the derivative of
/// each log probability by its row: W[target] − Σ p·W. On this thread.
pub fn cross_entropy<E: Element>(
    output: OutputMatrix<'_>,
    hidden: Rows<'_, E>,
    targets: &[u32],
    scores: TargetScores<'_>,
    gradient: Option<&mut [f32]>,
    scratch: &mut CrossEntropyScratch<E>,
) {
    let set = output.forward.instructions();
    let (rows, width, vocabulary) = (hidden.rows, hidden.columns, output.forward.n());
    assert!(
        targets.len() == rows && targets.iter().all(|&target| (target as usize) < vocabulary),
        "a target is no token"
    );
    let stride = CHUNK;
    scratch.logits.resize(rows * stride, 0.0);
    scratch.probabilities.resize(rows * stride, E::default());
    scratch.maxima.clear();
    scratch.maxima.resize(rows, f32::NEG_INFINITY);
    scratch.sums.clear();
    scratch.sums.resize(rows, 0.0);
    scratch.targets.clear();
    scratch.targets.resize(rows, 0.0);
    let mut gradient = gradient;
    if let Some(gradient) = &mut gradient {
        gradient.fill(0.0);
    }
    for first in (0..vocabulary).step_by(CHUNK) {
        let columns = CHUNK.min(vocabulary - first);
        let logits = RowsMut::new(&mut scratch.logits, rows, columns, stride);
        output.forward.part(first, 0).product(hidden, None, logits, false);
        for row in 0..rows {
            let logits = &scratch.logits[row * stride..row * stride + columns];
            if let Some(&logit) = (targets[row] as usize).checked_sub(first).and_then(|index| logits.get(index)) {
                scratch.targets[row] = logit;
            }
            let old = scratch.maxima[row];
            let maximum = maximum(set, logits).max(old);
            let fade = if old == f32::NEG_INFINITY { 0.0 } else { (old - maximum).exp() };
            let probabilities = &mut scratch.probabilities[row * stride..(row + 1) * stride];
            let sum = exponentiate(set, logits, maximum, &mut probabilities[..columns]);
            // Brain floats are read in pairs: an odd last one needs a zero beside it.
            probabilities[columns..].fill(E::default());
            scratch.sums[row] = scratch.sums[row] * fade + sum;
            scratch.maxima[row] = maximum;
            if let Some(gradient) = &mut gradient
                && fade < 1.0
            {
                gradient[row * width..(row + 1) * width].iter_mut().for_each(|value| *value *= fade);
            }
        }
        if let Some(gradient) = &mut gradient {
            let probabilities = Rows::new(&scratch.probabilities, rows, columns, stride);
            output.backward.part(0, first).product(probabilities, None, RowsMut::dense(gradient, rows, width), true);
        }
    }
    for row in 0..rows {
        let log_sum = scratch.maxima[row] + scratch.sums[row].ln();
        scores.log_sums[row] = log_sum;
        scores.log_probabilities[row] = scratch.targets[row] - log_sum;
        scores.likeliest[row] = scratch.targets[row] >= scratch.maxima[row];
    }
    if let Some(gradient) = gradient {
        let mut own = vec![0.0; width];
        for ((gradient, &target), &sum) in gradient.chunks_exact_mut(width).zip(targets).zip(&scratch.sums) {
            output.forward.row(target as usize, &mut own);
            let share = 1.0 / sum;
            gradient.iter_mut().zip(&own).for_each(|(gradient, own)| *gradient = own - *gradient * share);
        }
    }
}

/// The derivative of Σ weight·log probability by a chunk of logits, weight·(\[target\] − p), written to `out` [rows, columns].
/// `first` is the chunk's first token, a multiple of 48; `log_sums` are those of [`cross_entropy`]. On this thread.
pub fn logit_gradients<E: Element>(
    forward: &PackedMatrix,
    hidden: Rows<'_, E>,
    first: usize,
    weighted: WeightedTargets<'_>,
    out: &mut [f32],
) {
    let rows = hidden.rows;
    let columns = out.len() / rows.max(1);
    forward.part(first, 0).product(hidden, None, RowsMut::dense(out, rows, columns), false);
    for (row, out) in out.chunks_exact_mut(columns.max(1)).enumerate() {
        let weight = weighted.weights[row];
        scale_probabilities(forward.instructions(), out, weighted.log_sums[row], -weight);
        if let Some(own) = (weighted.targets[row] as usize).checked_sub(first).and_then(|index| out.get_mut(index)) {
            *own += weight;
        }
    }
}

/// Targets with their weight in the loss.
#[derive(Debug, Clone, Copy)]
pub struct WeightedTargets<'a> {
    /// The token of each row.
    pub targets: &'a [u32],
    /// Derivative of the loss by each log probability.
    pub weights: &'a [f32],
    /// Logarithm of the sum of each row's exponentiated logits.
    pub log_sums: &'a [f32],
}

#[inline(always)]
fn maximum_body<const FMA: bool>(values: &[f32]) -> f32 {
    let mut maxima = [f32::NEG_INFINITY; LANES];
    let (whole, rest) = values.as_chunks::<LANES>();
    for values in whole {
        for lane in 0..LANES {
            maxima[lane] = if values[lane] > maxima[lane] { values[lane] } else { maxima[lane] };
        }
    }
    maxima.iter().chain(rest).fold(f32::NEG_INFINITY, |maximum, &value| maximum.max(value))
}

versions! { pub(crate) fn maximum(values: &[f32]) -> f32 = maximum_body }

#[inline(always)]
fn exponentiate_body<E: Element, const FMA: bool>(values: &[f32], offset: f32, out: &mut [E]) -> f32 {
    let mut sums = [0.0_f32; LANES];
    let (whole, rest) = values.as_chunks::<LANES>();
    let (out_whole, out_rest) = out.as_chunks_mut::<LANES>();
    for (values, out) in whole.iter().zip(out_whole) {
        for lane in 0..LANES {
            let value = exp::<FMA>(values[lane] - offset);
            sums[lane] += value;
            out[lane] = E::from_f32(value);
        }
    }
    let mut sum = sums.iter().sum::<f32>();
    for (value, out) in rest.iter().zip(out_rest) {
        let value = exp::<FMA>(value - offset);
        sum += value;
        *out = E::from_f32(value);
    }
    sum
}

versions! { fn exponentiate<E>(values: &[f32], offset: f32, out: &mut [E]) -> f32 = exponentiate_body }

#[inline(always)]
fn scale_probabilities_body<const FMA: bool>(logits: &mut [f32], log_sum: f32, weight: f32) {
    for value in logits {
        *value = weight * exp::<FMA>(*value - log_sum);
    }
}

versions! { fn scale_probabilities(logits: &mut [f32], log_sum: f32, weight: f32) = scale_probabilities_body }
