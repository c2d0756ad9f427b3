//! Ridge regression: a number predicted from a vector by a weighted sum, with large weights made dear.
//!
//! The weights minimise ‖y − Xw − b‖² + α ‖w‖², the intercept b left out of the penalty (Hoerl and Kennard 1970): with the
//! means taken off both sides, `(XᵀX + αI) w = Xᵀy`, solved by Cholesky. All that is needed of the data are its moments, so one
//! pass serves every α and every fold of a cross-validation.

use anser_core::CancelToken;
use nalgebra::{Cholesky, DMatrix, DMatrixView, DVector};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::Vectors;
use super::logistic::dot;
use crate::{IndexError, Result};

/// Vectors summed up at a time. Sums are added in order, so that threads do not change a result.
const BLOCK: usize = 1024;
/// Blocks that are summed up at once: bounds the memory of their sums.
const AT_ONCE: usize = 8;

/// A fitted regression.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RidgeModel {
    weights: Vec<f32>,
    intercept: f64,
}

/// How far an α is from what it predicts on rows it has not seen.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct AlphaScore {
    /// The α.
    pub alpha: f64,
    /// Mean squared error over all rows, each predicted from the other folds.
    pub mean_squared_error: f64,
}

impl RidgeModel {
    /// Fits `values`, one for each vector.
    ///
    /// `InvalidInput` when there are no vectors, not as many values, a value is not finite, or `alpha` is not above 0;
    /// `Cancelled` soon after `cancel` is set.
    pub fn fit(vectors: &Vectors, values: &[f64], alpha: f64, cancel: &CancelToken) -> Result<Self> {
        check(vectors, values, &[alpha])?;
        let rows: Vec<usize> = (0..values.len()).collect();
        Moments::of(vectors, values, &rows, cancel)?.solve(alpha)
    }

    /// Checks parameters that were read from somewhere: all finite, at least one weight.
    pub fn from_parts(weights: Vec<f32>, intercept: f64) -> Result<Self> {
        if weights.is_empty() || !intercept.is_finite() || weights.iter().any(|weight| !weight.is_finite()) {
            return Err(IndexError::invalid("the weights of a regression must be finite, and there must be some"));
        }
        Ok(Self { weights, intercept })
    }

    /// One for each dimension.
    pub fn weights(&self) -> &[f32] {
        &self.weights
    }

    /// What is predicted for the zero vector.
    pub fn intercept(&self) -> f64 {
        self.intercept
    }

    /// The prediction for every vector. `InvalidInput` for another dimension, `Cancelled` soon after `cancel` is set.
    pub fn predict(&self, vectors: &Vectors, cancel: &CancelToken) -> Result<Vec<f64>> {
        let dimension = vectors.dimension();
        if dimension != self.weights.len() {
            let message =
                format!("the regression reads vectors of {} dimensions, not of {dimension}", self.weights.len());
            return Err(IndexError::invalid(message));
        }
        let blocks: Vec<Vec<f64>> = vectors
            .as_slice()
            .par_chunks(BLOCK * dimension)
            .map(|block| {
                cancel.check()?;
                Ok(block.chunks_exact(dimension).map(|row| self.intercept + dot(&self.weights, row)).collect())
            })
            .collect::<Result<_>>()?;
        Ok(blocks.concat())
    }
}

/// The moments of each fold of a set of rows, from which regressions on any of them follow without another look at the data.
#[derive(Debug)]
pub struct RidgeFolds {
    folds: Vec<Moments>,
}

impl RidgeFolds {
    /// Reads the data once. `fold_of` names the fold, from 0, of each row.
    ///
    /// `InvalidInput` as for [`RidgeModel::fit`], or when there are not as many folds as rows.
    pub fn new(vectors: &Vectors, values: &[f64], fold_of: &[usize], cancel: &CancelToken) -> Result<Self> {
        check(vectors, values, &[])?;
        if fold_of.len() != values.len() {
            let message = format!("there are {} folds for {} rows", fold_of.len(), values.len());
            return Err(IndexError::invalid(message));
        }
        let count = fold_of.iter().max().map_or(0, |highest| highest + 1);
        let rows = |fold: usize| (0..fold_of.len()).filter(|row| fold_of[*row] == fold).collect::<Vec<_>>();
        let folds = (0..count).map(|fold| Moments::of(vectors, values, &rows(fold), cancel)).collect::<Result<_>>()?;
        Ok(Self { folds })
    }

    /// The regression on all folds but those in `left_out`.
    pub fn fit_without(&self, left_out: &[usize], alpha: f64) -> Result<RidgeModel> {
        check_alphas(&[alpha])?;
        self.without(left_out)?.solve(alpha)
    }

    /// Tries every α by predicting each fold, but those in `left_out`, from the others among them. In the order of `alphas`.
    ///
    /// `InvalidInput` when fewer than two folds are left or an α is not above 0.
    pub fn cross_validate(&self, left_out: &[usize], alphas: &[f64], cancel: &CancelToken) -> Result<Vec<AlphaScore>> {
        check_alphas(alphas)?;
        let folds: Vec<usize> =
            (0..self.folds.len()).filter(|fold| !left_out.contains(fold) && self.folds[*fold].count > 0.0).collect();
        if folds.len() < 2 {
            return Err(IndexError::invalid("a regularisation is chosen between at least two folds"));
        }
        let total: f64 = folds.iter().map(|fold| self.folds[*fold].count).sum();
        let errors: Vec<Vec<f64>> = folds
            .par_iter()
            .map(|fold| {
                let without: Vec<usize> = left_out.iter().chain([fold]).copied().collect();
                let known = self.without(&without)?.centred();
                alphas
                    .iter()
                    .map(|alpha| {
                        cancel.check()?;
                        let (weights, intercept) = known.solve(*alpha)?;
                        Ok(self.folds[*fold].squared_error(&weights, intercept))
                    })
                    .collect::<Result<Vec<f64>>>()
            })
            .collect::<Result<_>>()?;
        let score = |(at, alpha): (usize, &f64)| {
            let sum: f64 = errors.iter().map(|errors| errors[at]).sum();
            AlphaScore { alpha: *alpha, mean_squared_error: sum / total }
        };
        Ok(alphas.iter().enumerate().map(score).collect())
    }

    fn without(&self, left_out: &[usize]) -> Result<Moments> {
        let kept = self.folds.iter().enumerate().filter(|(fold, _)| !left_out.contains(fold)).map(|(_, part)| part);
        let sum = kept.fold(None::<Moments>, |sum, part| match sum {
            None => Some(part.clone()),
            Some(sum) => Some(sum.plus(part)),
        });
        sum.filter(|sum| sum.count > 0.0)
            .ok_or_else(|| IndexError::invalid("there are no rows to learn a regression from"))
    }
}

/// Sums over rows that determine every regression on them.
#[derive(Debug, Clone)]
struct Moments {
    count: f64,
    /// Σ x.
    sum: DVector<f64>,
    /// Σ y.
    values: f64,
    /// Σ y².
    squares: f64,
    /// Σ x xᵀ.
    products: DMatrix<f64>,
    /// Σ y x.
    cross: DVector<f64>,
}

/// Moments around the mean.
struct Centred {
    mean: DVector<f64>,
    mean_value: f64,
    products: DMatrix<f64>,
    cross: DVector<f64>,
}

impl Moments {
    fn of(vectors: &Vectors, values: &[f64], rows: &[usize], cancel: &CancelToken) -> Result<Self> {
        let mut total = Self::none(vectors.dimension());
        let blocks: Vec<&[usize]> = rows.chunks(BLOCK).collect();
        for some in blocks.chunks(AT_ONCE) {
            let parts: Vec<Self> = some
                .par_iter()
                .map(|rows| {
                    cancel.check()?;
                    Ok(Self::of_block(vectors, values, rows))
                })
                .collect::<Result<_>>()?;
            for part in &parts {
                total = total.plus(part);
            }
        }
        Ok(total)
    }

    fn none(dimension: usize) -> Self {
        Self {
            count: 0.0,
            sum: DVector::zeros(dimension),
            values: 0.0,
            squares: 0.0,
            products: DMatrix::zeros(dimension, dimension),
            cross: DVector::zeros(dimension),
        }
    }

    fn of_block(vectors: &Vectors, values: &[f64], rows: &[usize]) -> Self {
        let dimension = vectors.dimension();
        let wide: Vec<f64> = rows.iter().flat_map(|&row| vectors.row(row).iter().map(|x| f64::from(*x))).collect();
        let x = DMatrixView::from_slice(&wide, dimension, rows.len());
        let y = DVector::from_iterator(rows.len(), rows.iter().map(|&row| values[row]));
        Self {
            count: rows.len() as f64,
            sum: x.column_sum(),
            values: y.sum(),
            squares: y.norm_squared(),
            products: x * DMatrixView::from_slice_with_strides(&wide, rows.len(), dimension, dimension, 1),
            cross: x * y,
        }
    }

    fn plus(mut self, other: &Self) -> Self {
        self.count += other.count;
        self.sum += &other.sum;
        self.values += other.values;
        self.squares += other.squares;
        self.products += &other.products;
        self.cross += &other.cross;
        self
    }

    fn centred(&self) -> Centred {
        let (mean, mean_value) = (&self.sum / self.count, self.values / self.count);
        Centred {
            products: &self.products - &self.sum * mean.transpose(),
            cross: &self.cross - &self.sum * mean_value,
            mean,
            mean_value,
        }
    }

    fn solve(&self, alpha: f64) -> Result<RidgeModel> {
        let (weights, intercept) = self.centred().solve(alpha)?;
        RidgeModel::from_parts(weights.iter().map(|weight| *weight as f32).collect(), intercept)
    }

    /// Σ (y − w·x − b)².
    fn squared_error(&self, weights: &DVector<f64>, intercept: f64) -> f64 {
        let fitted = weights.dot(&(&self.products * weights)) + 2.0 * intercept * weights.dot(&self.sum);
        let met = weights.dot(&self.cross) + intercept * self.values;
        (self.squares - 2.0 * met + fitted + self.count * intercept * intercept).max(0.0)
    }
}

impl Centred {
    fn solve(&self, alpha: f64) -> Result<(DVector<f64>, f64)> {
        let mut system = self.products.clone();
        for at in 0..system.nrows() {
            system[(at, at)] += alpha;
        }
        let Some(cholesky) = Cholesky::new(system) else {
            return Err(IndexError::invalid(format!(
                "a regression with alpha = {alpha} has no single solution on these rows; use a larger alpha"
            )));
        };
        let weights = cholesky.solve(&self.cross);
        let intercept = self.mean_value - weights.dot(&self.mean);
        Ok((weights, intercept))
    }
}

fn check(vectors: &Vectors, values: &[f64], alphas: &[f64]) -> Result<()> {
    vectors.check_some()?;
    if values.len() != vectors.len() {
        let message = format!("there are {} values for {} vectors", values.len(), vectors.len());
        return Err(IndexError::invalid(message));
    }
    if let Some(at) = values.iter().position(|value| !value.is_finite()) {
        return Err(IndexError::invalid(format!("value {at} of a regression is not a finite number")));
    }
    check_alphas(alphas)
}

fn check_alphas(alphas: &[f64]) -> Result<()> {
    match alphas.iter().find(|alpha| !(alpha.is_finite() && **alpha > 0.0)) {
        Some(alpha) => Err(IndexError::invalid(format!("alpha of a regression must be above 0, not {alpha}"))),
        None => Ok(()),
    }
}

#[cfg(test)]
#[path = "ridge_tests.rs"]
mod tests;
