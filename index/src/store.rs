//! All collections of a data folder.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anser_core::EmbedderInfo;
use anser_core::storage::{self, DataDir};
use parking_lot::Mutex;

use crate::collection::info;
use crate::database::{self, DATABASE_FILE, Database, DatabaseCheck, Salvage};
use crate::{Collection, CollectionInfo, IndexError, IndexOptions, Result};

/// Begins the name of a folder whose collection is being deleted. No collection can be called so.
const DELETED_PREFIX: &str = ".deleted-";
/// Begins the name of a folder whose collection is being created.
const CREATING_PREFIX: &str = ".creating-";
/// A creation that has not finished by then was interrupted.
const CREATING_PATIENCE: Duration = Duration::from_hours(1);

/// The collections of a data folder. Several stores, in this process or others, may share a folder.
#[derive(Debug)]
pub struct Store {
    data: DataDir,
    options: IndexOptions,
    open: Mutex<HashMap<String, Slot>>,
}

/// The open collection of one name. Its lock is held while it is opened, created or deleted, so that one that takes long
/// does not hold up the others.
type Slot = Arc<Mutex<Option<Arc<Collection>>>>;

impl Store {
    /// The collections below `data`. Leftovers of interrupted deletions are removed.
    pub fn open(data: &DataDir, options: IndexOptions) -> Result<Self> {
        let folder = data.collections();
        fs::create_dir_all(&folder).map_err(IndexError::io("create the folder", &folder))?;
        let store = Self { data: data.clone(), options, open: Mutex::default() };
        store.remove_leftovers()?;
        Ok(store)
    }

    /// What there is, by name. A collection that cannot be read is left out and logged.
    pub fn list(&self) -> Result<Vec<CollectionInfo>> {
        let mut found = Vec::new();
        for name in self.names()? {
            let path = self.data.collection(&name)?;
            match Database::open(&path.join(DATABASE_FILE)).and_then(|database| info(&name, &path, &database)) {
                Ok(info) => found.push(info),
                Err(e) => tracing::warn!(collection = %name, error = %e, "left out of the list"),
            }
        }
        Ok(found)
    }

    /// The names of all collections in order, those that cannot be opened among them.
    pub fn names(&self) -> Result<Vec<String>> {
        let folder = self.data.collections();
        let mut names = Vec::new();
        for entry in fs::read_dir(&folder).map_err(IndexError::io("list", &folder))? {
            let entry = entry.map_err(IndexError::io("list", &folder))?;
            let Some(name) = entry.file_name().to_str().map(str::to_owned) else { continue };
            if self.data.collection(&name).is_ok() && entry.path().join(DATABASE_FILE).is_file() {
                names.push(name);
            }
        }
        names.sort();
        Ok(names)
    }

    /// Creates an empty collection for the vectors of `embedder`.
    ///
    /// # Errors
    /// `Conflict` when there is one of that name, `InvalidInput` when the name or the embedder's dimension is impossible.
    pub fn create(&self, name: &str, embedder: &EmbedderInfo) -> Result<Arc<Collection>> {
        let folder = self.data.collection(name)?;
        if embedder.dimension == 0 || i32::try_from(embedder.dimension).is_err() {
            return Err(IndexError::invalid_param(
                format!("the embedder \"{}\" claims vectors of {} dimensions", embedder.model, embedder.dimension),
                "embedder",
            ));
        }
        let slot = self.slot(name);
        let mut open = slot.lock();
        let exists = || IndexError::Exists { name: name.to_owned() };
        if folder.join(DATABASE_FILE).exists() {
            return Err(exists());
        }
        if folder.exists() {
            self.bury(name, &folder)?;
        }
        let parent = self.data.collections();
        let fresh = parent.join(format!("{CREATING_PREFIX}{}", uuid::Uuid::now_v7()));
        fs::create_dir(&fresh).map_err(IndexError::io("create the folder", &fresh))?;
        let made = Database::create(&fresh.join(DATABASE_FILE), embedder)
            .and_then(|()| Ok(storage::sync_folder(&fresh)?))
            .and_then(|()| match fs::rename(&fresh, &folder) {
                // Another process was quicker: a folder with something in it is not replaced.
                Err(_) if folder.join(DATABASE_FILE).exists() => Err(exists()),
                other => other.map_err(IndexError::io("create the folder", &folder)),
            });
        if let Err(e) = made {
            remove_folder(&fresh);
            return Err(e);
        }
        storage::sync_folder(&parent)?;
        let collection = Arc::new(Collection::open(name, &folder, &self.options)?);
        *open = Some(Arc::clone(&collection));
        Ok(collection)
    }

    /// The collection called `name`.
    ///
    /// # Errors
    /// `NotFound` when there is none.
    pub fn get(&self, name: &str) -> Result<Arc<Collection>> {
        let folder = self.data.collection(name)?;
        let slot = self.slot(name);
        let mut open = slot.lock();
        if let Some(collection) = open.take() {
            if !collection.is_at(&folder) {
                // Another process deleted it, and perhaps created another of that name.
                collection.close_deleted();
            } else if collection.is_current()? {
                return Ok(Arc::clone(open.insert(collection)));
            } else {
                collection.stop();
            }
        }
        if !folder.join(DATABASE_FILE).exists() {
            return Err(IndexError::NotFound { name: name.to_owned() });
        }
        let collection = Arc::new(Collection::open(name, &folder, &self.options)?);
        *open = Some(Arc::clone(&collection));
        Ok(collection)
    }

    /// Deletes a collection with all it holds; false when there is none. Whoever still uses it gets `NotFound`.
    pub fn delete(&self, name: &str) -> Result<bool> {
        let folder = self.data.collection(name)?;
        let slot = self.slot(name);
        let mut open = slot.lock();
        if let Some(collection) = open.take() {
            collection.close_deleted();
        }
        if !folder.exists() {
            return Ok(false);
        }
        let existed = folder.join(DATABASE_FILE).exists();
        self.bury(name, &folder)?;
        Ok(existed)
    }

    /// Looks at every page of a collection's database, which may take minutes for a large one.
    ///
    /// # Errors
    /// `NotFound` when there is no collection of that name; damage is no error here but what it tells.
    pub fn check(&self, name: &str) -> Result<DatabaseCheck> {
        let path = self.data.collection(name)?.join(DATABASE_FILE);
        if !path.exists() {
            return Err(IndexError::NotFound { name: name.to_owned() });
        }
        database::check(&path)
    }

    /// Saves every row of a damaged collection that can still be read into a fresh database that takes its place. The damaged
    /// file stays beside it under another name unless `keep_damaged` is false. No other process may have the collection open.
    ///
    /// # Errors
    /// `NotFound` when there is no collection of that name, `Corrupt` when too little can be read to save anything; then
    /// nothing is changed.
    pub fn salvage(&self, name: &str, keep_damaged: bool) -> Result<Salvage> {
        let path = self.data.collection(name)?.join(DATABASE_FILE);
        let slot = self.slot(name);
        let mut open = slot.lock();
        if let Some(collection) = open.take() {
            collection.close_deleted();
        }
        if !path.exists() {
            return Err(IndexError::NotFound { name: name.to_owned() });
        }
        database::salvage(&path, keep_damaged)
    }

    fn slot(&self, name: &str) -> Slot {
        Arc::clone(self.open.lock().entry(name.to_owned()).or_default())
    }

    /// Takes a folder out of sight in one step, then removes it; a crash in between leaves only something that the next
    /// store removes.
    fn bury(&self, name: &str, folder: &Path) -> Result<()> {
        let parent = self.data.collections();
        let grave = parent.join(format!("{DELETED_PREFIX}{name}-{}", uuid::Uuid::now_v7()));
        fs::rename(folder, &grave).map_err(IndexError::io("remove", folder))?;
        storage::sync_folder(&parent)?;
        remove_folder(&grave);
        Ok(())
    }

    fn remove_leftovers(&self) -> Result<()> {
        let parent = self.data.collections();
        for entry in fs::read_dir(&parent).map_err(IndexError::io("list", &parent))? {
            let entry = entry.map_err(IndexError::io("list", &parent))?;
            let name = entry.file_name();
            let name = name.to_string_lossy();
            let age = entry.metadata().and_then(|m| m.modified()).ok().and_then(|t| t.elapsed().ok());
            let interrupted = name.starts_with(CREATING_PREFIX) && age.is_some_and(|age| age > CREATING_PATIENCE);
            if name.starts_with(DELETED_PREFIX) || interrupted {
                remove_folder(&entry.path());
            }
        }
        Ok(())
    }
}

/// Removes a folder that nobody can see any more; what cannot be removed now is removed by a later store.
fn remove_folder(folder: &PathBuf) {
    if let Err(e) = fs::remove_dir_all(folder)
        && e.kind() != std::io::ErrorKind::NotFound
    {
        tracing::warn!(folder = %folder.display(), error = %e, "cannot remove a deleted collection yet");
    }
}
