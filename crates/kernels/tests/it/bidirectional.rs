//! Attention of a sequence to all of its tokens.

use anser_kernels::{Element, HeadScratch, InstructionSet, Rows, RowsMut, attend_to_all};
use half::bf16;
use proptest::prelude::*;

use crate::{close, random, roundoff, wide};

fn exact(input: &[f64], tokens: usize, heads: usize, width: usize) -> Vec<f64> {
    let hidden = heads * width;
    let mut out = vec![0.0; tokens * hidden];
    for head in 0..heads {
        let row = |token: usize, part: usize| {
            let first = token * 3 * hidden + part * hidden + head * width;
            &input[first..first + width]
        };
        for query in 0..tokens {
            let score = |key| row(query, 0).iter().zip(row(key, 1)).map(|(q, k)| q * k).sum::<f64>();
            let weights = (0..tokens).map(|key| (score(key) / (width as f64).sqrt()).exp()).collect::<Vec<_>>();
            let sum = weights.iter().sum::<f64>();
            for (key, weight) in weights.iter().enumerate() {
                for (column, value) in row(key, 2).iter().enumerate() {
                    out[query * hidden + head * width + column] += weight / sum * value;
                }
            }
        }
    }
    out
}

fn attention<E: Element>(set: InstructionSet, (tokens, heads, width): (usize, usize, usize), seed: u64) {
    let hidden = heads * width;
    let mut input = random::<E>(tokens * 3 * hidden, seed);
    // Scores of a few units, as real models have them.
    for x in &mut input {
        *x = E::from_f32(x.to_f32() * 3.0);
    }
    let mut scratch = HeadScratch::default();
    let mut run = || {
        // The result is part of wider rows; what lies beside it stays.
        let mut out = vec![E::from_f32(7.0); tokens * (hidden + 3)];
        let rows = RowsMut::new(&mut out, tokens, hidden, hidden + 3);
        attend_to_all(set, Rows::dense(&input, tokens, 3 * hidden), heads, rows, &mut scratch);
        out
    };
    let out = run();
    assert_eq!(out, run(), "memory that was used before changes nothing");
    assert!(out.chunks(hidden + 3).all(|row| row[hidden..] == [E::from_f32(7.0); 3]));
    let out = out.chunks(hidden + 3).flat_map(|row| row[..hidden].to_vec()).collect::<Vec<_>>();
    let what = format!("attention [{tokens}, {heads}·{width}] on {}", set.name());
    close(&out, &exact(&wide(&input), tokens, heads, width), roundoff::<E>(), &what);
}

proptest! {
    #![proptest_config(crate::cases(48))]
    #[test]
    fn every_token_sees_all_of_them(
        tokens in 0_usize..150,
        heads in 1_usize..4,
        width in prop_oneof![Just(32_usize), Just(64), Just(16), Just(48), Just(96), 1_usize..50],
        seed in 0_u64..1000,
    ) {
        for set in InstructionSet::available() {
            attention::<f32>(set, (tokens, heads, width), seed);
            attention::<bf16>(set, (tokens, heads, width), seed);
        }
    }
}

#[test]
fn numbers_that_are_none_do_not_panic() {
    for set in InstructionSet::available() {
        for garbage in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX] {
            let input = vec![bf16::from_f32(garbage); 9 * 192];
            let mut out = vec![bf16::ZERO; 9 * 64];
            let rows = RowsMut::dense(&mut out, 9, 64);
            attend_to_all(set, Rows::dense(&input, 9, 192), 2, rows, &mut HeadScratch::default());
            let input = vec![garbage; 9 * 192];
            let mut out = vec![0.0_f32; 9 * 64];
            let rows = RowsMut::dense(&mut out, 9, 64);
            attend_to_all(set, Rows::dense(&input, 9, 192), 2, rows, &mut HeadScratch::default());
        }
    }
}
