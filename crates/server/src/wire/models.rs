//! Models as OpenAI's clients see them.

use anser_engine::{ServedModel, ServedRole, TunedModel};
use serde::Serialize;

/// One model. What follows `owned_by` is an addition of ours that OpenAI's clients ignore.
#[derive(Debug, Serialize)]
pub(crate) struct Model {
    id: String,
    object: &'static str,
    /// Seconds since 1970 at which this service began to offer it, or at which it was tuned.
    created: i64,
    owned_by: String,
    role: &'static str,
    loaded: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    tuned: Option<Tuned>,
}

/// Where a tuned model comes from.
#[derive(Debug, Serialize)]
struct Tuned {
    base: String,
    job: String,
    bytes: u64,
    step: usize,
}

impl Model {
    /// A model that the service was started with.
    pub(crate) fn base(model: ServedModel, created: i64) -> Self {
        let role = match model.role {
            ServedRole::Embedder => "embedder",
            ServedRole::Reranker => "reranker",
            ServedRole::Chat => "chat",
        };
        let (id, loaded) = (model.name, model.loaded);
        Self { id, object: "model", created, owned_by: "anser".to_owned(), role, loaded, tuned: None }
    }

    /// A model that was tuned here.
    pub(crate) fn tuned(model: &TunedModel, loaded: bool) -> Self {
        let tuned = Tuned { base: model.base.clone(), job: model.job.clone(), bytes: model.bytes, step: model.step };
        Self {
            id: model.id.clone(),
            object: "model",
            created: model.created_at,
            owned_by: organization(model).to_owned(),
            role: "chat",
            loaded,
            tuned: Some(tuned),
        }
    }
}

/// The part of `ft:<base>:<organization>:<suffix>:<tail>` behind the base, which may hold colons itself.
fn organization(model: &TunedModel) -> &str {
    let id = match &model.checkpoint_of {
        Some(finished) => finished,
        None => &model.id,
    };
    id.rsplit(':').nth(2).unwrap_or("anser")
}
