//! The cache folder: one folder for each model, proof of what was verified, locks between processes, scratch space.

use std::collections::BTreeMap;
use std::fs::{self, File, TryLockError};
use std::io::ErrorKind as IoKind;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use anser_core::Progress;
use anser_core::storage::{sha256_file, sync_folder, write_atomic};
use serde::{Deserialize, Serialize};
use tempfile::TempDir;

use crate::{FileSpec, ModelSpec, ModelsError};

/// In a model's folder: which files were verified, and how they looked then.
const STAMP_FILE: &str = ".verified.json";
/// In the cache folder: one lock file for each group of models that are fetched together.
const LOCK_FOLDER: &str = ".locks";
/// Beginning of the name of a scratch folder in the cache folder.
const SCRATCH_PREFIX: &str = ".pull-";

/// How one file of a model looks in the cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum FileState {
    /// The catalogue's bytes.
    Verified,
    /// Not there.
    Missing,
    /// There, with other bytes; why.
    Damaged(String),
}

/// A verified file as it looked then; while it looks the same it is not read again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Stamp {
    sha256: String,
    bytes: u64,
    modified_ns: u64,
}

/// The folder of one model in the cache.
pub(crate) struct ModelFolder<'a> {
    /// Where it lies.
    pub(crate) dir: PathBuf,
    spec: &'a ModelSpec,
}

impl<'a> ModelFolder<'a> {
    pub(crate) fn new(cache: &Path, spec: &'a ModelSpec) -> Self {
        Self { dir: cache.join(&spec.name), spec }
    }

    /// The state of every file, in the specification's order. A file is read only when it does not look as it did when
    /// it was last verified. What was learnt is recorded where the folder can be written to.
    pub(crate) fn check(&self) -> Result<Vec<FileState>, ModelsError> {
        let known = self.stamps();
        let mut stamps = BTreeMap::new();
        let mut states = Vec::with_capacity(self.spec.files.len());
        for file in &self.spec.files {
            let (state, stamp) = self.check_file(file, known.get(&file.name))?;
            if let Some(stamp) = stamp {
                stamps.insert(file.name.clone(), stamp);
            }
            states.push(state);
        }
        if stamps != known
            && self.dir.is_dir()
            && let Err(error) = self.write_stamps(&stamps)
        {
            tracing::debug!(%error, "verification could not be recorded; the files will be read again next time");
        }
        Ok(states)
    }

    fn check_file(&self, file: &FileSpec, known: Option<&Stamp>) -> Result<(FileState, Option<Stamp>), ModelsError> {
        let path = self.dir.join(&file.name);
        let Some(stamp) = stamp_of(&path, file)? else { return Ok((FileState::Missing, None)) };
        if stamp.bytes != file.bytes {
            let wrong = format!("{} holds {} bytes where {} belong", file.name, stamp.bytes, file.bytes);
            return Ok((FileState::Damaged(wrong), None));
        }
        if known == Some(&stamp) {
            return Ok((FileState::Verified, Some(stamp)));
        }
        let got = sha256_file(&path)?;
        if got != file.sha256 {
            let wrong = format!("{} has SHA-256 {got} where {} belongs", file.name, file.sha256);
            return Ok((FileState::Damaged(wrong), None));
        }
        Ok((FileState::Verified, Some(stamp)))
    }

    /// Moves the verified file at `from` to its place and records it.
    pub(crate) fn adopt(&self, file: &FileSpec, from: &Path) -> Result<(), ModelsError> {
        fs::create_dir_all(&self.dir).map_err(ModelsError::io("create the folder", &self.dir))?;
        let path = self.dir.join(&file.name);
        fs::rename(from, &path).map_err(ModelsError::io("put in place", &path))?;
        sync_folder(&self.dir)?;
        if let Some(stamp) = stamp_of(&path, file)? {
            let mut stamps = self.stamps();
            stamps.insert(file.name.clone(), stamp);
            self.write_stamps(&stamps)?;
        }
        Ok(())
    }

    /// Removes one file; a missing one is no error.
    pub(crate) fn discard(&self, file: &FileSpec) -> Result<(), ModelsError> {
        let path = self.dir.join(&file.name);
        match fs::remove_file(&path) {
            Err(e) if e.kind() != IoKind::NotFound => Err(ModelsError::io("remove", &path)(e)),
            _ => Ok(()),
        }
    }

    fn write_stamps(&self, stamps: &BTreeMap<String, Stamp>) -> Result<(), ModelsError> {
        let text = serde_json::to_vec_pretty(stamps)
            .map_err(|e| ModelsError::io("record", &self.dir.join(STAMP_FILE))(e.into()))?;
        Ok(write_atomic(&self.dir.join(STAMP_FILE), &text)?)
    }

    /// The recorded stamps. An unreadable record only means that the files are read again.
    fn stamps(&self) -> BTreeMap<String, Stamp> {
        let text = fs::read(self.dir.join(STAMP_FILE)).unwrap_or_default();
        serde_json::from_slice(&text).unwrap_or_default()
    }
}

/// How `path` looks now, under the hash it should have; `None` when there is no such file.
fn stamp_of(path: &Path, file: &FileSpec) -> Result<Option<Stamp>, ModelsError> {
    let meta = match fs::metadata(path) {
        Ok(meta) if meta.is_file() => meta,
        Ok(_) => return Ok(None),
        Err(e) if matches!(e.kind(), IoKind::NotFound | IoKind::NotADirectory) => return Ok(None),
        Err(e) => return Err(ModelsError::io("look at", path)(e)),
    };
    let modified = meta.modified().ok().and_then(|t| t.duration_since(UNIX_EPOCH).ok()).unwrap_or_default();
    let modified_ns = u64::try_from(modified.as_nanos()).unwrap_or(u64::MAX);
    Ok(Some(Stamp { sha256: file.sha256.clone(), bytes: meta.len(), modified_ns }))
}

/// The sole right, among threads and processes, to change what `key` names; ends with the value.
pub(crate) struct Lock {
    _file: File,
}

impl Lock {
    /// Waits for the lock, and says so through `progress` when that takes time.
    pub(crate) fn acquire(cache: &Path, key: &str, progress: &dyn Progress) -> Result<Self, ModelsError> {
        let folder = cache.join(LOCK_FOLDER);
        fs::create_dir_all(&folder).map_err(ModelsError::io("create the folder", &folder))?;
        let path = folder.join(format!("{key}.lock"));
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(ModelsError::io("open the lock file", &path))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                progress.note(&format!("Another download of {key} is running; waiting for it to finish."));
                file.lock().map_err(ModelsError::io("lock", &path))?;
            }
            Err(TryLockError::Error(e)) => return Err(ModelsError::io("lock", &path)(e)),
        }
        Ok(Self { _file: file })
    }
}

/// A folder in the cache for files on their way, removed when dropped. Take it only under the lock of the same `key`:
/// scratch folders of that key which are still there were left by a process that died, and are removed first.
pub(crate) fn scratch_folder(cache: &Path, key: &str) -> Result<TempDir, ModelsError> {
    // The dot after the key keeps one key from being the beginning of another's name.
    let prefix = format!("{SCRATCH_PREFIX}{key}.");
    for entry in fs::read_dir(cache).map_err(ModelsError::io("list", cache))?.flatten() {
        let stale = entry
            .file_name()
            .to_str()
            .is_some_and(|name| name.strip_prefix(&prefix).is_some_and(|rest| !rest.contains('.')));
        if stale && let Err(error) = fs::remove_dir_all(entry.path()) {
            tracing::warn!(folder = %entry.path().display(), %error, "a left-over scratch folder cannot be removed");
        }
    }
    tempfile::Builder::new().prefix(&prefix).tempdir_in(cache).map_err(ModelsError::io("create a folder in", cache))
}
