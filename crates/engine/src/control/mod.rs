//! The control database: the only truth about files, jobs, tuned models and settings. Several processes may have it open.

mod list;
mod schema;
mod settings;

use std::path::{Path, PathBuf};
use std::time::Duration;

use parking_lot::Mutex;
use rusqlite::{Connection, OpenFlags, Transaction, TransactionBehavior};

use crate::EngineError;
pub(crate) use list::{Listing, list};
pub(crate) use settings::{delete_setting, setting, write_setting};

/// Marks the file as ours ("ANSC"), kept in `PRAGMA application_id`.
const APPLICATION_ID: i64 = 0x414e_5343;
/// How long a writer waits for another process.
const BUSY_TIMEOUT: Duration = Duration::from_secs(30);
/// How often the change to write-ahead logging is tried: two processes that create the file meet there.
const WAL_ATTEMPTS: u32 = 50;

/// The open database. Writes are durable once they return.
pub(crate) struct ControlDatabase {
    path: PathBuf,
    connection: Mutex<Connection>,
}

impl ControlDatabase {
    /// Opens the database at `path`, creating it or bringing it to today's format when needed.
    pub(crate) fn open(path: &Path) -> Result<Self, EngineError> {
        let failed = |action| move |source| EngineError::database(action, path, source);
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE;
        let mut connection = Connection::open_with_flags(path, flags).map_err(failed("open"))?;
        connection.busy_timeout(BUSY_TIMEOUT).map_err(failed("open"))?;
        connection.set_prepared_statement_cache_capacity(64);
        check_identity(&connection, path)?;
        use_write_ahead_log(&connection).map_err(failed("open"))?;
        connection.pragma_update(None, "synchronous", "FULL").map_err(failed("open"))?;
        connection.query_row("PRAGMA secure_delete = ON", [], |_| Ok(())).map_err(failed("open"))?;
        connection.pragma_update(None, "foreign_keys", true).map_err(failed("open"))?;
        migrate(&mut connection, path)?;
        Ok(Self { path: path.to_path_buf(), connection: Mutex::new(connection) })
    }

    /// Runs `body` in one write transaction: durable once this returns `Ok`, undone when it returns `Err`.
    pub(crate) fn write<T>(
        &self,
        body: impl FnOnce(&Transaction<'_>) -> Result<T, EngineError>,
    ) -> Result<T, EngineError> {
        let mut connection = self.connection.lock();
        let tx =
            connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(self.failed("write to"))?;
        let value = body(&tx).map_err(|e| self.locate(e))?;
        tx.commit().map_err(self.failed("commit to"))?;
        Ok(value)
    }

    /// Runs `body` on one consistent state.
    pub(crate) fn read<T>(&self, body: impl FnOnce(&Connection) -> Result<T, EngineError>) -> Result<T, EngineError> {
        let mut connection = self.connection.lock();
        let tx = connection.transaction().map_err(self.failed("read"))?;
        body(&tx).map_err(|e| self.locate(e))
    }

    fn failed(&self, action: &'static str) -> impl FnOnce(rusqlite::Error) -> EngineError {
        move |source| EngineError::database(action, &self.path, source)
    }

    /// Names this file in a failure of one of its statements.
    fn locate(&self, error: EngineError) -> EngineError {
        match error {
            EngineError::Database { action, path, source } if path.as_os_str().is_empty() => {
                EngineError::Database { action, path: self.path.clone(), source }
            }
            other => other,
        }
    }
}

/// Refuses files of other programs and of newer versions before anything is written to them.
fn check_identity(connection: &Connection, path: &Path) -> Result<(), EngineError> {
    let failed = |source| EngineError::database("read", path, source);
    let pragma = |name: &str| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0)).map_err(failed);
    let tables: i64 =
        connection.query_row("SELECT count(*) FROM sqlite_master", [], |row| row.get(0)).map_err(failed)?;
    let (application, version) = (pragma("application_id")?, pragma("user_version")?);
    if version > schema::FORMAT {
        let supported = schema::FORMAT;
        return Err(EngineError::NewerDatabase { path: path.to_path_buf(), found: version, supported });
    }
    if application != APPLICATION_ID && (tables > 0 || application != 0) {
        return Err(EngineError::BadFile {
            path: path.to_path_buf(),
            message: "it is not a control database of Anser; move it away or choose another data folder".to_owned(),
        });
    }
    Ok(())
}

/// Changes to write-ahead logging, with patience: two processes that make the same file meet here.
pub(crate) fn use_write_ahead_log(connection: &Connection) -> rusqlite::Result<()> {
    for attempt in 1.. {
        match connection.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(())) {
            Err(rusqlite::Error::SqliteFailure(error, _))
                if error.code == rusqlite::ErrorCode::DatabaseBusy && attempt < WAL_ATTEMPTS =>
            {
                std::thread::sleep(Duration::from_millis(20));
            }
            outcome => return outcome,
        }
    }
    Ok(())
}

/// Applies the steps that this file has not seen yet, in one transaction.
fn migrate(connection: &mut Connection, path: &Path) -> Result<(), EngineError> {
    let failed = |source| EngineError::database("bring up to date", path, source);
    let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed)?;
    let version: i64 = tx.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(failed)?;
    let seen = usize::try_from(version).unwrap_or(0);
    let steps = schema::MIGRATIONS.get(seen..).unwrap_or_default();
    for step in steps {
        tx.execute_batch(step).map_err(failed)?;
    }
    if !steps.is_empty() {
        tx.pragma_update(None, "application_id", APPLICATION_ID).map_err(failed)?;
        tx.pragma_update(None, "user_version", schema::FORMAT).map_err(failed)?;
    }
    tx.commit().map_err(failed)
}

/// Seconds since 1970.
pub(crate) fn unix_now() -> i64 {
    time::OffsetDateTime::now_utc().unix_timestamp()
}

/// A new id: `prefix` and a number that no other has.
pub(crate) fn new_id(prefix: &str) -> String {
    format!("{prefix}-{}", uuid::Uuid::now_v7().simple())
}

#[cfg(test)]
mod tests {
    use anser_core::ErrorKind;

    use super::*;

    #[test]
    fn settings_of_the_connection_hold_and_the_format_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("control.sqlite");
        let database = ControlDatabase::open(&path).unwrap();
        let pragma =
            |name: &str| database.read(|c| Ok(c.pragma_query_value(None, name, |row| row.get::<_, i64>(0))?)).unwrap();
        assert_eq!((pragma("synchronous"), pragma("secure_delete"), pragma("foreign_keys")), (2, 1, 1));
        assert_eq!((pragma("user_version"), pragma("application_id")), (schema::FORMAT, APPLICATION_ID));
        let mode = database.read(|c| Ok(c.pragma_query_value(None, "journal_mode", |row| row.get::<_, String>(0))?));
        assert_eq!(mode.unwrap(), "wal");
    }

    #[test]
    fn what_is_not_ours_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("control.sqlite");
        let refused = |kind: ErrorKind, said: &str| {
            let error = ControlDatabase::open(&path).err().unwrap();
            assert_eq!(error.kind(), kind, "{error}");
            assert!(error.to_string().contains("control.sqlite") && error.to_string().contains(said), "{error}");
        };
        std::fs::write(&path, "a text that somebody put here, long enough to look like a header".repeat(80)).unwrap();
        refused(ErrorKind::Corrupt, "not a database");
        std::fs::remove_file(&path).unwrap();
        Connection::open(&path).unwrap().execute_batch("CREATE TABLE t (x)").unwrap();
        refused(ErrorKind::InvalidInput, "not a control database of Anser");
        std::fs::remove_file(&path).unwrap();
        ControlDatabase::open(&path).unwrap();
        Connection::open(&path).unwrap().pragma_update(None, "user_version", schema::FORMAT + 1).unwrap();
        refused(ErrorKind::Unavailable, "use a newer version");
    }

    #[test]
    fn a_damaged_page_is_an_error_that_names_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("control.sqlite");
        drop(ControlDatabase::open(&path).unwrap());
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[4096..].fill(0xa5);
        std::fs::write(&path, bytes).unwrap();
        let outcome = ControlDatabase::open(&path).and_then(|database| {
            database.read(|c| Ok(c.query_row("SELECT count(*) FROM jobs", [], |row| row.get::<_, i64>(0))?))
        });
        let error = outcome.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
        assert!(error.to_string().contains("control.sqlite"), "{error}");
    }

    #[test]
    fn many_may_open_it_at_once_while_it_is_made() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("control.sqlite");
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| ControlDatabase::open(&path).unwrap());
            }
        });
    }

    #[test]
    fn a_failed_transaction_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let database = ControlDatabase::open(&folder.path().join("control.sqlite")).unwrap();
        let failed: Result<(), _> = database.write(|tx| {
            write_setting(tx, "a", &1)?;
            Err(EngineError::internal("no"))
        });
        assert!(failed.is_err());
        assert_eq!(database.read(|c| setting::<i64>(c, "a")).unwrap(), None);
    }
}
