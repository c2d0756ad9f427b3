//! The folder of the keyword index: pieces, and the manifest that says which of them form the newest generation.
//!
//! Nothing here is needed: whatever is missing, damaged or does not fit the database is made anew from it.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use anser_core::storage;
use roaring::RoaringBitmap;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use super::part::Part;
use super::snapshot::{Snapshot, View};
use crate::{IndexError, Result};

/// Layout of the manifest and of the files it names, and the way texts become terms: each change of these makes the folder
/// one that is made anew.
const FORMAT: u32 = 1;
const FOLDER: &str = "keywords";
const MANIFEST_FILE: &str = "manifest.json";
const LOCK_FILE: &str = "keywords.lock";
/// Begins the name of every piece's folder; generation and number follow.
const PART_PREFIX: &str = "part-";
/// Bytes read at once when a file is checked.
const CHECK_BYTES: usize = 1 << 20;

/// The manifest as it is stored: a document and its checksum.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sealed {
    /// XXH3 of `manifest`, as hexadecimal digits.
    checksum: String,
    /// A [`Manifest`] as JSON.
    manifest: String,
}

/// The newest generation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Manifest {
    format: u32,
    /// The collection's random id.
    collection: String,
    /// Rises with every manifest.
    pub(super) generation: u64,
    /// The last change whose removals it reflects.
    pub(super) seq: i64,
    /// The highest chunk id that was taken in.
    last_chunk: u64,
    parts: Vec<ManifestPart>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ManifestPart {
    folder: String,
    rows: u32,
    /// Rows that no longer count, ascending.
    removed: Vec<u32>,
    files: Vec<FileSum>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct FileSum {
    name: String,
    bytes: u64,
    /// XXH3 of its bytes, as hexadecimal digits.
    checksum: String,
}

/// The folder and whose it is.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    /// Lies beside the folder: whoever deletes that must not take the lock away from those who hold it.
    lock: PathBuf,
    collection: String,
}

/// Proof that no other process makes a generation; released when dropped.
#[derive(Debug)]
pub(super) struct FolderLock {
    _file: File,
}

impl Folder {
    /// The keyword index in the folder of the collection with the random id `collection`.
    pub(super) fn new(collection_folder: &Path, collection: &str) -> Self {
        Self {
            path: collection_folder.join(FOLDER),
            lock: collection_folder.join(LOCK_FILE),
            collection: collection.to_owned(),
        }
    }

    /// Where it lies.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The manifest on disk; `None` when there is none.
    pub(super) fn manifest(&self) -> Result<Option<Manifest>> {
        let path = self.path.join(MANIFEST_FILE);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(IndexError::io("read", &path)(e)),
        };
        let wrong = |reason: String| IndexError::corrupt(format!("manifest {}", path.display()), reason);
        let sealed: Sealed = serde_json::from_slice(&bytes).map_err(|e| wrong(e.to_string()))?;
        if sealed.checksum != hexadecimal(xxh3_64(sealed.manifest.as_bytes())) {
            return Err(wrong("its checksum is wrong".into()));
        }
        let manifest: Manifest = serde_json::from_str(&sealed.manifest).map_err(|e| wrong(e.to_string()))?;
        if manifest.format != FORMAT {
            return Err(wrong(format!("its format is {} instead of {FORMAT}", manifest.format)));
        }
        if manifest.collection != self.collection {
            return Err(wrong("it belongs to another collection".into()));
        }
        if let Some(odd) = manifest.parts.iter().find(|part| !is_part_name(&part.folder)) {
            return Err(wrong(format!("it names an impossible folder {:?}", odd.folder)));
        }
        Ok(Some(manifest))
    }

    /// The state that `manifest` describes, every byte of it checked.
    pub(super) fn open(&self, manifest: &Manifest) -> Result<Snapshot> {
        let mut views: Vec<View> = Vec::with_capacity(manifest.parts.len());
        for entry in &manifest.parts {
            let folder = self.path.join(&entry.folder);
            let wrong = |reason: String| IndexError::corrupt(format!("keyword index {}", folder.display()), reason);
            for file in &entry.files {
                if is_odd_name(&file.name) || sum(&folder.join(&file.name))? != (file.bytes, file.checksum.clone()) {
                    return Err(wrong(format!("the checksum of {:?} is wrong", file.name)));
                }
            }
            let part = Part::open(&self.path, &entry.folder, entry.rows)?;
            let removed = RoaringBitmap::from_sorted_iter(entry.removed.iter().copied())
                .ok()
                .filter(|rows| rows.max().is_none_or(|row| row < part.rows))
                .ok_or_else(|| wrong("its removed rows are not rows of it".into()))?;
            views.push(View::new(part.into(), removed));
        }
        let Manifest { seq, last_chunk, generation, .. } = *manifest;
        Ok(Snapshot { seq, last_chunk, generation, views })
    }

    /// Whether the pieces of `state` that are on disk are still there.
    pub(super) fn holds(&self, state: &Snapshot) -> bool {
        let mut folders = state.views.iter().filter_map(|view| view.part.folder.as_deref());
        folders.all(|folder| self.path.join(folder).join("meta.json").exists())
    }

    /// Removes what an interrupted process left beside the pieces of `state`, unless another is at work.
    pub(super) fn tidy(&self, state: &Snapshot) {
        if !self.path.is_dir() {
            return;
        }
        let tidied = self.lock(false).and_then(|lock| match lock {
            // A generation that was made since has other pieces.
            Some(lock) if self.manifest()?.map_or(0, |manifest| manifest.generation) == state.generation => {
                self.remove_others(state, &lock)
            }
            _ => Ok(()),
        });
        if let Err(e) = tidied {
            tracing::debug!(error = %e, "what was left in the keyword index stays there");
        }
    }

    /// Takes the lock under which generations are made, waiting for it or not; `None` when another process has it.
    pub(super) fn lock(&self, wait: bool) -> Result<Option<FolderLock>> {
        let file = File::options().create(true).truncate(false).write(true).open(&self.lock);
        let file = file.map_err(IndexError::io("open", &self.lock))?;
        if wait {
            file.lock().map_err(IndexError::io("lock", &self.lock))?;
        } else if let Err(e) = file.try_lock() {
            return match e {
                fs::TryLockError::WouldBlock => Ok(None),
                fs::TryLockError::Error(e) => Err(IndexError::io("lock", &self.lock)(e)),
            };
        }
        match fs::create_dir(&self.path) {
            Err(e) if e.kind() != std::io::ErrorKind::AlreadyExists => {
                Err(IndexError::io("create the folder", &self.path)(e))
            }
            _ => Ok(Some(FolderLock { _file: file })),
        }
    }

    /// A fresh, empty folder for a piece of `generation`.
    pub(super) fn new_part(&self, generation: u64, number: usize, _lock: &FolderLock) -> Result<String> {
        let name = format!("{PART_PREFIX}{generation:010}-{number}");
        let path = self.path.join(&name);
        match fs::remove_dir_all(&path) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(IndexError::io("remove", &path)(e)),
            _ => {}
        }
        fs::create_dir(&path).map_err(IndexError::io("create the folder", &path))?;
        Ok(name)
    }

    /// Makes `state`, whose pieces are all on disk, the newest generation.
    pub(super) fn publish(&self, state: &Snapshot, _lock: &FolderLock) -> Result<()> {
        let mut parts = Vec::with_capacity(state.views.len());
        for view in &state.views {
            let Some(folder) = view.part.folder.clone() else {
                return Err(IndexError::internal("a piece of the keyword index in memory cannot be published"));
            };
            let files = self.files(&folder)?;
            parts.push(ManifestPart { folder, rows: view.part.rows, removed: view.removed.iter().collect(), files });
        }
        let manifest = Manifest {
            format: FORMAT,
            collection: self.collection.clone(),
            generation: state.generation,
            seq: state.seq,
            last_chunk: state.last_chunk,
            parts,
        };
        let broken = |e: serde_json::Error| IndexError::internal(format!("a manifest cannot be written as JSON: {e}"));
        let manifest = serde_json::to_string(&manifest).map_err(broken)?;
        let sealed = Sealed { checksum: hexadecimal(xxh3_64(manifest.as_bytes())), manifest };
        storage::sync_folder(&self.path)?;
        storage::write_atomic(&self.path.join(MANIFEST_FILE), &serde_json::to_vec(&sealed).map_err(broken)?)?;
        Ok(())
    }

    /// The files of a piece with their checksums, by name.
    fn files(&self, folder: &str) -> Result<Vec<FileSum>> {
        let path = self.path.join(folder);
        let mut files = Vec::new();
        for entry in fs::read_dir(&path).map_err(IndexError::io("list", &path))? {
            let entry = entry.map_err(IndexError::io("list", &path))?;
            let Some(name) = entry.file_name().to_str().map(str::to_owned) else { continue };
            // Locks of tantivy come and go.
            if Path::new(&name).extension().is_some_and(|end| end == "lock") {
                continue;
            }
            let (bytes, checksum) = sum(&entry.path())?;
            files.push(FileSum { name, bytes, checksum });
        }
        files.sort_by(|a, b| a.name.cmp(&b.name));
        storage::sync_folder(&path)?;
        Ok(files)
    }

    /// Removes pieces that `state` does not have. Processes that still map them keep them until they let go.
    pub(super) fn remove_others(&self, state: &Snapshot, _lock: &FolderLock) -> Result<()> {
        for entry in fs::read_dir(&self.path).map_err(IndexError::io("list", &self.path))? {
            let entry = entry.map_err(IndexError::io("list", &self.path))?;
            let name = entry.file_name();
            let Some(name) = name.to_str().filter(|name| is_part_name(name)) else { continue };
            if !state.views.iter().any(|view| view.part.folder.as_deref() == Some(name)) {
                fs::remove_dir_all(entry.path()).map_err(IndexError::io("remove", &entry.path()))?;
            }
        }
        Ok(())
    }
}

/// Whether `name` is one that [`Folder::new_part`] makes, and so leads nowhere else.
fn is_part_name(name: &str) -> bool {
    name.strip_prefix(PART_PREFIX)
        .is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_digit() || b == b'-'))
}

/// Whether a file's name could lead out of its folder.
fn is_odd_name(name: &str) -> bool {
    name.is_empty() || name.contains(['/', '\\']) || name.contains("..")
}

fn hexadecimal(sum: u64) -> String {
    format!("{sum:016x}")
}

/// Length and checksum of a file.
fn sum(path: &Path) -> Result<(u64, String)> {
    let mut file = File::open(path).map_err(IndexError::io("open", path))?;
    let (mut hash, mut bytes) = (Xxh3::new(), 0u64);
    let mut block = vec![0; CHECK_BYTES];
    loop {
        let read = file.read(&mut block).map_err(IndexError::io("read", path))?;
        if read == 0 {
            return Ok((bytes, hexadecimal(hash.digest())));
        }
        bytes += read as u64;
        hash.update(block.get(..read).unwrap_or_default());
    }
}
