//! Puts the parts together: settings in, a working engine out. The only place that knows both the engine and the
//! crates that load models.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};

use anser_core::storage::DataDir;
use anser_core::{Embedder, Generator, NoProgress, Progress, Reranker, TrainedKind, Trainer};
use anser_embed::{EmbedError, EmbedOptions, EngineChoice, OnnxReranker, RuntimeLibrary, TextEmbedder};
use anser_engine::{Engine, EngineOptions, IndexOptions, ModelLoader, ServedModels, TunedModel};
use anser_generate::{GeneratorOptions, LlamaGenerator, LoraAdapter};
use anser_models::{ModelFiles, ModelRole, ModelStatus, ModelStore, ModelStoreOptions};
use anser_tune::{LocalTrainer, TrainerOptions};
use parking_lot::Mutex;

use crate::config::Settings;
use crate::failure::Failure;

/// Name of the weights in the folder of a catalogued chat model.
const CHAT_WEIGHTS: &str = "model.gguf";

/// File below the data folder in which training notes how fast this machine is.
const MEASURED_SPEEDS: &str = "throughput.json";

/// File below the data folder in which embedding notes how fast each engine is on this machine.
const MEASURED_ENGINES: &str = "engines.json";

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
    let bases = Mutex::default();
    let loader = Loader { store: model_store(settings), settings: settings.clone(), progress, bases };
    let index = IndexOptions { threads: settings.threads, ..IndexOptions::default() };
    let options = EngineOptions {
        index,
        organization: settings.organization.clone(),
        embedding_cache_bytes: settings.embedding_cache.saturating_mul(1 << 20),
        tuned_memory_bytes: settings.tuned_memory.saturating_mul(1 << 20),
        job_memory_bytes: settings
            .job_memory
            .map_or_else(half_of_memory, |mebibytes| mebibytes.saturating_mul(1 << 20)),
        ..EngineOptions::default()
    };
    let trainer: Arc<dyn Trainer> = Arc::new(trainer(settings));
    Ok(Arc::new(Engine::open(&data, ServedModels::new(loader), Some(trainer), options)?))
}

/// Half of the memory of this machine, or of what its control group allows, in bytes.
fn half_of_memory() -> u64 {
    let mut system = sysinfo::System::new();
    system.refresh_memory();
    let total = system.total_memory();
    let allowed = system.cgroup_limits().map_or(total, |limits| limits.total_memory.min(total));
    // A system that does not tell sets no bound.
    if allowed == 0 { u64::MAX } else { allowed / 2 }
}

/// What trains here; the speeds that it measures are kept beside the data.
pub(crate) fn trainer(settings: &Settings) -> LocalTrainer {
    let options = TrainerOptions {
        threads: settings.threads,
        device: settings.device,
        throughput: Some(settings.data_dir.join(MEASURED_SPEEDS)),
        ..TrainerOptions::default()
    };
    let store = model_store(settings);
    LocalTrainer::new(options, Box::new(move |name: &str, progress: &dyn Progress| locate(&store, name, progress)))
}

/// How the settings want texts embedded; what is measured of engines is kept beside the data.
pub(crate) fn embed_options(settings: &Settings) -> EmbedOptions {
    EmbedOptions {
        threads: settings.threads,
        device: settings.device,
        engine: settings.embed_engine,
        format: settings.embed_format,
        measurements: Some(settings.data_dir.join(MEASURED_ENGINES)),
        ..EmbedOptions::default()
    }
}

/// What was measured of the engines that can run the embedder `name`, if it is here and was measured.
pub(crate) fn measured_engines(settings: &Settings, name: &str) -> Option<EngineChoice> {
    let store = model_store(&Settings { offline: true, ..settings.clone() });
    let files = store.ensure_embedder(name, &NoProgress).ok()?;
    anser_embed::recorded_choice(&files, &embed_options(settings))
}

struct Loader {
    store: ModelStore,
    settings: Settings,
    progress: Arc<dyn Progress>,
    /// Chat models in use. Whoever serves one keeps it; this only finds it again.
    bases: Mutex<HashMap<String, Weak<LlamaGenerator>>>,
}

impl Loader {
    fn files(&self, name: &str) -> anser_core::Result<ModelFiles> {
        Ok(self.store.ensure(name, self.progress.as_ref())?)
    }

    /// A base model, shared with everybody who is using it now. `folder` is where it lies, if that is known.
    fn base(&self, name: &str, folder: Option<&Path>) -> anser_core::Result<Arc<LlamaGenerator>> {
        // Held while loading, so that two adapters that are asked for at once wait for one base.
        let mut bases = self.bases.lock();
        if let Some(base) = bases.get(name).and_then(Weak::upgrade) {
            return Ok(base);
        }
        let path = match folder {
            Some(folder) => folder.to_owned(),
            None => locate(&self.store, name, self.progress.as_ref())?,
        };
        let base = Arc::new(LlamaGenerator::open(name, &path, &self.generator_options())?);
        bases.insert(name.to_owned(), Arc::downgrade(&base));
        Ok(base)
    }

    fn generator_options(&self) -> GeneratorOptions {
        GeneratorOptions { threads: self.settings.threads, device: self.settings.device, ..GeneratorOptions::default() }
    }
}

impl RuntimeLibrary for Loader {
    fn obtain(&self) -> Result<PathBuf, EmbedError> {
        Ok(self.store.ensure_runtime(self.progress.as_ref())?)
    }

    fn is_here(&self) -> bool {
        let status = self.store.catalogue().runtime().and_then(|spec| self.store.status(&spec.name));
        matches!(status, Ok(ModelStatus::Present { .. }))
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
        let files = self.store.ensure_embedder(&self.settings.embedder, self.progress.as_ref())?;
        Ok(Arc::new(TextEmbedder::load(&files, self, &embed_options(&self.settings))?))
    }

    fn reranker(&self) -> anser_core::Result<Arc<dyn Reranker>> {
        let name =
            self.settings.reranker.as_deref().ok_or_else(|| anser_core::Error::internal("no reranker is set"))?;
        let files = self.files(name)?;
        let runtime = self.store.ensure_runtime(self.progress.as_ref())?;
        Ok(Arc::new(OnnxReranker::load(&files, &runtime, &embed_options(&self.settings))?))
    }

    fn generator(&self) -> anser_core::Result<Arc<dyn Generator>> {
        Ok(self.base(&self.settings.chat, None)?)
    }

    fn other_base(&self, name: &str) -> anser_core::Result<Arc<dyn Generator>> {
        Ok(self.base(name, None)?)
    }

    fn tuned(&self, model: &TunedModel) -> anser_core::Result<Arc<dyn Generator>> {
        if model.kind == TrainedKind::Full {
            return Ok(Arc::new(LlamaGenerator::open(&model.id, &model.folder, &self.generator_options())?));
        }
        let base = self.base(&model.base, model.base_folder.as_deref())?;
        Ok(Arc::new(base.with_adapter(&model.id, LoraAdapter::read(&model.folder)?)?))
    }

    fn trainable(&self) -> Vec<String> {
        let chat = self.store.catalogue().models().iter().filter(|spec| spec.role == ModelRole::Chat);
        let mut names: Vec<String> = chat.map(|spec| spec.name.clone()).collect();
        if !names.contains(&self.settings.chat) {
            names.push(self.settings.chat.clone());
        }
        names
    }
}
