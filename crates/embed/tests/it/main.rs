//! The embedder and the reranker with the real default models.

mod embedding;
mod loading;
mod models;
mod reranking;
