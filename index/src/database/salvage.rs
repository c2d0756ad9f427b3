//! A damaged database: what is wrong with it, and saving the rows that can still be read into a fresh one.
//!
//! Rows are read by their keys from the tables themselves, never through an index. Where reading fails, the keys that are
//! left are halved until the rows that cannot be read stand alone, so one damaged page costs the rows on it and no others.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use anser_core::{Attributes, ChunkId, DocumentId};
use rusqlite::{Connection, OpenFlags, Params, Row, params};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::generations::{self, FIRST_GENERATION, State};
use super::replace::{FRESH, beside, put_in_place, remove_with_log, write_lock};
use super::schema::{self, embeddings_table};
use super::{Generation, configure, read_format};
use crate::ann::from_blob;
use crate::{IndexError, Result};

/// Faults that a check names at most.
const MOST_FAULTS: usize = 100;
/// Keys that are tried one by one before the rest of a table is given up.
const MOST_PROBES: u64 = 20_000_000;
/// Rows written in one transaction.
const BATCH: usize = 1000;

/// What a check of a database found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatabaseCheck {
    /// The database file.
    pub path: PathBuf,
    /// Format of its tables; `None` when not even that can be read.
    pub format: Option<i64>,
    /// What is wrong with it, one sentence each, the first hundred; none when it is sound.
    pub faults: Vec<String>,
}

/// What could be saved of a damaged database. Of vectors these are the searched ones: those that were searched before, or were
/// being made, would lack some after the damage, so they are left out and can be made anew.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Salvage {
    /// Documents saved with all their chunks.
    pub documents: u64,
    /// Documents of which a chunk or its vector was lost: they are kept with what is left, and ingesting them again makes
    /// them whole.
    pub incomplete: u64,
    /// Chunks saved.
    pub chunks: u64,
    /// Keys of documents that were given once and could not be read; those deleted before the damage are not among them
    /// where the pages around them are sound.
    pub unreadable_documents: u64,
    /// The same for chunks and vectors.
    pub unreadable_chunks: u64,
    /// Where the damaged file lies now; `None` when it was removed.
    pub damaged: Option<PathBuf>,
}

/// Looks at every page of the database at `path`.
pub(crate) fn check(path: &Path) -> Result<DatabaseCheck> {
    if !path.is_file() {
        return Err(IndexError::io("read", path)(std::io::ErrorKind::NotFound.into()));
    }
    let mut found = DatabaseCheck { path: path.to_path_buf(), format: None, faults: Vec::new() };
    let connection = match open(path) {
        Ok(connection) => connection,
        Err(e) => {
            found.faults.push(format!("it cannot be opened: {e}"));
            return Ok(found);
        }
    };
    match read_format(&connection, path) {
        Ok(format) => found.format = Some(format),
        // Not damaged, only newer.
        Err(e @ IndexError::NewerFormat { .. }) => return Err(e),
        Err(e) => found.faults.push(e.to_string()),
    }
    if let Err(e) = look(&connection, &mut found.faults) {
        found.faults.push(e.to_string());
    }
    found.faults.truncate(MOST_FAULTS);
    Ok(found)
}

fn look(connection: &Connection, faults: &mut Vec<String>) -> rusqlite::Result<()> {
    for pragma in ["integrity_check", "foreign_key_check"] {
        let mut select = connection.prepare(&format!("PRAGMA {pragma}"))?;
        let mut rows = select.query([])?;
        while let Some(row) = rows.next()? {
            let said: String = row.get(0)?;
            match (pragma, said.as_str()) {
                ("integrity_check", "ok") => {}
                ("integrity_check", fault) => faults.push(fault.to_owned()),
                (_, table) => faults.push(format!("a row of {table} refers to one that is missing")),
            }
            if faults.len() >= MOST_FAULTS {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// Writes every row of the database at `path` that can be read into a fresh one that takes its place. The damaged file keeps
/// lying beside it unless `keep` says otherwise. Nobody else may have it open; whoever still wants to write to it waits, and
/// then learns that it was replaced.
///
/// # Errors
/// `Corrupt` when it cannot be read who makes its vectors, `Overloaded` while somebody writes to it, `Io` when the fresh one
/// cannot be written: then nothing is changed.
pub(crate) fn salvage(path: &Path, keep: bool) -> Result<Salvage> {
    let damaged = open(path).map_err(IndexError::database("open the database", path))?;
    let format = read_format(&damaged, path)?;
    let _lock = write_lock(path)?;
    let fresh = beside(path, FRESH);
    let written = Rescue { from: &damaged, path, format }.write(&fresh);
    drop(damaged);
    match written {
        Ok(mut saved) => {
            saved.damaged = put_in_place(path, &fresh, keep)?;
            Ok(saved)
        }
        Err(e) => {
            remove_with_log(&fresh);
            Err(e)
        }
    }
}

fn open(path: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    connection.busy_timeout(super::BUSY_TIMEOUT)?;
    Ok(connection)
}

/// A damaged database that is being read.
struct Rescue<'a> {
    from: &'a Connection,
    path: &'a Path,
    format: i64,
}

impl Rescue<'_> {
    fn write(&self, fresh: &Path) -> Result<Salvage> {
        let generation = self.generation()?;
        let failed = || IndexError::database("write to", fresh);
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE;
        let to = Connection::open_with_flags(fresh, flags).map_err(failed())?;
        schema::shape(&to).and_then(|()| configure(&to)).map_err(failed())?;
        to.execute_batch("BEGIN").map_err(failed())?;
        let created = self.number("SELECT value FROM meta WHERE key = 'created_at'");
        let created = created.unwrap_or_else(|| OffsetDateTime::now_utc().unix_timestamp());
        // Another id than before: whatever was cached of the damaged database is not trusted.
        schema::fill(&to, &uuid::Uuid::now_v7().to_string(), created).map_err(failed())?;
        to.execute(
            "INSERT INTO generations (number, embedder, state, created_at, sealed_seq) VALUES (?1, ?2, ?3, ?4, ?5)",
            params![
                generation.number,
                generations::to_json(&generation.embedder)?,
                generation.state,
                generation.created_at.unix_timestamp(),
                generation.sealed_seq
            ],
        )
        .and_then(|_| to.execute_batch(&schema::create_embeddings(generation.number)))
        .and_then(|()| generations::note_searched(&to, generation.number))
        .map_err(failed())?;
        let settings = "SELECT value FROM meta WHERE key = 'search_settings'";
        if let Ok(settings) = self.from.query_row(settings, [], |row| row.get::<_, String>(0)) {
            to.execute("INSERT INTO meta VALUES ('search_settings', ?1)", [settings]).map_err(failed())?;
        }
        let saved = self.rows(&to, &generation).map_err(failed())?;
        self.sequences(&to).map_err(failed())?;
        to.execute_batch("COMMIT").map_err(failed())?;
        to.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).map_err(failed())?;
        to.close().map_err(|(_, e)| failed()(e))?;
        Ok(saved)
    }

    /// Whose vectors are searched: without knowing that, none of them is of use.
    fn generation(&self) -> Result<Generation> {
        let hopeless = |reason: &dyn std::fmt::Display| {
            let what = format!("database {}", self.path.display());
            IndexError::corrupt(
                what,
                format!("not even who makes its vectors can be read ({reason}); restore a backup"),
            )
        };
        if self.format > 1 {
            let noted =
                |reason: &dyn std::fmt::Display| generations::noted_searched(self.from).ok_or_else(|| hopeless(reason));
            return match generations::all(self.from, self.path) {
                Ok(found) => match found.into_iter().find(|generation| generation.state == State::Current) {
                    Some(current) => Ok(current),
                    None => noted(&"none are searched"),
                },
                Err(_) => noted(&"their table is damaged"),
            };
        }
        let sql = "SELECT value FROM meta WHERE key = 'embedder'";
        let embedder: String = self.from.query_row(sql, [], |row| row.get(0)).map_err(|e| hopeless(&e))?;
        let embedder = serde_json::from_str(&embedder).map_err(|e| hopeless(&e))?;
        let created_at = OffsetDateTime::now_utc();
        Ok(Generation { number: FIRST_GENERATION, embedder, state: State::Current, created_at, sealed_seq: Some(0) })
    }

    fn rows(&self, to: &Connection, generation: &Generation) -> rusqlite::Result<Salvage> {
        // Vectors first: a chunk without one cannot be searched.
        let mut embedded: HashSet<i64> = HashSet::new();
        let saved_in = embeddings_table(generation.number);
        let (table, column) = match self.format {
            1 => ("chunks", "embedding"),
            _ => (saved_in.as_str(), "vector"),
        };
        let insert = format!("INSERT OR IGNORE INTO {saved_in} (chunk_id, vector) VALUES (?1, ?2)");
        let dimension = generation.embedder.dimension;
        let unreadable_chunks = self.each(table, "chunk_id", column, to, &mut |row| {
            let (id, blob): (i64, Vec<u8>) = (row.get(0)?, row.get(1)?);
            let kept = from_blob(ChunkId(id as u64), &blob, dimension).is_ok() && add(to, &insert, params![id, blob])?;
            if kept {
                embedded.insert(id);
            }
            Ok(kept)
        })?;
        let mut saved = Salvage {
            documents: 0,
            incomplete: 0,
            chunks: 0,
            unreadable_documents: 0,
            unreadable_chunks,
            damaged: None,
        };
        let mut texts: HashMap<i64, usize> = HashMap::new();
        let columns = "id, title, text, attributes, fingerprint";
        saved.unreadable_documents = self.each("documents", "key", columns, to, &mut |row| {
            let (key, id, title): (i64, String, Option<String>) = (row.get(0)?, row.get(1)?, row.get(2)?);
            let (text, attributes, fingerprint): (String, String, String) = (row.get(3)?, row.get(4)?, row.get(5)?);
            if DocumentId::new(id.as_str()).is_err() || serde_json::from_str::<Attributes>(&attributes).is_err() {
                return Ok(false);
            }
            let insert = "INSERT OR IGNORE INTO documents (key, id, title, text, attributes, fingerprint) \
                          VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
            let row = params![key, id, title, text, attributes, fingerprint];
            let kept = add(to, insert, row)?;
            if kept {
                texts.insert(key, text.len());
            }
            Ok(kept)
        })?;
        self.chunks(to, &embedded, &texts, &mut saved)?;
        to.execute(&format!("DELETE FROM {saved_in} WHERE chunk_id NOT IN (SELECT chunk_id FROM chunks)"), [])?;
        saved.documents = to.query_row("SELECT count(*) FROM documents", [], |row| row.get::<_, i64>(0))? as u64;
        saved.documents -= saved.incomplete;
        Ok(saved)
    }

    /// The chunks whose document and vector were saved. A document that misses some forgets its fingerprint, so that it is
    /// taken for changed when it is ingested again.
    fn chunks(
        &self,
        to: &Connection,
        embedded: &HashSet<i64>,
        texts: &HashMap<i64, usize>,
        saved: &mut Salvage,
    ) -> rusqlite::Result<()> {
        let mut reached: HashMap<i64, (i64, usize)> = HashMap::new();
        let columns = "document, ordinal, span_start, span_end, tokens, text";
        let lost = self.each("chunks", "chunk_id", columns, to, &mut |row| {
            let (id, document, ordinal): (i64, i64, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
            let (start, end, tokens): (i64, i64, i64) = (row.get(3)?, row.get(4)?, row.get(5)?);
            let text: String = row.get(6)?;
            let fits = texts.get(&document).is_some_and(|length| {
                usize::try_from(start).is_ok_and(|start| start + text.len() == end.max(0) as usize && end as usize <= *length)
            });
            if !fits || !embedded.contains(&id) || u32::try_from(tokens).is_err() || u32::try_from(ordinal).is_err() {
                return Ok(false);
            }
            let insert = "INSERT OR IGNORE INTO chunks (chunk_id, document, ordinal, span_start, span_end, tokens, text) \
                          VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
            let row = params![id, document, ordinal, start, end, tokens, text];
            if !add(to, insert, row)? {
                return Ok(false);
            }
            saved.chunks += 1;
            let entry = reached.entry(document).or_insert((-1, 0));
            *entry = (entry.0.max(ordinal), entry.1 + 1);
            Ok(true)
        })?;
        saved.unreadable_chunks += lost;
        for (key, length) in texts {
            let whole = match reached.get(key) {
                Some((last, count)) => *count as i64 == last + 1,
                None => *length == 0,
            };
            if !whole || (lost > 0 && misses_end(to, *key, *length)?) {
                saved.incomplete += 1;
                to.execute("UPDATE documents SET fingerprint = '' WHERE key = ?1", [key])?;
            }
        }
        Ok(())
    }

    /// Shows `take` every row of a table that can be read, its key first, and counts keys of rows that cannot be read or that
    /// `take` refuses. Errors of the fresh database end it.
    fn each(
        &self,
        table: &str,
        key: &str,
        columns: &str,
        to: &Connection,
        take: &mut dyn FnMut(&Row<'_>) -> Taken,
    ) -> rusqlite::Result<u64> {
        let sql =
            format!("SELECT {key}, {columns} FROM {table} NOT INDEXED WHERE {key} BETWEEN ?1 AND ?2 ORDER BY {key}");
        let Some(last) = self.last_key(table, key) else { return Ok(0) };
        let (mut lost, mut probes, mut rows) = (0, 0, 0);
        let mut open = vec![(1, last)];
        while let Some((mut low, high)) = open.pop() {
            probes += 1;
            if probes > MOST_PROBES {
                tracing::warn!(table, "the rest of the table is given up");
                return Ok(lost + (high - low + 1) as u64);
            }
            let mut read = || -> std::result::Result<(), Failure> {
                let mut select = self.from.prepare_cached(&sql)?;
                let mut found = select.query([low, high])?;
                while let Some(row) = found.next()? {
                    let at: i64 = row.get(0)?;
                    match take(row) {
                        Ok(true) => {}
                        Err(e @ Failure::Write(_)) => return Err(e),
                        Ok(false) | Err(Failure::Read) => lost += 1,
                    }
                    // Damaged pages may show a key of before once more.
                    low = low.max(at.saturating_add(1));
                    rows += 1;
                    if rows % BATCH == 0 {
                        to.execute_batch("COMMIT; BEGIN").map_err(Failure::Write)?;
                    }
                }
                low = high + 1;
                Ok(())
            };
            match read() {
                Ok(()) => {}
                Err(Failure::Write(e)) => return Err(e),
                Err(Failure::Read) if low >= high => lost += 1,
                Err(Failure::Read) => {
                    let middle = low + (high - low) / 2;
                    open.push((middle + 1, high));
                    open.push((low, middle));
                }
            }
        }
        Ok(lost)
    }

    /// The largest key that was ever given in a table, or is there.
    fn last_key(&self, table: &str, key: &str) -> Option<i64> {
        let given = self.number(&format!("SELECT seq FROM sqlite_sequence WHERE name = '{table}'"));
        // Vectors bear the ids of chunks.
        let given = given.or_else(|| self.number("SELECT seq FROM sqlite_sequence WHERE name = 'chunks'"));
        let there = self.number(&format!("SELECT max({key}) FROM {table}"));
        given.max(there)
    }

    fn number(&self, sql: &str) -> Option<i64> {
        self.from.query_row(sql, [], |row| row.get(0)).ok()
    }

    /// Keys that were given once are not given again, and caches of before have nothing to catch up with.
    fn sequences(&self, to: &Connection) -> rusqlite::Result<()> {
        let mut seq = 0;
        for table in ["documents", "chunks", "changes"] {
            let given = self.number(&format!("SELECT seq FROM sqlite_sequence WHERE name = '{table}'")).unwrap_or(0);
            let there: i64 =
                to.query_row("SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = ?1", [table], |row| {
                    row.get(0)
                })?;
            let next = given.max(there);
            to.execute("DELETE FROM sqlite_sequence WHERE name = ?1", [table])?;
            to.execute("INSERT INTO sqlite_sequence (name, seq) VALUES (?1, ?2)", params![table, next])?;
            seq = next;
        }
        to.execute("UPDATE meta SET value = ?1 WHERE key = 'trimmed_seq'", [seq])?;
        Ok(())
    }
}

/// Whether text follows the last chunk of a document. Chunks may leave out blanks, so this is asked only where some chunk
/// was lost.
fn misses_end(to: &Connection, key: i64, length: usize) -> rusqlite::Result<bool> {
    let sql = "SELECT coalesce(max(span_end), 0) FROM chunks WHERE document = ?1";
    let end: i64 = to.query_row(sql, [key], |row| row.get(0))?;
    Ok((end.max(0) as usize) < length)
}

/// Whose failure it is.
#[derive(Debug)]
enum Failure {
    /// The damaged database's, which costs what was read.
    Read,
    /// The fresh one's, which ends the salvage.
    Write(rusqlite::Error),
}

/// Whether a row was saved.
type Taken = std::result::Result<bool, Failure>;

impl From<rusqlite::Error> for Failure {
    fn from(_: rusqlite::Error) -> Self {
        Self::Read
    }
}

/// Runs `insert` on the fresh database; false for a row that it refuses.
fn add(to: &Connection, insert: &str, row: impl Params) -> Taken {
    match to.prepare_cached(insert).and_then(|mut insert| insert.execute(row)) {
        Ok(changed) => Ok(changed == 1),
        Err(e) if e.sqlite_error_code() == Some(rusqlite::ErrorCode::ConstraintViolation) => Ok(false),
        Err(e) => Err(Failure::Write(e)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fresh_database_that_is_full_ends_the_salvage() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("collection.sqlite");
        let (from, to) = (Connection::open_in_memory().unwrap(), Connection::open_in_memory().unwrap());
        let table = "CREATE TABLE chunks (chunk_id INTEGER PRIMARY KEY AUTOINCREMENT, text BLOB NOT NULL)";
        for connection in [&from, &to] {
            connection.execute_batch(table).unwrap();
        }
        for _ in 0..40 {
            from.execute("INSERT INTO chunks (text) VALUES (zeroblob(50000))", []).unwrap();
        }
        to.execute_batch("PRAGMA max_page_count = 100; BEGIN").unwrap();
        let rescue = Rescue { from: &from, path: &path, format: 2 };
        let insert = "INSERT OR IGNORE INTO chunks (chunk_id, text) VALUES (?1, ?2)";
        let mut seen = 0;
        let ended = rescue.each("chunks", "chunk_id", "text", &to, &mut |row| {
            seen += 1;
            add(&to, insert, params![row.get::<_, i64>(0)?, row.get::<_, Vec<u8>>(1)?])
        });
        let full = ended.unwrap_err();
        assert_eq!(full.sqlite_error_code(), Some(rusqlite::ErrorCode::DiskFull), "{full}");
        assert!((1..40).contains(&seen));
        // A row that comes twice, or that the table refuses, is no such failure.
        let add = |row: (i64, Option<&str>)| add(&from, insert, row).unwrap();
        assert!(!add((1, Some("again"))) && !add((99, None)) && add((99, Some("new"))));
    }
}
