//! Fine-tuning: jobs that train, the models that come of them, and which of them answers by default.

mod checkpoint;
mod create;
mod install;
mod job;
mod kind;
mod model;
mod naming;
mod promotion;
mod request;
mod results;

pub use checkpoint::FineTuningCheckpoint;
pub use job::{FineTuningJob, FineTuningStatus};
pub(crate) use kind::FineTuning;
pub use model::TunedModel;
pub(crate) use model::TunedModels;
pub use promotion::Promotion;
pub use request::FineTuningRequest;
