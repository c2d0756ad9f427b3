//! Density clustering: HDBSCAN, which finds clusters of any shape and leaves what belongs to none as noise.
//!
//! Campello, Moulavi and Sander, "Density-Based Clustering Based on Hierarchical Density Estimates", 2013.

use std::cmp::Reverse;

use anser_core::{CancelToken, Progress, ProgressUnit};
use anser_kernels::{PackedMatrix, WeightFormat};
use hdbscan::{DistanceMetric, Hdbscan, HdbscanHyperParams};
use rayon::prelude::*;

use super::directions::{gram, leading_directions, project, unless_cancelled};
use super::neighbours::{multiply, nearest_among};
use super::vectors::{Vectors, sample_indices};
use crate::{IndexError, Result};

/// Most vectors that are clustered; of more a sample is. Time and memory (4 bytes for each pair: 256 MB) are quadratic.
const MOST: usize = 8_000;
/// Principal directions that distances are measured along.
const DIRECTIONS: usize = 50;
/// Sampled neighbours that decide where a vector outside the sample belongs.
const VOTERS: usize = 5;
/// Smallest distance: that of f32 unit vectors is no more exact. The library divides by distances.
const SMALLEST_DISTANCE: f32 = 1e-3;
/// Fewest sampled vectors of a cluster, unless fewer are asked for.
const FEWEST_SAMPLED: usize = 5;
/// Rows whose distances one task computes.
const TASK_ROWS: usize = 64;

/// How to cluster by density.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HdbscanOptions {
    /// Fewest vectors of a cluster; at least 2.
    pub min_cluster_size: usize,
    /// How many neighbours, the vector itself among them, must be near for a place to count as dense: more of them make
    /// more noise. `None`: as many as `min_cluster_size`.
    pub min_samples: Option<usize>,
    /// What a sample of many vectors is drawn from.
    pub seed: u64,
}

impl Default for HdbscanOptions {
    fn default() -> Self {
        Self { min_cluster_size: 10, min_samples: None, seed: 0 }
    }
}

/// Clusters found by density.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DensityClusters {
    /// For each vector its cluster, below `clusters`, the largest being 0; `None` is noise.
    pub assignments: Vec<Option<u32>>,
    /// How many clusters there are; none is possible.
    pub clusters: usize,
    /// What the clustering ran on, in words.
    pub on: String,
}

/// Clusters vectors by density.
///
/// Distances are Euclidean between the vectors reduced to their first 50 principal directions (of `XᵀX`, so that the
/// origin stays and cosines are kept as far as they can be) and brought back to length 1; the length is then
/// sqrt(2 - 2 cosine). Up to 8,000 vectors are clustered as they are. Of more a seeded sample of 8,000 is, with both
/// options scaled to its share (but not below 5), and every other vector goes where most of its five nearest sampled
/// neighbours are, noise included; clusters that stay below `min_cluster_size` are noise.
///
/// Data that does not fall into at least two clusters, such as equal vectors or fewer than `min_cluster_size`, is all
/// noise. Fails with `InvalidInput` when there are no vectors or an option is out of its range, and with `Cancelled` soon
/// after `cancel` is set; the clustering of the sample (a few seconds) is then left to be finished in the background.
pub fn hdbscan(
    vectors: &Vectors,
    options: &HdbscanOptions,
    cancel: &CancelToken,
    progress: &dyn Progress,
) -> Result<DensityClusters> {
    vectors.check_some()?;
    check(options)?;
    let n = vectors.len();
    progress.start("clustering by density", Some(n as u64), ProgressUnit::Items);
    let sample = sample_indices(n, MOST, options.seed);
    let scaled = scale(options, sample.len(), n);
    let gathered = (sample.len() < n).then(|| vectors.gather(&sample));
    let clustered = gathered.as_ref().unwrap_or(vectors);
    let labels = cluster(clustered, &scaled, options.seed, cancel)?;
    progress.set(sample.len() as u64);
    let (labels, on) = match &gathered {
        None => (labels, format!("all {n} vectors")),
        Some(sampled) => {
            let on = format!(
                "a sample of {} of {n} vectors, with a min_cluster_size of {}; every other vector joined most of its \
                 {VOTERS} nearest sampled neighbours",
                sampled.len(),
                scaled.min_cluster_size
            );
            (assign(vectors, &sample, sampled, &labels, cancel)?, on)
        }
    };
    progress.finish();
    let (assignments, clusters) = number(&labels, options.min_cluster_size);
    Ok(DensityClusters { assignments, clusters, on })
}

fn check(options: &HdbscanOptions) -> Result<()> {
    if options.min_cluster_size < 2 {
        let message = format!("a min_cluster_size of {} makes no clusters; give at least 2", options.min_cluster_size);
        return Err(IndexError::invalid_param(message, "min_cluster_size"));
    }
    if options.min_samples == Some(0) {
        return Err(IndexError::invalid_param("min_samples is 0; give at least 1", "min_samples"));
    }
    Ok(())
}

/// The options for a sample of `sampled` of `total` vectors.
fn scale(options: &HdbscanOptions, sampled: usize, total: usize) -> HdbscanOptions {
    let share = sampled as f64 / total as f64;
    let scaled = |count: usize| ((count as f64 * share).round() as usize).max(count.min(FEWEST_SAMPLED));
    HdbscanOptions {
        min_cluster_size: scaled(options.min_cluster_size),
        min_samples: options.min_samples.map(scaled),
        seed: options.seed,
    }
}

/// The library's labels: -1 is noise.
fn cluster(vectors: &Vectors, options: &HdbscanOptions, seed: u64, cancel: &CancelToken) -> Result<Vec<i32>> {
    let n = vectors.len();
    // Where two clusters cannot be, there is nothing to ask the library, which would index outside a few rows.
    if n < 2 * options.min_cluster_size {
        return Ok(vec![-1; n]);
    }
    let distances = distances(vectors, seed, cancel)?;
    let parameters = HdbscanHyperParams::builder()
        .min_cluster_size(options.min_cluster_size)
        .min_samples(options.min_samples.unwrap_or(options.min_cluster_size).min(n))
        .dist_metric(DistanceMetric::Precalculated)
        .build();
    let labels = unless_cancelled("HDBSCAN", cancel, move || Hdbscan::new(&distances, parameters).cluster_par())?;
    labels.map_err(|e| IndexError::internal(format!("HDBSCAN refused the distances of {n} vectors: {e}")))
}

/// The distances of all pairs, symmetric to the last bit.
fn distances(vectors: &Vectors, seed: u64, cancel: &CancelToken) -> Result<Vec<Vec<f32>>> {
    let (n, d) = (vectors.len(), vectors.dimension());
    let columns = DIRECTIONS.min(d);
    let mut rows = if columns < d {
        project(vectors, &leading_directions(&gram(vectors, cancel)?, columns, seed, cancel)?, cancel)?
    } else {
        vectors.as_slice().to_vec()
    };
    for row in rows.chunks_exact_mut(columns) {
        let norm = row.iter().map(|v| v * v).sum::<f32>().sqrt().max(f32::MIN_POSITIVE);
        for value in row {
            *value /= norm;
        }
    }
    let packed = PackedMatrix::pack(&rows, n, columns, WeightFormat::F32);
    let tasks = rows.par_chunks(TASK_ROWS * columns).map_init(Vec::new, |scores, rows| {
        cancel.check()?;
        let distance = |cosine: &f32| (2.0 - 2.0 * cosine).max(0.0).sqrt().max(SMALLEST_DISTANCE);
        Ok(multiply(&packed, rows, scores).map(|row| row.iter().map(distance).collect()).collect())
    });
    let blocks = tasks.collect::<anser_core::Result<Vec<Vec<Vec<f32>>>>>()?;
    let mut all: Vec<Vec<f32>> = blocks.into_iter().flatten().collect();
    for at in 0..n {
        let (before, rest) = all.split_at_mut(at);
        if let Some(row) = rest.first_mut() {
            row.iter_mut().zip(before).for_each(|(value, other)| *value = other[at]);
            row[at] = 0.0;
        }
    }
    Ok(all)
}

/// Labels of all vectors by those of the sample.
fn assign(
    vectors: &Vectors,
    sample: &[usize],
    sampled: &Vectors,
    labels: &[i32],
    cancel: &CancelToken,
) -> Result<Vec<i32>> {
    let nearest = nearest_among(vectors, sampled, VOTERS, cancel, &anser_core::NoProgress)?;
    let mut all: Vec<i32> = (0..vectors.len())
        .map(|row| {
            let votes: Vec<i32> = nearest.of(row).0.iter().map(|at| labels[*at as usize]).collect();
            let count = |label: i32| votes.iter().filter(|vote| **vote == label).count();
            // Among equals the nearest, which comes last here, decides.
            votes.iter().rev().copied().max_by_key(|label| count(*label)).unwrap_or(-1)
        })
        .collect();
    for (row, label) in sample.iter().zip(labels) {
        all[*row] = *label;
    }
    Ok(all)
}

/// Numbers clusters from the largest on, equal ones by their first vector; those that are too small become noise.
fn number(labels: &[i32], min_cluster_size: usize) -> (Vec<Option<u32>>, usize) {
    let count = labels.iter().copied().max().map_or(0, |most| usize::try_from(most + 1).unwrap_or(0));
    let mut sizes = vec![(0_usize, usize::MAX); count];
    for (row, label) in labels.iter().enumerate() {
        if let Some(size) = usize::try_from(*label).ok().and_then(|label| sizes.get_mut(label)) {
            *size = (size.0 + 1, size.1.min(row));
        }
    }
    let mut order: Vec<usize> = (0..count).filter(|label| sizes[*label].0 >= min_cluster_size).collect();
    order.sort_by_key(|label| (Reverse(sizes[*label].0), sizes[*label].1));
    let mut numbers = vec![None; count];
    for (number, label) in (0_u32..).zip(&order) {
        numbers[*label] = Some(number);
    }
    let assignments =
        labels.iter().map(|label| usize::try_from(*label).ok().and_then(|label| numbers.get(label).copied().flatten()));
    (assignments.collect(), order.len())
}

#[cfg(test)]
mod tests {
    use anser_core::{ErrorKind, NoProgress};
    use serde::Deserialize;

    use super::*;
    use crate::analysis::adjusted_rand;
    use crate::analysis::made::{around, on_one_and_three_threads};

    #[derive(Deserialize)]
    struct Reference {
        dimension: usize,
        vectors: Vec<f32>,
        runs: Vec<Run>,
    }

    #[derive(Deserialize)]
    struct Run {
        min_cluster_size: usize,
        min_samples: Option<usize>,
        labels: Vec<i32>,
    }

    fn find(vectors: &Vectors, min_cluster_size: usize, min_samples: Option<usize>) -> DensityClusters {
        let options = HdbscanOptions { min_cluster_size, min_samples, seed: 1 };
        hdbscan(vectors, &options, &CancelToken::new(), &NoProgress).unwrap()
    }

    /// Clusters from 1 on, and noise as one more, numbered 0.
    fn as_labels(clusters: &DensityClusters) -> Vec<u32> {
        clusters.assignments.iter().map(|a| a.map_or(0, |a| a + 1)).collect()
    }

    #[test]
    fn clusters_are_those_of_scikit_learn() {
        let reference: Reference = serde_json::from_str(include_str!("../../tests/fixtures/hdbscan.json")).unwrap();
        let vectors = Vectors::new(reference.vectors, reference.dimension).unwrap();
        for run in &reference.runs {
            let found = find(&vectors, run.min_cluster_size, run.min_samples);
            let labels: Vec<u32> = run.labels.iter().map(|label| u32::try_from(label + 1).unwrap()).collect();
            let agreement = adjusted_rand(&as_labels(&found), &labels);
            let clusters = run.labels.iter().max().unwrap() + 1;
            assert_eq!(found.clusters, usize::try_from(clusters).unwrap());
            assert!(agreement > 0.97, "{agreement} at {}", run.min_cluster_size);
        }
    }

    #[test]
    fn clusters_are_numbered_by_size_and_small_ones_are_noise() {
        let labels = [0, 0, 1, 1, 1, 2, -1, 3, 3];
        let expected = [Some(1), Some(1), Some(0), Some(0), Some(0), None, None, Some(2), Some(2)];
        assert_eq!(number(&labels, 2), (expected.to_vec(), 3));
        assert_eq!(number(&[], 2), (Vec::new(), 0));
    }

    #[test]
    fn of_many_vectors_a_sample_is_clustered_and_the_others_join() {
        // More dimensions than directions, so that these are found from the sample, too.
        let centres = 4;
        let vectors = around(centres, MOST + 1000, 60, 0.25, 3);
        let found = find(&vectors, 40, None);
        assert!(found.on.starts_with("a sample of 8000 of 9000 vectors"), "{}", found.on);
        assert_eq!((found.clusters, found.assignments.len()), (centres, vectors.len()));
        let truth: Vec<u32> = (0..9000).map(|row| row % 4).collect();
        let agreement = adjusted_rand(&as_labels(&found), &truth);
        assert!(agreement > 0.95, "{agreement}");
    }

    #[test]
    fn data_without_two_clusters_is_noise() {
        let noise = |vectors: &Vectors, size| {
            let found = find(vectors, size, None);
            assert_eq!((found.clusters, found.assignments), (0, vec![None; vectors.len()]));
        };
        for rows in [1, 2, 3, 4, 9, 10, 500] {
            noise(&Vectors::new([0.6, 0.8].repeat(rows), 2).unwrap(), 5);
            noise(&Vectors::new([0.6, 0.8].repeat(rows), 2).unwrap(), 2);
        }
        noise(&around(3, 20, 8, 0.1, 0), 100);
        assert_eq!(find(&around(3, 60, 8, 0.1, 0), 5, Some(10_000)).assignments.len(), 60);
    }

    #[test]
    fn two_crowds_of_copies_are_two_clusters() {
        let mut values = [1.0, 0.0, 0.0].repeat(30);
        values.extend([0.0, 1.0, 0.0].repeat(20));
        values.extend([0.0, 0.0, 1.0]);
        let found = find(&Vectors::new(values, 3).unwrap(), 5, None);
        assert_eq!(found.clusters, 2);
        let expected: Vec<Option<u32>> = [vec![Some(0); 30], vec![Some(1); 20]].concat();
        assert_eq!(found.assignments[..50], expected);
    }

    #[test]
    fn clusters_do_not_depend_on_the_threads() {
        let vectors = around(6, 900, 70, 0.6, 4);
        let [one, three] = on_one_and_three_threads(|| find(&vectors, 8, Some(4)));
        assert!(one == three && one.clusters > 1);
    }

    #[test]
    fn what_makes_no_sense_is_refused_and_a_cancelled_clustering_ends() {
        let vectors = around(2, 50, 4, 0.2, 0);
        let (cancel, good) = (CancelToken::new(), HdbscanOptions::default());
        let none = Vectors::new(Vec::new(), 4).unwrap();
        let cases = [
            (&none, good),
            (&vectors, HdbscanOptions { min_cluster_size: 1, ..good }),
            (&vectors, HdbscanOptions { min_samples: Some(0), ..good }),
        ];
        for (vectors, options) in cases {
            let error = hdbscan(vectors, &options, &cancel, &NoProgress).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput);
        }
        cancel.cancel();
        assert_eq!(hdbscan(&vectors, &good, &cancel, &NoProgress).unwrap_err().kind(), ErrorKind::Cancelled);
    }
}
