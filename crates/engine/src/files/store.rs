//! The stored files: their rows, their bytes, and what was left by processes that died.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anser_core::storage::DataDir;
use rusqlite::{Connection, ToSql};

use super::{FilePurpose, StagedFile, StoredFile, record};
use crate::control::{ControlDatabase, Listing, list, unix_now};
use crate::{EngineError, Page, PageRequest};

/// All files of a data folder.
pub(crate) struct FileStore {
    database: Arc<ControlDatabase>,
    data: DataDir,
    max_bytes: u64,
}

impl FileStore {
    /// Opens the store and sweeps what has no row.
    pub(crate) fn open(database: Arc<ControlDatabase>, data: DataDir, max_bytes: u64) -> Result<Self, EngineError> {
        let store = Self { database, data, max_bytes };
        store.expire()?;
        store.sweep()?;
        Ok(store)
    }

    pub(super) fn data(&self) -> &DataDir {
        &self.data
    }

    pub(super) fn max_bytes(&self) -> u64 {
        self.max_bytes
    }

    pub(super) fn insert(&self, staged: StagedFile) -> Result<StoredFile, EngineError> {
        self.database.write(|tx| staged.insert(tx))?;
        Ok(staged.keep())
    }

    pub(super) fn list(
        &self,
        purpose: Option<FilePurpose>,
        page: &PageRequest,
    ) -> Result<Page<StoredFile>, EngineError> {
        self.expire()?;
        let now = unix_now();
        let purpose = purpose.map(FilePurpose::as_str);
        let values: [&dyn ToSql; 3] = [&now, &purpose, &purpose];
        let condition = "(expires_at IS NULL OR expires_at > ?) AND (? IS NULL OR purpose = ?)";
        let listing = Listing { table: "files", columns: record::COLUMNS, condition, values: &values };
        self.database.read(|connection| list(connection, &listing, page, record::read))
    }

    /// One file; `NotFound` when there is none of that id.
    pub(crate) fn get(&self, id: &str) -> Result<StoredFile, EngineError> {
        self.database.read(|connection| Self::find(connection, id))
    }

    /// One file, as part of a transaction.
    pub(crate) fn find(connection: &Connection, id: &str) -> Result<StoredFile, EngineError> {
        record::find(connection, id, unix_now())?.ok_or_else(|| unknown(id))
    }

    /// Where the bytes of a file lie; `NotFound` when there is none of that id.
    pub(crate) fn path(&self, id: &str) -> Result<PathBuf, EngineError> {
        self.get(id)?;
        Ok(self.data.file(id)?)
    }

    /// A file that an unfinished job holds: it is there even when its time is over.
    pub(crate) fn held(&self, id: &str) -> Result<StoredFile, EngineError> {
        self.database.read(|connection| record::find(connection, id, i64::MIN))?.ok_or_else(|| unknown(id))
    }

    /// Where the bytes of [`held`](Self::held) files lie.
    pub(crate) fn held_path(&self, id: &str) -> Result<PathBuf, EngineError> {
        self.held(id)?;
        Ok(self.data.file(id)?)
    }

    pub(super) fn delete(&self, id: &str) -> Result<(), EngineError> {
        self.database.write(|tx| {
            let sql = format!("DELETE FROM files WHERE id = ?1 AND {}", record::UNUSED);
            if tx.execute(&sql, [id])? > 0 {
                return Ok(());
            }
            Self::find(tx, id)?;
            Err(EngineError::WrongState {
                message: format!("the file {id} is needed by a job that has not ended; wait for it or cancel it first"),
            })
        })?;
        self.remove_bytes(id)
    }

    /// Deletes files whose time is over and that no unfinished job needs.
    pub(crate) fn expire(&self) -> Result<(), EngineError> {
        let now = unix_now();
        let due = format!("expires_at <= ?1 AND {}", record::UNUSED);
        let any: bool = self.database.read(|connection| {
            let sql = format!("SELECT EXISTS (SELECT 1 FROM files WHERE {due})");
            Ok(connection.query_row(&sql, [now], |row| row.get(0))?)
        })?;
        if !any {
            return Ok(());
        }
        let expired = self.database.write(|tx| {
            let mut statement = tx.prepare(&format!("DELETE FROM files WHERE {due} RETURNING id"))?;
            let ids = statement.query_map([now], |row| row.get::<_, String>(0))?.collect::<Result<Vec<_>, _>>()?;
            Ok(ids)
        })?;
        expired.iter().try_for_each(|id| self.remove_bytes(id))
    }

    fn remove_bytes(&self, id: &str) -> Result<(), EngineError> {
        let path = self.data.file(id)?;
        match fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(EngineError::io("delete", path, error)),
            _ => Ok(()),
        }
    }

    /// Removes bytes that have no row and that nobody is writing.
    fn sweep(&self) -> Result<(), EngineError> {
        let folder = self.data.files();
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(EngineError::io("list the folder", folder, error)),
        };
        for entry in entries {
            let entry = entry.map_err(|e| EngineError::io("list the folder", &folder, e))?;
            let name = entry.file_name();
            let Some(name) = name.to_str().filter(|name| name.trim_start_matches('.').starts_with("file-")) else {
                continue;
            };
            if let Err(error) = self.sweep_one(name, &entry.path()) {
                tracing::warn!(%error, path = %entry.path().display(), "a leftover file could not be removed");
            }
        }
        Ok(())
    }

    fn sweep_one(&self, name: &str, path: &Path) -> Result<(), EngineError> {
        if self.has_row(name)? {
            return Ok(());
        }
        let file = match File::options().read(true).write(true).open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(EngineError::io("open", path, error)),
        };
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(()),
            Err(TryLockError::Error(error)) => return Err(EngineError::io("lock", path, error)),
        }
        // Whoever wrote it may have finished between the two looks.
        if self.has_row(name)? {
            return Ok(());
        }
        fs::remove_file(path).map_err(|e| EngineError::io("delete", path, e))
    }

    fn has_row(&self, name: &str) -> Result<bool, EngineError> {
        let sql = "SELECT EXISTS (SELECT 1 FROM files WHERE id = ?1)";
        self.database.read(|connection| Ok(connection.query_row(sql, [name], |row| row.get(0))?))
    }
}

fn unknown(id: &str) -> EngineError {
    EngineError::not_found(format!("there is no file with the id \"{id}\""))
}
