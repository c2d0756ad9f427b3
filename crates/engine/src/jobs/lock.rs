//! The lock that whoever is at a job holds.

use std::fs::{self, File, TryLockError};

use anser_core::storage::DataDir;

use crate::EngineError;

/// Name of the locked file in a job's folder.
const LOCK_FILE: &str = "lock";

/// Held while somebody is at a job; the system frees it when the process dies.
#[derive(Debug)]
pub(super) struct JobLock {
    _file: File,
}

impl JobLock {
    /// The lock of a job; `None` while somebody else has it.
    pub(super) fn try_take(data: &DataDir, job: &str) -> Result<Option<Self>, EngineError> {
        let folder = data.job(job)?;
        fs::create_dir_all(&folder).map_err(|e| EngineError::io("create the folder", &folder, e))?;
        let path = folder.join(LOCK_FILE);
        let opened = File::options().read(true).write(true).create(true).truncate(false).open(&path);
        let file = opened.map_err(|e| EngineError::io("open", &path, e))?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Self { _file: file })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(EngineError::io("lock", path, error)),
        }
    }
}
