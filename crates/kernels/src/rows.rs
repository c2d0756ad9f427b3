//! What a llama block does to rows besides products: root-mean-square norm, rotary embedding and the gated unit, each with
//! its backward pass. All run on the calling thread.

use crate::element::{Element, Rows};
use crate::exponential::sigmoid;
use crate::instructions::versions;

const LANES: usize = 16;

/// Σ a·b in sixteen running sums, so that it vectorises and is always taken in the same order.
#[inline(always)]
pub(crate) fn dot<A: Element, B: Element>(a: &[A], b: &[B]) -> f32 {
    let mut sums = [0.0_f32; LANES];
    let (a_whole, a_rest) = a.as_chunks::<LANES>();
    let (b_whole, b_rest) = b.as_chunks::<LANES>();
    for (a, b) in a_whole.iter().zip(b_whole) {
        for lane in 0..LANES {
            sums[lane] += a[lane].to_f32() * b[lane].to_f32();
        }
    }
    let rest: f32 = a_rest.iter().zip(b_rest).map(|(a, b)| a.to_f32() * b.to_f32()).sum();
    sums.iter().sum::<f32>() + rest
}

/// Operands of [`rms_norm`]; rows have as many numbers as `weight`.
#[derive(Debug)]
pub struct RmsNorm<'a, E> {
    /// Rows to normalise.
    pub x: &'a [f32],
    /// Factor of each column.
    pub weight: &'a [f32],
    /// Added to the mean square.
    pub epsilon: f32,
    /// Rows over their root mean square, before the weight: what the backward pass needs.
    pub normalised: &'a mut [E],
    /// One over each row's root mean square.
    pub scales: &'a mut [f32],
    /// The result.
    pub out: &'a mut [E],
}

#[inline(always)]
fn rms_norm_body<E: Element, const FMA: bool>(norm: RmsNorm<'_, E>) {
    let width = norm.weight.len();
    let rows = norm.x.chunks_exact(width).zip(norm.normalised.chunks_exact_mut(width));
    for (((x, normalised), scale), out) in rows.zip(norm.scales).zip(norm.out.chunks_exact_mut(width)) {
        *scale = 1.0 / (dot(x, x) / width as f32 + norm.epsilon).sqrt();
        for (normalised, &x) in normalised.iter_mut().zip(x) {
            *normalised = E::from_f32(x * *scale);
        }
        weigh(normalised, norm.weight, out);
    }
}

versions! {
    /// Root-mean-square norm (Zhang and Sennrich 2019): x / √(mean(x²) + ε) · weight.
    pub fn rms_norm<E>(norm: RmsNorm<'_, E>) = rms_norm_body
}

#[inline(always)]
fn weigh<E: Element>(normalised: &[E], weight: &[f32], out: &mut [E]) {
    for ((out, &value), &weight) in out.iter_mut().zip(normalised).zip(weight) {
        *out = E::from_f32(value.to_f32() * weight);
    }
}

#[inline(always)]
fn weigh_rows_body<E: Element, const FMA: bool>(normalised: &[E], weight: &[f32], out: &mut [E]) {
    let width = weight.len();
    for (normalised, out) in normalised.chunks_exact(width).zip(out.chunks_exact_mut(width)) {
        weigh(normalised, weight, out);
    }
}

versions! {
    /// The norm's result once more, from its `normalised` rows.
    pub fn weigh_rows<E>(normalised: &[E], weight: &[f32], out: &mut [E]) = weigh_rows_body
}

/// Operands of [`rms_norm_backward`].
#[derive(Debug)]
pub struct RmsNormBackward<'a, E> {
    /// Gradient of the norm's result.
    pub gradient: &'a [f32],
    /// The norm's `normalised` rows.
    pub normalised: &'a [E],
    /// The norm's `scales`.
    pub scales: &'a [f32],
    /// Factor of each column.
    pub weight: &'a [f32],
    /// Gradient of the norm's input, added to.
    pub out: &'a mut [f32],
}

#[inline(always)]
fn rms_norm_backward_body<E: Element, const FMA: bool>(norm: RmsNormBackward<'_, E>) {
    let width = norm.weight.len();
    let rows = norm.gradient.chunks_exact(width).zip(norm.normalised.chunks_exact(width));
    for (((gradient, normalised), &scale), out) in rows.zip(norm.scales).zip(norm.out.chunks_exact_mut(width)) {
        let mut sums = [0.0_f32; LANES];
        let (g, g_rest) = gradient.as_chunks::<LANES>();
        let (w, w_rest) = norm.weight.as_chunks::<LANES>();
        let (n, n_rest) = normalised.as_chunks::<LANES>();
        for ((g, w), n) in g.iter().zip(w).zip(n) {
            for lane in 0..LANES {
                sums[lane] += g[lane] * w[lane] * n[lane].to_f32();
            }
        }
        let rest: f32 = g_rest.iter().zip(w_rest).zip(n_rest).map(|((g, w), n)| g * w * n.to_f32()).sum();
        let mean = (sums.iter().sum::<f32>() + rest) / width as f32;
        for (((out, &g), &w), n) in out.iter_mut().zip(gradient).zip(norm.weight).zip(normalised) {
            *out += scale * (g * w - n.to_f32() * mean);
        }
    }
}

versions! {
    /// Gradient of [`rms_norm`] by its input: (g·w − n·mean(g·w·n)) / rms, with n the normalised row.
    pub fn rms_norm_backward<E>(norm: RmsNormBackward<'_, E>) = rms_norm_backward_body
}

#[inline(always)]
fn rms_norm_weight_gradient_body<E: Element, const FMA: bool>(gradient: &[f32], normalised: &[E], out: &mut [f32]) {
    let width = out.len();
    for (gradient, normalised) in gradient.chunks_exact(width).zip(normalised.chunks_exact(width)) {
        for ((out, &g), n) in out.iter_mut().zip(gradient).zip(normalised) {
            *out += g * n.to_f32();
        }
    }
}

versions! {
    /// Adds the gradient of [`rms_norm`] by its weight to `out`, row after row.
    pub fn rms_norm_weight_gradient<E>(gradient: &[f32], normalised: &[E], out: &mut [f32]) = rms_norm_weight_gradient_body
}

/// Angles of the rotary embedding (Su et al. 2021) for every position, with the halves of a head turned against each other.
#[derive(Debug, Clone)]
pub struct Rotary {
    cosines: Vec<f32>,
    sines: Vec<f32>,
    half: usize,
}

impl Rotary {
    /// Angles position · base^(−2i / `head_dim`) for positions below `positions`.
    pub fn new(positions: usize, head_dim: usize, base: f32) -> Self {
        let half = head_dim / 2;
        let frequency = |index: usize| f64::from(base).powf(-2.0 * index as f64 / head_dim as f64);
        let angles = (0..positions).flat_map(|position| (0..half).map(move |index| position as f64 * frequency(index)));
        let (cosines, sines) = angles.map(|angle| (angle.cos() as f32, angle.sin() as f32)).unzip();
        Self { cosines, sines, half }
    }

    /// Positions that there are angles for.
    pub fn positions(&self) -> usize {
        self.cosines.len() / self.half.max(1)
    }
}

#[inline(always)]
fn rotate_body<E: Element, const FMA: bool>(
    rotary: &Rotary,
    position: usize,
    backwards: bool,
    x: &[f32],
    out: &mut [E],
) {
    let half = rotary.half;
    let cosines = &rotary.cosines[position * half..(position + 1) * half];
    let sines = &rotary.sines[position * half..(position + 1) * half];
    let sign = if backwards { -1.0 } else { 1.0 };
    for (x, out) in x.chunks_exact(2 * half).zip(out.chunks_exact_mut(2 * half)) {
        let (a, b) = x.split_at(half);
        let (out_a, out_b) = out.split_at_mut(half);
        for index in 0..half {
            let (cosine, sine) = (cosines[index], sign * sines[index]);
            out_a[index] = E::from_f32(a[index] * cosine - b[index] * sine);
            out_b[index] = E::from_f32(b[index] * cosine + a[index] * sine);
        }
    }
}

versions! {
    /// Turns the heads in one row, `x`, by the angles of `position`; `backwards` turns the other way, which is also the
    /// gradient's way.
    pub fn rotate<E>(rotary: &Rotary, position: usize, backwards: bool, x: &[f32], out: &mut [E]) = rotate_body
}

#[inline(always)]
fn gated_unit_body<E: Element, const FMA: bool>(gate_up: Rows<'_, E>, out: &mut [E]) {
    let width = gate_up.columns / 2;
    for (row, out) in out.chunks_exact_mut(width).enumerate() {
        let (gate, up) = gate_up.row(row).split_at(width);
        for ((out, gate), up) in out.iter_mut().zip(gate).zip(up) {
            let gate = gate.to_f32();
            *out = E::from_f32(gate * sigmoid::<FMA>(gate) * up.to_f32());
        }
    }
}

versions! {
    /// `SwiGLU` (Shazeer 2020): silu(gate)·up, where a row is the gate's numbers followed by the up projection's.
    pub fn gated_unit<E>(gate_up: Rows<'_, E>, out: &mut [E]) = gated_unit_body
}

#[inline(always)]
fn gated_unit_backward_body<E: Element, const FMA: bool>(
    gate_up: Rows<'_, E>,
    gradient: &[E],
    out: &mut [E],
    activation: &mut [E],
) {
    let width = gate_up.columns / 2;
    let rows =
        out.chunks_exact_mut(2 * width).zip(activation.chunks_exact_mut(width)).zip(gradient.chunks_exact(width));
    for (row, ((out, activation), gradient)) in rows.enumerate() {
        let (gate, up) = gate_up.row(row).split_at(width);
        let (d_gate, d_up) = out.split_at_mut(width);
        for index in 0..width {
            let (gate, up, gradient) = (gate[index].to_f32(), up[index].to_f32(), gradient[index].to_f32());
            let share = sigmoid::<FMA>(gate);
            let silu = gate * share;
            activation[index] = E::from_f32(silu * up);
            d_up[index] = E::from_f32(gradient * silu);
            d_gate[index] = E::from_f32(gradient * up * (share + silu - silu * share));
        }
    }
}

versions! {
    /// Gradient of [`gated_unit`] by its rows, from the `gradient` of its result; also the result itself once more.
    pub fn gated_unit_backward<E>(
        gate_up: Rows<'_, E>,
        gradient: &[E],
        out: &mut [E],
        activation: &mut [E],
    ) = gated_unit_backward_body
}
