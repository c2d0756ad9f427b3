//! Fine-tuning: datasets, the differentiable model, training, checkpoints and export.

mod error;
mod model;

pub use error::TuneError;
pub use model::{
    Batch, BatchObjective, BatchScores, Gradients, ModelOptions, ObjectiveResult, Parameter,
};
