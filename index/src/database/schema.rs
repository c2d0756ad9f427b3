//! The tables of a collection's database and how a new one is made.

use std::path::Path;

use anser_core::EmbedderInfo;
use rusqlite::{Connection, OpenFlags};
use time::OffsetDateTime;

use super::configure;
use super::generations::{self, FIRST_GENERATION, State};
use crate::{IndexError, Result};

/// Format of the tables below, kept in `PRAGMA user_version`. [`migrate`](super::migrate) brings older ones up to it.
pub(super) const FORMAT: i64 = 2;
/// Marks the file as ours ("ANSR"), kept in `PRAGMA application_id`.
pub(super) const APPLICATION_ID: i64 = 0x414e_5352;
/// Bytes of a page: wide enough for several vectors and most texts.
pub(super) const PAGE_SIZE: i64 = 8192;

/// Keys of documents, ids of chunks and numbers of changes and generations are never used twice.
///
/// `generations` says which embedders' vectors there are; those of generation n lie in the table `embeddings_<n>`, so that
/// all chunks can be embedded anew beside the vectors that searches use. `changes` records everything that happens to chunks
/// and documents, in the order of commits, so that caches can catch up; `meta.trimmed_seq` is the last change that was
/// dropped from it.
pub(super) const TABLES: &str = "
CREATE TABLE documents (
    key INTEGER PRIMARY KEY AUTOINCREMENT,
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
    UNIQUE (document, ordinal)
);
CREATE TABLE changes (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    op INTEGER NOT NULL,
    subject INTEGER NOT NULL
);
CREATE TABLE generations (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    embedder TEXT NOT NULL,
    state TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    sealed_seq INTEGER
);
";

/// Where each collection says what it is.
const META: &str = "CREATE TABLE meta (key TEXT PRIMARY KEY, value NOT NULL) WITHOUT ROWID;";

/// Creates the database of a new collection at `path`, durably.
pub(super) fn create(path: &Path, embedder: &EmbedderInfo) -> Result<()> {
    let failed = || IndexError::database("create the database", path);
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE;
    let mut connection = Connection::open_with_flags(path, flags).map_err(failed())?;
    shape(&connection).map_err(failed())?;
    configure(&connection).map_err(failed())?;
    let embedder = generations::to_json(embedder)?;
    let tx = connection.transaction().map_err(failed())?;
    let id = uuid::Uuid::now_v7().to_string();
    let created = OffsetDateTime::now_utc().unix_timestamp();
    fill(&tx, &id, created).map_err(failed())?;
    generations::insert(&tx, &embedder, State::Current, created)
        .and_then(|number| generations::note_searched(&tx, number))
        .map_err(failed())?;
    tx.commit().map_err(failed())?;
    connection.close().map_err(|(_, e)| failed()(e))
}

/// What must be said before the first page is written.
pub(super) fn shape(connection: &Connection) -> rusqlite::Result<()> {
    connection.pragma_update(None, "page_size", PAGE_SIZE)?;
    connection.pragma_update(None, "auto_vacuum", "INCREMENTAL")
}

/// All tables but those of vectors, and what the collection is.
pub(super) fn fill(connection: &Connection, id: &str, created: i64) -> rusqlite::Result<()> {
    connection.execute_batch(META)?;
    connection.execute_batch(TABLES)?;
    connection.execute("INSERT INTO meta VALUES ('id', ?1), ('created_at', ?2), ('trimmed_seq', 0)", (id, created))?;
    connection.pragma_update(None, "application_id", APPLICATION_ID)?;
    connection.pragma_update(None, "user_version", FORMAT)
}

/// The table that holds the vectors of a generation.
pub(super) fn embeddings_table(generation: i64) -> String {
    format!("embeddings_{generation}")
}

/// The statement that creates it.
pub(super) fn create_embeddings(generation: i64) -> String {
    let table = embeddings_table(generation);
    format!("CREATE TABLE {table} (chunk_id INTEGER PRIMARY KEY, vector BLOB NOT NULL)")
}

/// The name of the folder beside the database that holds what is derived from the vectors of a generation.
pub(crate) fn cache_folder(generation: i64) -> String {
    if generation == FIRST_GENERATION { "cache".to_owned() } else { format!("cache-{generation}") }
}
