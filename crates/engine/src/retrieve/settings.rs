//! How a collection is searched unless a request says otherwise.

use anser_index::{Fusion, FusionMethod, SearchMode, SearchSettings};
use serde::Deserialize;

use crate::{Engine, EngineError};

/// Most hits that the reranker reads.
pub(super) const MAX_RERANK_DEPTH: usize = 200;

/// What of [`SearchSettings`] is to become otherwise; what is `None` stays.
#[derive(Debug, Clone, Copy, PartialEq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SearchSettingsChange {
    /// What is compared.
    pub mode: Option<SearchMode>,
    /// How rankings are fused.
    pub fusion: Option<FusionChange>,
    /// How many hits the reranker reads, 0 to 200.
    pub rerank_depth: Option<usize>,
}

/// What of a [`Fusion`] is to become otherwise; what is `None` stays.
#[derive(Debug, Clone, Copy, PartialEq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FusionChange {
    /// The formula.
    pub method: Option<FusionMethod>,
    /// Share of the ranking by vector, in [0, 1].
    pub vector_weight: Option<f32>,
}

impl FusionChange {
    /// `fusion` with the change.
    #[must_use]
    pub fn of(&self, fusion: Fusion) -> Fusion {
        Fusion {
            method: self.method.unwrap_or(fusion.method),
            vector_weight: self.vector_weight.unwrap_or(fusion.vector_weight),
        }
    }
}

impl From<Fusion> for FusionChange {
    /// Everything becomes as `fusion` has it.
    fn from(fusion: Fusion) -> Self {
        Self { method: Some(fusion.method), vector_weight: Some(fusion.vector_weight) }
    }
}

impl SearchSettingsChange {
    /// `settings` with the change.
    #[must_use]
    pub fn of(&self, settings: SearchSettings) -> SearchSettings {
        SearchSettings {
            mode: self.mode.unwrap_or(settings.mode),
            fusion: self.fusion.map_or(settings.fusion, |fusion| fusion.of(settings.fusion)),
            rerank_depth: self.rerank_depth.unwrap_or(settings.rerank_depth),
        }
    }
}

impl Engine {
    /// How a collection is searched unless a request says otherwise.
    pub fn search_settings(&self, collection: &str) -> Result<SearchSettings, EngineError> {
        Ok(self.collection(collection)?.search_settings()?)
    }

    /// Sets how a collection is searched unless a request says otherwise. `InvalidInput` for a weight outside of [0, 1] or
    /// a depth beyond 200; a depth of 0 switches reranking off.
    pub fn set_search_settings(&self, collection: &str, settings: &SearchSettings) -> Result<(), EngineError> {
        if settings.rerank_depth > MAX_RERANK_DEPTH {
            let message =
                format!("rerank_depth is {}, but must lie between 0 and {MAX_RERANK_DEPTH}", settings.rerank_depth);
            return Err(EngineError::invalid("rerank_depth", message));
        }
        Ok(self.collection(collection)?.set_search_settings(settings)?)
    }
}
