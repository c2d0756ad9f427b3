//! A damaged database: what is wrong with it, and saving the rows that can still be read into a fresh one.
//!
//! Rows are read by their keys from the tables themselves, never through an index. Where reading fails, the keys that are
//! left are halved until the rows that cannot be read stand alone, so one damaged page costs the rows on it and no others.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};

use anser_core::{Attributes, ChunkId, DocumentId, storage};
use rusqlite::{Connection, OpenFlags, Row, params};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::generations::{self, FIRST_GENERATION, State};
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

/// What could be saved of a damaged database.
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
/// lying beside it unless `keep` says otherwise. Nobody else may have it open.
///
/// # Errors
/// `Corrupt` when it cannot be read who makes its vectors: then nothing is changed.
pub(crate) fn salvage(path: &Path, keep: bool) -> Result<Salvage> {
    let damaged = open(path).map_err(IndexError::database("open the database", path))?;
    let format = read_format(&damaged, path)?;
    let fresh = beside(path, "salvaged");
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
        let generations = self.generations()?;
        let failed = || IndexError::database("write to", fresh);
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE;
        let to = Connection::open_with_flags(fresh, flags).map_err(failed())?;
        schema::shape(&to).and_then(|()| configure(&to)).map_err(failed())?;
        to.execute_batch("BEGIN").map_err(failed())?;
        let created = self.number("SELECT value FROM meta WHERE key = 'created_at'");
        let created = created.unwrap_or_else(|| OffsetDateTime::now_utc().unix_timestamp());
        // Another id than before: whatever was cached of the damaged database is not trusted.
        schema::fill(&to, &uuid::Uuid::now_v7().to_string(), created).map_err(failed())?;
        for generation in &generations {
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
            .and_then(|()| match generation.state {
                State::Current => generations::note_searched(&to, generation.number),
                State::Building | State::Previous => Ok(()),
            })
            .map_err(failed())?;
        }
        let settings = "SELECT value FROM meta WHERE key = 'search_settings'";
        if let Ok(settings) = self.from.query_row(settings, [], |row| row.get::<_, String>(0)) {
            to.execute("INSERT INTO meta VALUES ('search_settings', ?1)", [settings]).map_err(failed())?;
        }
        let saved = self.rows(&to, &generations).map_err(failed())?;
        self.sequences(&to).map_err(failed())?;
        to.execute_batch("COMMIT").map_err(failed())?;
        to.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).map_err(failed())?;
        to.close().map_err(|(_, e)| failed()(e))?;
        Ok(saved)
    }

    /// Whose vectors there are: without knowing that, none of them is of use.
    fn generations(&self) -> Result<Vec<Generation>> {
        let hopeless = |reason: &dyn std::fmt::Display| {
            let what = format!("database {}", self.path.display());
            IndexError::corrupt(
                what,
                format!("not even who makes its vectors can be read ({reason}); restore a backup"),
            )
        };
        if self.format > 1 {
            let noted = |reason: &dyn std::fmt::Display| {
                generations::noted_searched(self.from).map(|found| vec![found]).ok_or_else(|| hopeless(reason))
            };
            let mut found = match generations::all(self.from, self.path) {
                Ok(found) if found.iter().any(|generation| generation.state == State::Current) => found,
                Ok(_) => noted(&"none are searched")?,
                Err(_) => noted(&"their table is damaged")?,
            };
            // Half-made vectors are made anew rather than saved.
            found.retain(|generation| generation.state != State::Building);
            return Ok(found);
        }
        let sql = "SELECT value FROM meta WHERE key = 'embedder'";
        let embedder: String = self.from.query_row(sql, [], |row| row.get(0)).map_err(|e| hopeless(&e))?;
        let embedder = serde_json::from_str(&embedder).map_err(|e| hopeless(&e))?;
        let created_at = OffsetDateTime::now_utc();
        Ok(vec![Generation {
            number: FIRST_GENERATION,
            embedder,
            state: State::Current,
            created_at,
            sealed_seq: Some(0),
        }])
    }

    fn rows(&self, to: &Connection, generations: &[Generation]) -> rusqlite::Result<Salvage> {
        let mut saved = Salvage {
            documents: 0,
            incomplete: 0,
            chunks: 0,
            unreadable_documents: 0,
            unreadable_chunks: 0,
            damaged: None,
        };
        // Vectors first: a chunk without one cannot be searched.
        let mut embedded: HashSet<i64> = HashSet::new();
        for generation in generations {
            let (table, column) = match self.format {
                1 => ("chunks".to_owned(), "embedding"),
                _ => (embeddings_table(generation.number), "vector"),
            };
            let insert =
                format!("INSERT INTO {} (chunk_id, vector) VALUES (?1, ?2)", embeddings_table(generation.number));
            let dimension = generation.embedder.dimension;
            let lost = self.each(&table, "chunk_id", column, to, &mut |row| {
                let (id, blob): (i64, Vec<u8>) = (row.get(0)?, row.get(1)?);
                if from_blob(ChunkId(id as u64), &blob, dimension).is_err() {
                    return Ok(false);
                }
                to.prepare_cached(&insert)?.execute(params![id, blob])?;
                if generation.state == State::Current {
                    embedded.insert(id);
                }
                Ok(true)
            })?;
            if generation.state == State::Current {
                saved.unreadable_chunks += lost;
            }
        }
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
            let kept = to.prepare_cached(insert)?.execute(row)? == 1;
            if kept {
                texts.insert(key, text.len());
            }
            Ok(kept)
        })?;
        self.chunks(to, &embedded, &texts, &mut saved)?;
        for generation in generations {
            let table = embeddings_table(generation.number);
            to.execute(&format!("DELETE FROM {table} WHERE chunk_id NOT IN (SELECT chunk_id FROM chunks)"), [])?;
        }
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
            if to.prepare_cached(insert)?.execute(row)? == 0 {
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
    /// `take` refuses. Errors of writing are passed on.
    fn each(
        &self,
        table: &str,
        key: &str,
        columns: &str,
        to: &Connection,
        take: &mut dyn FnMut(&Row<'_>) -> rusqlite::Result<bool>,
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
            let mut read = || -> rusqlite::Result<()> {
                let mut select = self.from.prepare_cached(&sql)?;
                let mut found = select.query([low, high])?;
                while let Some(row) = found.next()? {
                    let at: i64 = row.get(0)?;
                    match take(row) {
                        Ok(true) => {}
                        Err(e) if is_of_writing(&e) => return Err(e),
                        Ok(false) | Err(_) => lost += 1,
                    }
                    low = at + 1;
                    rows += 1;
                    if rows % BATCH == 0 {
                        to.execute_batch("COMMIT; BEGIN")?;
                    }
                }
                low = high + 1;
                Ok(())
            };
            match read() {
                Ok(()) => {}
                Err(e) if is_of_writing(&e) => return Err(e),
                Err(_) if low >= high => lost += 1,
                Err(_) => {
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

/// Whether an error is of the fresh database and not of the damaged one.
fn is_of_writing(error: &rusqlite::Error) -> bool {
    use rusqlite::ErrorCode as C;
    matches!(
        error.sqlite_error_code(),
        Some(C::DiskFull | C::ReadOnly | C::PermissionDenied | C::ConstraintViolation | C::OutOfMemory)
    )
}

/// A name beside `path` that is free.
fn beside(path: &Path, what: &str) -> PathBuf {
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

fn remove_with_log(path: &Path) {
    for file in companions(path).iter().map(PathBuf::as_path).chain([path]) {
        let _ = fs::remove_file(file);
    }
}

/// Puts `fresh` in the place of the damaged database, which is kept under another name if `keep` says so.
fn put_in_place(path: &Path, fresh: &Path, keep: bool) -> Result<Option<PathBuf>> {
    let kept = keep.then(|| beside(path, "damaged"));
    let [log, index] = companions(path);
    if let Some(kept) = &kept {
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
    Ok(kept)
}
