//! Integration tests of the engine.

mod answer;
mod ingest;
mod text_metrics;
