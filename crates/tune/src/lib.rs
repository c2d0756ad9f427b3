//! Fine-tuning: datasets, the differentiable model, training, checkpoints and export.

mod batches;
mod checkpoint;
pub mod data;
mod error;
mod model;
mod objective;
mod optimizer;
mod rank_allocation;
mod schedule;

pub use error::TuneError;
pub use model::{Batch, BatchObjective, BatchScores, Gradients, ModelOptions, ObjectiveResult, Parameter, TrainableModel};
