//! The models of an engine that is measured: one embedder, or none.

use std::sync::Arc;

use anser_core::{Embedder, Error, Generator, Reranker};
use anser_engine::{ModelLoader, TunedModel};

/// Hands out an embedder that is loaded already; analyses of stored vectors need not even that.
pub(crate) struct OnlyEmbedder {
    name: String,
    embedder: Option<Arc<dyn Embedder>>,
}

impl OnlyEmbedder {
    pub(crate) fn new(embedder: Arc<dyn Embedder>) -> Self {
        Self { name: embedder.info().model.clone(), embedder: Some(embedder) }
    }

    pub(crate) fn none() -> Self {
        Self { name: "none".to_owned(), embedder: None }
    }
}

fn nothing<T>() -> anser_core::Result<T> {
    Err(Error::internal("no such model is loaded here"))
}

impl ModelLoader for OnlyEmbedder {
    fn embedder_name(&self) -> &str {
        &self.name
    }
    fn reranker_name(&self) -> Option<&str> {
        None
    }
    fn generator_name(&self) -> &'static str {
        "none"
    }
    fn embedder(&self) -> anser_core::Result<Arc<dyn Embedder>> {
        self.embedder.clone().map_or_else(nothing, Ok)
    }
    fn reranker(&self) -> anser_core::Result<Arc<dyn Reranker>> {
        nothing()
    }
    fn generator(&self) -> anser_core::Result<Arc<dyn Generator>> {
        nothing()
    }
    fn tuned(&self, _: &TunedModel) -> anser_core::Result<Arc<dyn Generator>> {
        nothing()
    }
}
