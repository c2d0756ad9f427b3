//! Integration tests of the engine.

mod analysis;
mod answer;
mod ingest;
mod moderation;
mod recommend;
mod text_metrics;
mod tuned_evaluation;
mod tuning;
