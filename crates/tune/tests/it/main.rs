//! Fine-tuning from data to model, from outside.

mod malformed_files;
mod training;
mod training_file;
