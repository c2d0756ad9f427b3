//! The engine: collections and models under one roof. What it does with them lives in the folders beside this file.

use std::sync::Arc;

use anser_core::storage::{DataDir, check_name};
use anser_core::{EmbedderInfo, Trainer};
use anser_index::{Collection, CollectionInfo, IndexOptions, Store};

use crate::analysis::{Analysis, AnalysisJobs, AnalysisParts};
use crate::compaction::CompactionJobs;
use crate::control::ControlDatabase;
use crate::embedding_cache::{EmbeddingCache, EmbeddingCacheStatistics};
use crate::files::FileStore;
use crate::jobs::{JobKind, Jobs, MemoryBudget};
use crate::moderation::ModerationFilter;
use crate::predictors::PredictorStore;
use crate::reembed::ReembedJobs;
use crate::tuning::{FineTuning, TunedModels};
use crate::{EngineError, ServedModels};

/// Most numbers of a vector that documents bring along.
pub(crate) const MAX_DIMENSION: usize = 65_536;

/// Settings that hold for the whole engine.
#[derive(Debug, Clone)]
pub struct EngineOptions {
    /// How collections are stored and searched.
    pub index: IndexOptions,
    /// Stands in the names of tuned models; 1 to 64 letters, digits, `-`, `_` and `.`.
    pub organization: String,
    /// Largest uploaded file, in bytes.
    pub max_file_bytes: u64,
    /// Memory that tuned models may take together, in bytes, beside the bases that they share.
    pub tuned_memory_bytes: u64,
    /// Memory that the analyses that this process runs may take together, in bytes. One that needs more by itself fails,
    /// one that must wait for others waits.
    pub job_memory_bytes: u64,
    /// Disk that vectors of texts embedded before may take, so that the same texts need not be embedded again; 0 keeps none.
    pub embedding_cache_bytes: u64,
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self {
            index: IndexOptions::default(),
            organization: "anser".to_owned(),
            max_file_bytes: 512 << 20,
            tuned_memory_bytes: 1 << 30,
            job_memory_bytes: u64::MAX,
            embedding_cache_bytes: 0,
        }
    }
}

/// Everything that commands and HTTP handlers call. Share it in an [`Arc`]; all methods take `&self`.
pub struct Engine {
    pub(crate) data: DataDir,
    pub(crate) store: Arc<Store>,
    pub(crate) control: Arc<ControlDatabase>,
    pub(crate) files: Arc<FileStore>,
    pub(crate) jobs: Arc<Jobs>,
    pub(crate) tuned: Arc<TunedModels>,
    pub(crate) trainer: Option<Arc<dyn Trainer>>,
    pub(crate) organization: String,
    pub(crate) moderation: ModerationFilter,
    pub(crate) analyses: Arc<AnalysisParts>,
    embedding_cache: Arc<EmbeddingCache>,
    models: Arc<ServedModels>,
}

impl Engine {
    /// Opens what lies below `data`. Without a trainer nothing can be fine-tuned, and fine-tuning jobs are left to
    /// processes that have one.
    pub fn open(
        data: &DataDir,
        mut models: ServedModels,
        trainer: Option<Arc<dyn Trainer>>,
        options: EngineOptions,
    ) -> Result<Self, EngineError> {
        let EngineOptions {
            index,
            organization,
            max_file_bytes,
            tuned_memory_bytes,
            job_memory_bytes,
            embedding_cache_bytes,
        } = options;
        check_name("organization", &organization)?;
        let control = Arc::new(ControlDatabase::open(&data.control_database())?);
        let files = Arc::new(FileStore::open(Arc::clone(&control), data.clone(), max_file_bytes)?);
        let tuned = Arc::new(TunedModels::open(Arc::clone(&control), data.clone())?);
        let fine_tuning = trainer.clone().map(|trainer| {
            let (database, files, tuned) = (Arc::clone(&control), Arc::clone(&files), Arc::clone(&tuned));
            Box::new(FineTuning { trainer, database, data: data.clone(), files, tuned }) as Box<dyn JobKind>
        });
        models.attach(Arc::clone(&tuned), tuned_memory_bytes);
        let embedding_cache = EmbeddingCache::new(data.embedding_cache(), embedding_cache_bytes);
        models.attach_cache(Arc::clone(&embedding_cache));
        let models = Arc::new(models);
        let store = Arc::new(Store::open(data, index)?);
        let parts = Arc::new(AnalysisParts {
            data: data.clone(),
            store: Arc::clone(&store),
            files: Arc::clone(&files),
            models: Arc::clone(&models),
            predictors: PredictorStore::new(Arc::clone(&control)),
        });
        let analyses =
            Analysis::KINDS.map(|kind| Box::new(AnalysisJobs { kind, parts: Arc::clone(&parts) }) as Box<dyn JobKind>);
        let reembedding: Box<dyn JobKind> =
            Box::new(ReembedJobs { store: Arc::clone(&store), models: Arc::clone(&models) });
        let compaction: Box<dyn JobKind> =
            Box::new(CompactionJobs { store: Arc::clone(&store), embedding_cache: Arc::clone(&embedding_cache) });
        let kinds = fine_tuning.into_iter().chain(analyses).chain([reembedding, compaction]).collect();
        let jobs =
            Arc::new(Jobs::open(Arc::clone(&control), data.clone(), kinds, MemoryBudget::new(job_memory_bytes))?);
        let moderation = ModerationFilter::new(data.root());
        Ok(Self {
            data: data.clone(),
            store,
            control,
            files,
            jobs,
            tuned,
            trainer,
            organization,
            moderation,
            analyses: parts,
            embedding_cache,
            models,
        })
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

    /// A new, empty collection for vectors that documents bring along, made by what its owner calls `vectors`; `Conflict`
    /// when the name is taken.
    pub fn create_external_collection(
        &self,
        name: &str,
        vectors: &str,
        dimension: usize,
    ) -> Result<Arc<Collection>, EngineError> {
        if vectors.trim().is_empty() {
            return Err(EngineError::invalid("embedding", "the name of the vectors is empty; say what makes them"));
        }
        if !(1..=MAX_DIMENSION).contains(&dimension) {
            let message = format!("the dimension is {dimension}, but must lie between 1 and {MAX_DIMENSION}");
            return Err(EngineError::invalid("embedding", message));
        }
        Ok(self.store.create(name, &EmbedderInfo::external(vectors.trim(), dimension))?)
    }

    /// Deletes a collection with all it holds, vectors kept of its texts included; `false` when there was none.
    pub fn delete_collection(&self, name: &str) -> Result<bool, EngineError> {
        // Before, so that a crash in between leaves nothing behind that nobody asks about again; and after, for what an ingest
        // that was under way brought meanwhile.
        if !self.store.names()?.iter().any(|stored| stored == name) {
            return Ok(self.store.delete(name)?);
        }
        self.embedding_cache.forget_collection(name);
        let deleted = self.store.delete(name)?;
        if !self.embedding_cache.forget_collection(name) {
            tracing::warn!(
                collection = name,
                "vectors of this collection's texts may be left in the cache; `anser cache clear` removes them"
            );
        }
        Ok(deleted)
    }

    /// What the cache of vectors holds, and how often a vector was found in it since this process started.
    pub fn embedding_cache(&self) -> EmbeddingCacheStatistics {
        self.embedding_cache.statistics()
    }

    /// Removes all vectors that are kept of texts embedded before. `false` when another process still reads an older state,
    /// so that they stay in the log of the file until it is done.
    pub fn clear_embedding_cache(&self) -> bool {
        self.embedding_cache.clear()
    }

    /// The collection, once it is certain that the loaded embedder made its vectors.
    pub(crate) fn collection_for_embedder(&self, name: &str) -> Result<Arc<Collection>, EngineError> {
        collection_for_embedder(&self.store, &self.models, name)
    }

    /// Whether the loaded embedder made the collection's vectors: `Conflict` where it did not.
    pub(crate) fn check_embedder(&self, collection: &Collection) -> Result<(), EngineError> {
        check_embedder(&self.models, collection)
    }
}

/// The collection of a store, once it is certain that the loaded embedder made its vectors.
pub(crate) fn collection_for_embedder(
    store: &Store,
    models: &ServedModels,
    name: &str,
) -> Result<Arc<Collection>, EngineError> {
    let collection = store.get(name)?;
    check_embedder(models, &collection)?;
    Ok(collection)
}

fn check_embedder(models: &ServedModels, collection: &Collection) -> Result<(), EngineError> {
    let embedder = models.embedder()?;
    let (stored, loaded) = (collection.embedder(), embedder.info());
    if stored.fingerprint != loaded.fingerprint {
        return Err(EngineError::EmbedderMismatch {
            collection: collection.name().to_owned(),
            stored: stored.model.clone(),
            loaded: loaded.model.clone(),
        });
    }
    Ok(())
}
