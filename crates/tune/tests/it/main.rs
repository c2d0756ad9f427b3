//! Fine-tuning from data to model, from outside.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod malformed_files;
mod prepare;
mod serving;
mod training;
mod training_file;
