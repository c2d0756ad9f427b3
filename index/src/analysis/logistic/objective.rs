//! What fitting makes small: the penalised loss of all vectors and its slope.

use anser_core::CancelToken;
use argmin::core::{CostFunction, Error as SolverError, Gradient};
use nalgebra::{DMatrix, DMatrixView, Dyn};
use parking_lot::Mutex;
use rayon::prelude::*;

use super::{ClassWeights, LogisticOptions, log_one_plus_exp, log_sum_exp, sigmoid};
use crate::analysis::Vectors;
use crate::{IndexError, Result};

/// Vectors that one thread sums up at a time. Sums are added in order, so that threads do not change a result.
const BLOCK: usize = 512;

/// Memory of the sums that wait to be added up, about, in bytes.
const SUMS_BYTES: usize = 64 << 20;

/// From so many rows of weights on, scores and slopes are matrix products.
const MATRIX_ROWS: usize = 6;

/// Lanes of a dot product.
const LANES: usize = 8;

/// What the solver asks of an objective.
type Solved<T> = std::result::Result<T, SolverError>;

/// The objective of the folder's head, divided by C and by the sum of all weights: a mean loss, whose gradient has the same
/// scale for ten vectors and for a million. Parameters: all rows, then all intercepts.
///
/// Sums are in double precision: in single precision the line search ends in noise before a weak penalty is felt.
pub(super) struct Objective<'a> {
    vectors: &'a Vectors,
    labels: &'a [usize],
    /// Of each class, divided so that the weights of all vectors sum to 1.
    class_weights: Vec<f64>,
    /// 1 / (C · sum of weights).
    penalty: f64,
    /// Rows of weights: one for two classes, else one for each.
    pub(super) rows: usize,
    cancel: &'a CancelToken,
    /// The solver asks for the cost and the gradient of one point in turn.
    last: Mutex<Option<Evaluated>>,
}

#[derive(Clone)]
struct Evaluated {
    parameters: Vec<f64>,
    cost: f64,
    gradient: Vec<f64>,
}

impl ClassWeights {
    /// The weight of one vector of each class, of which there are `counts`, none of them 0.
    pub(super) fn per_class(&self, counts: &[usize]) -> Result<Vec<f64>> {
        let (classes, total) = (counts.len(), counts.iter().sum::<usize>());
        match self {
            Self::Uniform => Ok(vec![1.0; classes]),
            Self::Balanced => {
                Ok(counts.iter().map(|count| total as f64 / (classes * (*count).max(1)) as f64).collect())
            }
            Self::Given(weights) if weights.len() == classes && weights.iter().all(|w| positive(*w)) => {
                Ok(weights.clone())
            }
            Self::Given(_) => {
                Err(IndexError::invalid(format!("give {classes} class weights above 0, one for each class")))
            }
        }
    }
}

fn positive(value: f64) -> bool {
    value.is_finite() && value > 0.0
}

/// How many vectors each class has; `InvalidInput` for a label out of range.
pub(super) fn count(labels: &[usize], classes: usize) -> Result<Vec<usize>> {
    let mut counts = vec![0_usize; classes];
    for (at, &label) in labels.iter().enumerate() {
        let Some(count) = counts.get_mut(label) else {
            return Err(IndexError::invalid(format!("label {at} is {label}, but there are {classes} classes from 0")));
        };
        *count += 1;
    }
    Ok(counts)
}

impl<'a> Objective<'a> {
    pub(super) fn new(
        vectors: &'a Vectors,
        labels: &'a [usize],
        classes: usize,
        options: &LogisticOptions,
        cancel: &'a CancelToken,
    ) -> Result<Self> {
        vectors.check_some()?;
        if labels.len() != vectors.len() {
            let message = format!("there are {} labels for {} vectors", labels.len(), vectors.len());
            return Err(IndexError::invalid(message));
        }
        if classes < 2 {
            return Err(IndexError::invalid("a classifier needs at least two classes"));
        }
        if !positive(options.inverse_regularization) || !positive(options.tolerance) || options.max_iterations == 0 {
            return Err(IndexError::invalid(
                "inverse_regularization, tolerance and max_iterations of a logistic regression must be above 0",
            ));
        }
        let counts = count(labels, classes)?;
        if let Some(empty) = counts.iter().position(|count| *count == 0) {
            return Err(IndexError::invalid(format!("class {empty} has no vector to learn it from")));
        }
        let raw = options.class_weights.per_class(&counts)?;
        let total: f64 = raw.iter().zip(&counts).map(|(weight, count)| weight * *count as f64).sum();
        Ok(Self {
            vectors,
            labels,
            class_weights: raw.into_iter().map(|weight| weight / total).collect(),
            penalty: 1.0 / (options.inverse_regularization * total),
            rows: if classes == 2 { 1 } else { classes },
            cancel,
            last: Mutex::new(None),
        })
    }

    /// The objective and its gradient.
    fn evaluate(&self, parameters: &[f64]) -> Solved<Evaluated> {
        if let Some(last) = self.last.lock().as_ref().filter(|last| last.parameters == parameters) {
            return Ok(last.clone());
        }
        let dimension = self.vectors.dimension();
        let penalized = self.rows * dimension;
        let squares: f64 = parameters[..penalized].iter().map(|w| w * w).sum();
        let mut cost = 0.5 * self.penalty * squares;
        let mut gradient = vec![0.0; parameters.len()];
        for (sum, parameter) in gradient.iter_mut().zip(&parameters[..penalized]) {
            *sum = self.penalty * parameter;
        }
        let at_once = (SUMS_BYTES / size_of_val(parameters).max(1)).clamp(8, 1024) * BLOCK;
        for (vectors, labels) in self.vectors.as_slice().chunks(at_once * dimension).zip(self.labels.chunks(at_once)) {
            let blocks: Vec<(f64, Vec<f64>)> = vectors
                .par_chunks(BLOCK * dimension)
                .zip(labels.par_chunks(BLOCK))
                .map(|(vectors, labels)| {
                    self.cancel.check()?;
                    Ok(self.block(parameters, vectors, labels))
                })
                .collect::<Solved<_>>()?;
            for (loss, part) in blocks {
                cost += loss;
                gradient.iter_mut().zip(part).for_each(|(sum, value)| *sum += value);
            }
        }
        let evaluated = Evaluated { parameters: parameters.to_vec(), cost, gradient };
        *self.last.lock() = Some(evaluated.clone());
        Ok(evaluated)
    }

    /// The loss of some vectors and its slope.
    fn block(&self, parameters: &[f64], vectors: &[f32], labels: &[usize]) -> (f64, Vec<f64>) {
        let (rows, dimension) = (self.rows, self.vectors.dimension());
        let (weights, intercepts) = parameters.split_at(rows * dimension);
        let mut slope = vec![0.0; parameters.len()];
        let (sum, intercept_slopes) = slope.split_at_mut(rows * dimension);
        let wide: Vec<f64> = vectors.iter().map(|x| f64::from(*x)).collect();
        let mut scores = vec![0.0; rows * labels.len()];
        if rows < MATRIX_ROWS {
            for (scores, vector) in scores.chunks_exact_mut(rows).zip(vectors.chunks_exact(dimension)) {
                for (score, row) in scores.iter_mut().zip(weights.chunks_exact(dimension)) {
                    *score = dot(row, vector);
                }
            }
        } else {
            let product = row_major(weights, rows, dimension) * DMatrixView::from_slice(&wide, dimension, labels.len());
            scores.copy_from_slice(product.as_slice());
        }
        let mut cost = 0.0;
        for (scores, &label) in scores.chunks_exact_mut(rows).zip(labels) {
            scores.iter_mut().zip(intercepts).for_each(|(score, intercept)| *score += intercept);
            let weight = self.class_weights[label];
            cost += weight * loss(scores, label);
            for (slope, sum) in scores.iter_mut().zip(intercept_slopes.iter_mut()) {
                *slope *= weight;
                *sum += *slope;
            }
        }
        if rows < MATRIX_ROWS {
            for (slopes, vector) in scores.chunks_exact(rows).zip(wide.chunks_exact(dimension)) {
                for (row, slope) in sum.chunks_exact_mut(dimension).zip(slopes) {
                    row.iter_mut().zip(vector).for_each(|(sum, x)| *sum += slope * x);
                }
            }
        } else {
            let slopes = row_major(&scores, labels.len(), rows);
            let product: DMatrix<f64> = DMatrixView::from_slice(&wide, dimension, labels.len()) * slopes;
            sum.copy_from_slice(product.as_slice());
        }
        (cost, slope)
    }
}

/// A view of rows that lie one after the other.
fn row_major(values: &[f64], rows: usize, columns: usize) -> nalgebra::MatrixView<'_, f64, Dyn, Dyn, Dyn, Dyn> {
    DMatrixView::from_slice_with_strides(values, rows, columns, columns, 1)
}

/// The sum of products, in a fixed order.
pub(in crate::analysis) fn dot<W: Copy + Into<f64>>(weights: &[W], vector: &[f32]) -> f64 {
    let (left, right) = (weights.chunks_exact(LANES), vector.chunks_exact(LANES));
    let rest: f64 = left.remainder().iter().zip(right.remainder()).map(|(w, x)| (*w).into() * f64::from(*x)).sum();
    let mut lanes = [0.0_f64; LANES];
    for (left, right) in left.zip(right) {
        for ((lane, w), x) in lanes.iter_mut().zip(left).zip(right) {
            *lane += (*w).into() * f64::from(*x);
        }
    }
    lanes.iter().sum::<f64>() + rest
}

impl CostFunction for Objective<'_> {
    type Param = Vec<f64>;
    type Output = f64;

    fn cost(&self, parameters: &Self::Param) -> Solved<f64> {
        Ok(self.evaluate(parameters)?.cost)
    }
}

impl Gradient for Objective<'_> {
    type Param = Vec<f64>;
    type Gradient = Vec<f64>;

    fn gradient(&self, parameters: &Self::Param) -> Solved<Vec<f64>> {
        Ok(self.evaluate(parameters)?.gradient)
    }
}

/// Loss of one vector from its scores, which become the loss's derivatives.
fn loss(scores: &mut [f64], label: usize) -> f64 {
    if let [score] = scores {
        let sign = if label == 1 { 1.0 } else { -1.0 };
        let loss = log_one_plus_exp(-sign * *score);
        *score = sigmoid(*score) - f64::from(u8::from(label == 1));
        return loss;
    }
    let total = log_sum_exp(scores);
    let loss = total - scores[label];
    for (class, score) in scores.iter_mut().enumerate() {
        *score = (*score - total).exp() - f64::from(u8::from(class == label));
    }
    loss
}
