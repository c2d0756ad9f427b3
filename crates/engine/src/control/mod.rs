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

fn use_write_ahead_log(connection: &Connection) -> rusqlite::Result<()> {
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
