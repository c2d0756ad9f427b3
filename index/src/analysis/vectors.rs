//! What every analysis does with its vectors first: check them, count the distinct ones, take a sample, multiply two.

use std::collections::HashSet;

use anser_core::Embedding;
use rand::SeedableRng;
use rand::seq::index::sample;
use rand_chacha::ChaCha8Rng;

use crate::{IndexError, Result};

/// Accumulators of one dot product: enough for the compiler to use full vector registers.
const LANES: usize = 16;

/// The common dimension of `vectors`; fails when there are none or when two differ.
pub(super) fn common_dimension(vectors: &[Embedding]) -> Result<usize> {
    let Some(first) = vectors.first() else {
        return Err(IndexError::invalid("there are no vectors to analyse; add documents to the collection first"));
    };
    let dimension = first.dimension();
    match vectors.iter().position(|v| v.dimension() != dimension) {
        None => Ok(dimension),
        Some(at) => Err(IndexError::invalid(format!(
            "vector {at} has {} dimensions but the first has {dimension}; all must come from one embedder",
            vectors[at].dimension()
        ))),
    }
}

/// How many different vectors there are, counted up to `limit`: stops reading once that many are seen.
pub(super) fn count_distinct(vectors: &[Embedding], limit: usize) -> usize {
    let mut seen: HashSet<Vec<u32>> = HashSet::new();
    for vector in vectors {
        if seen.len() >= limit {
            break;
        }
        // Adding zero makes -0 and +0 one value.
        seen.insert(vector.as_slice().iter().map(|v| (v + 0.0).to_bits()).collect());
    }
    seen.len()
}

/// `amount` of the indices below `total`, drawn without replacement, in rising order; all of them when there are no more.
pub(super) fn sample_indices(total: usize, amount: usize, seed: u64) -> Vec<usize> {
    if total <= amount {
        return (0..total).collect();
    }
    let mut chosen = sample(&mut ChaCha8Rng::seed_from_u64(seed), total, amount).into_vec();
    chosen.sort_unstable();
    chosen
}

/// Dot product of two slices of equal length; the same inputs give the same bits on every run.
pub(super) fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut lanes = [0.0_f32; LANES];
    let (a_blocks, b_blocks) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    let rest: f32 = a_blocks.remainder().iter().zip(b_blocks.remainder()).map(|(x, y)| x * y).sum();
    for (x, y) in a_blocks.zip(b_blocks) {
        for ((lane, x), y) in lanes.iter_mut().zip(x).zip(y) {
            *lane += x * y;
        }
    }
    lanes.iter().sum::<f32>() + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dot_product_reads_every_element_of_every_length() {
        for length in 0..70_u16 {
            let a: Vec<f32> = (0..length).map(f32::from).collect();
            let b = vec![2.0_f32; usize::from(length)];
            let expected = f32::from(length) * (f32::from(length) - 1.0);
            assert!((dot(&a, &b) - expected.max(0.0)).abs() < 1e-3, "length {length}");
        }
    }

    #[test]
    fn counting_distinct_vectors_stops_at_the_limit_and_joins_both_zeros() {
        let unit = |v: Vec<f32>| Embedding::normalize(v).unwrap();
        let vectors = [unit(vec![1.0, 0.0]), unit(vec![1.0, -0.0]), unit(vec![0.0, 1.0]), unit(vec![-1.0, 0.0])];
        assert_eq!(count_distinct(&vectors, 10), 3);
        assert_eq!(count_distinct(&vectors, 2), 2);
    }

    #[test]
    fn a_sample_has_no_repeats_and_depends_on_the_seed_only() {
        let a = sample_indices(1000, 50, 7);
        assert_eq!(a, sample_indices(1000, 50, 7));
        assert_ne!(a, sample_indices(1000, 50, 8));
        assert!(a.windows(2).all(|w| w[0] < w[1]) && a.len() == 50);
        assert_eq!(sample_indices(3, 50, 7), [0, 1, 2]);
    }
}
