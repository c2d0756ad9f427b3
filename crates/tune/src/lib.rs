//! Fine-tuning: datasets, the differentiable model, training, checkpoints and export.

mod batches;
mod checkpoint;
pub mod data;
mod error;
mod model;
mod objective;
mod optimizer;
mod pretrain;
mod probe;
mod provenance;
mod rank_allocation;
mod schedule;
mod trainer;

pub use error::TuneError;
pub use model::{
    Batch, BatchObjective, BatchScores, Gradients, ModelOptions, ObjectiveResult, Parameter, TrainableModel,
};
pub use pretrain::{PretrainOptions, PretrainOutcome, PretrainSize, pretrain};
pub use probe::StepProbe;
pub use provenance::{PROVENANCE, Provenance};
pub use trainer::{LocalTrainer, Locate, TrainerOptions};
