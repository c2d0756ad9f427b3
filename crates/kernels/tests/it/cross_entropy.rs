//! Log probabilities over a vocabulary of several chunks, and their gradients.

use anser_kernels::{
    CrossEntropyScratch, Element, InstructionSet, OutputMatrix, PackedMatrix, Rows, TargetScores, WeightedTargets,
    cross_entropy, logit_gradients,
};
use half::bf16;
use proptest::prelude::*;

use crate::{close, random, roundoff, wide};

fn check<E: Element>(set: InstructionSet, (rows, width, vocabulary): (usize, usize, usize), seed: u64) {
    let what = format!("{} {rows} rows of {width}, {vocabulary} tokens in {:?}", set.name(), E::FORMAT);
    let weights: Vec<f32> = random::<E>(vocabulary * width, seed).iter().map(|value| value.to_f32()).collect();
    let hidden = random::<E>(rows * width, seed + 1);
    let targets: Vec<u32> = (0..rows).map(|row| ((row * 7919 + seed as usize % 1000) % vocabulary) as u32).collect();
    let mut forward = PackedMatrix::empty(E::FORMAT).with_instructions(set);
    forward.assign(Rows::dense(&weights, vocabulary, width));
    let mut backward = PackedMatrix::empty(E::FORMAT).with_instructions(set);
    backward.assign_transposed(Rows::dense(&weights, vocabulary, width));
    let (mut scores, mut log_sums, mut likeliest) = (vec![0.0; rows], vec![0.0; rows], vec![false; rows]);
    let mut gradient = vec![7.0; rows * width];
    let mut scratch = CrossEntropyScratch::default();
    let output = OutputMatrix { forward: &forward, backward: &backward };
    for wanted in [true, false] {
        let places =
            TargetScores { log_probabilities: &mut scores, log_sums: &mut log_sums, likeliest: &mut likeliest };
        let gradient = wanted.then_some(gradient.as_mut_slice());
        cross_entropy(output, Rows::dense(&hidden, rows, width), &targets, places, gradient, &mut scratch);
    }

    let weight: Vec<f32> = (0..rows).map(|row| row as f32 * 0.1 - 0.2).collect();
    let (mut wanted_scores, mut wanted_sums) = (Vec::new(), Vec::new());
    let (mut wanted_gradient, mut wanted_logits) = (vec![0.0; rows * width], Vec::new());
    for row in 0..rows {
        let hidden = wide(&hidden[row * width..(row + 1) * width]);
        let logit = |token: usize| {
            weights[token * width..(token + 1) * width].iter().zip(&hidden).map(|(w, x)| f64::from(*w) * x).sum::<f64>()
        };
        let logits: Vec<f64> = (0..vocabulary).map(logit).collect();
        let sum: f64 = logits.iter().map(|logit| logit.exp()).sum();
        let target = targets[row] as usize;
        wanted_scores.push(logits[target] - sum.ln());
        wanted_sums.push(sum.ln());
        for (token, logit) in logits.iter().enumerate() {
            let slope = f64::from(u8::from(token == target)) - logit.exp() / sum;
            wanted_logits.push(f64::from(weight[row]) * slope);
            for i in 0..width {
                wanted_gradient[row * width + i] += slope * f64::from(weights[token * width + i]);
            }
        }
        let highest = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        assert!(likeliest[row] == (logits[target] >= highest) || (logits[target] - highest).abs() < 1e-5, "{what}");
    }
    close(&scores, &wanted_scores, 8e-6, &what);
    close(&log_sums, &wanted_sums, 8e-6, &what);
    close(&gradient, &wanted_gradient, 2.0 * roundoff::<E>(), &what);

    let weighted = WeightedTargets { targets: &targets, weights: &weight, log_sums: &log_sums };
    let first = if vocabulary > 96 { 48 } else { 0 };
    let mut logits = vec![0.0; rows * (vocabulary - first)];
    logit_gradients(&forward, Rows::dense(&hidden, rows, width), first, weighted, &mut logits);
    let wanted: Vec<f64> = wanted_logits.chunks_exact(vocabulary).flat_map(|row| row[first..].to_vec()).collect();
    close(&logits, &wanted, 1e-5, &what);
}

proptest! {
    #![proptest_config(crate::cases(30))]

    #[test]
    fn scores_and_gradients(rows in 1_usize..20, half in 1_usize..20, vocabulary in 1_usize..900, seed: u64) {
        for set in InstructionSet::available() {
            check::<f32>(set, (rows, 2 * half, vocabulary), seed >> 1);
            check::<bf16>(set, (rows, 2 * half, vocabulary), seed >> 1);
        }
    }
}

#[test]
fn logits_far_apart_stay_finite() {
    let weights = [1000.0_f32, -1000.0, 999.0, 0.0];
    for set in InstructionSet::available() {
        let packed = |transposed: bool| {
            let mut packed = PackedMatrix::empty(<f32 as Element>::FORMAT).with_instructions(set);
            if transposed {
                packed.assign_transposed(Rows::dense(&weights, 4, 1));
            } else {
                packed.assign(Rows::dense(&weights, 4, 1));
            }
            packed
        };
        let (forward, backward) = (packed(false), packed(true));
        let (mut scores, mut sums, mut likeliest, mut gradient) = ([0.0; 2], [0.0; 2], [false; 2], [0.0; 2]);
        let places = TargetScores { log_probabilities: &mut scores, log_sums: &mut sums, likeliest: &mut likeliest };
        let output = OutputMatrix { forward: &forward, backward: &backward };
        let mut scratch = CrossEntropyScratch::default();
        cross_entropy(output, Rows::dense(&[1.0_f32, 1.0], 2, 1), &[0, 1], places, Some(&mut gradient), &mut scratch);
        assert!((scores[0] + 0.313_26).abs() < 1e-3 && (scores[1] + 2000.313).abs() < 1e-1, "{scores:?}");
        assert_eq!(likeliest, [true, false]);
        assert!(gradient.iter().all(|value| value.is_finite()), "{gradient:?}");
    }
}
