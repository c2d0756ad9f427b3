//! Layer norm of rows, with the sum before it and the rounded copy after it that a transformer's block needs, and the mean
//! over rows that pools them. All runs on the calling thread; a norm depends on nothing but its row.

use crate::element::Element;
use crate::instructions::versions;

const LANES: usize = 16;

/// Operands of [`layer_norm`]; rows have as many numbers as `weight`.
#[derive(Debug)]
pub struct LayerNorm<'a, E> {
    /// Rows to normalise, overwritten by the result.
    pub x: &'a mut [f32],
    /// As many rows, added to `x` before anything else.
    pub addend: Option<&'a [E]>,
    /// Factor of each column.
    pub weight: &'a [f32],
    /// Addend of each column.
    pub bias: &'a [f32],
    /// Added to the variance.
    pub epsilon: f32,
    /// The result once more, in the format that the next product reads.
    pub rounded: Option<&'a mut [E]>,
}

/// Σ f(x) over a row, in sixteen running sums.
#[inline(always)]
fn total(row: &[f32], f: impl Fn(f32) -> f32) -> f32 {
    let mut sums = [0.0_f32; LANES];
    let (whole, rest) = row.as_chunks::<LANES>();
    for values in whole {
        for lane in 0..LANES {
            sums[lane] += f(values[lane]);
        }
    }
    sums.iter().sum::<f32>() + rest.iter().map(|&value| f(value)).sum::<f32>()
}

#[inline(always)]
fn layer_norm_body<E: Element, const FMA: bool>(norm: LayerNorm<'_, E>) {
    let width = norm.weight.len();
    assert!(norm.bias.len() == width, "a layer norm's weight and bias have different lengths");
    let count = 1.0 / width as f32;
    let mut rounded = norm.rounded.map(|rounded| rounded.chunks_exact_mut(width));
    for (index, row) in norm.x.chunks_exact_mut(width).enumerate() {
        if let Some(addend) = norm.addend {
            for (x, addend) in row.iter_mut().zip(&addend[index * width..(index + 1) * width]) {
                *x += addend.to_f32();
            }
        }
        let mean = total(row, |x| x) * count;
        let variance = total(row, |x| (x - mean) * (x - mean)) * count;
        let scale = 1.0 / (variance + norm.epsilon).sqrt();
        for ((x, &weight), &bias) in row.iter_mut().zip(norm.weight).zip(norm.bias) {
            *x = (*x - mean) * scale * weight + bias;
        }
        if let Some(rounded) = rounded.as_mut().and_then(Iterator::next) {
            for (rounded, &x) in rounded.iter_mut().zip(&*row) {
                *rounded = E::from_f32(x);
            }
        }
    }
}

versions! {
    /// Layer norm (Ba, Kiros and Hinton 2016) of x + addend: (x − mean) / √(variance + ε) · weight + bias.
    ///
    /// Panics when the weight and the bias have different lengths, or when `addend` has fewer rows than `x`.
    pub fn layer_norm<E>(norm: LayerNorm<'_, E>) = layer_norm_body
}

#[inline(always)]
fn mean_row_body<const FMA: bool>(rows: &[f32], out: &mut [f32]) {
    let width = out.len();
    out.fill(0.0);
    for row in rows.chunks_exact(width) {
        for (out, x) in out.iter_mut().zip(row) {
            *out += x;
        }
    }
    let share = 1.0 / (rows.len() / width) as f32;
    for out in out {
        *out *= share;
    }
}

versions! {
    /// The mean of rows as long as `out`, which must not be empty.
    pub fn mean_row(rows: &[f32], out: &mut [f32]) = mean_row_body
}
