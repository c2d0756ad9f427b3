//! The cache folder of a collection: segments, and the manifest that says which of them are searched.
//!
//! Nothing here is needed: whatever is missing, damaged or older than the database remembers is rebuilt from it.

mod manifest;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anser_core::storage;
use roaring::RoaringBitmap;

pub(crate) use self::manifest::Manifest;
use self::manifest::ManifestSegment;
use crate::ann::{Part, Segment, Snapshot};
use crate::database::{Identity, cache_folder};
use crate::{IndexError, Result};

const MANIFEST_FILE: &str = "manifest.json";
const LOCK_FILE: &str = "seal.lock";
/// Begins the name of every segment's folder; the number of its first manifest follows.
const SEGMENT_PREFIX: &str = "segment-";
/// Begins the name of a file that was never finished.
const UNFINISHED_PREFIX: &str = ".tmp";

/// The folder and whose cache it is.
#[derive(Debug)]
pub(crate) struct Cache {
    folder: PathBuf,
    /// Lies beside the folder: whoever deletes the cache must not take the lock away from those who hold it.
    lock: PathBuf,
    collection: String,
    embedder: String,
    dimension: usize,
}

/// Proof that nobody else makes segments; released when dropped.
#[derive(Debug)]
pub(crate) struct SealLock {
    _file: File,
}

impl Cache {
    /// The cache in the collection's folder.
    pub(crate) fn new(collection_folder: &Path, identity: &Identity) -> Self {
        Self {
            folder: collection_folder.join(cache_folder(identity.generation)),
            lock: collection_folder.join(LOCK_FILE),
            collection: identity.id.clone(),
            embedder: identity.embedder.fingerprint.clone(),
            dimension: identity.embedder.dimension,
        }
    }

    /// The folder that holds the segments' folders.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The manifest on disk; `None` when there is none. `NewerFormat` for one that a newer version wrote, `Corrupt` for one
    /// that cannot be used.
    pub(crate) fn manifest(&self) -> Result<Option<Manifest>> {
        let path = self.folder.join(MANIFEST_FILE);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(IndexError::io("read", &path)(e)),
        };
        let manifest = Manifest::decode(&bytes, &path)?;
        let wrong = |reason: String| IndexError::corrupt(format!("manifest {}", path.display()), reason);
        if manifest.collection != self.collection || manifest.embedder != self.embedder {
            return Err(wrong("it belongs to another collection".into()));
        }
        if let Some(odd) = manifest.segments.iter().find(|s| !is_segment_name(&s.files.folder)) {
            return Err(wrong(format!("it names an impossible folder {:?}", odd.files.folder)));
        }
        Ok(Some(manifest))
    }

    /// The snapshot that `manifest` describes, and whether it is all of it: segments whose vectors are damaged or missing
    /// are left out. Segments that `known` has open are taken from there.
    pub(crate) fn open(&self, manifest: &Manifest, known: &[Part]) -> Result<(Snapshot, bool)> {
        let mut parts = Vec::with_capacity(manifest.segments.len());
        for entry in &manifest.segments {
            let open = known.iter().find(|p| p.segment.files == entry.files).map(|p| Arc::clone(&p.segment));
            let segment = match open {
                Some(segment) => segment,
                None => match Segment::open(&self.folder, &entry.files, self.dimension) {
                    Ok(segment) => Arc::new(segment),
                    Err(e) => {
                        tracing::warn!(error = %e, rows = entry.files.rows, "a vector segment cannot be used");
                        continue;
                    }
                },
            };
            let removed = RoaringBitmap::from_sorted_iter(entry.removed.iter().copied())
                .ok()
                .filter(|rows| rows.max().is_none_or(|row| (row as usize) < segment.vectors.len()))
                .ok_or_else(|| IndexError::corrupt("manifest", "its removed rows are not rows of the segment"))?;
            parts.push(Part { segment, removed: Arc::new(removed) });
        }
        let complete = parts.len() == manifest.segments.len();
        Ok((Snapshot::new(self.dimension, manifest.number, manifest.seq, parts), complete))
    }

    /// Takes the lock under which segments are made; `None` when another process, or another part of this one, has it.
    pub(crate) fn lock(&self) -> Result<Option<SealLock>> {
        let path = &self.lock;
        let file = File::options().create(true).truncate(false).write(true).open(path);
        let file = file.map_err(IndexError::io("open", path))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => return Ok(None),
            Err(fs::TryLockError::Error(e)) => return Err(IndexError::io("lock", path)(e)),
        }
        match fs::create_dir(&self.folder) {
            Err(e) if e.kind() != std::io::ErrorKind::AlreadyExists => {
                Err(IndexError::io("create the folder", &self.folder)(e))
            }
            _ => Ok(Some(SealLock { _file: file })),
        }
    }

    /// A fresh, empty folder for a segment that the manifest `number` is the first to name. It vanishes again unless it is
    /// kept.
    pub(crate) fn new_segment_folder(&self, number: u64, _lock: &SealLock) -> Result<SegmentFolder> {
        let name = format!("{SEGMENT_PREFIX}{number:010}");
        let path = self.folder.join(&name);
        match fs::remove_dir_all(&path) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(IndexError::io("remove", &path)(e)),
            _ => {}
        }
        fs::create_dir(&path).map_err(IndexError::io("create the folder", &path))?;
        Ok(SegmentFolder { name, path, kept: false })
    }

    /// The number of the next manifest after `known` and the one on disk.
    pub(crate) fn next_number(&self, known: u64, _lock: &SealLock) -> Result<u64> {
        let on_disk = match self.manifest() {
            Ok(manifest) => manifest.map_or(0, |manifest| manifest.number),
            Err(e @ IndexError::NewerFormat { .. }) => return Err(e),
            Err(_) => 0,
        };
        Ok(on_disk.max(known) + 1)
    }

    /// Makes `parts`, which reflect changes up to `seq`, those that are searched.
    pub(crate) fn publish(&self, number: u64, seq: i64, parts: &[Part], _lock: &SealLock) -> Result<()> {
        let (collection, embedder) = (self.collection.clone(), self.embedder.clone());
        let segments = parts.iter().map(ManifestSegment::of).collect();
        let bytes = Manifest { collection, embedder, number, seq, segments }.encode()?;
        storage::sync_folder(&self.folder)?;
        storage::write_atomic(&self.folder.join(MANIFEST_FILE), &bytes)?;
        Ok(())
    }

    /// Removes segments that the manifest does not name, and files that were never finished. Processes that still map them
    /// keep them until they let go. What a newer version wrote is left alone.
    pub(crate) fn remove_leftovers(&self, _lock: &SealLock) -> Result<()> {
        let manifest = match self.manifest() {
            Ok(manifest) => manifest,
            Err(e @ IndexError::NewerFormat { .. }) => return Err(e),
            Err(_) => None,
        };
        let named = |name: &str| manifest.as_ref().is_some_and(|m| m.names(name));
        for entry in fs::read_dir(&self.folder).map_err(IndexError::io("list", &self.folder))? {
            let entry = entry.map_err(IndexError::io("list", &self.folder))?;
            let (name, path) = (entry.file_name(), entry.path());
            let Some(name) = name.to_str() else { continue };
            if is_segment_name(name) && !named(name) {
                fs::remove_dir_all(&path).map_err(IndexError::io("remove", &path))?;
            } else if name.starts_with(UNFINISHED_PREFIX) {
                fs::remove_file(&path).map_err(IndexError::io("remove", &path))?;
            }
        }
        Ok(())
    }
}

/// The folder of a segment that is being made.
#[derive(Debug)]
pub(crate) struct SegmentFolder {
    name: String,
    path: PathBuf,
    kept: bool,
}

impl SegmentFolder {
    /// Its name in the cache folder.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Where it lies.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The manifest names it now.
    pub(crate) fn keep(mut self) {
        self.kept = true;
    }
}

impl Drop for SegmentFolder {
    fn drop(&mut self) {
        if !self.kept
            && let Err(e) = fs::remove_dir_all(&self.path)
        {
            tracing::warn!(folder = %self.path.display(), error = %e, "cannot remove an unfinished vector segment yet");
        }
    }
}

/// Whether `name` is one that [`Cache::new_segment_folder`] makes, and so leads nowhere else.
fn is_segment_name(name: &str) -> bool {
    name.strip_prefix(SEGMENT_PREFIX).is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
}
