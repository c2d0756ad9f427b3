//! Databases of older formats, brought up to the present one when they are opened.

use std::path::Path;

use rusqlite::{Connection, TransactionBehavior};

use super::generations::{self, FIRST_GENERATION, State};
use super::schema::{FORMAT, PAGE_SIZE, TABLES, embeddings_table};
use crate::{IndexError, Result};

/// Brings a database of format 1, whose chunks held their vectors, up to format 2 in one transaction: a crash leaves it as
/// it was. Another process may have done so meanwhile. What the tables leave free is given back afterwards; a failure of
/// that changes nothing but the size.
pub(super) fn migrate(connection: &mut Connection, path: &Path) -> Result<()> {
    let failed = || IndexError::database("bring up to the present format", path);
    // Tables are renamed and dropped that refer to each other; the pragma has no effect within a transaction.
    connection.pragma_update(None, "foreign_keys", false).map_err(failed())?;
    let moved = first_to_second(connection);
    connection.pragma_update(None, "foreign_keys", true).map_err(failed())?;
    if moved.map_err(failed())? {
        tracing::info!(path = %path.display(), format = FORMAT, "the collection was brought up to the present format");
        if let Err(e) = give_back(connection) {
            tracing::warn!(path = %path.display(), error = %e, "free space in the database is given back later");
        }
    }
    Ok(())
}

/// False when there was nothing to do.
fn first_to_second(connection: &mut Connection) -> rusqlite::Result<bool> {
    let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let found: i64 = tx.pragma_query_value(None, "user_version", |row| row.get(0))?;
    if found >= FORMAT {
        return Ok(false);
    }
    for table in ["documents", "chunks", "changes"] {
        tx.execute_batch(&format!("ALTER TABLE {table} RENAME TO old_{table}"))?;
    }
    tx.execute_batch(TABLES)?;
    let (embedder, created): (String, i64) = tx.query_row(
        "SELECT e.value, c.value FROM meta e, meta c WHERE e.key = 'embedder' AND c.key = 'created_at'",
        [],
        |row| Ok((row.get(0)?, row.get(1)?)),
    )?;
    let number = generations::insert(&tx, &embedder, State::Current, created)?;
    debug_assert_eq!(number, FIRST_GENERATION);
    tx.execute("UPDATE generations SET sealed_seq = 0", [])?;
    generations::note_searched(&tx, number)?;
    tx.execute_batch(
        "INSERT INTO documents SELECT key, id, title, text, attributes, fingerprint FROM old_documents ORDER BY key;
         INSERT INTO chunks SELECT chunk_id, document, ordinal, span_start, span_end, tokens, text FROM old_chunks
            ORDER BY chunk_id;
         INSERT INTO changes SELECT seq, op, chunk_id FROM old_changes ORDER BY seq;
         DELETE FROM sqlite_sequence WHERE name IN ('chunks', 'changes');
         INSERT INTO sqlite_sequence
            SELECT substr(name, 5), seq FROM sqlite_sequence WHERE name IN ('old_chunks', 'old_changes');",
    )?;
    let vectors = embeddings_table(number);
    tx.execute(&format!("INSERT INTO {vectors} SELECT chunk_id, embedding FROM old_chunks ORDER BY chunk_id"), [])?;
    tx.execute_batch(
        "DROP TABLE old_chunks; DROP TABLE old_documents; DROP TABLE old_changes;
         DELETE FROM meta WHERE key = 'embedder';",
    )?;
    tx.pragma_update(None, "user_version", FORMAT)?;
    tx.commit()?;
    Ok(true)
}

/// Rewrites the file without what is free, in the way of new databases.
fn give_back(connection: &Connection) -> rusqlite::Result<()> {
    connection.pragma_update(None, "page_size", PAGE_SIZE)?;
    connection.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
    connection.execute_batch("VACUUM")?;
    connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use anser_core::ChunkId;

    use super::*;
    use crate::database::{Change, ChangeOp, DATABASE_FILE, Database};

    fn fixture() -> PathBuf {
        let folder = env!("CARGO_MANIFEST_DIR");
        PathBuf::from(folder).join("tests/fixtures/format-1/collections/first").join(DATABASE_FILE)
    }

    fn copied() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(DATABASE_FILE);
        std::fs::copy(fixture(), &path).unwrap();
        (dir, path)
    }

    /// What the first format said, in the words of the second.
    fn of_first_format(path: &Path) -> Vec<Vec<String>> {
        let connection = Connection::open(path).unwrap();
        let all = |sql: &str| rows(&connection, sql);
        let mut found: Vec<Vec<String>> = vec![
            all("SELECT key, id, title, text, attributes, fingerprint FROM documents ORDER BY key"),
            all("SELECT chunk_id, document, ordinal, span_start, span_end, tokens, text FROM chunks ORDER BY chunk_id"),
            all("SELECT seq, op, chunk_id FROM changes ORDER BY seq"),
            all("SELECT chunk_id, embedding FROM chunks ORDER BY chunk_id"),
            all("SELECT value FROM meta WHERE key IN ('id', 'created_at', 'trimmed_seq') ORDER BY key"),
            all("SELECT seq FROM sqlite_sequence WHERE name IN ('chunks', 'changes') ORDER BY name"),
        ];
        found.push(all("SELECT value FROM meta WHERE key = 'embedder'"));
        found
    }

    fn of_second_format(path: &Path) -> Vec<Vec<String>> {
        let connection = Connection::open(path).unwrap();
        let all = |sql: &str| rows(&connection, sql);
        vec![
            all("SELECT key, id, title, text, attributes, fingerprint FROM documents ORDER BY key"),
            all("SELECT chunk_id, document, ordinal, span_start, span_end, tokens, text FROM chunks ORDER BY chunk_id"),
            all("SELECT seq, op, subject FROM changes ORDER BY seq"),
            all("SELECT chunk_id, vector FROM embeddings_1 ORDER BY chunk_id"),
            all("SELECT value FROM meta WHERE key IN ('id', 'created_at', 'trimmed_seq') ORDER BY key"),
            all("SELECT seq FROM sqlite_sequence WHERE name IN ('chunks', 'changes') ORDER BY name"),
            all("SELECT embedder FROM generations WHERE state = 'current'"),
        ]
    }

    fn rows(connection: &Connection, sql: &str) -> Vec<String> {
        let mut select = connection.prepare(sql).unwrap();
        let columns = select.column_count();
        let row = |row: &rusqlite::Row<'_>| {
            let values = (0..columns).map(|column| format!("{:?}", row.get::<_, rusqlite::types::Value>(column)));
            Ok(values.collect::<Vec<_>>().join("|"))
        };
        select.query_map([], row).unwrap().collect::<rusqlite::Result<_>>().unwrap()
    }

    #[test]
    fn a_database_of_the_first_format_keeps_everything() {
        let (_dir, path) = copied();
        let before = of_first_format(&path);
        assert!(before[..4].iter().all(|table| !table.is_empty()), "the fixture has something to lose");
        drop(Database::open(&path).unwrap());
        assert_eq!(of_second_format(&path), before);
        let connection = Connection::open(&path).unwrap();
        assert_eq!(rows(&connection, "PRAGMA integrity_check"), ["Ok(Text(\"ok\"))"]);
        assert!(rows(&connection, "PRAGMA foreign_key_check").is_empty());
        let left: Vec<String> = rows(&connection, "SELECT name FROM sqlite_schema WHERE name LIKE 'old%'");
        assert!(left.is_empty(), "{left:?}");
        drop(Database::open(&path).unwrap());
        assert_eq!(of_second_format(&path), before, "once is enough");
    }

    #[test]
    fn a_migrated_database_goes_on_where_it_was() {
        let (_dir, path) = copied();
        let connection = Connection::open(&path).unwrap();
        let seq: i64 =
            connection.query_row("SELECT seq FROM sqlite_sequence WHERE name = 'changes'", [], |r| r.get(0)).unwrap();
        // A key that was given last and is free again must not be given once more.
        let (key, id): (i64, String) = connection
            .query_row("SELECT key, id FROM documents ORDER BY key DESC LIMIT 1", [], |r| Ok((r.get(0)?, r.get(1)?)))
            .unwrap();
        drop(connection);
        let database = Database::open(&path).unwrap();
        let id = anser_core::DocumentId::new(id).unwrap();
        assert_eq!(database.delete(std::slice::from_ref(&id)).unwrap(), 1);
        let mut seen = Vec::new();
        let mut removed = Vec::new();
        let mut reader = database.reader().unwrap();
        reader
            .transact(|connection| {
                database.each_change(connection, seq, &mut |op, subject| seen.push((op, subject)))?;
                database.changes_after(connection, seq, |change| removed.push(change))
            })
            .unwrap();
        assert_eq!(seen.last(), Some(&(ChangeOp::DocumentRemoved, key)));
        let gone: Vec<Change> = seen
            .iter()
            .filter(|(op, _)| *op == ChangeOp::ChunkRemoved)
            .map(|(_, chunk)| Change::Removed(ChunkId(*chunk as u64)))
            .collect();
        assert!(!gone.is_empty());
        assert_eq!(removed, gone);
        database
            .upsert(&[crate::NewDocument {
                document: anser_core::Document { id, title: None, text: "t".into(), attributes: [].into() },
                fingerprint: "f".into(),
                chunks: Vec::new(),
            }])
            .unwrap();
        let newest: i64 = database.writer().query_row("SELECT max(key) FROM documents", [], |r| r.get(0)).unwrap();
        assert!(newest > key);
    }

    #[test]
    fn a_migration_that_is_interrupted_leaves_the_first_format() {
        let (_dir, path) = copied();
        let before = of_first_format(&path);
        let mut connection = Connection::open(&path).unwrap();
        // The disk is full at some point: pages beyond the present ones are refused.
        let pages: i64 = connection.pragma_query_value(None, "page_count", |r| r.get(0)).unwrap();
        for more in [0, 1, 3, 8] {
            connection.query_row(&format!("PRAGMA max_page_count = {}", pages + more), [], |_| Ok(())).unwrap();
            migrate(&mut connection, &path).unwrap_err();
            assert_eq!(of_first_format(&path), before, "{more} pages more");
        }
        drop(connection);
        drop(Database::open(&path).unwrap());
        assert_eq!(of_second_format(&path), before);
    }
}
