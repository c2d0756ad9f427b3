//! The differentiable model: a llama decoder with a forward and a backward pass written by hand.

mod batch;
mod parameters;

use anser_core::{Precision, TrainableParts};

pub use batch::{Batch, BatchObjective, BatchScores, ObjectiveResult};
pub use parameters::{Gradients, Parameter};

/// How a model is set up for training.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelOptions {
    /// Which weights learn.
    pub parts: TrainableParts,
    /// Number format of frozen weights and of matrix products.
    pub precision: Precision,
    /// Whether activations are computed again in the backward pass instead of kept.
    pub recompute: bool,
    /// Where random initial values and dropout masks come from.
    pub seed: u64,
    /// Threads of the matrix products, at least 1.
    pub threads: usize,
}
