//! Some of the documents of a subject, with vectors of their own.

use std::path::Path;

use anser_core::CancelToken;
use anser_index::Filter;
use anser_index::analysis::{DiversityFigures, VectorFile, Vectors, diversity};
use rand::SeedableRng;
use rand::seq::index::sample;
use rand_chacha::ChaCha8Rng;

use super::bootstrap::Spread;
use super::coverage::coverage;
use super::{DiversityOptions, SubsetDiversity};
use crate::EngineError;
use crate::analysis::Subject;

/// Rows copied between two looks at the cancel token.
const BLOCK: usize = 256;

/// Most documents in a draw of equal size.
const DRAWN: usize = 2000;

/// Draws of equal size.
const DRAWS: u64 = 10;

/// The vectors of all documents, or a file of some.
enum SideVectors<'a> {
    All(&'a Vectors),
    Some(Vectors),
}

/// Documents that are measured together.
pub(super) struct Side<'a> {
    filter: Option<Filter>,
    pub(super) rows: Vec<usize>,
    vectors: SideVectors<'a>,
    /// Sum of their vectors.
    sum: Vec<f64>,
    figures: DiversityFigures,
    pub(super) spread: Spread,
}

impl<'a> Side<'a> {
    /// Measures the documents at `rows`, at least 2 of them. Their vectors are copied into `file` when they are not all.
    pub(super) fn measure(
        (filter, rows): (Option<Filter>, Vec<usize>),
        subject: &'a Subject,
        file: &Path,
        options: &DiversityOptions,
        cancel: &CancelToken,
    ) -> Result<Self, EngineError> {
        let vectors = if rows.len() == subject.len() {
            SideVectors::All(&subject.vectors)
        } else {
            let mut copy = VectorFile::create(file, subject.vectors.dimension())?;
            for block in rows.chunks(BLOCK) {
                cancel.check()?;
                block.iter().try_for_each(|row| copy.push(subject.vectors.row(*row)))?;
            }
            SideVectors::Some(copy.finish()?)
        };
        let own = match &vectors {
            SideVectors::All(vectors) => vectors,
            SideVectors::Some(vectors) => vectors,
        };
        let figures = diversity(own, cancel)?;
        let sum = sum(own, cancel)?;
        let distances = own.iter().map(|vector| distance(&sum, vector, rows.len(), true)).collect::<Vec<f32>>();
        let resamples = (options.resamples, options.seed);
        let spread = Spread::new(own, (figures.mean_distance, &distances), resamples, cancel)?;
        Ok(Self { filter, rows, vectors, sum, figures, spread })
    }

    fn vectors(&self) -> &Vectors {
        match &self.vectors {
            SideVectors::All(vectors) => vectors,
            SideVectors::Some(vectors) => vectors,
        }
    }

    pub(super) fn mean_distance(&self) -> f64 {
        self.figures.mean_distance
    }

    /// How many of its documents each of the clusters has.
    pub(super) fn counts(&self, assignments: &[u32], clusters: usize) -> Vec<usize> {
        let mut counts = vec![0; clusters];
        self.rows.iter().for_each(|&row| counts[assignments[row] as usize] += 1);
        counts
    }

    /// What the report says of it. `sizes` are those of the clusters, `counts` its own documents in them.
    pub(super) fn report(&self, sizes: &[usize], counts: &[usize]) -> SubsetDiversity {
        SubsetDiversity {
            filter: self.filter.clone(),
            documents: self.rows.len(),
            mean_distance: self.figures.mean_distance,
            mean_distance_interval: self.spread.interval(),
            vendi: self.figures.vendi,
            coverage: coverage(sizes, counts),
        }
    }

    /// Mean distance of a document's vector to the documents of this side, itself left out when it is `inside`.
    pub(super) fn distance(&self, vector: &[f32], inside: bool) -> f32 {
        distance(&self.sum, vector, self.rows.len(), inside)
    }

    /// Mean Vendi score of draws of `size` of its documents; of all of them when they are no more.
    pub(super) fn vendi_at(&self, size: usize, seed: u64, cancel: &CancelToken) -> Result<f64, EngineError> {
        if size >= self.rows.len() {
            return Ok(self.figures.vendi);
        }
        let mut total = 0.0;
        for draw in 0..DRAWS {
            let mut random = ChaCha8Rng::seed_from_u64(seed.wrapping_add(draw));
            let mut rows = sample(&mut random, self.rows.len(), size).into_vec();
            rows.sort_unstable();
            total += diversity(&self.vectors().gather(&rows), cancel)?.vendi;
        }
        Ok(total / DRAWS as f64)
    }
}

/// The size of draws that two sides can both give.
pub(super) fn equal_size(first: &Side<'_>, second: &Side<'_>) -> usize {
    first.rows.len().min(second.rows.len()).min(DRAWN)
}

fn sum(vectors: &Vectors, cancel: &CancelToken) -> Result<Vec<f64>, EngineError> {
    let mut sum = vec![0.0; vectors.dimension()];
    for (row, vector) in vectors.iter().enumerate() {
        if row % BLOCK == 0 {
            cancel.check()?;
        }
        sum.iter_mut().zip(vector).for_each(|(total, value)| *total += f64::from(*value));
    }
    Ok(sum)
}

/// Mean of 1 - cosine between a vector and `count` vectors with a known sum; itself left out when it is one of them.
fn distance(sum: &[f64], vector: &[f32], count: usize, inside: bool) -> f32 {
    let cosines: f64 = sum.iter().zip(vector).map(|(total, value)| total * f64::from(*value)).sum();
    let own: f64 = vector.iter().map(|value| f64::from(*value) * f64::from(*value)).sum();
    let (cosines, others) = if inside { (cosines - own, count - 1) } else { (cosines, count) };
    (1.0 - cosines / others.max(1) as f64) as f32
}
