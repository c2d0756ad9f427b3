//! Bytes on their way to becoming a stored file.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use anser_core::storage::{self, DataDir};
use rusqlite::Connection;

use super::{FilePurpose, FileStatus, StoredFile, record};
use crate::EngineError;
use crate::control::{new_id, unix_now};

/// A file being written, locked so that no other process takes it for a leftover. Dropping it removes it.
#[derive(Debug)]
pub(super) struct Draft {
    place: Place,
    file: BufWriter<File>,
    bytes: u64,
}

/// Where the bytes lie now. Removed when dropped, unless they were kept.
#[derive(Debug)]
struct Place {
    id: String,
    path: PathBuf,
    kept: bool,
}

impl Drop for Place {
    fn drop(&mut self) {
        if !self.kept
            && let Err(error) = fs::remove_file(&self.path)
        {
            tracing::warn!(%error, path = %self.path.display(), "an unfinished file could not be removed");
        }
    }
}

impl Draft {
    /// An empty file in the folder of files.
    pub(super) fn create(data: &DataDir) -> Result<Self, EngineError> {
        let id = new_id("file");
        let folder = data.files();
        fs::create_dir_all(&folder).map_err(|e| EngineError::io("create the folder", &folder, e))?;
        let path = folder.join(format!(".{id}"));
        // Another process may sweep the file between its creation and its lock; then it is made again.
        loop {
            let created = File::options().read(true).write(true).create(true).truncate(true).open(&path);
            let file = created.map_err(|e| EngineError::io("create", &path, e))?;
            file.lock().map_err(|e| EngineError::io("lock", &path, e))?;
            if path.exists() {
                let place = Place { id, path, kept: false };
                return Ok(Self { place, file: BufWriter::with_capacity(1 << 16, file), bytes: 0 });
            }
        }
    }

    /// Appends bytes.
    pub(super) fn append(&mut self, bytes: &[u8]) -> Result<(), EngineError> {
        self.file.write_all(bytes).map_err(|e| EngineError::io("write", &self.place.path, e))?;
        self.bytes += bytes.len() as u64;
        Ok(())
    }

    /// Bytes written so far.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Everything written so far, for reading.
    pub(super) fn written(&mut self) -> Result<&Path, EngineError> {
        self.file.flush().map_err(|e| EngineError::io("write", &self.place.path, e))?;
        Ok(&self.place.path)
    }

    /// Puts the bytes, durably, where they will stay.
    pub(super) fn settle(
        mut self,
        data: &DataDir,
        filename: &str,
        purpose: FilePurpose,
        expires_at: Option<i64>,
    ) -> Result<StagedFile, EngineError> {
        self.written()?;
        let failed = |action| move |path: &Path, e| EngineError::io(action, path, e);
        self.file.get_ref().sync_all().map_err(|e| failed("sync")(&self.place.path, e))?;
        let sha256 = storage::sha256_file(&self.place.path)?;
        let target = data.file(&self.place.id)?;
        fs::rename(&self.place.path, &target).map_err(|e| failed("move a file to")(&target, e))?;
        self.place.path = target;
        storage::sync_folder(&data.files())?;
        let stored = StoredFile {
            id: self.place.id.clone(),
            bytes: self.bytes,
            sha256,
            created_at: unix_now(),
            filename: filename.to_owned(),
            purpose,
            status: FileStatus::Processed,
            status_details: None,
            expires_at,
        };
        Ok(StagedFile { stored, place: self.place, _lock: self.file })
    }
}

/// Bytes that lie where they will stay, but are not a file before their row is written. Dropping it removes them, unless
/// they were [kept](Self::keep).
#[derive(Debug)]
pub(crate) struct StagedFile {
    pub(crate) stored: StoredFile,
    place: Place,
    _lock: BufWriter<File>,
}

impl StagedFile {
    /// A file of ours with these bytes.
    pub(crate) fn write(
        data: &DataDir,
        filename: &str,
        purpose: FilePurpose,
        bytes: &[u8],
    ) -> Result<Self, EngineError> {
        let mut draft = Draft::create(data)?;
        draft.append(bytes)?;
        draft.settle(data, filename, purpose, None)
    }

    /// Writes the row.
    pub(crate) fn insert(&self, connection: &Connection) -> Result<(), EngineError> {
        record::insert(connection, &self.stored)
    }

    /// To be called once the transaction that holds the row is committed.
    pub(crate) fn keep(mut self) -> StoredFile {
        self.place.kept = true;
        self.stored.clone()
    }
}
