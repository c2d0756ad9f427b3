//! The models that are live: each is loaded when first needed and then shared.

mod tuned;

use std::sync::Arc;

use anser_core::{Embedder, Error, Generator, Reranker, Result};
use parking_lot::Mutex;

#[cfg(doc)]
use crate::Engine;
use crate::TunedModel;
use crate::embedding_cache::{CacheUser, EmbeddingCache, Reused};
use crate::tuning::TunedModels;
use tuned::TunedCache;

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
    /// Loads a tuned model; an adapter shares the base's weights with whoever else has loaded that base.
    fn tuned(&self, model: &TunedModel) -> Result<Arc<dyn Generator>>;
    /// Loads another base model than [`ModelLoader::generator`], to be measured beside what was tuned from it.
    fn other_base(&self, name: &str) -> Result<Arc<dyn Generator>> {
        Err(Error::not_found(format!("the model \"{name}\" is not served here; start with --chat {name}")))
    }
    /// Names of the models that can be fine-tuned.
    fn trainable(&self) -> Vec<String> {
        vec![self.generator_name().to_owned()]
    }
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
    /// The embedder of [`ServedModels::embedder`] and that of [`ServedModels::embedder_for_callers`], with the cache in front.
    cached_embedders: [Mutex<Option<Arc<dyn Embedder>>>; 2],
    cache: Option<Arc<EmbeddingCache>>,
    reranker: Mutex<Option<Arc<dyn Reranker>>>,
    generator: Mutex<Option<Arc<dyn Generator>>>,
    tuned: Option<(Arc<TunedModels>, TunedCache)>,
}

impl ServedModels {
    /// Nothing is loaded yet.
    pub fn new(loader: impl ModelLoader + 'static) -> Self {
        Self {
            loader: Box::new(loader),
            embedder: Mutex::new(None),
            cached_embedders: [const { Mutex::new(None) }; 2],
            cache: None,
            reranker: Mutex::new(None),
            generator: Mutex::new(None),
            tuned: None,
        }
    }

    /// Adds the tuned models of a data folder, of which so many bytes are kept in memory.
    pub(crate) fn attach(&mut self, models: Arc<TunedModels>, memory_bytes: u64) {
        self.tuned = Some((models, TunedCache::new(memory_bytes)));
    }

    /// Puts a cache in front of the embedder.
    pub(crate) fn attach_cache(&mut self, cache: Arc<EmbeddingCache>) {
        self.cache = Some(cache);
    }

    /// The embedder, loaded if need be; callers that come meanwhile wait for the same load. The vectors of the last queries
    /// are kept in memory, and of other texts none.
    pub fn embedder(&self) -> Result<Arc<dyn Embedder>> {
        let [questions, _] = &self.cached_embedders;
        get_or_load(questions, || Ok(self.cached_embedder(CacheUser::Questions)?.0))
    }

    /// The embedder for callers who want the vectors themselves: those of passages are kept on disk, where the engine was
    /// told to keep them.
    pub fn embedder_for_callers(&self) -> Result<Arc<dyn Embedder>> {
        let [_, callers] = &self.cached_embedders;
        get_or_load(callers, || Ok(self.cached_embedder(CacheUser::Callers)?.0))
    }

    /// The embedder for the documents of a collection, and how many texts it did not have to embed because their vectors
    /// were known.
    pub(crate) fn embedder_for(&self, collection: &str) -> Result<(Arc<dyn Embedder>, Reused)> {
        self.cached_embedder(CacheUser::Collection(collection))
    }

    fn cached_embedder(&self, user: CacheUser<'_>) -> Result<(Arc<dyn Embedder>, Reused)> {
        let embedder = get_or_load(&self.embedder, || self.loader.embedder())?;
        Ok(match &self.cache {
            Some(cache) => cache.in_front_of(embedder, user),
            None => (embedder, Reused::default()),
        })
    }

    /// The reranker, loaded if need be; `None` when this engine has none.
    pub fn reranker(&self) -> Result<Option<Arc<dyn Reranker>>> {
        if self.loader.reranker_name().is_none() {
            return Ok(None);
        }
        get_or_load(&self.reranker, || self.loader.reranker()).map(Some)
    }

    /// The base chat model, loaded if need be.
    pub fn generator(&self) -> Result<Arc<dyn Generator>> {
        get_or_load(&self.generator, || self.loader.generator())
    }

    /// Name of the base chat model.
    pub fn base_chat_model(&self) -> &str {
        self.loader.generator_name()
    }

    /// Names of the models that can be fine-tuned.
    pub fn trainable(&self) -> Vec<String> {
        self.loader.trainable()
    }

    /// A chat model, loaded if need be: the base, a tuned model or the base of one by its name, or, for `None`, the
    /// promoted one if there is one and else the base. `NotFound` when there is no model of that name.
    pub fn chat(&self, model: Option<&str>) -> Result<Arc<dyn Generator>> {
        let promoted;
        let name = match (model, &self.tuned) {
            (Some(name), _) => name,
            (None, Some((models, _))) => {
                promoted = models.promoted()?;
                promoted.as_deref().unwrap_or(self.base_chat_model())
            }
            (None, None) => self.base_chat_model(),
        };
        if name == self.base_chat_model() {
            return self.generator();
        }
        let Some((models, cache)) = &self.tuned else {
            return Err(Error::not_found(format!("there is no model with the name \"{name}\"")).with_param("model"));
        };
        if models.is_base(name)? {
            return cache.get_or_load(name, || self.loader.other_base(name));
        }
        // Another process may have deleted it.
        let tuned =
            models.get(name).inspect_err(|_| cache.forget(name)).map_err(|e| Error::from(e).with_param("model"))?;
        cache.get_or_load(name, || self.loader.tuned(&tuned))
    }

    /// Takes a tuned model out of memory. Whoever is using it finishes with it.
    pub(crate) fn forget(&self, model: &str) {
        if let Some((_, cache)) = &self.tuned {
            cache.forget(model);
        }
    }

    /// Whether the tuned model of that id is in memory.
    pub fn is_loaded(&self, id: &str) -> bool {
        self.tuned.as_ref().is_some_and(|(_, cache)| cache.is_loaded(id))
    }

    /// The models that this engine was started with, loaded or not; tuned ones are [`Engine::tuned_models`]. A model that is being loaded counts as not loaded.
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
