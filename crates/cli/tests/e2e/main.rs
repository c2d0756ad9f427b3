//! The built program, end to end, with real models: what a user types, sees and sends.
//!
//! Models come from `$ANSER_MODELS_DIR` or `target/models` and are downloaded when missing. `make test` prepares
//! Python, Node and a browser; without them those tests say loudly that they are skipped, except under CI, where they fail.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "functions that tests share fail the test by panicking")]

mod analysis;
mod answers;
mod bad_input;
mod browser;
mod canary;
mod clients;
mod commands;
mod demo;
mod duplicates;
mod holder;
mod interrupted;
#[path = "../../../tune/tests/it/malformed_files.rs"]
mod malformed_files;
mod multilingual;
mod odd_input;
mod own_vectors;
mod predictors;
mod repair;
mod search;
mod served;
mod support;
mod tuning;
