//! The database file of one collection: the only truth. Its connections and its identity.

mod attributes;
mod building;
mod changes;
mod compact;
mod generations;
mod identity;
mod migrate;
mod read;
mod replace;
mod salvage;
mod schema;
mod settings;
mod write;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anser_core::EmbedderInfo;
use parking_lot::{Mutex, MutexGuard};
use rusqlite::{Connection, OpenFlags, OptionalExtension, TransactionBehavior};
use time::OffsetDateTime;

pub use building::{ChunkText, EmbeddedChunks};
pub(crate) use changes::{Change, ChangeOp, VECTORS_CACHE};
pub use generations::{Generation, State as GenerationState};
pub use read::ScannedDocument;
pub use salvage::{DatabaseCheck, Salvage};
pub(crate) use salvage::{check, salvage};
pub(crate) use schema::cache_folder;
pub use write::{NewChunk, NewDocument, UpsertOutcome};

use self::identity::{FileIdentity, file_identity};
use self::schema::{APPLICATION_ID, FORMAT, embeddings_table};
use crate::{IndexError, Result};

/// Name of the database in a collection's folder.
pub(crate) const DATABASE_FILE: &str = "collection.sqlite";
/// How long a writer waits for another process.
const BUSY_TIMEOUT: Duration = Duration::from_secs(30);
/// Idle read connections kept open.
const IDLE_READERS: usize = 8;

/// What a collection is.
#[derive(Debug, Clone)]
pub(crate) struct Identity {
    /// Random; tells a collection from another that has its name.
    pub(crate) id: String,
    /// The generation of vectors that is read and written.
    pub(crate) generation: i64,
    /// Who makes its vectors.
    pub(crate) embedder: EmbedderInfo,
    /// When the collection was created.
    pub(crate) created_at: OffsetDateTime,
}

/// One writing connection and a few reading ones.
#[derive(Debug)]
pub(crate) struct Database {
    path: PathBuf,
    /// Which file lay there when it was opened.
    file: Option<FileIdentity>,
    identity: Identity,
    /// The table of the generation's vectors.
    embeddings: String,
    /// What the generation must be for as long as this is used: searched, or made.
    serves: GenerationState,
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
        schema::create(path, embedder)
    }

    /// Opens the database at `path`, which must exist and have a format known here, for the vectors that are searched. One
    /// of an older format is brought up to the present one.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let file = file_identity(path);
        let mut writer = connect(path)?;
        if read_format(&writer, path)? < FORMAT {
            migrate::migrate(&mut writer, path)?;
        }
        Self::of_generation((path, file), writer, GenerationState::Current)
    }

    /// Opens the database at `path` for the vectors that are being made.
    pub(crate) fn open_building(path: &Path) -> Result<Self> {
        Self::of_generation((path, file_identity(path)), connect(path)?, GenerationState::Building)
    }

    fn of_generation(
        (path, file): (&Path, Option<FileIdentity>),
        writer: Connection,
        serves: GenerationState,
    ) -> Result<Self> {
        let identity = read_identity(&writer, path, serves)?;
        let embeddings = embeddings_table(identity.generation);
        let (path, writer, readers) = (path.to_path_buf(), Mutex::new(writer), Mutex::default());
        Ok(Self { path, file, identity, embeddings, serves, writer, readers })
    }

    /// What the collection is.
    pub(crate) fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Whether the file at `path` is the one that is open here.
    pub(crate) fn is_at(&self, path: &Path) -> bool {
        file_identity(path).is_some_and(|found| Some(found) == self.file)
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
    pub(crate) fn failed(&self, action: &'static str) -> impl FnOnce(rusqlite::Error) -> IndexError {
        IndexError::database(action, &self.path)
    }

    /// `Conflict` when other vectors have taken the place of those that this was opened for.
    fn check_generation(&self, connection: &Connection) -> Result<()> {
        match generations::state(connection, self.identity.generation).map_err(self.failed("read"))? {
            Some(state) if state == self.serves => Ok(()),
            _ => Err(IndexError::Superseded { path: self.path.clone(), model: self.identity.embedder.model.clone() }),
        }
    }

    /// Runs `body` in one write transaction. It is durable once this returns `Ok`.
    ///
    /// # Errors
    /// `Conflict` when another file took the database's place, and when other vectors than this was opened for are searched.
    fn transact<T>(&self, body: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
        let mut writer = self.writer();
        let tx = writer.transaction_with_behavior(TransactionBehavior::Immediate).map_err(self.failed("write to"))?;
        // Whoever replaces the file holds this lock until it is done, so from here on the file stays where it is.
        if !self.is_at(&self.path) {
            return Err(IndexError::Replaced { path: self.path.clone() });
        }
        self.check_generation(&tx)?;
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
        database.check_generation(&tx)?;
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
    let failed = |source: rusqlite::Error| {
        use rusqlite::ErrorCode as C;
        let refused = matches!(source.sqlite_error_code(), Some(C::CannotOpen | C::ReadOnly | C::PermissionDenied));
        if refused && path.is_file() {
            return IndexError::Unwritable { path: path.to_path_buf(), source };
        }
        IndexError::database("open the database", path)(source)
    };
    let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE).map_err(failed)?;
    configure(&connection).map_err(failed)?;
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

/// The format of our database at `path`.
fn read_format(connection: &Connection, path: &Path) -> Result<i64> {
    let failed = || IndexError::database("read the database", path);
    let pragma = |name: &str| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0)).map_err(failed());
    let not_ours = |reason: &str| IndexError::corrupt(format!("collection {}", path.display()), reason);
    if pragma("application_id")? != APPLICATION_ID {
        return Err(not_ours("it is not a database of Anser"));
    }
    match pragma("user_version")? {
        found if found > FORMAT => Err(IndexError::NewerFormat { path: path.to_path_buf(), found, supported: FORMAT }),
        found if found < 1 => Err(not_ours("its creation was never finished")),
        found => Ok(found),
    }
}

/// What the collection is, with its generation of this state.
fn read_identity(connection: &Connection, path: &Path, state: GenerationState) -> Result<Identity> {
    let failed = || IndexError::database("read the database", path);
    let not_ours = |reason: &str| IndexError::corrupt(format!("collection {}", path.display()), reason);
    let sql = "SELECT i.value, c.value FROM meta i, meta c WHERE i.key = 'id' AND c.key = 'created_at'";
    let stored = connection.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?))).optional().map_err(failed())?;
    let Some((id, created)) = stored else { return Err(not_ours("it does not say what it is")) };
    let generations = generations::all(connection, path)?;
    let Some(current) = generations.into_iter().find(|generation| generation.state == state) else {
        return Err(not_ours("it does not say who makes its vectors"));
    };
    let created_at = OffsetDateTime::from_unix_timestamp(created).map_err(|_| not_ours("its date is out of range"))?;
    Ok(Identity { id, generation: current.number, embedder: current.embedder, created_at })
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
        Connection::open(&path).unwrap().pragma_update(None, "user_version", FORMAT + 1).unwrap();
        let error = Database::open(&path).unwrap_err();
        assert!(matches!(error, IndexError::NewerFormat { found: 3, .. }), "{error}");
        assert!(error.to_string().contains("use a newer version"));
        std::fs::write(&path, b"not a database, but long enough to look like one to somebody in a hurry").unwrap();
        assert_eq!(Database::open(&path).unwrap_err().kind(), anser_core::ErrorKind::Corrupt);
        let other = dir.path().join("other.sqlite");
        Connection::open(&other).unwrap().execute_batch("CREATE TABLE t (x)").unwrap();
        assert_eq!(Database::open(&other).unwrap_err().kind(), anser_core::ErrorKind::Corrupt);
    }
}
