//! An upper bound of cosines that costs less than the cosine.
//!
//! Vectors are split along a few directions that hold most of their length and the rest: x·y = Px·Py + Rx·Ry, and by
//! Cauchy and Schwarz Rx·Ry is at most |Rx||Ry|. With the length of the rest as one more column the bound is a product of
//! short rows.

use std::borrow::Cow;
use std::ops::Range;

use anser_core::CancelToken;

use super::{LOOK_ROWS, NearDuplicateOptions};
use crate::Result;
use crate::analysis::directions::{gram, leading_directions, project};
use crate::analysis::vectors::{Vectors, dot, sample_indices};

/// Numbers of directions that are tried on a sample; with the rest each row has one column more.
const DIRECTIONS: [usize; 6] = [15, 31, 47, 63, 95, 127];
/// Rows whose Gram matrix gives the directions.
const GRAM_ROWS: usize = 10_000;
/// Rows whose pairs tell how many would pass.
const TRIAL_ROWS: usize = 600;
/// What a cosine in full costs, in columns of a blocked product: it is computed alone, from rows far apart in memory.
const COST_OF_COSINE: f64 = 2000.0;
/// How far rounding can push a bound of f32 columns below the cosine.
pub(super) const ROUNDING: f32 = 2e-5;
/// What rounding can take from the squared length of a rest.
const REST_ROUNDING: f64 = 1e-6;

/// Rows whose products are upper bounds of cosines.
#[derive(Debug)]
pub(super) struct Bound<'a> {
    /// Row after row.
    pub(super) values: Cow<'a, [f32]>,
    /// Numbers in a row.
    pub(super) columns: usize,
}

impl<'a> Bound<'a> {
    /// Chooses the number of directions that makes finding all pairs of at least `threshold` among `rows` cheapest; the
    /// whole vectors where short rows would let too many pass.
    pub(super) fn new(
        vectors: &'a Vectors,
        rows: &[usize],
        options: &NearDuplicateOptions,
        cancel: &CancelToken,
    ) -> Result<Self> {
        let (d, seed) = (vectors.dimension(), options.seed);
        let sample = |amount, seed| -> Vectors {
            let sample: Vec<usize> = sample_indices(rows.len(), amount, seed).iter().map(|at| rows[*at]).collect();
            vectors.gather(&sample)
        };
        let most = DIRECTIONS.iter().copied().filter(|count| count + 1 < d).max().unwrap_or(0);
        let gram = gram(&sample(GRAM_ROWS, seed), cancel)?;
        let directions = leading_directions(&gram, most, seed, cancel)?;
        let trial = sample(TRIAL_ROWS, seed ^ 1);
        let trial_rows: Vec<usize> = (0..trial.len()).collect();
        let costs = DIRECTIONS.iter().filter(|count| **count <= most).map(|&count| {
            let rows = shorten(&trial, &trial_rows, &directions[..count * d], cancel)?;
            Ok((cost(&rows, count + 1, options.threshold), count))
        });
        let costs = costs.collect::<Result<Vec<_>>>()?;
        let full = cost(trial.as_slice(), d, options.threshold);
        tracing::debug!(?costs, full, "what finding near-duplicates would cost for each number of directions");
        match costs.into_iter().min_by(|a, b| a.0.total_cmp(&b.0)) {
            Some((least, count)) if least < full => {
                let values = shorten(vectors, rows, &directions[..count * d], cancel)?;
                Ok(Self { values: Cow::Owned(values), columns: count + 1 })
            }
            _ if rows.len() == vectors.len() => Ok(Self { values: Cow::Borrowed(vectors.as_slice()), columns: d }),
            _ => {
                let values = rows.iter().flat_map(|row| vectors.row(*row).iter().copied()).collect();
                Ok(Self { values: Cow::Owned(values), columns: d })
            }
        }
    }

    /// Rows one after another.
    pub(super) fn rows(&self, range: Range<usize>) -> &[f32] {
        &self.values[range.start * self.columns..range.end * self.columns]
    }
}

/// For each of `rows` the coordinates along the directions and the length of the rest.
fn shorten(vectors: &Vectors, rows: &[usize], directions: &[f32], cancel: &CancelToken) -> Result<Vec<f32>> {
    let count = directions.len() / vectors.dimension();
    let projected = project(vectors, directions, cancel)?;
    let mut values = Vec::with_capacity(rows.len() * (count + 1));
    for (at, &row) in rows.iter().enumerate() {
        if at.is_multiple_of(LOOK_ROWS) {
            cancel.check()?;
        }
        let (coordinates, vector) = (&projected[row * count..(row + 1) * count], vectors.row(row));
        let rest = squares(vector) - squares(coordinates);
        values.extend_from_slice(coordinates);
        values.push((rest.max(0.0) + REST_ROUNDING).sqrt() as f32);
    }
    Ok(values)
}

fn squares(values: &[f32]) -> f64 {
    values.iter().map(|v| f64::from(*v).powi(2)).sum()
}

/// What a pair costs with these rows: its columns, and the cosine in full where the bound lets it pass.
fn cost(rows: &[f32], columns: usize, threshold: f32) -> f64 {
    let rows: Vec<&[f32]> = rows.chunks_exact(columns).collect();
    let pairs = (rows.len() * rows.len().saturating_sub(1) / 2).max(1);
    let passed: usize =
        (0..rows.len()).map(|a| rows[..a].iter().filter(|b| dot(rows[a], b) >= threshold - ROUNDING).count()).sum();
    columns as f64 + COST_OF_COSINE * passed as f64 / pairs as f64
}
