//! Every kernel against plain 64-bit loops, on every instruction set of the machine.

mod attention;
mod bidirectional;
mod cross_entropy;
mod layer_norm;
mod products;
mod quantised;
mod rows;
mod vectors;

use anser_kernels::Element;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// As many cases as usual, or as the environment says: an emulated processor gets fewer.
fn cases(usual: u32) -> proptest::test_runner::Config {
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok());
    proptest::test_runner::Config::with_cases(cases.unwrap_or(usual))
}

/// Numbers in [-1, 1], rounded to a format.
fn random<E: Element>(count: usize, seed: u64) -> Vec<E> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    (0..count).map(|_| E::from_f32(random.random_range(-1.0..1.0))).collect()
}

fn wide<E: Element>(values: &[E]) -> Vec<f64> {
    values.iter().map(|value| f64::from(value.to_f32())).collect()
}

/// Unit roundoff of a format, with room for the sums before it.
fn roundoff<E: Element>() -> f64 {
    match E::FORMAT {
        anser_kernels::WeightFormat::F32 => 4e-6,
        anser_kernels::WeightFormat::Bf16 => 4.5e-3,
    }
}

/// Whether all numbers agree within `tolerance` times the largest expected one, or times one.
#[track_caller]
fn close<E: Element>(values: &[E], expected: &[f64], tolerance: f64, what: &str) {
    assert_eq!(values.len(), expected.len(), "{what}");
    let largest = expected.iter().fold(1.0_f64, |largest, value| largest.max(value.abs()));
    for (index, (value, expected)) in values.iter().zip(expected).enumerate() {
        let value = f64::from(value.to_f32());
        let error = (value - expected).abs();
        assert!(error <= tolerance * largest, "{what}: number {index} is {value} instead of {expected}");
    }
}
