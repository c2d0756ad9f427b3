//! The nearest neighbours of every vector by cosine: what outliers, near-duplicates, maps and k-nearest-neighbour
//! classification begin with.

mod approximate;
mod exact;
mod lists;
mod top;

use anser_core::{CancelToken, Progress, ProgressUnit};

use self::exact::{Itself, compare};
use super::vectors::Vectors;
use crate::{IndexError, Result};

pub(super) use exact::multiply;
pub(super) use lists::Lists;
pub(super) use top::any_at_least;

/// Up to so many vectors every pair is compared. On two cores and real texts of 384 dimensions 21,000 vectors took 5.2 s
/// (1.4 s approximately, with a recall of 0.999) and 100,000 took 103 s (13 s, 0.97); the approximate way is the faster one
/// from 10,000 vectors on, but only beyond this is the exact way no longer worth its price.
const EXACT_UP_TO: usize = 20_000;

/// The most similar vectors of each row, `k` for every row.
#[derive(Debug, Clone, PartialEq)]
pub struct Neighbours {
    rows: usize,
    k: usize,
    /// `rows * k` row numbers, most similar first.
    indices: Vec<u32>,
    /// The cosines that belong to them.
    similarities: Vec<f32>,
}

impl Neighbours {
    /// Neighbours of each row.
    pub fn k(&self) -> usize {
        self.k
    }

    /// How many rows have them.
    pub fn len(&self) -> usize {
        self.rows
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// The neighbours of `row`, most similar first and the lower row first among equals, with their cosines in [-1, 1].
    /// There must be such a row.
    pub fn of(&self, row: usize) -> (&[u32], &[f32]) {
        let range = row * self.k..(row + 1) * self.k;
        (&self.indices[range.clone()], &self.similarities[range])
    }
}

/// How to find neighbours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NeighbourOptions {
    /// Neighbours of each row; all others where there are fewer.
    pub k: usize,
    /// Whether to compare every pair; `None` does so up to the size where the approximate way becomes faster.
    pub exact: Option<bool>,
    /// What the approximate way and the sample that measures its recall are drawn from.
    pub seed: u64,
}

impl Default for NeighbourOptions {
    fn default() -> Self {
        Self { k: 15, exact: None, seed: 0 }
    }
}

/// Neighbours and how they were found.
#[derive(Debug, Clone, PartialEq)]
pub struct NeighbourSearch {
    /// The neighbours of every row.
    pub neighbours: Neighbours,
    /// Whether every pair was compared.
    pub exact: bool,
    /// The share of true neighbours that were found, measured on a sample of rows; `None` when the search was exact.
    pub recall: Option<f64>,
}

/// Finds the nearest neighbours of every vector among the others.
///
/// Fails with `InvalidInput` when there are no vectors or `k` is 0, and with `Cancelled` soon after `cancel` is set.
pub fn nearest_neighbours(
    vectors: &Vectors,
    options: &NeighbourOptions,
    cancel: &CancelToken,
    progress: &dyn Progress,
) -> Result<NeighbourSearch> {
    vectors.check_some()?;
    check_k(options.k)?;
    progress.start("comparing", Some(vectors.len() as u64), ProgressUnit::Items);
    let exact = options.exact.unwrap_or(vectors.len() <= EXACT_UP_TO);
    let (neighbours, recall) = if exact {
        (compare(vectors, vectors, options.k, Itself::Same, (cancel, progress))?, None)
    } else {
        let found = approximate::search(vectors, options.k, options.seed, (cancel, progress))?;
        let recall = approximate::recall(vectors, &found, options.seed, cancel)?;
        (found, Some(recall))
    };
    progress.finish();
    Ok(NeighbourSearch { neighbours, exact, recall })
}

/// Finds the nearest vectors of `among` for every vector of `queries`, comparing every pair. A query that occurs in
/// `among` finds itself.
///
/// Fails with `InvalidInput` when either has no vectors, their dimensions differ or `k` is 0, and with `Cancelled` soon
/// after `cancel` is set.
pub fn nearest_among(
    queries: &Vectors,
    among: &Vectors,
    k: usize,
    cancel: &CancelToken,
    progress: &dyn Progress,
) -> Result<Neighbours> {
    queries.check_some()?;
    among.check_some()?;
    check_k(k)?;
    if queries.dimension() != among.dimension() {
        return Err(IndexError::invalid(format!(
            "vectors of {} dimensions cannot be compared with vectors of {}; both must come from one embedder",
            queries.dimension(),
            among.dimension()
        )));
    }
    progress.start("comparing", Some(among.len() as u64), ProgressUnit::Items);
    let neighbours = compare(queries, among, k, Itself::Absent, (cancel, progress))?;
    progress.finish();
    Ok(neighbours)
}

fn check_k(k: usize) -> Result<()> {
    if k == 0 {
        return Err(IndexError::invalid_param("0 neighbours were asked for; k must be at least 1", "k"));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
