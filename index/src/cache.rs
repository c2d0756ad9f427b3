//! The cache folder of a collection: segments, and the manifest that says which of them form the newest generation.
//!
//! Nothing here is needed: whatever is missing, damaged or older than the database remembers is rebuilt from it.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anser_core::storage;
use roaring::RoaringBitmap;
use serde::{Deserialize, Serialize};

use crate::ann::{Part, Segment, SegmentFiles, Snapshot};
use crate::database::{Identity, cache_folder};
use crate::{IndexError, Result};

/// Layout of the manifest and of the files it names.
const FORMAT: u32 = 1;
const MANIFEST_FILE: &str = "manifest.json";
const LOCK_FILE: &str = "seal.lock";
/// Begins the name of every segment's folder; its generation follows.
const SEGMENT_PREFIX: &str = "segment-";

/// The newest generation of segments.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Manifest {
    format: u32,
    /// The collection's random id.
    collection: String,
    /// Fingerprint of the embedder whose vectors these are.
    embedder: String,
    /// Rises with every manifest.
    pub(crate) generation: u64,
    /// The last change of the database that the segments reflect.
    pub(crate) seq: i64,
    segments: Vec<ManifestSegment>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ManifestSegment {
    files: SegmentFiles,
    /// Rows that no longer count, ascending.
    removed: Vec<u32>,
}

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

/// Proof that no other process makes a generation; released when dropped.
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

    /// The manifest on disk; `None` when there is none.
    pub(crate) fn manifest(&self) -> Result<Option<Manifest>> {
        let path = self.folder.join(MANIFEST_FILE);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(IndexError::io("read", &path)(e)),
        };
        let wrong = |reason: String| IndexError::corrupt(format!("manifest {}", path.display()), reason);
        let manifest: Manifest = serde_json::from_slice(&bytes).map_err(|e| wrong(e.to_string()))?;
        if manifest.format != FORMAT {
            return Err(wrong(format!("its format is {} instead of {FORMAT}", manifest.format)));
        }
        if manifest.collection != self.collection || manifest.embedder != self.embedder {
            return Err(wrong("it belongs to another collection".into()));
        }
        if let Some(odd) = manifest.segments.iter().find(|s| !is_segment_name(&s.files.folder)) {
            return Err(wrong(format!("it names an impossible folder {:?}", odd.files.folder)));
        }
        Ok(Some(manifest))
    }

    /// The snapshot that `manifest` describes. Segments that `known` has open are taken from there.
    pub(crate) fn open(&self, manifest: &Manifest, known: &[Part]) -> Result<Snapshot> {
        let mut parts = Vec::with_capacity(manifest.segments.len());
        for entry in &manifest.segments {
            let open = known.iter().find(|p| p.segment.files == entry.files).map(|p| Arc::clone(&p.segment));
            let segment = match open {
                Some(segment) => segment,
                None => Arc::new(Segment::open(&self.folder, &entry.files, self.dimension)?),
            };
            let removed = RoaringBitmap::from_sorted_iter(entry.removed.iter().copied())
                .ok()
                .filter(|rows| rows.max().is_none_or(|row| (row as usize) < segment.vectors.len()))
                .ok_or_else(|| IndexError::corrupt("manifest", "its removed rows are not rows of the segment"))?;
            parts.push(Part { segment, removed: Arc::new(removed) });
        }
        Ok(Snapshot::new(self.dimension, manifest.generation, manifest.seq, parts))
    }

    /// Takes the lock under which generations are made, waiting for it or not; `None` when another process has it.
    pub(crate) fn lock(&self, wait: bool) -> Result<Option<SealLock>> {
        let path = &self.lock;
        let file = File::options().create(true).truncate(false).write(true).open(path);
        let file = file.map_err(IndexError::io("open", path))?;
        if wait {
            file.lock().map_err(IndexError::io("lock", path))?;
        } else if let Err(e) = file.try_lock() {
            return match e {
                fs::TryLockError::WouldBlock => Ok(None),
                fs::TryLockError::Error(e) => Err(IndexError::io("lock", path)(e)),
            };
        }
        match fs::create_dir(&self.folder) {
            Err(e) if e.kind() != std::io::ErrorKind::AlreadyExists => {
                Err(IndexError::io("create the folder", &self.folder)(e))
            }
            _ => Ok(Some(SealLock { _file: file })),
        }
    }

    /// A fresh, empty folder for a segment of `generation`.
    pub(crate) fn new_segment_folder(&self, generation: u64, _lock: &SealLock) -> Result<String> {
        let name = format!("{SEGMENT_PREFIX}{generation:010}");
        let path = self.folder.join(&name);
        match fs::remove_dir_all(&path) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(IndexError::io("remove", &path)(e)),
            _ => {}
        }
        fs::create_dir(&path).map_err(IndexError::io("create the folder", &path))?;
        Ok(name)
    }

    /// Makes `parts`, which reflect changes up to `seq`, the newest generation.
    pub(crate) fn publish(&self, generation: u64, seq: i64, parts: &[Part], _lock: &SealLock) -> Result<()> {
        let segments = parts
            .iter()
            .map(|p| ManifestSegment { files: p.segment.files.clone(), removed: p.removed.iter().collect() });
        let manifest = Manifest {
            format: FORMAT,
            collection: self.collection.clone(),
            embedder: self.embedder.clone(),
            generation,
            seq,
            segments: segments.collect(),
        };
        let bytes = serde_json::to_vec(&manifest)
            .map_err(|e| IndexError::internal(format!("a manifest cannot be written as JSON: {e}")))?;
        storage::sync_folder(&self.folder)?;
        storage::write_atomic(&self.folder.join(MANIFEST_FILE), &bytes)?;
        Ok(())
    }

    /// Removes segments that are not among `parts`. Processes that still map them keep them until they let go.
    pub(crate) fn remove_others(&self, parts: &[Part], _lock: &SealLock) -> Result<()> {
        for entry in fs::read_dir(&self.folder).map_err(IndexError::io("list", &self.folder))? {
            let entry = entry.map_err(IndexError::io("list", &self.folder))?;
            let name = entry.file_name();
            let Some(name) = name.to_str().filter(|n| is_segment_name(n)) else { continue };
            if !parts.iter().any(|p| p.segment.files.folder == name) {
                fs::remove_dir_all(entry.path()).map_err(IndexError::io("remove", &entry.path()))?;
            }
        }
        Ok(())
    }
}

/// Whether `name` is one that [`Cache::new_segment_folder`] makes, and so leads nowhere else.
fn is_segment_name(name: &str) -> bool {
    name.strip_prefix(SEGMENT_PREFIX).is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
}
