//! Rows of the table of files.

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::{FilePurpose, FileStatus, StoredFile};
use crate::EngineError;

/// What [`read`] reads.
pub(super) const COLUMNS: &str = "id, bytes, sha256, created_at, filename, purpose, status, status_details, expires_at";

/// A file that no unfinished job needs.
pub(super) const UNUSED: &str = "id NOT IN (SELECT file FROM job_files JOIN jobs ON jobs.key = job_files.job
    WHERE jobs.state IN ('validating', 'queued', 'running', 'paused'))";

pub(super) fn read(row: &Row<'_>) -> Result<StoredFile, EngineError> {
    let id: String = row.get(0)?;
    let (purpose, status): (String, String) = (row.get(5)?, row.get(6)?);
    let unreadable = |what: &str| EngineError::internal(format!("the file {id} has an unknown {what}"));
    let status = [FileStatus::Uploaded, FileStatus::Processed, FileStatus::Error]
        .into_iter()
        .find(|known| known.as_str() == status)
        .ok_or_else(|| unreadable("status"))?;
    let purpose = FilePurpose::parse(&purpose).ok_or_else(|| unreadable("purpose"))?;
    Ok(StoredFile {
        bytes: row.get::<_, i64>(1)? as u64,
        sha256: row.get(2)?,
        created_at: row.get(3)?,
        filename: row.get(4)?,
        purpose,
        status,
        status_details: row.get(7)?,
        expires_at: row.get(8)?,
        id,
    })
}

pub(super) fn insert(connection: &Connection, file: &StoredFile) -> Result<(), EngineError> {
    connection.execute(
        "INSERT INTO files (id, bytes, sha256, created_at, filename, purpose, status, status_details, expires_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        params![
            file.id,
            file.bytes as i64,
            file.sha256,
            file.created_at,
            file.filename,
            file.purpose.as_str(),
            file.status.as_str(),
            file.status_details,
            file.expires_at
        ],
    )?;
    Ok(())
}

/// The file, unless it has expired.
pub(super) fn find(connection: &Connection, id: &str, now: i64) -> Result<Option<StoredFile>, EngineError> {
    let sql = format!("SELECT {COLUMNS} FROM files WHERE id = ?1 AND (expires_at IS NULL OR expires_at > ?2)");
    connection.query_row(&sql, params![id, now], |row| Ok(read(row))).optional()?.transpose()
}
