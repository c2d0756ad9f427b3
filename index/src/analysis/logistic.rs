//! Logistic regression on embeddings: which of several classes a vector belongs to, with probabilities.
//!
//! The parameters minimise C · Σ wᵢ · loss(xᵢ, yᵢ) + ½ ‖W‖², intercepts left out of the penalty (Bishop 2006, section 4.3),
//! by L-BFGS. The objective is strictly convex in W, so the result does not depend on a start or a seed.

mod objective;

pub(super) use objective::dot;

use anser_core::CancelToken;
use argmin::core::{Error as SolverError, Executor, State};
use argmin::solver::linesearch::MoreThuenteLineSearch;
use argmin::solver::quasinewton::LBFGS;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::Vectors;
use crate::{IndexError, Result};
use objective::Objective;

/// Vectors that one thread classifies at a time.
const BLOCK: usize = 512;

/// Earlier steps from which L-BFGS estimates curvature.
const MEMORY: usize = 10;

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
        vectors: &Vectors,
        labels: &[usize],
        classes: usize,
        options: &LogisticOptions,
        cancel: &CancelToken,
    ) -> Result<Self> {
        let objective = Objective::new(vectors, labels, classes, options, cancel)?;
        let start = vec![0.0; objective.rows * (vectors.dimension() + 1)];
        Self::minimized(objective, start, options, cancel)
    }

    /// Fits the same classes again, beginning from what is there: to other data or with other options. The same result as
    /// [`LogisticModel::fit`] up to the tolerance, sooner when little changed. Errors as there, or for another dimension.
    pub fn refit(
        &self,
        vectors: &Vectors,
        labels: &[usize],
        options: &LogisticOptions,
        cancel: &CancelToken,
    ) -> Result<Self> {
        self.check_dimension(vectors.dimension())?;
        let objective = Objective::new(vectors, labels, self.classes(), options, cancel)?;
        let start = self.weights.iter().chain(&self.intercepts).map(|value| f64::from(*value)).collect();
        Self::minimized(objective, start, options, cancel)
    }

    fn minimized(
        objective: Objective<'_>,
        start: Vec<f64>,
        options: &LogisticOptions,
        cancel: &CancelToken,
    ) -> Result<Self> {
        let rows = objective.rows;
        let best = minimize(objective, start, options, cancel)?;
        let (weights, intercepts) = best.split_at(best.len() - rows);
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
    pub fn probabilities(&self, vector: &[f32]) -> Result<Vec<f64>> {
        self.check_dimension(vector.len())?;
        Ok(self.probabilities_of(vector))
    }

    /// The most probable class of every vector, the first among equals, with its probability. `InvalidInput` for another
    /// dimension, `Cancelled` soon after `cancel` is set.
    pub fn predict(&self, vectors: &Vectors, cancel: &CancelToken) -> Result<Vec<(usize, f64)>> {
        self.check_dimension(vectors.dimension())?;
        let blocks: Vec<Vec<(usize, f64)>> = vectors
            .as_slice()
            .par_chunks(BLOCK * vectors.dimension())
            .map(|block| {
                cancel.check()?;
                Ok(block.chunks_exact(self.dimension()).map(|row| best(&self.probabilities_of(row))).collect())
            })
            .collect::<Result<_>>()?;
        Ok(blocks.concat())
    }

    /// The mean of −ln p(label) over all vectors, each with the weight of its class: what fitting makes small, without
    /// its penalty. `InvalidInput` as for fitting.
    pub fn mean_loss(
        &self,
        vectors: &Vectors,
        labels: &[usize],
        class_weights: &ClassWeights,
        cancel: &CancelToken,
    ) -> Result<f64> {
        self.check_dimension(vectors.dimension())?;
        let weights = class_weights.per_class(&objective::count(labels, self.classes())?)?;
        let blocks: Vec<(f64, f64)> = vectors
            .as_slice()
            .par_chunks(BLOCK * vectors.dimension())
            .zip(labels.par_chunks(BLOCK))
            .map(|(block, labels)| {
                cancel.check()?;
                let (mut loss, mut total) = (0.0, 0.0);
                for (row, &label) in block.chunks_exact(self.dimension()).zip(labels) {
                    loss -= weights[label] * self.probabilities_of(row)[label].max(f64::MIN_POSITIVE).ln();
                    total += weights[label];
                }
                Ok((loss, total))
            })
            .collect::<Result<_>>()?;
        let (loss, total) = blocks.iter().fold((0.0, 0.0), |sum, block| (sum.0 + block.0, sum.1 + block.1));
        Ok(if total > 0.0 { loss / total } else { 0.0 })
    }

    fn check_dimension(&self, found: usize) -> Result<()> {
        if found == self.dimension() {
            return Ok(());
        }
        let message = format!("the classifier reads vectors of {} dimensions, not of {found}", self.dimension());
        Err(IndexError::invalid(message))
    }

    fn probabilities_of(&self, vector: &[f32]) -> Vec<f64> {
        let rows = self.weights.chunks_exact(self.dimension()).zip(&self.intercepts);
        let scores: Vec<f64> =
            rows.map(|(row, intercept)| f64::from(*intercept) + objective::dot(row, vector)).collect();
        if let [score] = scores[..] {
            let second = sigmoid(score);
            return vec![1.0 - second, second];
        }
        let total = log_sum_exp(&scores);
        scores.iter().map(|score| (score - total).exp()).collect()
    }
}

/// The place of the largest value, the first among equals, with it.
fn best(probabilities: &[f64]) -> (usize, f64) {
    let mut best = (0, f64::NEG_INFINITY);
    for (class, &probability) in probabilities.iter().enumerate() {
        if probability > best.1 {
            best = (class, probability);
        }
    }
    best
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
