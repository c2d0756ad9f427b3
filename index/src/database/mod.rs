//! The database file of one collection: the only truth. Its schema, its connections and its identity.

mod attributes;
mod read;
mod write;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anser_core::EmbedderInfo;
use parking_lot::{Mutex, MutexGuard};
use rusqlite::{Connection, OpenFlags, OptionalExtension, TransactionBehavior};
use time::OffsetDateTime;

pub(crate) use read::Change;
pub use read::ScannedDocument;
pub use write::{NewChunk, NewDocument, UpsertOutcome};

use crate::{IndexError, Result};

/// Name of the database in a collection's folder.
pub(crate) const DATABASE_FILE: &str = "collection.sqlite";
/// Format of the tables below, kept in `PRAGMA user_version`.
const FORMAT: i64 = 1;
/// Marks the file as ours ("ANSR"), kept in `PRAGMA application_id`.
const APPLICATION_ID: i64 = 0x414e_5352;
/// How long a writer waits for another process.
const BUSY_TIMEOUT: Duration = Duration::from_secs(30);
/// Idle read connections kept open.
const IDLE_READERS: usize = 8;

/// `changes` records every chunk that came (op 0) or left (op 1), in the order of commits, so that vector caches can
/// catch up. `meta.trimmed_seq` is the last change that was dropped from it.
const SCHEMA: &str = "
CREATE TABLE meta (key TEXT PRIMARY KEY, value NOT NULL) WITHOUT ROWID;
CREATE TABLE documents (
    key INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    title TEXT,
    text TEXT NOT NULL,
    attributes TEXT NOT NULL,
    fingerprint TEXT NOT NULL
);
CREATE TABLE chunks (
    chunk_id INTEGER PRIMARY KEY AUTOINCREMENT,
    document INTEGER NOT NULL REFERENCES documents (key) ON DELETE RESTRICT,
    ordinal INTEGER NOT NULL,
    span_start INTEGER NOT NULL,
    span_end INTEGER NOT NULL,
    tokens INTEGER NOT NULL,
    text TEXT NOT NULL,
    embedding BLOB NOT NULL,
    UNIQUE (document, ordinal)
);
CREATE TABLE changes (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    op INTEGER NOT NULL,
    chunk_id INTEGER NOT NULL
);
";

/// What a collection is, fixed when it is created.
#[derive(Debug, Clone)]
pub(crate) struct Identity {
    /// Random; tells a collection from another that has its name.
    pub(crate) id: String,
    /// Who makes its vectors.
    pub(crate) embedder: EmbedderInfo,
    /// When it was created.
    pub(crate) created_at: OffsetDateTime,
}

/// One writing connection and a few reading ones.
#[derive(Debug)]
pub(crate) struct Database {
    path: PathBuf,
    identity: Identity,
    writer: Mutex<Connection>,
    readers: Mutex<Vec<Connection>>,
}

/// A connection of the pool; it goes back when dropped.
pub(crate) struct Reader<'a> {
    connection: Option<Connection>,
    database: &'a Database,
}

impl Database {
    /// Creates the database of a new collection at `path`, durably.
    pub(crate) fn create(path: &Path, embedder: &EmbedderInfo) -> Result<()> {
        let failed = || IndexError::database("create the database", path);
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE;
        let mut connection = Connection::open_with_flags(path, flags).map_err(failed())?;
        connection.pragma_update(None, "page_size", 8192).map_err(failed())?;
        configure(&connection).map_err(failed())?;
        connection.pragma_update(None, "application_id", APPLICATION_ID).map_err(failed())?;
        let embedder = serde_json::to_string(embedder)
            .map_err(|e| IndexError::internal(format!("an embedder's description cannot be stored: {e}")))?;
        let tx = connection.transaction().map_err(failed())?;
        tx.execute_batch(SCHEMA).map_err(failed())?;
        let id = uuid::Uuid::now_v7().to_string();
        let created = OffsetDateTime::now_utc().unix_timestamp();
        tx.execute(
            "INSERT INTO meta VALUES ('id', ?1), ('embedder', ?2), ('created_at', ?3), ('trimmed_seq', 0)",
            (id, embedder, created),
        )
        .map_err(failed())?;
        tx.pragma_update(None, "user_version", FORMAT).map_err(failed())?;
        tx.commit().map_err(failed())?;
        connection.close().map_err(|(_, e)| failed()(e))
    }

    /// Opens the database at `path`, which must exist and have a format known here.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let writer = connect(path)?;
        let identity = read_identity(&writer, path)?;
        Ok(Self { path: path.to_path_buf(), identity, writer: Mutex::new(writer), readers: Mutex::default() })
    }

    /// What the collection is.
    pub(crate) fn identity(&self) -> &Identity {
        &self.identity
    }

    /// A connection to read with; any number of them at once.
    pub(crate) fn reader(&self) -> Result<Reader<'_>> {
        let idle = self.readers.lock().pop();
        let connection = if let Some(connection) = idle {
            connection
        } else {
            let connection = connect(&self.path)?;
            connection.pragma_update(None, "query_only", true).map_err(self.failed("read"))?;
            connection
        };
        Ok(Reader { connection: Some(connection), database: self })
    }

    fn writer(&self) -> MutexGuard<'_, Connection> {
        self.writer.lock()
    }

    /// For `map_err` on an operation of this database.
    fn failed(&self, action: &'static str) -> impl FnOnce(rusqlite::Error) -> IndexError {
        IndexError::database(action, &self.path)
    }

    /// Runs `body` in one write transaction. It is durable once this returns `Ok`.
    fn transact<T>(&self, body: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
        let mut writer = self.writer();
        let tx = writer.transaction_with_behavior(TransactionBehavior::Immediate).map_err(self.failed("write to"))?;
        let value = body(&tx)?;
        tx.commit().map_err(self.failed("commit to"))?;
        Ok(value)
    }
}

impl Reader<'_> {
    /// Runs `body` on one consistent state of the database.
    pub(crate) fn transact<T>(&mut self, body: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
        let database = self.database;
        let Some(connection) = self.connection.as_mut() else {
            return Err(IndexError::internal("a read connection was used after it went back"));
        };
        let tx = connection.transaction().map_err(database.failed("read"))?;
        body(&tx)
    }
}

impl Drop for Reader<'_> {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take() {
            let mut readers = self.database.readers.lock();
            if readers.len() < IDLE_READERS {
                readers.push(connection);
            }
        }
    }
}

/// Opens an existing database file for reading and writing.
fn connect(path: &Path) -> Result<Connection> {
    let failed = || IndexError::database("open the database", path);
    let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE).map_err(failed())?;
    configure(&connection).map_err(failed())?;
    Ok(connection)
}

/// Durable at commit, erased when deleted, patient with other processes.
fn configure(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.set_prepared_statement_cache_capacity(64);
    connection.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(()))?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.query_row("PRAGMA secure_delete = ON", [], |_| Ok(()))?;
    connection.pragma_update(None, "foreign_keys", true)
}

fn read_identity(connection: &Connection, path: &Path) -> Result<Identity> {
    let failed = || IndexError::database("read the database", path);
    let pragma = |name: &str| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0)).map_err(failed());
    let not_ours = |reason: &str| IndexError::corrupt(format!("collection {}", path.display()), reason);
    if pragma("application_id")? != APPLICATION_ID {
        return Err(not_ours("it is not a database of Anser"));
    }
    let found = pragma("user_version")?;
    if found > FORMAT {
        return Err(IndexError::NewerFormat { path: path.to_path_buf(), found, supported: FORMAT });
    }
    if found < FORMAT {
        return Err(not_ours("its creation was never finished"));
    }
    let text = |key: &str| {
        let sql = "SELECT value FROM meta WHERE key = ?1";
        connection.query_row(sql, [key], |row| row.get::<_, String>(0)).optional().map_err(failed())
    };
    let (Some(id), Some(embedder)) = (text("id")?, text("embedder")?) else {
        return Err(not_ours("it does not say what it is"));
    };
    let embedder =
        serde_json::from_str(&embedder).map_err(|e| not_ours(&format!("its embedder cannot be read ({e})")))?;
    let created: i64 = connection
        .query_row("SELECT value FROM meta WHERE key = 'created_at'", [], |row| row.get(0))
        .map_err(failed())?;
    let created_at = OffsetDateTime::from_unix_timestamp(created).map_err(|_| not_ours("its date is out of range"))?;
    Ok(Identity { id, embedder, created_at })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn embedder() -> EmbedderInfo {
        EmbedderInfo { model: "test".into(), dimension: 3, max_tokens: 8, fingerprint: "f".into() }
    }

    #[test]
    fn settings_hold_on_every_connection() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(DATABASE_FILE);
        Database::create(&path, &embedder()).unwrap();
        let database = Database::open(&path).unwrap();
        assert_eq!(database.identity().embedder, embedder());
        let writer = database.writer();
        let pragma = |name: &str| writer.pragma_query_value(None, name, |r| r.get::<_, i64>(0)).unwrap();
        assert_eq!((pragma("synchronous"), pragma("secure_delete"), pragma("foreign_keys")), (2, 1, 1));
        let mode: String = writer.pragma_query_value(None, "journal_mode", |r| r.get(0)).unwrap();
        assert_eq!(mode, "wal");
        let mut reader = database.reader().unwrap();
        assert!(reader.transact(|c| c.execute("DELETE FROM meta", []).map_err(database.failed("x"))).is_err());
    }

    #[test]
    fn a_newer_format_and_foreign_files_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(DATABASE_FILE);
        assert!(Database::open(&path).is_err(), "a missing file is not created");
        assert!(!path.exists());
        Database::create(&path, &embedder()).unwrap();
        Connection::open(&path).unwrap().pragma_update(None, "user_version", 2).unwrap();
        let error = Database::open(&path).unwrap_err();
        assert!(matches!(error, IndexError::NewerFormat { found: 2, .. }), "{error}");
        assert!(error.to_string().contains("use a newer version"));
        std::fs::write(&path, b"not a database, but long enough to look like one to somebody in a hurry").unwrap();
        assert_eq!(Database::open(&path).unwrap_err().kind(), anser_core::ErrorKind::Corrupt);
        let other = dir.path().join("other.sqlite");
        Connection::open(&other).unwrap().execute_batch("CREATE TABLE t (x)").unwrap();
        assert_eq!(Database::open(&other).unwrap_err().kind(), anser_core::ErrorKind::Corrupt);
    }
}
