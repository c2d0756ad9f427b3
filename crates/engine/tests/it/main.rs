//! Integration tests of the engine.

mod analysis;
mod answer;
mod ingest;
mod moderation;
mod ranking_metrics;
mod recommend;
mod retrieval_evaluation;
mod search;
mod text_metrics;
mod tuned_evaluation;
mod tuning;
