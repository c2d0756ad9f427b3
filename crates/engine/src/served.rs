//! The models that are live: each is loaded when first needed and then shared.

use std::sync::Arc;

use anser_core::{Embedder, Generator, Reranker, Result};
use parking_lot::Mutex;

/// Loads models; implemented where the program is composed, the only place that knows what they are made of.
pub trait ModelLoader: Send + Sync {
    /// Name of the embedder that [`ModelLoader::embedder`] loads.
    fn embedder_name(&self) -> &str;
    /// Name of the reranker, or `None` when hits are not reranked.
    fn reranker_name(&self) -> Option<&str>;
    /// Name of the chat model.
    fn generator_name(&self) -> &str;
    /// Loads the embedder, downloading it when needed.
    fn embedder(&self) -> Result<Arc<dyn Embedder>>;
    /// Loads the reranker; called only when [`ModelLoader::reranker_name`] is `Some`.
    fn reranker(&self) -> Result<Arc<dyn Reranker>>;
    /// Loads the chat model, downloading it when needed.
    fn generator(&self) -> Result<Arc<dyn Generator>>;
}

/// What a served model is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServedRole {
    /// Texts to vectors.
    Embedder,
    /// Scores passages against a query.
    Reranker,
    /// Writes answers.
    Chat,
}

/// One model of this engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServedModel {
    /// Its name.
    pub name: String,
    /// What it is for.
    pub role: ServedRole,
    /// Whether it is in memory now.
    pub loaded: bool,
}

/// The live models. A failed load is not remembered: the next call tries again.
pub struct ServedModels {
    loader: Box<dyn ModelLoader>,
    embedder: Mutex<Option<Arc<dyn Embedder>>>,
    reranker: Mutex<Option<Arc<dyn Reranker>>>,
    generator: Mutex<Option<Arc<dyn Generator>>>,
}

impl ServedModels {
    /// Nothing is loaded yet.
    pub fn new(loader: impl ModelLoader + 'static) -> Self {
        Self {
            loader: Box::new(loader),
            embedder: Mutex::new(None),
            reranker: Mutex::new(None),
            generator: Mutex::new(None),
        }
    }

    /// The embedder, loaded if need be; callers that come meanwhile wait for the same load.
    pub fn embedder(&self) -> Result<Arc<dyn Embedder>> {
        get_or_load(&self.embedder, || self.loader.embedder())
    }

    /// The reranker, loaded if need be; `None` when this engine has none.
    pub fn reranker(&self) -> Result<Option<Arc<dyn Reranker>>> {
        if self.loader.reranker_name().is_none() {
            return Ok(None);
        }
        get_or_load(&self.reranker, || self.loader.reranker()).map(Some)
    }

    /// The chat model, loaded if need be.
    pub fn generator(&self) -> Result<Arc<dyn Generator>> {
        get_or_load(&self.generator, || self.loader.generator())
    }

    /// Every model of this engine, loaded or not. A model that is being loaded counts as not loaded.
    pub fn list(&self) -> Vec<ServedModel> {
        let served = |name: &str, role, loaded| ServedModel { name: name.to_owned(), role, loaded };
        let mut models = vec![
            served(self.loader.embedder_name(), ServedRole::Embedder, is_loaded(&self.embedder)),
            served(self.loader.generator_name(), ServedRole::Chat, is_loaded(&self.generator)),
        ];
        if let Some(name) = self.loader.reranker_name() {
            models.push(served(name, ServedRole::Reranker, is_loaded(&self.reranker)));
        }
        models
    }
}

fn get_or_load<T: ?Sized>(slot: &Mutex<Option<Arc<T>>>, load: impl FnOnce() -> Result<Arc<T>>) -> Result<Arc<T>> {
    let mut slot = slot.lock();
    if let Some(model) = slot.as_ref() {
        return Ok(Arc::clone(model));
    }
    let model = load()?;
    *slot = Some(Arc::clone(&model));
    Ok(model)
}

fn is_loaded<T: ?Sized>(slot: &Mutex<Option<Arc<T>>>) -> bool {
    slot.try_lock().is_some_and(|slot| slot.is_some())
}
