//! Logistic regression on embeddings: which of several classes a vector belongs to, with probabilities.
//!
//! The parameters minimise C · Σ wᵢ · loss(xᵢ, yᵢ) + ½ ‖W‖², intercepts left out of the penalty (Bishop 2006, section 4.3),
//! by L-BFGS. The objective is strictly convex in W, so the result does not depend on a start or a seed.

use anser_core::{CancelToken, Embedding};
use argmin::core::{CostFunction, Error as SolverError, Executor, Gradient, State};
use argmin::solver::linesearch::MoreThuenteLineSearch;
use argmin::solver::quasinewton::LBFGS;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::{IndexError, Result};

/// Vectors that one thread sums up at a time. Sums are added in order, so that threads do not change a result.
const BLOCK: usize = 512;

/// Earlier steps from which L-BFGS estimates curvature.
const MEMORY: usize = 10;

/// What the solver asks of an objective.
type Solved<T> = std::result::Result<T, SolverError>;

/// How much each class counts.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum ClassWeights {
    /// Every vector counts the same.
    #[default]
    Uniform,
    /// All classes count the same: n / (classes · nᵧ) for each vector of class y.
    Balanced,
    /// One weight for each class, above 0.
    Given(Vec<f64>),
}

/// How to fit.
#[derive(Debug, Clone, PartialEq)]
pub struct LogisticOptions {
    /// The C of the objective: smaller means stronger regularisation. Above 0.
    pub inverse_regularization: f64,
    /// How much each class counts.
    pub class_weights: ClassWeights,
    /// Most steps of L-BFGS.
    pub max_iterations: u64,
    /// Fitting ends when the norm of the gradient, for one vector on average, falls below this.
    pub tolerance: f64,
}

impl Default for LogisticOptions {
    fn default() -> Self {
        Self {
            inverse_regularization: 1.0,
            class_weights: ClassWeights::default(),
            max_iterations: 500,
            tolerance: 1e-8,
        }
    }
}

/// A fitted classifier. With two classes it has one row of weights, the log odds of the second class; with more, one row
/// for each, between which a softmax decides.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LogisticModel {
    /// Row by row, each as long as a vector.
    weights: Vec<f32>,
    /// One for each row.
    intercepts: Vec<f32>,
}

impl LogisticModel {
    /// Fits `classes` classes to `vectors`, of which each belongs to the class with the number in `labels`.
    ///
    /// `InvalidInput` when there are no vectors, dimensions differ, there are not as many labels as vectors, a label is out
    /// of range, a class has no vector, or an option is unusable; `Cancelled` soon after `cancel` is set.
    pub fn fit(
        vectors: &[Embedding],
        labels: &[usize],
        classes: usize,
        options: &LogisticOptions,
        cancel: &CancelToken,
    ) -> Result<Self> {
        let objective = Objective::new(vectors, labels, classes, options, cancel)?;
        let start = vec![0.0; objective.rows * (objective.dimension + 1)];
        let (rows, dimension) = (objective.rows, objective.dimension);
        let best = minimize(objective, start, options, cancel)?;
        let (weights, intercepts) = best.split_at(rows * dimension);
        let narrow = |values: &[f64]| values.iter().map(|v| *v as f32).collect();
        Ok(Self { weights: narrow(weights), intercepts: narrow(intercepts) })
    }

    /// Checks parameters that were read from a file: every row as long as the next, all finite.
    pub fn from_parts(weights: Vec<f32>, intercepts: Vec<f32>) -> Result<Self> {
        let whole = !intercepts.is_empty() && !weights.is_empty() && weights.len().is_multiple_of(intercepts.len());
        if !whole || intercepts.len() == 2 {
            return Err(IndexError::invalid(format!(
                "{} weights do not make {} rows of a logistic regression",
                weights.len(),
                intercepts.len()
            )));
        }
        if weights.iter().chain(&intercepts).any(|value| !value.is_finite()) {
            return Err(IndexError::invalid("the weights of a logistic regression must be finite"));
        }
        Ok(Self { weights, intercepts })
    }

    /// How many classes there are.
    pub fn classes(&self) -> usize {
        if self.intercepts.len() == 1 { 2 } else { self.intercepts.len() }
    }

    /// Dimensions of the vectors it reads.
    pub fn dimension(&self) -> usize {
        self.weights.len() / self.intercepts.len().max(1)
    }

    /// Weights row by row, see [`LogisticModel`].
    pub fn weights(&self) -> &[f32] {
        &self.weights
    }

    /// One intercept for each row.
    pub fn intercepts(&self) -> &[f32] {
        &self.intercepts
    }

    /// The probability of each class; they sum to 1. `InvalidInput` for another dimension.
    pub fn probabilities(&self, vector: &Embedding) -> Result<Vec<f64>> {
        if vector.dimension() != self.dimension() {
            return Err(IndexError::invalid(format!(
                "the classifier reads vectors of {} dimensions, not of {}",
                self.dimension(),
                vector.dimension()
            )));
        }
        let rows = self.weights.chunks_exact(self.dimension()).zip(&self.intercepts);
        let scores: Vec<f64> = rows
            .map(|(row, intercept)| {
                let products = row.iter().zip(vector.as_slice()).map(|(w, x)| f64::from(*w) * f64::from(*x));
                f64::from(*intercept) + products.sum::<f64>()
            })
            .collect();
        if let [score] = scores[..] {
            let second = sigmoid(score);
            return Ok(vec![1.0 - second, second]);
        }
        let total = log_sum_exp(&scores);
        Ok(scores.iter().map(|score| (score - total).exp()).collect())
    }

    /// The most probable class; the first among equals. `InvalidInput` for another dimension.
    pub fn predict(&self, vector: &Embedding) -> Result<usize> {
        let probabilities = self.probabilities(vector)?;
        let best = (0..probabilities.len()).rev().max_by(|&a, &b| probabilities[a].total_cmp(&probabilities[b]));
        Ok(best.unwrap_or(0))
    }
}

fn minimize(
    objective: Objective<'_>,
    start: Vec<f64>,
    options: &LogisticOptions,
    cancel: &CancelToken,
) -> Result<Vec<f64>> {
    let failed = |error: &SolverError| match cancel.check() {
        Err(cancelled) => cancelled.into(),
        Ok(()) => IndexError::internal(format!("the logistic regression did not converge: {error}")),
    };
    let solver = LBFGS::new(MoreThuenteLineSearch::new(), MEMORY)
        .with_tolerance_grad(options.tolerance)
        .map_err(|error| failed(&error))?;
    let result = Executor::new(objective, solver)
        .configure(|state| state.param(start).max_iters(options.max_iterations))
        .timer(false)
        .run()
        .map_err(|error| failed(&error))?;
    match result.state().get_best_param() {
        Some(best) => Ok(best.clone()),
        None => Err(IndexError::internal("the logistic regression found no parameters")),
    }
}

/// The common dimension of `vectors`; fails when there are none or when two differ.
fn common_dimension(vectors: &[Embedding]) -> Result<usize> {
    let vectors = super::Vectors::from_embeddings(vectors)?;
    vectors.check_some()?;
    Ok(vectors.dimension())
}

/// The objective of the module's head, divided by C and by the sum of all weights: a mean loss, whose gradient has the same
/// scale for ten vectors and for a million. Parameters: all rows, then all intercepts.
struct Objective<'a> {
    vectors: &'a [Embedding],
    labels: &'a [usize],
    /// Of each class, divided so that the weights of all vectors sum to 1.
    class_weights: Vec<f64>,
    /// 1 / (C · sum of weights).
    penalty: f64,
    rows: usize,
    dimension: usize,
    cancel: &'a CancelToken,
}

impl<'a> Objective<'a> {
    fn new(
        vectors: &'a [Embedding],
        labels: &'a [usize],
        classes: usize,
        options: &LogisticOptions,
        cancel: &'a CancelToken,
    ) -> Result<Self> {
        let dimension = common_dimension(vectors)?;
        if labels.len() != vectors.len() {
            return Err(IndexError::invalid(format!(
                "there are {} labels for {} vectors",
                labels.len(),
                vectors.len()
            )));
        }
        if classes < 2 {
            return Err(IndexError::invalid("a classifier needs at least two classes"));
        }
        let positive = |value: f64| value.is_finite() && value > 0.0;
        if !positive(options.inverse_regularization) || !positive(options.tolerance) || options.max_iterations == 0 {
            return Err(IndexError::invalid(
                "inverse_regularization, tolerance and max_iterations of a logistic regression must be above 0",
            ));
        }
        let mut counts = vec![0_usize; classes];
        for (at, &label) in labels.iter().enumerate() {
            let Some(count) = counts.get_mut(label) else {
                return Err(IndexError::invalid(format!(
                    "label {at} is {label}, but there are {classes} classes from 0"
                )));
            };
            *count += 1;
        }
        if let Some(empty) = counts.iter().position(|count| *count == 0) {
            return Err(IndexError::invalid(format!("class {empty} has no vector to learn it from")));
        }
        let raw: Vec<f64> = match &options.class_weights {
            ClassWeights::Uniform => vec![1.0; classes],
            ClassWeights::Balanced => {
                counts.iter().map(|count| vectors.len() as f64 / (classes * count) as f64).collect()
            }
            ClassWeights::Given(weights) if weights.len() == classes && weights.iter().all(|w| positive(*w)) => {
                weights.clone()
            }
            ClassWeights::Given(_) => {
                return Err(IndexError::invalid(format!("give {classes} class weights above 0, one for each class")));
            }
        };
        let total: f64 = raw.iter().zip(&counts).map(|(weight, count)| weight * *count as f64).sum();
        Ok(Self {
            vectors,
            labels,
            class_weights: raw.into_iter().map(|weight| weight / total).collect(),
            penalty: 1.0 / (options.inverse_regularization * total),
            rows: if classes == 2 { 1 } else { classes },
            dimension,
            cancel,
        })
    }

    /// The scores of one vector, one for each row.
    fn scores(&self, parameters: &[f64], vector: &Embedding, scores: &mut [f64]) {
        let (weights, intercepts) = parameters.split_at(self.rows * self.dimension);
        for ((score, row), intercept) in scores.iter_mut().zip(weights.chunks_exact(self.dimension)).zip(intercepts) {
            let products = row.iter().zip(vector.as_slice()).map(|(w, x)| w * f64::from(*x));
            *score = intercept + products.sum::<f64>();
        }
    }

    /// The objective, and its gradient where one is wanted.
    fn evaluate(&self, parameters: &[f64], want_gradient: bool) -> Solved<(f64, Vec<f64>)> {
        self.cancel.check()?;
        let blocks: Vec<(f64, Vec<f64>)> = self
            .vectors
            .par_chunks(BLOCK)
            .zip(self.labels.par_chunks(BLOCK))
            .map(|(vectors, labels)| self.block(parameters, vectors, labels, want_gradient))
            .collect();
        let penalized = self.rows * self.dimension;
        let squares: f64 = parameters[..penalized].iter().map(|w| w * w).sum();
        let mut cost = 0.5 * self.penalty * squares;
        let mut gradient = vec![0.0; if want_gradient { parameters.len() } else { 0 }];
        for (at, sum) in gradient.iter_mut().enumerate().take(penalized) {
            *sum = self.penalty * parameters[at];
        }
        for (loss, part) in blocks {
            cost += loss;
            for (sum, value) in gradient.iter_mut().zip(part) {
                *sum += value;
            }
        }
        Ok((cost, gradient))
    }

    fn block(&self, parameters: &[f64], vectors: &[Embedding], labels: &[usize], gradient: bool) -> (f64, Vec<f64>) {
        let mut sum = vec![0.0; if gradient { parameters.len() } else { 0 }];
        let mut scores = vec![0.0; self.rows];
        let mut cost = 0.0;
        for (vector, &label) in vectors.iter().zip(labels) {
            let weight = self.class_weights[label];
            self.scores(parameters, vector, &mut scores);
            cost += weight * loss(&mut scores, label);
            if !gradient {
                continue;
            }
            let (rows, intercepts) = sum.split_at_mut(self.rows * self.dimension);
            for ((row, intercept), slope) in rows.chunks_exact_mut(self.dimension).zip(intercepts).zip(&scores) {
                let slope = weight * slope;
                *intercept += slope;
                for (value, x) in row.iter_mut().zip(vector.as_slice()) {
                    *value += slope * f64::from(*x);
                }
            }
        }
        (cost, sum)
    }
}

impl CostFunction for Objective<'_> {
    type Param = Vec<f64>;
    type Output = f64;

    fn cost(&self, parameters: &Self::Param) -> Solved<f64> {
        Ok(self.evaluate(parameters, false)?.0)
    }
}

impl Gradient for Objective<'_> {
    type Param = Vec<f64>;
    type Gradient = Vec<f64>;

    fn gradient(&self, parameters: &Self::Param) -> Solved<Vec<f64>> {
        Ok(self.evaluate(parameters, true)?.1)
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

fn sigmoid(score: f64) -> f64 {
    if score >= 0.0 {
        1.0 / (1.0 + (-score).exp())
    } else {
        let e = score.exp();
        e / (1.0 + e)
    }
}

fn log_one_plus_exp(value: f64) -> f64 {
    value.max(0.0) + (-value.abs()).exp().ln_1p()
}

fn log_sum_exp(scores: &[f64]) -> f64 {
    let highest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    highest + scores.iter().map(|score| (score - highest).exp()).sum::<f64>().ln()
}

#[cfg(test)]
#[path = "logistic_tests.rs"]
mod tests;
