//! A flat map of vectors on which near ones lie together: t-distributed stochastic neighbour embedding.
//!
//! Van der Maaten and Hinton, "Visualizing Data using t-SNE", 2008; with the approximations of van der Maaten,
//! "Accelerating t-SNE using Tree-Based Algorithms", 2014 (Barnes-Hut), and Linderman and others, "Fast
//! interpolation-based t-SNE for improved visualization of single-cell RNA-seq data", 2019; begun from principal
//! components, after Kobak and Berens, "The art of using t-SNE for single-cell transcriptomics", 2019. UMAP draws maps of the same kind, but its
//! implementations in Rust either draw from a generator that cannot be seeded or bring in a linear-algebra system of
//! their own, so that the same data would give another map on every run.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use anser_core::{CancelToken, NoProgress, Progress, ProgressUnit};
use bhtsne::{Neighbor, tSNE};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::neighbours::{NeighbourOptions, Neighbours, nearest_among, nearest_neighbours};
use super::projection::{Projection, project_2d};
use super::vectors::{Vectors, sample_indices};
use crate::{IndexError, Result};

/// Most vectors that are laid out together; of more a sample is, and the others are placed among them.
pub const LAID_OUT_VECTORS: usize = 50_000;

/// Neighbours that a vector outside the sample is placed between.
const PLACED_BETWEEN: usize = 5;

/// Vectors placed in one go, between two looks at the cancel token.
const PLACED_AT_ONCE: usize = 4096;

/// Up to so many rows Barnes-Hut's tree is used, which is then faster; beyond, interpolation on a grid, whose cost hardly
/// grows with their number.
const TREE_ROWS: usize = 12_000;

/// Barnes-Hut's angle: cells that look smaller from a point than this count as one point. The value of the paper.
const ANGLE: f32 = 0.5;

/// Spread of the start along its wider axis: small, so that the layout is not held by it (Kobak and Berens).
const START_SPREAD: f32 = 1e-4;

/// How to lay out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TsneOptions {
    /// About how many neighbours each vector is kept near to; at least 1. Lowered to a third of the other vectors where
    /// there are few.
    pub perplexity: f32,
    /// Steps of the descent; the first 250 keep near vectors nearer than they should be, which forms the groups.
    pub epochs: usize,
    /// What the sample of large data, and the tiny differences between equal starts, are drawn from.
    pub seed: u64,
}

impl Default for TsneOptions {
    fn default() -> Self {
        Self { perplexity: 30.0, epochs: 750, seed: 42 }
    }
}

impl TsneOptions {
    /// Neighbours of each vector that [`tsne_2d`] makes use of: three times the perplexity.
    pub fn neighbours(&self) -> usize {
        (3.0 * self.perplexity).ceil().max(1.0) as usize
    }

    /// The perplexity that so many rows are laid out with: at most a third of the other rows, and at least 1.
    pub fn perplexity_of(&self, rows: usize) -> f32 {
        let others = rows.saturating_sub(1).min(self.neighbours());
        self.perplexity.min(others as f32 / 3.0).max(1.0)
    }
}

/// A map that [`tsne_map`] made.
#[derive(Debug, Clone, PartialEq)]
pub struct TsneMap {
    /// The place of each vector.
    pub points: Vec<[f32; 2]>,
    /// How many vectors were laid out together; the others were placed between their nearest among these.
    pub laid_out: usize,
    /// The share of true neighbours that the layout began from; `None` when all pairs were compared.
    pub recall: Option<f64>,
    /// The map that the layout began from, for comparison: all vectors on their first two principal components.
    pub start: Projection,
}

/// Draws a map of vectors: lays them out by [`tsne_2d`] from their principal components. Of more than
/// [`LAID_OUT_VECTORS`] a sample is laid out, and each other vector goes to the mean of the places of its 5 nearest in the
/// sample, weighted by cosine.
///
/// Fails with `InvalidInput` when there are no vectors, and with `Cancelled` soon after `cancel` is set.
pub fn tsne_map(
    vectors: &Vectors,
    options: &TsneOptions,
    cancel: &CancelToken,
    progress: &dyn Progress,
) -> Result<TsneMap> {
    let start = project_2d(vectors, options.seed, cancel)?;
    let neighbours = |vectors: &Vectors| {
        let options = NeighbourOptions { k: options.neighbours(), exact: None, seed: options.seed };
        nearest_neighbours(vectors, &options, cancel, progress)
    };
    if vectors.len() <= LAID_OUT_VECTORS {
        if vectors.len() == 1 {
            return Ok(TsneMap { points: vec![[0.0; 2]], laid_out: 1, recall: None, start });
        }
        let search = neighbours(vectors)?;
        let points = tsne_2d(&search.neighbours, &start.points, options, cancel, progress)?;
        return Ok(TsneMap { points, laid_out: vectors.len(), recall: search.recall, start });
    }
    let sample = sample_indices(vectors.len(), LAID_OUT_VECTORS, options.seed);
    let among = vectors.gather(&sample);
    let search = neighbours(&among)?;
    let sample_start: Vec<[f32; 2]> = sample.iter().map(|at| start.points[*at]).collect();
    let laid_out = tsne_2d(&search.neighbours, &sample_start, options, cancel, progress)?;
    let points = place_rest(vectors, &sample, (&among, &laid_out), cancel, progress)?;
    Ok(TsneMap { points, laid_out: sample.len(), recall: search.recall, start })
}

/// The places of all vectors, when those of a sample are known.
fn place_rest(
    vectors: &Vectors,
    sample: &[usize],
    (among, laid_out): (&Vectors, &[[f32; 2]]),
    cancel: &CancelToken,
    progress: &dyn Progress,
) -> Result<Vec<[f32; 2]>> {
    let mut points = vec![[0.0_f32; 2]; vectors.len()];
    let mut known = vec![false; vectors.len()];
    for (at, point) in sample.iter().zip(laid_out) {
        points[*at] = *point;
        known[*at] = true;
    }
    let rest: Vec<usize> = (0..vectors.len()).filter(|at| !known[*at]).collect();
    progress.start("placing", Some(rest.len() as u64), ProgressUnit::Items);
    for (block, rows) in rest.chunks(PLACED_AT_ONCE).enumerate() {
        cancel.check()?;
        let found = nearest_among(&vectors.gather(rows), among, PLACED_BETWEEN, cancel, &NoProgress)?;
        for (query, row) in rows.iter().enumerate() {
            let (near, cosines) = found.of(query);
            points[*row] = weighted_mean(near.iter().map(|at| laid_out[*at as usize]), cosines);
        }
        progress.set((block * PLACED_AT_ONCE + rows.len()) as u64);
    }
    progress.finish();
    Ok(points)
}

/// The mean of some points, weighted by cosine; a cosine of 0 or less counts for almost nothing.
fn weighted_mean(points: impl Iterator<Item = [f32; 2]>, cosines: &[f32]) -> [f32; 2] {
    let (mut sum, mut total) = ([0.0_f32; 2], 0.0_f32);
    for (point, cosine) in points.zip(cosines) {
        let weight = cosine.max(1e-6);
        total += weight;
        sum[0] += weight * point[0];
        sum[1] += weight * point[1];
    }
    if total > 0.0 { sum.map(|sum| sum / total) } else { [0.0; 2] }
}

/// Lays out rows in the plane so that neighbours lie together, from `start`, which holds a point for each. Distances are
/// those between the unit vectors, sqrt(2 - 2 cosine). Rows should have [`TsneOptions::neighbours`] neighbours or more;
/// with fewer the perplexity is lowered to a third of what there is. Fewer than 4 rows stay where they start.
///
/// The same input gives the same bits on any number of threads: sums of the descent depend on how work is split, so it
/// runs on one thread. Fails with `InvalidInput` when `start` has another length, and with `Cancelled` within one step of
/// the descent.
pub fn tsne_2d(
    neighbours: &Neighbours,
    start: &[[f32; 2]],
    options: &TsneOptions,
    cancel: &CancelToken,
    progress: &dyn Progress,
) -> Result<Vec<[f32; 2]>> {
    if start.len() != neighbours.len() {
        let message = format!("{} starting points do not fit {} rows", start.len(), neighbours.len());
        return Err(IndexError::invalid(message));
    }
    if !(options.perplexity >= 1.0 && options.perplexity.is_finite()) {
        let message = format!("the perplexity is {}; it must be at least 1", options.perplexity);
        return Err(IndexError::invalid_param(message, "perplexity"));
    }
    if start.len() < 4 {
        return Ok(start.to_vec());
    }
    let method = if start.len() <= TREE_ROWS { Repulsion::Tree } else { Repulsion::Grid };
    lay_out(neighbours, start, options, method, (cancel, progress))
}

/// How the forces between all pairs of points are summed.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Repulsion {
    /// Far points together, as cells of a tree.
    Tree,
    /// By interpolation on a grid.
    Grid,
}

fn lay_out(
    neighbours: &Neighbours,
    start: &[[f32; 2]],
    options: &TsneOptions,
    repulsion: Repulsion,
    (cancel, progress): (&CancelToken, &dyn Progress),
) -> Result<Vec<[f32; 2]>> {
    let used = neighbours.k().min(options.neighbours());
    // The crate asks for three neighbours for each unit of perplexity.
    let perplexity = options.perplexity.min(used as f32 / 3.0).max(1.0);
    let rows: Vec<Vec<Neighbor<f32>>> = (0..neighbours.len())
        .into_par_iter()
        .map(|row| {
            let (near, cosines) = neighbours.of(row);
            let pairs = near.iter().zip(cosines).take(used);
            pairs.map(|(at, cosine)| Neighbor { index: *at as usize, distance: distance(*cosine) }).collect()
        })
        .collect();
    cancel.check()?;
    let start = spread_start(start, options.seed);
    progress.start("laying out", Some(options.epochs as u64), ProgressUnit::Items);
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build();
    let pool = pool.map_err(|e| IndexError::internal(format!("a thread could not be started: {e}")))?;
    let descent = Descent { perplexity, epochs: options.epochs, repulsion };
    let points = pool.install(|| descend(&rows, start, descent, (cancel, progress)))?;
    progress.finish();
    if points.iter().flatten().any(|c| !c.is_finite()) {
        return Err(IndexError::internal("the layout of the map did not converge; use another perplexity"));
    }
    Ok(points)
}

/// How to descend.
#[derive(Clone, Copy)]
struct Descent {
    perplexity: f32,
    epochs: usize,
    repulsion: Repulsion,
}

/// What the descent is left with when it is cancelled.
struct Cancelled;

fn descend(
    rows: &[Vec<Neighbor<f32>>],
    start: Vec<f32>,
    descent: Descent,
    (cancel, progress): (&CancelToken, &dyn Progress),
) -> Result<Vec<[f32; 2]>> {
    // The crate reads the data's length only, as neighbours are known.
    let data = vec![(); rows.len()];
    let run = || {
        let mut tsne: tSNE<'_, f32, (), 2> = tSNE::new(&data);
        tsne.perplexity(descent.perplexity).epochs(descent.epochs).initial_embedding(start);
        tsne.epoch_callback(|epoch, _| {
            progress.set(epoch as u64 + 1);
            if cancel.is_cancelled() {
                // The crate has no other way out of its loop. This unwinds through that loop alone, on this thread, and
                // prints nothing.
                resume_unwind(Box::new(Cancelled));
            }
        });
        match descent.repulsion {
            Repulsion::Tree => tsne.barnes_hut_with_neighbors(ANGLE, rows),
            Repulsion::Grid => tsne.fit_sne_with_neighbors(rows),
        };
        tsne.embedding()
    };
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(flat) => Ok(flat.chunks_exact(2).map(|point| [point[0], point[1]]).collect()),
        Err(payload) if is_cancelled(payload.as_ref()) => {
            cancel.check()?;
            Err(IndexError::internal("the layout of the map ended early"))
        }
        Err(payload) => resume_unwind(payload),
    }
}

fn is_cancelled(payload: &(dyn Any + Send)) -> bool {
    payload.is::<Cancelled>()
}

/// The distance of two unit vectors.
fn distance(cosine: f32) -> f32 {
    (2.0 - 2.0 * cosine).max(0.0).sqrt()
}

/// The start, scaled to a standard deviation of [`START_SPREAD`] along its wider axis, with a thousandth of that at random
/// so that no two points begin at the same place.
fn spread_start(start: &[[f32; 2]], seed: u64) -> Vec<f32> {
    let n = start.len() as f64;
    let deviation = |axis: usize| {
        let mean = start.iter().map(|p| f64::from(p[axis])).sum::<f64>() / n;
        (start.iter().map(|p| (f64::from(p[axis]) - mean).powi(2)).sum::<f64>() / n).sqrt()
    };
    let widest = deviation(0).max(deviation(1)) as f32;
    let scale = if widest > 1e-12 && widest.is_finite() { START_SPREAD / widest } else { 0.0 };
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut noise = || (random.random::<f32>() - 0.5) * START_SPREAD * 1e-3;
    start.iter().flatten().map(|c| c * scale + noise()).collect()
}

#[cfg(test)]
#[path = "tsne_tests.rs"]
mod tests;
