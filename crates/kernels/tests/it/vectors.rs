//! Products of vectors.

use anser_kernels::{ByteRows, InstructionSet, compare_byte_rows, dot_byte_rows, dot_f32, dot_i8, prefetch};
use proptest::prelude::*;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{close, random, wide};

/// Around the sizes of vectors and groups of them, and those of embeddings.
const SIZES: [usize; 17] = [0, 1, 3, 15, 16, 17, 31, 63, 64, 65, 127, 128, 200, 256, 384, 385, 1024];

#[test]
fn products_of_floats_are_those_of_plain_loops() {
    for set in InstructionSet::available() {
        for (seed, size) in SIZES.into_iter().enumerate() {
            let (a, b) = (random::<f32>(size, seed as u64), random::<f32>(size, seed as u64 + 100));
            let expected: f64 = wide(&a).iter().zip(wide(&b)).map(|(a, b)| a * b).sum();
            close(&[dot_f32(set, &a, &b)], &[expected], 4e-6, &format!("{} numbers on {}", size, set.name()));
        }
    }
}

#[test]
fn products_of_bytes_are_exact_at_their_largest() {
    for set in InstructionSet::available() {
        let query = [-128i8, 127].repeat(512);
        let row = [255u8, 255].repeat(512);
        let mut out = [0];
        dot_byte_rows(set, ByteRows::new(&row, 1024), &query, &[0], &mut out);
        assert_eq!(out, [-255 * 512], "{}", set.name());
        assert_eq!(dot_i8(set, &query, &query), 512 * (128 * 128 + 127 * 127));
    }
}

proptest! {
    #[test]
    fn products_of_many_byte_rows_are_exact(
        count in 0usize..20,
        stride in 1usize..200,
        short in 0usize..200,
        left_over in 0usize..5,
        wanted in prop::collection::vec(0u32..24, 0..40),
        seed: u64,
    ) {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let bytes: Vec<u8> = (0..count * stride + left_over.min(stride - 1)).map(|_| random.random()).collect();
        let query: Vec<i8> = (0..stride.saturating_sub(short)).map(|_| random.random()).collect();
        let expected: Vec<i32> = wanted
            .iter()
            .map(|row| *row as usize)
            .map(|row| {
                if row >= count {
                    return i32::MIN;
                }
                bytes[row * stride..].iter().zip(&query).map(|(a, b)| i32::from(*a) * i32::from(*b)).sum()
            })
            .collect();
        for set in InstructionSet::available() {
            let mut out = vec![7; wanted.len()];
            dot_byte_rows(set, ByteRows::new(&bytes, stride), &query, &wanted, &mut out);
            prop_assert_eq!(&out, &expected, "{}", set.name());
            // A longer or shorter output takes what there is room for.
            for len in [out.len() / 2, out.len() + 9] {
                let mut other = vec![7; len];
                dot_byte_rows(set, ByteRows::new(&bytes, stride), &query, &wanted, &mut other);
                prop_assert!(other.iter().zip(&expected).all(|(a, b)| a == b));
                prop_assert!(other.iter().skip(expected.len()).all(|untouched| *untouched == 7));
            }
            for row in 0..=count as u32 {
                compare_byte_rows(set, ByteRows::new(&bytes, stride), row, &wanted, &mut out);
                let centred = |row: u32| bytes[row as usize * stride..].iter().take(stride).map(|x| i32::from(*x) - 128);
                let there = |row: u32| (row as usize) < count;
                let expected = wanted.iter().map(|other| {
                    if there(row) && there(*other) {
                        centred(row).zip(centred(*other)).map(|(a, b)| a * b).sum()
                    } else {
                        i32::MIN
                    }
                });
                prop_assert!(out.iter().copied().eq(expected), "row {} on {}", row, set.name());
            }
            let signed: Vec<i8> = bytes.iter().take(query.len()).map(|byte| byte.wrapping_sub(128) as i8).collect();
            let plain: i64 = signed.iter().zip(&query).map(|(a, b)| i64::from(*a) * i64::from(*b)).sum();
            prop_assert_eq!(i64::from(dot_i8(set, &signed, &query)), plain);
        }
        prefetch(&bytes);
        prefetch(&query);
    }
}
