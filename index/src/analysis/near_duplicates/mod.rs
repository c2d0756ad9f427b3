//! Groups of vectors that are nearly the same.

mod bound;
mod forest;
mod scan;

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hasher};

use anser_core::{CancelToken, Progress, ProgressUnit};
use rayon::prelude::*;

use self::bound::Bound;
use self::forest::Forest;
use self::scan::Scan;
use super::neighbours::Lists;
use super::vectors::{Vectors, dot, sample_indices};
use crate::{IndexError, Result};

/// Up to so many distinct vectors no pair is left out. On two cores 100,000 vectors of 384 dimensions take about 10 s, and
/// the time grows with the square of their number; a million took 4 minutes the approximate way, with a recall of 1.
const EXACT_UP_TO: usize = 300_000;
/// Beyond, lists that each list is compared with.
const VISITS: usize = 24;
/// Rows that are read between two looks at the cancel token.
const LOOK_ROWS: usize = 8192;
/// Rows whose pairs are looked up to measure recall.
const RECALL_ROWS: usize = 256;

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
    let (rows, copies) = group_copies(vectors, cancel)?;
    let bound = Bound::new(vectors, &rows, options, cancel)?;
    let scan = Scan { vectors, rows: &rows, bound: &bound, threshold: options.threshold, cancel, progress };
    let mut forest = Forest::new(rows.len());
    let exact = options.exact.unwrap_or(rows.len() <= EXACT_UP_TO);
    let compared = if exact {
        scan.all(&mut forest)?
    } else {
        let mut lists = Lists::new(vectors, VISITS, options.seed, cancel)?;
        lists.renumber(|row| rows.binary_search(&(row as usize)).ok().map(|place| place as u32));
        scan.lists(&lists, VISITS, &mut forest)?
    };
    let (_, pairs) = forest.finish();
    let row = |place: u32| rows[place as usize] as u32;
    let mut all = Forest::new(vectors.len());
    all.add(pairs.into_iter().map(|(a, b, cosine)| (row(a), row(b), cosine)));
    all.add(copies.into_iter().map(|(first, copy)| (first, copy, 1.0)));
    all.settle();
    let recall = if exact { None } else { Some(recall(vectors, &all, options, cancel)?) };
    let (groups, pairs) = all.finish();
    progress.finish();
    Ok(NearDuplicates { groups, pairs, exact, recall, compared })
}

/// Rows of distinct vectors, and pairs of one of these with a copy of it.
type Copies = (Vec<usize>, Vec<(u32, u32)>);

/// The first row of each distinct vector, and the others with the first of theirs. 0 and -0 are the same.
fn group_copies(vectors: &Vectors, cancel: &CancelToken) -> Result<Copies> {
    let mut seen: HashMap<u64, Vec<u32>> = HashMap::with_capacity(vectors.len());
    let (mut first, mut copies) = (Vec::new(), Vec::new());
    for (row, vector) in vectors.iter().enumerate() {
        if row.is_multiple_of(LOOK_ROWS) {
            cancel.check()?;
        }
        let mut hasher = DefaultHasher::new();
        for value in vector {
            hasher.write_u32((value + 0.0).to_bits());
        }
        let same_hash = seen.entry(hasher.finish()).or_default();
        if let Some(original) = same_hash.iter().find(|at| vectors.row(**at as usize) == vector) {
            copies.push((*original, row as u32));
        } else {
            same_hash.push(row as u32);
            first.push(row);
        }
    }
    Ok((first, copies))
}

/// The share of the pairs of sampled rows that ended in one group.
fn recall(vectors: &Vectors, forest: &Forest, options: &NearDuplicateOptions, cancel: &CancelToken) -> Result<f64> {
    let (mut pairs, mut joined) = (0_u64, 0_u64);
    for row in sample_indices(vectors.len(), RECALL_ROWS, options.seed) {
        cancel.check()?;
        let group = forest.group(row as u32);
        let others = (0..vectors.len()).into_par_iter().filter(|other| *other != row);
        let near = others.filter(|other| dot(vectors.row(row), vectors.row(*other)) >= options.threshold);
        let (of_row, joined_of_row) = near
            .map(|other| (1, u64::from(forest.group(other as u32) == group)))
            .reduce(|| (0, 0), |a, b| (a.0 + b.0, a.1 + b.1));
        pairs += of_row;
        joined += joined_of_row;
    }
    Ok(if pairs == 0 { 1.0 } else { joined as f64 / pairs as f64 })
}

#[cfg(test)]
mod tests;
