//! Models as OpenAI's clients see them.

use anser_engine::{ServedModel, ServedRole};
use serde::Serialize;

/// One model. `role` and `loaded` are additions of ours that OpenAI's clients ignore.
#[derive(Debug, Serialize)]
pub(crate) struct Model {
    pub(crate) id: String,
    pub(crate) object: &'static str,
    /// Seconds since 1970 at which this service began to offer it.
    pub(crate) created: i64,
    pub(crate) owned_by: &'static str,
    pub(crate) role: &'static str,
    pub(crate) loaded: bool,
}

impl Model {
    pub(crate) fn new(model: ServedModel, created: i64) -> Self {
        let role = match model.role {
            ServedRole::Embedder => "embedder",
            ServedRole::Reranker => "reranker",
            ServedRole::Chat => "chat",
        };
        Self { id: model.name, object: "model", created, owned_by: "anser", role, loaded: model.loaded }
    }
}
