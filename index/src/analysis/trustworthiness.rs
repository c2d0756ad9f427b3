//! How far a flat map can be trusted: whether those that lie together on it are near each other in truth.
//!
//! Venna and Kaski, "Neighborhood Preservation in Nonlinear Projection Methods: An Experimental Study", 2001.

use anser_core::CancelToken;
use rayon::prelude::*;

use super::vectors::{Vectors, dot, sample_indices};
use crate::{IndexError, Result};

/// Most vectors that ranks are taken among.
const RANKED_AMONG: usize = 20_000;

/// Most vectors whose neighbours on the map are looked at.
const LOOKED_AT: usize = 500;

/// The trustworthiness of a map, in [0, 1]: 1 when the `k` nearest points of each point on the map are its nearest in
/// truth (by cosine) too; each one that is not costs as many places as it is too far down. About 0.5 for a random map.
///
/// Measured for a sample of 500 vectors among a sample of 20,000, or all of no more. `None` for fewer than 4 vectors; `k`
/// is lowered to less than half of the vectors, beyond which the measure is not defined. Fails with `InvalidInput` when
/// `points` has another length than `vectors`.
pub fn trustworthiness(
    vectors: &Vectors,
    points: &[[f32; 2]],
    k: usize,
    seed: u64,
    cancel: &CancelToken,
) -> Result<Option<f64>> {
    if points.len() != vectors.len() {
        let message = format!("{} points do not fit {} vectors", points.len(), vectors.len());
        return Err(IndexError::invalid(message));
    }
    let sample = sample_indices(vectors.len(), RANKED_AMONG, seed);
    let n = sample.len();
    let k = k.min((n.max(1) - 1) / 2);
    if n < 4 || k == 0 {
        return Ok(None);
    }
    // Sums of whole numbers, so that the order of addition changes nothing.
    let too_far: Vec<u64> = sample_indices(n, LOOKED_AT, seed ^ 1)
        .into_par_iter()
        .map(|query| {
            cancel.check()?;
            Ok(places_too_far(vectors, points, &sample, query, k))
        })
        .collect::<Result<_>>()?;
    let (n, k) = (n as f64, k as f64);
    let worst = k * (2.0 * n - 3.0 * k - 1.0) / 2.0;
    let mean = too_far.iter().sum::<u64>() as f64 / too_far.len() as f64;
    Ok(Some(1.0 - mean / worst))
}

/// For one vector of the sample: over its `k` nearest on the map, how many places beyond `k` they are in truth.
fn places_too_far(vectors: &Vectors, points: &[[f32; 2]], sample: &[usize], query: usize, k: usize) -> u64 {
    let own = sample[query];
    let others = || (0..sample.len()).filter(|at| *at != query);
    let mut on_map: Vec<(f32, usize)> = others()
        .map(|at| {
            let (a, b) = (points[own], points[sample[at]]);
            ((a[0] - b[0]).powi(2) + (a[1] - b[1]).powi(2), at)
        })
        .collect();
    let nearer = |a: &(f32, usize), b: &(f32, usize)| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1));
    if k < on_map.len() {
        on_map.select_nth_unstable_by(k, nearer);
    }
    let vector = vectors.row(own);
    let cosines: Vec<f32> = sample.iter().map(|at| dot(vector, vectors.row(*at))).collect();
    let rank = |at: usize| {
        let before = |other: &usize| cosines[*other] > cosines[at] || (cosines[*other] >= cosines[at] && *other < at);
        1 + others().filter(before).count()
    };
    on_map[..k].iter().map(|(_, at)| rank(*at).saturating_sub(k) as u64).sum()
}

#[cfg(test)]
mod tests {
    use anser_core::Embedding;
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    fn random_vectors(count: usize) -> Vectors {
        let mut random = ChaCha8Rng::seed_from_u64(3);
        let one = |_| Embedding::normalize((0..8).map(|_| random.random::<f32>() - 0.5).collect()).unwrap();
        let embeddings: Vec<Embedding> = (0..count).map(one).collect();
        Vectors::from_embeddings(&embeddings).unwrap()
    }

    #[test]
    fn a_map_of_the_truth_is_trusted_and_a_random_one_is_not() {
        let circle: Vec<Embedding> = (0..120_u8)
            .map(|i| Embedding::normalize(vec![(f32::from(i) * 0.01).cos(), (f32::from(i) * 0.01).sin()]).unwrap())
            .collect();
        let vectors = Vectors::from_embeddings(&circle).unwrap();
        let truth: Vec<[f32; 2]> = vectors.iter().map(|v| [v[0], v[1]]).collect();
        let measure =
            |points: &[[f32; 2]]| trustworthiness(&vectors, points, 5, 0, &CancelToken::new()).unwrap().unwrap();
        assert!(measure(&truth) > 0.999, "{}", measure(&truth));
        let mut random = ChaCha8Rng::seed_from_u64(5);
        let noise: Vec<[f32; 2]> = truth.iter().map(|_| [random.random(), random.random()]).collect();
        assert!((0.4..0.6).contains(&measure(&noise)), "{}", measure(&noise));
    }

    #[test]
    fn the_measure_is_the_formula_of_the_paper() {
        // Six vectors at known angles, and a map that puts the last one beside the first.
        let angles = [0.0_f32, 10.0, 21.0, 33.0, 46.0, 60.0];
        let embeddings: Vec<Embedding> = angles
            .iter()
            .map(|a| Embedding::normalize(vec![a.to_radians().cos(), a.to_radians().sin()]).unwrap())
            .collect();
        let vectors = Vectors::from_embeddings(&embeddings).unwrap();
        let points = [0.0, 10.0, 21.0, 33.0, 46.0, 1.0].map(|x| [x, 0.0]);
        // k = 1. Nearest on the map: 0 -> 5 (true rank 5), 1 -> 5 (rank 5: before it 0, 2, 3, 4), 2 -> 1 (rank 1),
        // 3 -> 2 (rank 1), 4 -> 3 (rank 1), 5 -> 0 (rank 5): 4 + 4 + 4 places too far.
        let expected = 1.0 - 2.0 / (6.0 * (12.0 - 3.0 - 1.0)) * 12.0;
        let found = trustworthiness(&vectors, &points, 1, 0, &CancelToken::new()).unwrap().unwrap();
        assert!((found - expected).abs() < 1e-12, "{found} {expected}");
    }

    #[test]
    fn too_few_vectors_have_no_measure_and_lengths_must_fit() {
        let vectors = random_vectors(3);
        assert_eq!(trustworthiness(&vectors, &[[0.0; 2]; 3], 5, 0, &CancelToken::new()).unwrap(), None);
        assert!(trustworthiness(&vectors, &[[0.0; 2]; 2], 5, 0, &CancelToken::new()).is_err());
        let many = random_vectors(12);
        let measure = trustworthiness(&many, &[[0.0; 2]; 12], 100, 0, &CancelToken::new()).unwrap().unwrap();
        assert!((0.0..=1.0).contains(&measure));
        let cancel = CancelToken::new();
        cancel.cancel();
        assert!(trustworthiness(&many, &[[0.0; 2]; 12], 5, 0, &cancel).is_err());
    }
}
