//! A saved database taking the place of the damaged one, and what that leaves beside it.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anser_core::storage;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use super::{DATABASE_FILE, Database};
use crate::{IndexError, Result};

/// How long a writer of the damaged database is waited for.
const LOCK_PATIENCE: Duration = Duration::from_secs(2);
/// Begins what follows the database's name in that of a fresh one that is being made ...
pub(super) const FRESH: &str = "salvaged";
/// ... and of a damaged one that was kept.
const KEPT: &str = "damaged";

/// Keeps others from writing to the database at `path` for as long as it is held; `None` when it is too damaged for that.
pub(super) fn write_lock(path: &Path) -> Result<Option<Connection>> {
    let lock = || -> rusqlite::Result<Connection> {
        let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        // What is in the log is read from there, and stays there in the file that is kept.
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        connection.busy_timeout(LOCK_PATIENCE)?;
        connection.execute_batch("BEGIN IMMEDIATE")?;
        Ok(connection)
    };
    match lock() {
        Ok(connection) => Ok(Some(connection)),
        Err(e) if e.sqlite_error_code() == Some(rusqlite::ErrorCode::DatabaseBusy) => {
            Err(IndexError::database("save what is left while somebody writes to", path)(e))
        }
        Err(_) => Ok(None),
    }
}

impl Database {
    /// Removes what interrupted salvages left beside the file. False when a damaged database was kept there.
    pub(crate) fn remove_salvages(&self) -> Result<bool> {
        let folder = storage::folder_of(&self.path);
        // Whoever salvages holds the write lock.
        self.transact(|_| {
            let mut none_kept = true;
            for entry in fs::read_dir(folder).map_err(IndexError::io("list", folder))? {
                let entry = entry.map_err(IndexError::io("list", folder))?;
                let name = entry.file_name();
                let Some((DATABASE_FILE, rest)) =
                    name.to_str().and_then(|name| name.split_at_checked(DATABASE_FILE.len()))
                else {
                    continue;
                };
                if rest.starts_with(&format!(".{FRESH}-")) {
                    fs::remove_file(entry.path()).map_err(IndexError::io("remove", &entry.path()))?;
                }
                none_kept &= !rest.starts_with(&format!(".{KEPT}-"));
            }
            Ok(none_kept)
        })
    }
}

/// A name beside `path` that is free.
pub(super) fn beside(path: &Path, what: &str) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!("{name}.{what}-{}", uuid::Uuid::now_v7()))
}

/// The write-ahead log and its index beside a database.
fn companions(path: &Path) -> [PathBuf; 2] {
    ["-wal", "-shm"].map(|end| {
        let mut name = path.as_os_str().to_owned();
        name.push(end);
        PathBuf::from(name)
    })
}

pub(super) fn remove_with_log(path: &Path) {
    for file in companions(path).iter().map(PathBuf::as_path).chain([path]) {
        let _ = fs::remove_file(file);
    }
}

/// Puts `fresh` in the place of the damaged database, which is kept under another name if `keep` says so. When that fails and
/// the damaged one is still whole, `fresh` is removed; otherwise it stays, being the only one.
pub(super) fn put_in_place(path: &Path, fresh: &Path, keep: bool) -> Result<Option<PathBuf>> {
    let kept = keep.then(|| beside(path, KEPT));
    let [log, _] = companions(path);
    let logged = log.is_file();
    let placed = replace(path, fresh, kept.as_deref());
    if placed.is_err() && fresh.is_file() {
        if path.is_file() && log.is_file() == logged {
            kept.as_deref().into_iter().chain([fresh]).for_each(remove_with_log);
        } else {
            tracing::error!(saved = %fresh.display(), "what was saved could not be put in place and lies here");
        }
    }
    placed.map(|()| kept)
}

fn replace(path: &Path, fresh: &Path, kept: Option<&Path>) -> Result<()> {
    let [log, index] = companions(path);
    if let Some(kept) = kept {
        fs::hard_link(path, kept).map_err(IndexError::io("keep the damaged file as", kept))?;
        if log.is_file() {
            let [kept_log, _] = companions(kept);
            fs::hard_link(&log, &kept_log).map_err(IndexError::io("keep the damaged file as", &kept_log))?;
        }
    }
    // A log that outlived its database would be taken for the fresh one's.
    for file in [&log, &index] {
        match fs::remove_file(file) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(IndexError::io("remove", file)(e)),
            _ => {}
        }
    }
    fs::rename(fresh, path).map_err(IndexError::io("replace", path))?;
    storage::sync_folder(storage::folder_of(path))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_put_in_place_leaves_no_copy() {
        let dir = tempfile::tempdir().unwrap();
        // Too long for the name of a damaged file that is kept.
        let (path, fresh) = (dir.path().join("x".repeat(240)), dir.path().join("fresh"));
        fs::write(&path, "damaged").unwrap();
        fs::write(&fresh, "saved").unwrap();
        assert!(put_in_place(&path, &fresh, true).is_err());
        assert_eq!(fs::read(&path).unwrap(), b"damaged");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        // Without its log the damaged one is not whole any more, so the copy is all there is.
        fs::write(&fresh, "saved").unwrap();
        let blocked = dir.path().join("blocked");
        fs::create_dir(&blocked).unwrap();
        assert!(put_in_place(&blocked, &fresh, false).is_err());
        assert_eq!(fs::read(&fresh).unwrap(), b"saved");
    }
}
