//! The engine: collections and models under one roof. What it does with them lives in the folders beside this file.

use std::sync::Arc;

use anser_core::storage::DataDir;
use anser_index::{Collection, CollectionInfo, IndexOptions, Store};

use crate::{EngineError, ServedModels};

/// Settings that hold for the whole engine.
#[derive(Debug, Clone, Default)]
pub struct EngineOptions {
    /// How collections are stored and searched.
    pub index: IndexOptions,
}

/// Everything that commands and HTTP handlers call. Share it in an [`Arc`]; all methods take `&self`.
pub struct Engine {
    pub(crate) store: Store,
    models: ServedModels,
}

impl Engine {
    /// Opens the collections below `data`.
    pub fn open(data: &DataDir, models: ServedModels, options: EngineOptions) -> Result<Self, EngineError> {
        Ok(Self { store: Store::open(data, options.index)?, models })
    }

    /// The live models.
    pub fn models(&self) -> &ServedModels {
        &self.models
    }

    /// All collections, by name.
    pub fn collections(&self) -> Result<Vec<CollectionInfo>, EngineError> {
        Ok(self.store.list()?)
    }

    /// One collection; `NotFound` when there is none of that name.
    pub fn collection(&self, name: &str) -> Result<Arc<Collection>, EngineError> {
        Ok(self.store.get(name)?)
    }

    /// A new, empty collection for the engine's embedder; `Conflict` when the name is taken.
    pub fn create_collection(&self, name: &str) -> Result<Arc<Collection>, EngineError> {
        let embedder = self.models.embedder()?;
        Ok(self.store.create(name, embedder.info())?)
    }

    /// Deletes a collection with all it holds; `false` when there was none.
    pub fn delete_collection(&self, name: &str) -> Result<bool, EngineError> {
        Ok(self.store.delete(name)?)
    }

    /// The collection, once it is certain that the loaded embedder made its vectors.
    pub(crate) fn collection_for_embedder(&self, name: &str) -> Result<Arc<Collection>, EngineError> {
        let collection = self.store.get(name)?;
        let embedder = self.models.embedder()?;
        let (stored, loaded) = (collection.embedder(), embedder.info());
        if stored.fingerprint != loaded.fingerprint {
            return Err(EngineError::EmbedderMismatch {
                collection: name.to_owned(),
                stored: stored.model.clone(),
                loaded: loaded.model.clone(),
            });
        }
        Ok(collection)
    }
}
