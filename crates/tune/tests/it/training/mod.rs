//! Runs of [`anser_tune::LocalTrainer`] on tiny models.

mod interruption;
mod learning;
mod planning;
mod preference;
mod real_model;
mod scratch;
mod workbench;
