//! The embedder and the reranker with the real default models.

#![expect(clippy::unwrap_used, reason = "helpers of tests end the test that called them")]

mod embedding;
mod engines;
mod loading;
mod models;
mod reference;
mod reranking;
