//! Norm, rotation, gated unit and conversions.

use anser_kernels::{
    Element, InstructionSet, RmsNorm, RmsNormBackward, Rotary, Rows, convert, gated_unit, gated_unit_backward,
    rms_norm, rms_norm_backward, rms_norm_weight_gradient, rotate, weigh_rows, widen,
};
use half::bf16;
use proptest::prelude::*;

use crate::{close, random, roundoff, wide};

fn norm<E: Element>(set: InstructionSet, rows: usize, width: usize, seed: u64) {
    let (x, weight) = (random::<f32>(rows * width, seed), random::<f32>(width, seed + 1));
    let gradient = random::<f32>(rows * width, seed + 2);
    let old = random::<f32>(rows * width, seed + 3);
    let epsilon = 1e-3_f32;
    let (mut normalised, mut out) = (vec![E::default(); rows * width], vec![E::default(); rows * width]);
    let mut scales = vec![0.0; rows];
    rms_norm(
        set,
        RmsNorm { x: &x, weight: &weight, epsilon, normalised: &mut normalised, scales: &mut scales, out: &mut out },
    );
    let mut dx = old.clone();
    let backward = RmsNormBackward {
        gradient: &gradient,
        normalised: &normalised,
        scales: &scales,
        weight: &weight,
        out: &mut dx,
    };
    rms_norm_backward(set, backward);
    let mut d_weight = vec![0.25; width];
    rms_norm_weight_gradient(set, &gradient, &normalised, &mut d_weight);

    let (mut wanted, mut wanted_dx, mut wanted_weight) = (Vec::new(), wide(&old), vec![0.25; width]);
    for row in 0..rows {
        let x = wide(&x[row * width..(row + 1) * width]);
        let g = wide(&gradient[row * width..(row + 1) * width]);
        let mean = x.iter().map(|x| x * x).sum::<f64>() / width as f64;
        let scale = 1.0 / (mean + f64::from(epsilon)).sqrt();
        let inner: f64 = (0..width).map(|i| g[i] * f64::from(weight[i]) * x[i]).sum();
        for i in 0..width {
            wanted.push(x[i] * scale * f64::from(weight[i]));
            wanted_dx[row * width + i] +=
                scale * g[i] * f64::from(weight[i]) - scale.powi(3) / width as f64 * x[i] * inner;
            wanted_weight[i] += g[i] * x[i] * scale;
        }
    }
    let tolerance = 3.0 * roundoff::<E>();
    close(&out, &wanted, tolerance, set.name());
    close(&dx, &wanted_dx, tolerance, set.name());
    close(&d_weight, &wanted_weight, tolerance * rows as f64, set.name());
    let mut again = vec![E::default(); rows * width];
    weigh_rows(set, &normalised, &weight, &mut again);
    assert_eq!(again, out, "{}", set.name());
}

fn unit<E: Element>(set: InstructionSet, rows: usize, width: usize, seed: u64) {
    let scaled = |count, seed| -> Vec<E> {
        random::<E>(count, seed).into_iter().map(|value| E::from_f32(value.to_f32() * 6.0)).collect()
    };
    let (gate_up, gradient) = (scaled(rows * 2 * width, seed), scaled(rows * width, seed + 1));
    let view = Rows::dense(&gate_up, rows, 2 * width);
    let (mut out, mut again) = (vec![E::default(); rows * width], vec![E::default(); rows * width]);
    let mut d_gate_up = vec![E::default(); rows * 2 * width];
    gated_unit(set, view, &mut out);
    gated_unit_backward(set, view, &gradient, &mut d_gate_up, &mut again);
    assert_eq!(again, out, "{}", set.name());
    let (mut wanted, mut wanted_gradient) = (Vec::new(), vec![0.0; rows * 2 * width]);
    for row in 0..rows {
        for i in 0..width {
            let at = |column: usize| f64::from(gate_up[row * 2 * width + column].to_f32());
            let (gate, up, slope) = (at(i), at(width + i), f64::from(gradient[row * width + i].to_f32()));
            let share = 1.0 / (1.0 + (-gate).exp());
            wanted.push(gate * share * up);
            wanted_gradient[row * 2 * width + i] = slope * up * share * (1.0 + gate * (1.0 - share));
            wanted_gradient[row * 2 * width + width + i] = slope * gate * share;
        }
    }
    close(&out, &wanted, roundoff::<E>(), set.name());
    close(&d_gate_up, &wanted_gradient, roundoff::<E>(), set.name());
}

proptest! {
    #![proptest_config(crate::cases(60))]

    #[test]
    fn norms_and_their_gradients(rows in 1_usize..6, width in 1_usize..90, seed: u64) {
        for set in InstructionSet::available() {
            norm::<f32>(set, rows, width, seed >> 2);
            norm::<bf16>(set, rows, width, seed >> 2);
        }
    }

    #[test]
    fn gated_units_and_their_gradients(rows in 1_usize..6, width in 1_usize..90, seed: u64) {
        for set in InstructionSet::available() {
            unit::<f32>(set, rows, width, seed >> 2);
            unit::<bf16>(set, rows, width, seed >> 2);
        }
    }

    #[test]
    fn rotations_turn_halves_and_back(heads in 1_usize..4, half in 1_usize..40, position in 0_usize..50, seed: u64) {
        let width = 2 * half;
        let rotary = Rotary::new(50, width, 10_000.0);
        assert_eq!(rotary.positions(), 50);
        let x = random::<f32>(heads * width, seed);
        let mut wanted = vec![0.0; heads * width];
        for head in 0..heads {
            for i in 0..half {
                let angle = position as f64 * 10_000_f64.powf(-2.0 * i as f64 / width as f64);
                let (a, b) = (f64::from(x[head * width + i]), f64::from(x[head * width + half + i]));
                wanted[head * width + i] = a * angle.cos() - b * angle.sin();
                wanted[head * width + half + i] = a * angle.sin() + b * angle.cos();
            }
        }
        for set in InstructionSet::available() {
            let (mut out, mut back) = (vec![0.0_f32; x.len()], vec![0.0_f32; x.len()]);
            rotate(set, &rotary, position, false, &x, &mut out);
            close(&out, &wanted, 2e-6, set.name());
            rotate(set, &rotary, position, true, &out, &mut back);
            close(&back, &wide(&x), 2e-6, set.name());
        }
    }

    #[test]
    fn rounding_is_to_nearest_even(bits: u32) {
        let value = f32::from_bits(bits);
        let rounded = <bf16 as Element>::from_f32(value);
        let wanted = bf16::from_f32(value);
        prop_assert!(rounded == wanted || (rounded.to_f32().is_nan() && value.is_nan()));
    }
}

#[test]
fn conversions_go_there_and_back() {
    let values = random::<f32>(131, 1);
    for set in InstructionSet::available() {
        let (mut rounded, mut back) = (vec![bf16::ZERO; 131], vec![0.0; 131]);
        convert(set, &values, &mut rounded);
        widen(set, &rounded, &mut back);
        for ((value, rounded), back) in values.iter().zip(&rounded).zip(&back) {
            assert_eq!((bf16::from_f32(*value), *back), (*rounded, rounded.to_f32()));
        }
    }
}
