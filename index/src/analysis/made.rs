//! Vectors that tests draw.

use anser_core::Embedding;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::vectors::Vectors;

/// Unit vectors around `centres` directions, as texts of so many subjects lie; the wider the `spread`, the less they do.
pub(super) fn around(centres: usize, rows: usize, dimension: usize, spread: f32, seed: u64) -> Vectors {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut draw = |scale: f32| -> Vec<f32> {
        (0..dimension).map(|_| (0..4).map(|_| random.random_range(-1.0_f32..1.0)).sum::<f32>() * scale).collect()
    };
    let centres: Vec<Vec<f32>> = (0..centres).map(|_| draw(1.0)).collect();
    let rows: Vec<Embedding> = (0..rows)
        .map(|row| {
            let noise = draw(spread);
            let row = centres[row % centres.len()].iter().zip(noise).map(|(c, n)| c + n).collect();
            Embedding::normalize(row).unwrap()
        })
        .collect();
    Vectors::from_embeddings(&rows).unwrap()
}

/// What `work` gives on one thread and on three.
pub(super) fn on_one_and_three_threads<T: Send>(work: impl Fn() -> T + Sync) -> [T; 2] {
    [1, 3].map(|threads| rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(&work))
}
