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
