//! How far each vector lies from the others: the distance to its k-th neighbour and the local outlier factor.
//!
//! Breunig, Kriegel, Ng and Sander, "LOF: Identifying Density-Based Local Outliers", 2000, with the cosine distance
//! 1 - cosine.

use rayon::prelude::*;

use super::neighbours::Neighbours;

/// Smallest mean reachability distance: cosines of f32 vectors are no more exact than this. Rows with more copies than
/// neighbours would otherwise have an infinite density.
const SMALLEST_REACH: f64 = 1e-6;

/// How much of an outlier a vector is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct OutlierScore {
    /// Cosine distance, in [0, 2], to the k-th neighbour; 0 for a vector without any.
    pub distance: f32,
    /// Local outlier factor: about 1 inside a region of even density, more for a vector whose neighbours lie closer to
    /// one another than it lies to them. 1 for a vector without neighbours.
    pub lof: f32,
}

/// Scores every row by its neighbours. The local reachability density of a row is the inverse of the mean over its
/// neighbours o of max(k-distance(o), distance to o); its factor is the mean density of its neighbours over its own. A
/// mean below 1e-6, which only copies reach, counts as 1e-6.
pub fn outlier_scores(neighbours: &Neighbours) -> Vec<OutlierScore> {
    let distance = |similarity: f32| f64::from((1.0 - similarity).max(0.0));
    let k_distance = |row: usize| neighbours.of(row).1.last().map_or(0.0, |s| distance(*s));
    let rows = 0..neighbours.len();
    let mean = |sum: f64| sum / neighbours.k() as f64;
    if neighbours.k() == 0 {
        return rows.map(|_| OutlierScore { distance: 0.0, lof: 1.0 }).collect();
    }
    let reach = |row: usize| {
        let (others, cosines) = neighbours.of(row);
        let reach = others.iter().zip(cosines).map(|(o, s)| distance(*s).max(k_distance(*o as usize)));
        mean(reach.sum()).max(SMALLEST_REACH)
    };
    let densities: Vec<f64> = rows.clone().into_par_iter().map(|row| 1.0 / reach(row)).collect();
    rows.into_par_iter()
        .map(|row| {
            let around = mean(neighbours.of(row).0.iter().map(|o| densities[*o as usize]).sum());
            OutlierScore { distance: k_distance(row) as f32, lof: (around / densities[row]) as f32 }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use anser_core::{CancelToken, NoProgress};
    use serde::Deserialize;

    use super::*;
    use crate::analysis::vectors::Vectors;
    use crate::analysis::{NeighbourOptions, nearest_neighbours};

    #[derive(Deserialize)]
    struct Reference {
        dimension: usize,
        vectors: Vec<f32>,
        k: usize,
        neighbours: Vec<u32>,
        k_distance: Vec<f32>,
        lof: Vec<f32>,
    }

    fn neighbours(vectors: Vec<f32>, dimension: usize, k: usize) -> Neighbours {
        let vectors = Vectors::new(vectors, dimension).unwrap();
        let options = NeighbourOptions { k, ..NeighbourOptions::default() };
        nearest_neighbours(&vectors, &options, &CancelToken::new(), &NoProgress).unwrap().neighbours
    }

    #[test]
    fn scores_are_those_of_scikit_learn() {
        let fixture = include_str!("../../tests/fixtures/local_outlier_factor.json");
        let reference: Reference = serde_json::from_str(fixture).unwrap();
        let neighbours = neighbours(reference.vectors, reference.dimension, reference.k);
        for (row, expected) in reference.neighbours.chunks_exact(reference.k).enumerate() {
            assert_eq!(neighbours.of(row).0, expected, "row {row}");
        }
        let found = outlier_scores(&neighbours);
        for (row, (score, (distance, lof))) in
            found.iter().zip(reference.k_distance.iter().zip(&reference.lof)).enumerate()
        {
            assert!((score.distance - distance).abs() < 1e-6, "row {row}: {score:?}, {distance}");
            // Cosines of f32 vectors leave four digits of the smallest distances.
            assert!((score.lof / lof - 1.0).abs() < 2e-3, "row {row}: {score:?}, {lof}");
        }
    }

    #[test]
    fn copies_divide_by_nothing_and_what_lies_apart_from_them_stands_out() {
        let mut vectors = [1.0, 0.0].repeat(20);
        vectors.extend_from_slice(&[0.6, 0.8]);
        let scores = outlier_scores(&neighbours(vectors, 2, 5));
        assert!(scores[..20].iter().all(|s| s.distance.abs() < 1e-6 && (s.lof - 1.0).abs() < 1e-3), "{scores:?}");
        assert!(scores[20].lof.is_finite() && scores[20].lof > 1000.0 && (scores[20].distance - 0.4).abs() < 1e-6);
    }

    #[test]
    fn a_single_row_is_no_outlier() {
        assert_eq!(outlier_scores(&neighbours(vec![1.0, 0.0], 2, 5)), [OutlierScore { distance: 0.0, lof: 1.0 }]);
    }
}
