//! Puts the parts together: settings in, a working engine out. The only place that knows both the engine and the
//! crates that load models.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anser_core::storage::DataDir;
use anser_core::{Embedder, Generator, Progress, Reranker};
use anser_embed::{EmbedOptions, OnnxEmbedder, OnnxReranker};
use anser_engine::{Engine, EngineOptions, IndexOptions, ModelLoader, ServedModels, TunedModel};
use anser_generate::{GeneratorOptions, LlamaGenerator};
use anser_models::{ModelFiles, ModelStore, ModelStoreOptions};

use crate::config::Settings;
use crate::failure::Failure;

/// Name of the weights in the folder of a catalogued chat model.
const CHAT_WEIGHTS: &str = "model.gguf";

/// The models that the settings name, found or downloaded as needed.
pub(crate) fn model_store(settings: &Settings) -> ModelStore {
    ModelStore::new(ModelStoreOptions {
        cache: settings.models_dir.clone(),
        offline: settings.offline,
        local: settings.local_models.clone(),
        python: settings.python.clone(),
    })
}

/// Where a model's weights lie: the GGUF file of a model of the catalogue, fetched when needed, or the file or folder that
/// a path names.
pub(crate) fn locate(store: &ModelStore, name: &str, progress: &dyn Progress) -> anser_core::Result<PathBuf> {
    if store.catalogue().find(name).is_ok() || !Path::new(name).exists() {
        return Ok(store.ensure(name, progress)?.path(CHAT_WEIGHTS)?);
    }
    Ok(PathBuf::from(name))
}

/// An engine over the data folder of `settings`. Models are loaded when first used; `progress` shows their download.
pub(crate) fn engine(settings: &Settings, progress: Arc<dyn Progress>) -> Result<Arc<Engine>, Failure> {
    let data = DataDir::open(&settings.data_dir)?;
    let loader = Loader { store: model_store(settings), settings: settings.clone(), progress };
    let index = IndexOptions { threads: settings.threads, ..IndexOptions::default() };
    let options = EngineOptions { index, ..EngineOptions::default() };
    Ok(Arc::new(Engine::open(&data, ServedModels::new(loader), None, options)?))
}

struct Loader {
    store: ModelStore,
    settings: Settings,
    progress: Arc<dyn Progress>,
}

impl Loader {
    fn files(&self, name: &str) -> anser_core::Result<ModelFiles> {
        Ok(self.store.ensure(name, self.progress.as_ref())?)
    }

    fn embed_options(&self) -> EmbedOptions {
        EmbedOptions { threads: self.settings.threads, ..EmbedOptions::default() }
    }
}

impl ModelLoader for Loader {
    fn embedder_name(&self) -> &str {
        &self.settings.embedder
    }

    fn reranker_name(&self) -> Option<&str> {
        self.settings.reranker.as_deref()
    }

    fn generator_name(&self) -> &str {
        &self.settings.chat
    }

    fn embedder(&self) -> anser_core::Result<Arc<dyn Embedder>> {
        let files = self.files(&self.settings.embedder)?;
        let runtime = self.store.ensure_runtime(self.progress.as_ref())?;
        Ok(Arc::new(OnnxEmbedder::load(&files, &runtime, &self.embed_options())?))
    }

    fn reranker(&self) -> anser_core::Result<Arc<dyn Reranker>> {
        let name =
            self.settings.reranker.as_deref().ok_or_else(|| anser_core::Error::internal("no reranker is set"))?;
        let files = self.files(name)?;
        let runtime = self.store.ensure_runtime(self.progress.as_ref())?;
        Ok(Arc::new(OnnxReranker::load(&files, &runtime, &self.embed_options())?))
    }

    fn generator(&self) -> anser_core::Result<Arc<dyn Generator>> {
        let files = self.files(&self.settings.chat)?;
        let options = GeneratorOptions { threads: self.settings.threads, ..GeneratorOptions::default() };
        Ok(Arc::new(LlamaGenerator::load(&files, &options)?))
    }

    fn tuned(&self, model: &TunedModel) -> anser_core::Result<Arc<dyn Generator>> {
        let message = format!("the tuned model {} cannot be served by this program", model.id);
        Err(anser_core::Error::new(anser_core::ErrorKind::Unavailable, message))
    }
}
