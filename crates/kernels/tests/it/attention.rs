//! Attention and its gradients, the latter against finite differences of the plain loops.

use anser_kernels::{
    Attended, AttentionGradients, AttentionInput, AttentionScratch, Element, InstructionSet, Rows, attend,
    attend_backward,
};
use half::bf16;
use proptest::prelude::*;

use crate::{close, random, roundoff, wide};

#[derive(Debug, Clone, Copy)]
struct Shape {
    tokens: usize,
    heads: usize,
    width: usize,
}

/// Attention in plain loops: the result, and the logarithms of sums by head.
fn plain(shape: Shape, queries: &[f64], keys: &[f64], values: &[f64]) -> (Vec<f64>, Vec<f64>) {
    let Shape { tokens, heads, width } = shape;
    let mut out = vec![0.0; tokens * heads * width];
    let mut log_sums = vec![0.0; heads * tokens];
    for head in 0..heads {
        for token in 0..tokens {
            let query = &queries[(token * heads + head) * width..][..width];
            let score = |key: usize| {
                let terms = query.iter().zip(&keys[key * width..][..width]);
                terms.map(|(a, b)| a * b).sum::<f64>() / (width as f64).sqrt()
            };
            let sum: f64 = (0..=token).map(|key| score(key).exp()).sum();
            log_sums[head * tokens + token] = sum.ln();
            for key in 0..=token {
                let share = score(key).exp() / sum;
                for i in 0..width {
                    out[(token * heads + head) * width + i] += share * values[key * width + i];
                }
            }
        }
    }
    (out, log_sums)
}

/// Gradients of Σ slope·out by plain formulas in 64 bits.
fn plain_backward(shape: Shape, inputs: [&[f64]; 3], slope: &[f64]) -> [Vec<f64>; 3] {
    let Shape { tokens, heads, width } = shape;
    let [queries, keys, values] = inputs;
    let mut out = [vec![0.0; queries.len()], vec![0.0; keys.len()], vec![0.0; values.len()]];
    let scale = 1.0 / (width as f64).sqrt();
    for head in 0..heads {
        for token in 0..tokens {
            let row = (token * heads + head) * width;
            let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
            let key = |key: usize| &keys[key * width..(key + 1) * width];
            let value = |key: usize| &values[key * width..(key + 1) * width];
            let (query, slope) = (&queries[row..row + width], &slope[row..row + width]);
            let exponentials: Vec<f64> = (0..=token).map(|other| (dot(query, key(other)) * scale).exp()).collect();
            let sum: f64 = exponentials.iter().sum();
            let shares: Vec<f64> = exponentials.iter().map(|value| value / sum).collect();
            let mean: f64 = (0..=token).map(|other| shares[other] * dot(slope, value(other))).sum();
            for other in 0..=token {
                let d_score = shares[other] * (dot(slope, value(other)) - mean) * scale;
                for i in 0..width {
                    out[0][row + i] += d_score * key(other)[i];
                    out[1][other * width + i] += d_score * query[i];
                    out[2][other * width + i] += shares[other] * slope[i];
                }
            }
        }
    }
    out
}

fn check<E: Element>(set: InstructionSet, shape: Shape, seed: u64) {
    let Shape { tokens, heads, width } = shape;
    let what = format!("{} {shape:?} in {:?}", set.name(), E::FORMAT);
    // Queries, keys and values side by side in rows, with something behind them.
    let stride = (heads + 2) * width + 2;
    let rows: Vec<E> = random::<E>(tokens * stride, seed).iter().map(|x| E::from_f32(2.0 * x.to_f32())).collect();
    let view = |column: usize, columns: usize| Rows::new(&rows[column..], tokens, columns, stride);
    let input = AttentionInput {
        queries: view(0, heads * width),
        keys: view(heads * width, width),
        values: view((heads + 1) * width, width),
    };
    let copy = |column: usize, columns: usize| -> Vec<f64> {
        rows.chunks_exact(stride).flat_map(|row| wide(&row[column..column + columns])).collect()
    };
    let (queries, keys) = (copy(0, heads * width), copy(heads * width, width));
    let values = copy((heads + 1) * width, width);
    let (wanted, wanted_sums) = plain(shape, &queries, &keys, &values);

    let mut scratch = AttentionScratch::new(set);
    let mut out = vec![E::default(); tokens * heads * width];
    let mut log_sums = vec![0.0_f32; heads * tokens];
    for _ in 0..2 {
        attend(input, &mut out, &mut log_sums, &mut scratch);
    }
    close(&out, &wanted, 2.0 * roundoff::<E>(), &what);
    close(&log_sums, &wanted_sums, 1e-5, &what);

    let slope = random::<E>(tokens * heads * width, seed + 1);
    let wanted = plain_backward(shape, [&queries, &keys, &values], &wide(&slope));
    let mut gradients = [vec![7.0; queries.len()], vec![7.0; keys.len()], vec![7.0; values.len()]];
    for _ in 0..2 {
        let [queries, keys, values] = &mut gradients;
        let attended = Attended {
            out: Rows::dense(&out, tokens, heads * width),
            log_sums: &log_sums,
            gradient: Rows::dense(&slope, tokens, heads * width),
        };
        attend_backward(input, attended, AttentionGradients { queries, keys, values }, &mut scratch);
    }
    for (gradient, wanted) in gradients.iter().zip(&wanted) {
        close(gradient, wanted, 6.0 * roundoff::<E>(), &what);
    }
}

proptest! {
    #![proptest_config(crate::cases(30))]

    #[test]
    fn attention_and_its_gradients(tokens in 1_usize..150, heads in 1_usize..4, half in 1_usize..12, seed: u64) {
        for set in InstructionSet::available() {
            let shape = Shape { tokens, heads, width: 2 * half };
            check::<f32>(set, shape, seed >> 1);
            check::<bf16>(set, shape, seed >> 1);
        }
    }
}

#[test]
fn heads_of_the_usual_width() {
    for set in InstructionSet::available() {
        for tokens in [64, 65, 130] {
            check::<f32>(set, Shape { tokens, heads: 3, width: 64 }, 1);
            check::<bf16>(set, Shape { tokens, heads: 3, width: 64 }, 1);
        }
    }
}
