//! Bringing a trained model from the folder of its run to where tuned models lie.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anser_core::storage::{self, DataDir};
use serde_json::Value;

use super::naming::PARTIAL;
use crate::EngineError;

/// Name of the file beside a model that says how it came about.
const PROVENANCE_FILE: &str = "provenance.json";

/// A folder where tuned models lie, not yet owned by one. Dropping it removes it, unless it was [kept](Self::keep).
#[derive(Debug)]
pub(super) struct InstalledFolder {
    pub(super) path: PathBuf,
    pub(super) bytes: u64,
    kept: bool,
}

impl InstalledFolder {
    /// Copies the model in `source`, by links where the file system has them, and puts `provenance` beside it. What an
    /// earlier attempt that died has left under that name is replaced.
    pub(super) fn create(data: &DataDir, name: &str, source: &Path, provenance: &Value) -> Result<Self, EngineError> {
        let path = data.tuned_model(name)?;
        let parent = data.root().join("tuned");
        fs::create_dir_all(&parent).map_err(|e| EngineError::io("create the folder", &parent, e))?;
        let partial = parent.join(format!("{PARTIAL}{name}"));
        remove(&partial)?;
        remove(&path)?;
        link_tree(source, &partial)?;
        let text = serde_json::to_vec_pretty(provenance)
            .map_err(|e| EngineError::internal(format!("the record of a model cannot be written: {e}")))?;
        storage::write_atomic(&partial.join(PROVENANCE_FILE), &text)?;
        let bytes = size(&partial)?;
        fs::rename(&partial, &path).map_err(|e| EngineError::io("move a model to", &path, e))?;
        let installed = Self { path, bytes, kept: false };
        storage::sync_folder(&parent)?;
        Ok(installed)
    }

    /// To be called once the model's row is committed.
    pub(super) fn keep(mut self) {
        self.kept = true;
    }
}

impl Drop for InstalledFolder {
    fn drop(&mut self) {
        if !self.kept
            && let Err(error) = remove(&self.path)
        {
            tracing::warn!(%error, "the folder of a model that was not kept stays until the next start");
        }
    }
}

/// What the trainer wrote about the model, as an object; empty when it wrote nothing.
pub(super) fn written_provenance(folder: &Path) -> serde_json::Map<String, Value> {
    let text = fs::read_to_string(folder.join(PROVENANCE_FILE)).unwrap_or_default();
    serde_json::from_str(&text).unwrap_or_default()
}

fn remove(folder: &Path) -> Result<(), EngineError> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(EngineError::io("remove the folder", folder, error))
        }
        _ => Ok(()),
    }
}

fn link_tree(source: &Path, target: &Path) -> Result<(), EngineError> {
    fs::create_dir_all(target).map_err(|e| EngineError::io("create the folder", target, e))?;
    for entry in fs::read_dir(source).map_err(|e| EngineError::io("list the folder", source, e))? {
        let entry = entry.map_err(|e| EngineError::io("list the folder", source, e))?;
        let (from, to) = (entry.path(), target.join(entry.file_name()));
        if from.is_dir() {
            link_tree(&from, &to)?;
            continue;
        }
        if fs::hard_link(&from, &to).is_err() {
            fs::copy(&from, &to).map_err(|e| EngineError::io("copy a model to", &to, e))?;
        }
        File::open(&to).and_then(|file| file.sync_all()).map_err(|e| EngineError::io("sync", &to, e))?;
    }
    Ok(storage::sync_folder(target)?)
}

fn size(folder: &Path) -> Result<u64, EngineError> {
    let mut bytes = 0;
    for entry in fs::read_dir(folder).map_err(|e| EngineError::io("list the folder", folder, e))? {
        let entry = entry.map_err(|e| EngineError::io("list the folder", folder, e))?;
        let metadata = entry.metadata().map_err(|e| EngineError::io("read", entry.path(), e))?;
        bytes += if metadata.is_dir() { size(&entry.path())? } else { metadata.len() };
    }
    Ok(bytes)
}
