//! Generations of vectors: which embedder made which, and which one is searched.

use std::path::Path;

use anser_core::EmbedderInfo;
use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSqlOutput, ValueRef};
use rusqlite::{Connection, OptionalExtension, ToSql, params};
use time::OffsetDateTime;

use super::schema::create_embeddings;
use crate::{IndexError, Result};

/// The number of the generation that a collection begins with.
pub(super) const FIRST_GENERATION: i64 = 1;

/// What a generation is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Its vectors are searched; there is exactly one.
    Current,
    /// Its vectors are being made; nobody searches them yet. At most one.
    Building,
    /// Its vectors were searched before the current ones. At most one.
    Previous,
}

impl State {
    fn name(self) -> &'static str {
        match self {
            Self::Current => "current",
            Self::Building => "building",
            Self::Previous => "previous",
        }
    }
}

impl ToSql for State {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::from(self.name()))
    }
}

impl FromSql for State {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        let name = value.as_str()?;
        let known = [Self::Current, Self::Building, Self::Previous].into_iter().find(|state| state.name() == name);
        known.ok_or_else(|| FromSqlError::Other(format!("there is no state \"{name}\" of a generation").into()))
    }
}

/// The vectors of one embedder for a collection's chunks.
#[derive(Debug, Clone, PartialEq)]
pub struct Generation {
    /// Rises with every generation of the collection, from 1.
    pub number: i64,
    /// Who makes its vectors.
    pub embedder: EmbedderInfo,
    /// What it is for.
    pub state: State,
    /// When it was begun.
    pub created_at: OffsetDateTime,
    /// The last change of the collection when its vectors were first searched; `None` when they never were.
    pub sealed_seq: Option<i64>,
}

/// Every generation, by number. `path` is told in errors.
pub(super) fn all(connection: &Connection, path: &Path) -> Result<Vec<Generation>> {
    let failed = || IndexError::database("read the generations of", path);
    let sql = "SELECT number, embedder, state, created_at, sealed_seq FROM generations ORDER BY number";
    let mut select = connection.prepare_cached(sql).map_err(failed())?;
    let mut rows = select.query([]).map_err(failed())?;
    let mut found = Vec::new();
    while let Some(row) = rows.next().map_err(failed())? {
        let number: i64 = row.get(0).map_err(failed())?;
        let wrong = |reason: &dyn std::fmt::Display| {
            IndexError::corrupt(format!("generation {number} of {}", path.display()), reason)
        };
        let embedder: String = row.get(1).map_err(failed())?;
        let created: i64 = row.get(3).map_err(failed())?;
        found.push(Generation {
            number,
            embedder: serde_json::from_str(&embedder)
                .map_err(|e| wrong(&format!("its embedder cannot be read ({e})")))?,
            state: row.get(2).map_err(failed())?,
            created_at: OffsetDateTime::from_unix_timestamp(created).map_err(|_| wrong(&"its date is out of range"))?,
            sealed_seq: row.get(4).map_err(failed())?,
        });
    }
    Ok(found)
}

/// The state of generation `number`; `None` when there is none.
pub(super) fn state(connection: &Connection, number: i64) -> rusqlite::Result<Option<State>> {
    let sql = "SELECT state FROM generations WHERE number = ?1";
    connection.prepare_cached(sql)?.query_row([number], |row| row.get(0)).optional()
}

/// The numbers of all generations: every one has a table of vectors.
pub(super) fn numbers(connection: &Connection) -> rusqlite::Result<Vec<i64>> {
    let mut select = connection.prepare_cached("SELECT number FROM generations ORDER BY number")?;
    select.query_map([], |row| row.get(0))?.collect()
}

/// Adds a generation with an empty table and returns its number.
pub(super) fn insert(connection: &Connection, embedder: &str, state: State, created: i64) -> rusqlite::Result<i64> {
    connection.execute(
        "INSERT INTO generations (embedder, state, created_at, sealed_seq) VALUES (?1, ?2, ?3, ?4)",
        params![embedder, state, created, (state == State::Current).then_some(0)],
    )?;
    let number = connection.last_insert_rowid();
    connection.execute_batch(&create_embeddings(number))?;
    Ok(number)
}

/// Key in `meta` under which it stands a second time which vectors are searched, for when the page that says so is damaged.
const SEARCHED: &str = "searched";

/// Writes down a second time which generation is searched.
pub(super) fn note_searched(connection: &Connection, number: i64) -> rusqlite::Result<()> {
    connection.execute(
        "INSERT OR REPLACE INTO meta (key, value) \
         SELECT ?2, json_object('number', number, 'embedder', json(embedder)) FROM generations WHERE number = ?1",
        params![number, SEARCHED],
    )?;
    Ok(())
}

/// The generation that is searched, as it was written down a second time.
pub(super) fn noted_searched(connection: &Connection) -> Option<Generation> {
    #[derive(serde::Deserialize)]
    struct Searched {
        number: i64,
        embedder: EmbedderInfo,
    }
    let sql = "SELECT value FROM meta WHERE key = ?1";
    let json: String = connection.query_row(sql, [SEARCHED], |row| row.get(0)).ok()?;
    let Searched { number, embedder } = serde_json::from_str(&json).ok()?;
    let created_at = OffsetDateTime::now_utc();
    Some(Generation { number, embedder, state: State::Current, created_at, sealed_seq: Some(0) })
}

/// An embedder as it is stored.
pub(super) fn to_json(embedder: &EmbedderInfo) -> Result<String> {
    serde_json::to_string(embedder)
        .map_err(|e| IndexError::internal(format!("an embedder's description cannot be stored: {e}")))
}
