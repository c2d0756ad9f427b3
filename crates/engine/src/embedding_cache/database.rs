//! The file of the cache: one SQLite database. Nothing in here fails: what goes wrong is logged, costs entries and
//! nothing else.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anser_core::storage::sha256;
use anser_core::{Embedded, Embedding};
use parking_lot::Mutex;
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension, TransactionBehavior, params};

use crate::control::use_write_ahead_log;

use super::key::{Key, Owner, Salt};
use super::pending::Changes;

/// Marks the file as ours ("ANSE"), kept in `PRAGMA application_id`.
const APPLICATION_ID: i64 = 0x414e_5345;
/// Raised whenever the tables or the way entries are found change; a file of another format is made anew.
const FORMAT: i64 = 1;
/// How long writing waits for another process before the vectors are not kept.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// How long removing waits for readers, so that what was removed is gone from the log too.
const ERASE_PATIENCE: Duration = Duration::from_secs(2);
/// Pages of 8 KiB: five vectors of 384 numbers in each.
const PAGE_BYTES: u32 = 8192;
/// Pages of the log that are moved into the file together.
const CHECKPOINT_PAGES: u32 = 4096;
/// Part of the limit that is freed at once when the cache is full.
const FREED_PART: u64 = 10;
/// Entries used within the same hours count as equally old, so that a use costs a write at most so often.
const HOURS_TOGETHER: u64 = 6;

/// The hashes lie in a small table of their own, so that looking them up and noting their use touches few pages, and
/// vectors are only ever added at the end of theirs. `owner` is an [`Owner`], `used` counts steps of six hours since 1970.
const TABLES: &str = "
    CREATE TABLE IF NOT EXISTS salt (only INTEGER PRIMARY KEY CHECK (only = 1), value BLOB NOT NULL);
    INSERT OR IGNORE INTO salt VALUES (1, randomblob(32));
    CREATE TABLE IF NOT EXISTS entries (
        key BLOB PRIMARY KEY, vector INTEGER NOT NULL, used INTEGER NOT NULL, owner INTEGER NOT NULL) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS vectors (
        id INTEGER PRIMARY KEY, checksum INTEGER NOT NULL, tokens INTEGER NOT NULL, truncated INTEGER NOT NULL,
        value BLOB NOT NULL);";

/// One vector as it is kept.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Cached {
    pub(super) embedded: Embedded,
    pub(super) owner: Owner,
}

/// The file, opened when first needed: once for reading and once for writing.
pub(super) struct CacheDatabase {
    path: PathBuf,
    limit_bytes: u64,
    reader: Mutex<Opened>,
    writer: Mutex<Opened>,
}

#[derive(Default)]
enum Opened {
    #[default]
    NotYet,
    Open(Connection),
    /// It could not be opened; this process goes on without.
    Not,
}

impl CacheDatabase {
    pub(super) fn new(path: PathBuf, limit_bytes: u64) -> Self {
        Self { path, limit_bytes, reader: Mutex::default(), writer: Mutex::default() }
    }

    /// The random number of this file; `None` when the file cannot be used.
    pub(super) fn salt(&self) -> Option<Salt> {
        self.attempt(&self.writer, |connection| {
            connection.query_row("SELECT value FROM salt", [], |row| row.get::<_, [u8; 32]>(0))
        })
    }

    /// What is stored for `keys`, each where it is known, and the keys whose use by `owner` is worth noting.
    pub(super) fn find(&self, keys: &[Key], dimension: usize, owner: Owner) -> (Vec<Option<Embedded>>, Vec<Key>) {
        let found = self.attempt(&self.reader, |connection| {
            let now = now();
            let transaction = connection.transaction()?;
            let mut select = transaction.prepare_cached(
                "SELECT e.used, e.owner, v.checksum, v.tokens, v.truncated, v.value
                 FROM entries e JOIN vectors v ON v.id = e.vector WHERE e.key = ?1",
            )?;
            let mut stale = Vec::new();
            let mut found = Vec::with_capacity(keys.len());
            for key in keys {
                let stored = select
                    .query_row([&key.0[..]], |row| {
                        let (used, by) = (row.get::<_, i64>(0)?, Owner(row.get(1)?));
                        let (checksum, tokens) = (row.get::<_, i64>(2)?, row.get::<_, i64>(3)?);
                        let bytes = row.get_ref(5)?.as_blob()?;
                        let truncated = row.get(4)?;
                        let whole =
                            bytes.len() == dimension * 4 && checksum_of(*key, (tokens, truncated), bytes) == checksum;
                        let embedded = whole.then(|| embedded(bytes, tokens, truncated)).flatten();
                        Ok(embedded.map(|embedded| (embedded, used < now || by.and(owner) != by)))
                    })
                    .optional()?
                    .flatten();
                found.push(stored.map(|(embedded, worth_noting)| {
                    if worth_noting {
                        stale.push(*key);
                    }
                    embedded
                }));
            }
            Ok((found, stale))
        });
        found.unwrap_or_else(|| (vec![None; keys.len()], Vec::new()))
    }

    /// Writes all of `changes` in one transaction, and removes what was not used for longest when there is too much.
    pub(super) fn write(&self, changes: &Changes) {
        self.attempt(&self.writer, |connection| {
            let now = now();
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            {
                let mut entry = transaction.prepare_cached("SELECT owner FROM entries WHERE key = ?1")?;
                let mut touch =
                    transaction.prepare_cached("UPDATE entries SET used = ?2, owner = ?3 WHERE key = ?1")?;
                let mut vector = transaction.prepare_cached(
                    "INSERT INTO vectors (checksum, tokens, truncated, value) VALUES (?1, ?2, ?3, ?4)",
                )?;
                let mut insert = transaction.prepare_cached("INSERT INTO entries VALUES (?1, ?2, ?3, ?4)")?;
                let mut remove = transaction
                    .prepare_cached("DELETE FROM vectors WHERE id = (SELECT vector FROM entries WHERE key = ?1)")?;
                let mut remove_entry = transaction.prepare_cached("DELETE FROM entries WHERE key = ?1")?;
                for (key, cached) in &changes.fresh {
                    let before: Option<i64> = entry.query_row([&key.0[..]], |row| row.get(0)).optional()?;
                    let owner = before.map_or(cached.owner, |by| Owner(by).and(cached.owner));
                    if before.is_some() {
                        // Somebody else was quicker, or it was damaged: what is known to be right takes its place.
                        remove.execute([&key.0[..]])?;
                        remove_entry.execute([&key.0[..]])?;
                    }
                    let Embedded { embedding, tokens, truncated } = &cached.embedded;
                    let bytes: Vec<u8> = embedding.as_slice().iter().flat_map(|value| value.to_le_bytes()).collect();
                    let tokens = i64::try_from(*tokens).unwrap_or(i64::MAX);
                    vector.execute(params![
                        checksum_of(*key, (tokens, *truncated), &bytes),
                        tokens,
                        truncated,
                        bytes
                    ])?;
                    insert.execute(params![&key.0[..], transaction.last_insert_rowid(), now, owner.0])?;
                }
                for (key, owner) in &changes.touched {
                    let before: Option<i64> = entry.query_row([&key.0[..]], |row| row.get(0)).optional()?;
                    if let Some(before) = before {
                        touch.execute(params![&key.0[..], now, Owner(before).and(*owner).0])?;
                    }
                }
            }
            transaction.commit()?;
            self.evict(connection)
        });
    }

    /// Removes the entries used longest ago when there is more than is allowed, a tenth of that at once, and gives their
    /// pages back.
    fn evict(&self, connection: &mut Connection) -> rusqlite::Result<()> {
        let mut evicted = false;
        // Rows that go leave pages half full, so once may not be enough.
        loop {
            let bytes = used_bytes(connection)?;
            if bytes <= self.limit_bytes {
                break;
            }
            // Counting reads every entry: only where some have to go.
            let entries: i64 = connection.query_row("SELECT count(*) FROM entries", [], |row| row.get(0))?;
            if entries == 0 {
                break;
            }
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let too_much = bytes - self.limit_bytes + self.limit_bytes / FREED_PART;
            // In floating point: the product of two large counts may not fit.
            let gone = (entries as f64 * (too_much as f64 / bytes as f64)).ceil() as i64;
            transaction.execute_batch("CREATE TEMP TABLE gone (key BLOB, vector INTEGER)")?;
            transaction
                .execute("INSERT INTO gone SELECT key, vector FROM entries ORDER BY used, vector LIMIT ?1", [gone])?;
            remove_gone(&transaction)?;
            transaction.commit()?;
            evicted = true;
            tracing::debug!(entries = gone, "the cache of vectors is full; those not used for longest are gone");
        }
        if evicted {
            connection.prepare("PRAGMA incremental_vacuum")?.query_map([], |_| Ok(()))?.for_each(drop);
        }
        Ok(())
    }

    /// Removes what `owner` used, also what others use too. `false` when it is not yet gone from the log, or failed.
    pub(super) fn forget(&self, owner: Owner) -> bool {
        self.remove("owner = ?1 OR owner = 0", Some(owner))
    }

    /// Removes everything. `false` as for [`CacheDatabase::forget`].
    pub(super) fn clear(&self) -> bool {
        self.remove("1", None)
    }

    fn remove(&self, which: &str, owner: Option<Owner>) -> bool {
        // Nobody wants a cache that is switched off to be made.
        if !self.path.exists() {
            return true;
        }
        let erased = self.attempt(&self.writer, |connection| {
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            transaction.execute_batch("CREATE TEMP TABLE gone (key BLOB, vector INTEGER)")?;
            let sql = format!("INSERT INTO gone SELECT key, vector FROM entries WHERE {which}");
            let gone = transaction.execute(&sql, rusqlite::params_from_iter(owner.map(|owner| owner.0)))?;
            remove_gone(&transaction)?;
            transaction.commit()?;
            // Pages that were split or merged may keep copies of rows that moved on: only a file that is written anew from
            // the rows that are left holds nothing else.
            if gone > 0 {
                connection.execute_batch("VACUUM")?;
            }
            connection.busy_timeout(ERASE_PATIENCE)?;
            let busy = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, i64>(0));
            connection.busy_timeout(BUSY_TIMEOUT)?;
            Ok(busy? == 0)
        });
        erased.unwrap_or(false)
    }

    /// How many entries there are, and how many bytes they take.
    pub(super) fn size(&self) -> (u64, u64) {
        if !self.path.exists() {
            return (0, 0);
        }
        let size = self.attempt(&self.reader, |connection| {
            let entries = connection.query_row("SELECT count(*) FROM entries", [], |row| row.get::<_, i64>(0))?;
            Ok((entries.unsigned_abs(), used_bytes(connection)?))
        });
        size.unwrap_or_default()
    }

    /// Runs `body` on the file. A damaged file is made anew and `body` runs once more; `None` when it failed.
    fn attempt<T>(&self, slot: &Mutex<Opened>, body: impl Fn(&mut Connection) -> rusqlite::Result<T>) -> Option<T> {
        for last in [false, true] {
            let outcome = {
                let mut opened = slot.lock();
                if matches!(*opened, Opened::NotYet) {
                    match open(&self.path) {
                        Ok(connection) => *opened = Opened::Open(connection),
                        Err(error) if !last && is_damage(&error) => {
                            drop(opened);
                            self.make_anew(&error);
                            continue;
                        }
                        Err(error) => {
                            *opened = Opened::Not;
                            tracing::warn!(path = %self.path.display(), %error, "the cache of vectors cannot be used");
                        }
                    }
                }
                let Opened::Open(connection) = &mut *opened else { return None };
                body(connection)
            };
            match outcome {
                Ok(value) => return Some(value),
                Err(error) if !last && is_damage(&error) => self.make_anew(&error),
                Err(error) => {
                    tracing::warn!(path = %self.path.display(), %error, "the cache of vectors could not be used this time");
                    return None;
                }
            }
        }
        None
    }

    /// Puts an empty file in place of a damaged one. Another process may hold the old one open: what either then reads is
    /// checked against its hash.
    fn make_anew(&self, error: &rusqlite::Error) {
        let (mut writer, mut reader) = (self.writer.lock(), self.reader.lock());
        tracing::warn!(path = %self.path.display(), %error, "the cache of vectors is damaged; it is made anew");
        (*writer, *reader) = (Opened::NotYet, Opened::NotYet);
        for ending in ["", "-wal", "-shm"] {
            let mut path = self.path.clone().into_os_string();
            path.push(ending);
            match std::fs::remove_file(&path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    tracing::warn!(path = %Path::new(&path).display(), %error, "the file cannot be removed");
                }
                _ => {}
            }
        }
    }
}

/// Opens the file, made when missing.
fn open(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE;
    let mut connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.set_prepared_statement_cache_capacity(16);
    // Both hold only for a file without tables.
    connection.pragma_update(None, "page_size", PAGE_BYTES)?;
    connection.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
    use_write_ahead_log(&connection)?;
    // A power cut may cost the last vectors, never the file.
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    connection.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES)?;
    connection.query_row("PRAGMA secure_delete = ON", [], |_| Ok(()))?;
    // Keys that are about to be removed must not lie in a file of their own.
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let pragma = |name: &str| transaction.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let tables: i64 = transaction.query_row("SELECT count(*) FROM sqlite_master", [], |row| row.get(0))?;
    if tables == 0 {
        transaction.execute_batch(TABLES)?;
        transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
        transaction.pragma_update(None, "user_version", FORMAT)?;
    } else if (pragma("application_id")?, pragma("user_version")?) != (APPLICATION_ID, FORMAT) {
        return Err(rusqlite::Error::SqliteFailure(
            rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_NOTADB),
            Some("it has another format".to_owned()),
        ));
    }
    transaction.commit()?;
    Ok(connection)
}

fn is_damage(error: &rusqlite::Error) -> bool {
    match error {
        rusqlite::Error::SqliteFailure(failure, _) => {
            matches!(failure.code, ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase)
        }
        // A value of another type or length than this program writes.
        rusqlite::Error::InvalidColumnType(..)
        | rusqlite::Error::FromSqlConversionFailure(..)
        | rusqlite::Error::QueryReturnedNoRows => true,
        _ => false,
    }
}

/// Removes the entries named in the table `gone`, and the table.
fn remove_gone(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute_batch(
        "DELETE FROM vectors WHERE id IN (SELECT vector FROM gone);
         DELETE FROM entries WHERE key IN (SELECT key FROM gone);
         DROP TABLE gone;",
    )
}

/// Bytes of pages that hold something.
fn used_bytes(connection: &Connection) -> rusqlite::Result<u64> {
    let pragma = |name: &str| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let bytes = (pragma("page_count")? - pragma("freelist_count")?) * pragma("page_size")?;
    Ok(bytes.max(0).unsigned_abs())
}

/// Tells a vector that was damaged, or that lies where another one belongs.
fn checksum_of(key: Key, (tokens, truncated): (i64, bool), vector: &[u8]) -> i64 {
    let mut bytes = Vec::with_capacity(key.0.len() + 9 + vector.len());
    bytes.extend_from_slice(&key.0);
    bytes.extend_from_slice(&tokens.to_le_bytes());
    bytes.push(u8::from(truncated));
    bytes.extend_from_slice(vector);
    let mut first = [0; 8];
    first.copy_from_slice(&sha256(&bytes)[..8]);
    i64::from_le_bytes(first)
}

fn embedded(bytes: &[u8], tokens: i64, truncated: bool) -> Option<Embedded> {
    let (values, _) = bytes.as_chunks::<4>();
    let embedding = Embedding::from_unit(values.iter().map(|value| f32::from_le_bytes(*value)).collect()).ok()?;
    Some(Embedded { embedding, tokens: usize::try_from(tokens).ok()?, truncated })
}

/// Steps of six hours since 1970.
fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs() / (HOURS_TOGETHER * 3600)).unwrap_or(i64::MAX)
}
