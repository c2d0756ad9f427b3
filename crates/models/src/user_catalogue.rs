//! The models that the user added: a catalogue as JSON, in the cache folder.

use std::fs;
use std::io::ErrorKind as IoKind;
use std::path::Path;

use anser_core::NoProgress;
use anser_core::storage::write_atomic;

use crate::cache::Lock;
use crate::{Catalogue, ModelSpec, ModelsError};

/// Name of the file in the cache folder, and of the lock under which it is changed.
const FILE: &str = "catalogue.json";
const LOCK: &str = ".catalogue";

/// Whether a model cannot have this name, because the list lies where its folder would.
pub(crate) fn is_reserved(name: &str) -> bool {
    name.eq_ignore_ascii_case(FILE)
}

/// The user's catalogue in `cache`; empty when there is none.
pub(crate) fn read(cache: &Path) -> Result<Catalogue, ModelsError> {
    let path = cache.join(FILE);
    let text = match fs::read(&path) {
        Ok(text) => text,
        Err(e) if matches!(e.kind(), IoKind::NotFound | IoKind::NotADirectory) => b"{}".to_vec(),
        Err(e) => return Err(ModelsError::io("read", &path)(e)),
    };
    Catalogue::from_json(&text).map_err(|error| match error {
        ModelsError::Catalogue(reason) => ModelsError::Catalogue(format!("{reason}, in {}", path.display())),
        other => other,
    })
}

/// Adds a model. The caller has made sure that its name is free.
pub(crate) fn add(cache: &Path, model: &ModelSpec) -> Result<(), ModelsError> {
    change(cache, |models| models.push(model.clone()))
}

/// Takes the model `name` out and says whether it was there.
pub(crate) fn forget(cache: &Path, name: &str) -> Result<bool, ModelsError> {
    if read(cache)?.find(name).is_err() {
        return Ok(false);
    }
    change(cache, |models| models.retain(|model| model.name != name))?;
    Ok(true)
}

fn change(cache: &Path, change: impl FnOnce(&mut Vec<ModelSpec>)) -> Result<(), ModelsError> {
    fs::create_dir_all(cache).map_err(ModelsError::io("create the folder", cache))?;
    let _lock = Lock::acquire(cache, LOCK, &NoProgress)?;
    let mut models = read(cache)?.models().to_vec();
    change(&mut models);
    let text = Catalogue::to_json(&models)?;
    // What could not be read again must not be written.
    Catalogue::from_json(&text)?;
    Ok(write_atomic(&cache.join(FILE), &text)?)
}
