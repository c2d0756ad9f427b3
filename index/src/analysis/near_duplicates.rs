//! Groups of vectors that are nearly the same.

use std::collections::BTreeMap;

use anser_core::{CancelToken, Progress, ProgressUnit};

use super::vectors::{Vectors, dot};
use crate::{IndexError, Result};

/// How to find near-duplicates.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct NearDuplicateOptions {
    /// Least cosine of a pair, above 0 and up to 1.
    pub threshold: f32,
    /// Whether no pair may be missed; `None` decides by size.
    pub exact: Option<bool>,
    /// What samples and the approximate way are drawn from.
    pub seed: u64,
}

impl Default for NearDuplicateOptions {
    fn default() -> Self {
        Self { threshold: 0.95, exact: None, seed: 0 }
    }
}

/// Near-duplicates and how they were found.
#[derive(Debug, Clone, PartialEq)]
pub struct NearDuplicates {
    /// The connected components of the graph of all pairs at or above the threshold that have at least two rows: largest
    /// first, then by lowest row; the rows of each ascend.
    pub groups: Vec<Vec<u32>>,
    /// For each group the pairs that hold it together, one fewer than it has rows: lower row, higher row, cosine. They
    /// are a maximum spanning tree of its pairs, sorted by row.
    pub pairs: Vec<(u32, u32, f32)>,
    /// Whether no pair can have been missed.
    pub exact: bool,
    /// The share of pairs that were found, measured on a sample of rows; `None` when the search was exact.
    pub recall: Option<f64>,
    /// Pairs whose cosine was computed in full.
    pub compared: u64,
}

/// Finds all pairs with a cosine of at least the threshold and joins them to groups.
///
/// Fails with `InvalidInput` when there are no vectors or the threshold is not above 0 and at most 1, and with
/// `Cancelled` soon after `cancel` is set.
pub fn near_duplicates(
    vectors: &Vectors,
    options: &NearDuplicateOptions,
    cancel: &CancelToken,
    progress: &dyn Progress,
) -> Result<NearDuplicates> {
    vectors.check_some()?;
    if !(options.threshold > 0.0 && options.threshold <= 1.0) {
        let message = format!("the threshold {} is no cosine above 0 and up to 1; 0.95 is usual", options.threshold);
        return Err(IndexError::invalid_param(message, "threshold"));
    }
    progress.start("comparing", Some(vectors.len() as u64), ProgressUnit::Items);
    let mut found = Vec::new();
    for a in 0..vectors.len() {
        cancel.check()?;
        for b in a + 1..vectors.len() {
            let cosine = dot(vectors.row(a), vectors.row(b));
            if cosine >= options.threshold {
                found.push((a as u32, b as u32, cosine.min(1.0)));
            }
        }
        progress.set(a as u64 + 1);
    }
    progress.finish();
    found.sort_by(|a, b| b.2.total_cmp(&a.2).then(a.0.cmp(&b.0)).then(a.1.cmp(&b.1)));
    let mut root: Vec<u32> = (0..vectors.len() as u32).collect();
    let mut pairs = Vec::new();
    for (a, b, cosine) in found {
        let (x, y) = (find(&mut root, a), find(&mut root, b));
        if x != y {
            root[x.max(y) as usize] = x.min(y);
            pairs.push((a, b, cosine));
        }
    }
    pairs.sort_by_key(|(a, b, _)| (*a, *b));
    let mut groups: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for row in 0..vectors.len() as u32 {
        groups.entry(find(&mut root, row)).or_default().push(row);
    }
    let mut groups: Vec<Vec<u32>> = groups.into_values().filter(|g| g.len() > 1).collect();
    groups.sort_by_key(|g| (std::cmp::Reverse(g.len()), g.first().copied()));
    let n = vectors.len() as u64;
    Ok(NearDuplicates { groups, pairs, exact: true, recall: None, compared: n * (n - 1) / 2 })
}

fn find(root: &mut [u32], mut row: u32) -> u32 {
    while root[row as usize] != row {
        root[row as usize] = root[root[row as usize] as usize];
        row = root[row as usize];
    }
    row
}
