//! Everything that changes a collection's database.

use std::collections::HashMap;
use std::time::Duration;

use anser_core::{AttributeValue, ByteSpan, Document, DocumentId, Embedding};
use rusqlite::{Connection, OptionalExtension, params};

use super::changes::log;
use super::read::document_by_id;
use super::schema::embeddings_table;
use super::{BUSY_TIMEOUT, ChangeOp, Database, generations};
use crate::ann::{to_blob, wrong_dimension};
use crate::{IndexError, Result};

/// Patience with readers while text that was deleted is being erased from the log.
const CHECKPOINT_PATIENCE: Duration = Duration::from_millis(100);

/// A chunk to store.
#[derive(Debug, Clone, PartialEq)]
pub struct NewChunk {
    /// Where it lies in the document's text.
    pub span: ByteSpan,
    /// Exactly the text under `span`.
    pub text: String,
    /// Its length in the embedder's tokens.
    pub tokens: u32,
    /// Its vector, of the collection's dimension.
    pub embedding: Embedding,
}

/// A document to store with its chunks, in order.
#[derive(Debug, Clone, PartialEq)]
pub struct NewDocument {
    /// The document.
    pub document: Document,
    /// Hash of everything that went into it; a document whose stored fingerprint is equal is left alone.
    pub fingerprint: String,
    /// Its chunks.
    pub chunks: Vec<NewChunk>,
}

/// What an upsert did with its documents.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub struct UpsertOutcome {
    /// Documents whose id was new.
    pub inserted: usize,
    /// Documents that took the place of another with the same id.
    pub replaced: usize,
    /// Documents that were stored already with the same fingerprint.
    pub unchanged: usize,
}

impl Database {
    /// Stores `documents` in one durable transaction, each replacing what has its id: all of them or, on an error, none.
    pub(crate) fn upsert(&self, documents: &[NewDocument]) -> Result<UpsertOutcome> {
        let attributes = documents.iter().map(|d| self.check(d)).collect::<Result<Vec<_>>>()?;
        let outcome = self.transact(|connection| {
            let mut outcome = UpsertOutcome::default();
            for (new, attributes) in documents.iter().zip(&attributes) {
                match self.store(connection, new, attributes).map_err(self.failed("write to"))? {
                    Stored::Inserted => outcome.inserted += 1,
                    Stored::Replaced => outcome.replaced += 1,
                    Stored::Unchanged => outcome.unchanged += 1,
                }
            }
            Ok(outcome)
        })?;
        if outcome.replaced > 0 {
            self.erase_log();
        }
        Ok(outcome)
    }

    /// Deletes documents with their chunks in one durable transaction and counts those that existed.
    pub(crate) fn delete(&self, ids: &[DocumentId]) -> Result<usize> {
        let deleted = self.transact(|connection| {
            let mut deleted = 0;
            for id in ids {
                deleted += usize::from(remove(connection, id).map_err(self.failed("delete from"))?);
            }
            Ok(deleted)
        })?;
        if deleted > 0 {
            self.erase_log();
        }
        Ok(deleted)
    }

    /// Shows `choose` the documents called `ids` as they are now and deletes those of the ids that it names, in one durable
    /// transaction. Returns how many existed.
    pub(crate) fn delete_chosen(
        &self,
        ids: &[DocumentId],
        choose: &mut dyn FnMut(&HashMap<DocumentId, Document>) -> Vec<DocumentId>,
    ) -> Result<usize> {
        let deleted = self.transact(|connection| {
            let mut stored = HashMap::with_capacity(ids.len());
            for id in ids {
                let document = document_by_id(connection, id).map_err(self.failed("read"))?;
                stored.extend(document.map(|document| (id.clone(), document)));
            }
            let mut deleted = 0;
            for id in choose(&stored).iter().filter(|id| stored.contains_key(id)) {
                deleted += usize::from(remove(connection, id).map_err(self.failed("delete from"))?);
            }
            Ok(deleted)
        })?;
        if deleted > 0 {
            self.erase_log();
        }
        Ok(deleted)
    }

    /// Moves the write-ahead log into the database and empties it, so that deleted text is gone from both. A reader that
    /// is busy delays that to a later call, at the latest to the moment when the last connection closes.
    pub(super) fn erase_log(&self) {
        match truncate_log(&self.writer(), CHECKPOINT_PATIENCE) {
            Ok(true) => {}
            Ok(false) => tracing::debug!(path = %self.path.display(), "readers keep the write-ahead log; erased later"),
            Err(e) => tracing::warn!(path = %self.path.display(), error = %e, "cannot erase the write-ahead log"),
        }
    }

    /// Puts a document in place of what has its id.
    fn store(&self, connection: &Connection, new: &NewDocument, attributes: &str) -> rusqlite::Result<Stored> {
        let document = &new.document;
        let before: Option<(i64, String)> = connection
            .prepare_cached("SELECT key, fingerprint FROM documents WHERE id = ?1")?
            .query_row([document.id.as_str()], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        let (key, stored) = match before {
            Some((_, fingerprint)) if fingerprint == new.fingerprint => return Ok(Stored::Unchanged),
            Some((key, _)) => {
                remove_chunks(connection, key)?;
                connection
                    .prepare_cached(
                        "UPDATE documents SET title = ?2, text = ?3, attributes = ?4, fingerprint = ?5 WHERE key = ?1",
                    )?
                    .execute(params![key, document.title, document.text, attributes, new.fingerprint])?;
                (key, Stored::Replaced)
            }
            None => {
                connection
                    .prepare_cached(
                        "INSERT INTO documents (id, title, text, attributes, fingerprint) VALUES (?1, ?2, ?3, ?4, ?5)",
                    )?
                    .execute(params![
                        document.id.as_str(),
                        document.title,
                        document.text,
                        attributes,
                        new.fingerprint
                    ])?;
                (connection.last_insert_rowid(), Stored::Inserted)
            }
        };
        let mut insert = connection.prepare_cached(
            "INSERT INTO chunks (document, ordinal, span_start, span_end, tokens, text) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )?;
        let sql = format!("INSERT INTO {} (chunk_id, vector) VALUES (?1, ?2)", self.embeddings);
        let mut insert_vector = connection.prepare_cached(&sql)?;
        log(connection, ChangeOp::DocumentStored, key)?;
        for (ordinal, chunk) in new.chunks.iter().enumerate() {
            let (start, end) = (chunk.span.start as i64, chunk.span.end as i64);
            insert.execute(params![key, ordinal as i64, start, end, chunk.tokens, chunk.text])?;
            let id = connection.last_insert_rowid();
            insert_vector.execute(params![id, to_blob(&chunk.embedding)])?;
            log(connection, ChangeOp::ChunkAdded, id)?;
        }
        Ok(stored)
    }

    /// Refuses what must not enter; returns the attributes as JSON.
    fn check(&self, new: &NewDocument) -> Result<String> {
        let id = &new.document.id;
        for (ordinal, chunk) in new.chunks.iter().enumerate() {
            let dimension = self.identity.embedder.dimension;
            if chunk.embedding.dimension() != dimension {
                return Err(wrong_dimension(chunk.embedding.dimension(), dimension));
            }
            if chunk.span.slice(&new.document.text) != Some(chunk.text.as_str()) {
                return Err(IndexError::invalid_param(
                    format!(
                        "chunk {ordinal} of document \"{id}\" is not the text at bytes {} to {} of its document",
                        chunk.span.start, chunk.span.end
                    ),
                    "span",
                ));
            }
        }
        for (name, value) in &new.document.attributes {
            if matches!(value, AttributeValue::Float(v) if !v.is_finite()) {
                return Err(IndexError::invalid_param(
                    format!("the attribute \"{name}\" of document \"{id}\" is not a finite number; leave it out"),
                    "attributes",
                ));
            }
        }
        serde_json::to_string(&new.document.attributes).map_err(|e| {
            IndexError::invalid_param(
                format!("the attributes of document \"{id}\" cannot be stored: {e}"),
                "attributes",
            )
        })
    }
}

enum Stored {
    Inserted,
    Replaced,
    Unchanged,
}

/// Removes a document; false when there is none.
fn remove(connection: &Connection, id: &DocumentId) -> rusqlite::Result<bool> {
    let key: Option<i64> = connection
        .prepare_cached("SELECT key FROM documents WHERE id = ?1")?
        .query_row([id.as_str()], |row| row.get(0))
        .optional()?;
    let Some(key) = key else { return Ok(false) };
    remove_chunks(connection, key)?;
    connection.prepare_cached("DELETE FROM documents WHERE key = ?1")?.execute([key])?;
    log(connection, ChangeOp::DocumentRemoved, key)?;
    Ok(true)
}

/// Removes the chunks of a document and their vectors of every generation.
fn remove_chunks(connection: &Connection, document: i64) -> rusqlite::Result<()> {
    for number in generations::numbers(connection)? {
        let vectors = embeddings_table(number);
        let sql = format!("DELETE FROM {vectors} WHERE chunk_id IN (SELECT chunk_id FROM chunks WHERE document = ?1)");
        connection.prepare_cached(&sql)?.execute([document])?;
    }
    connection
        .prepare_cached("INSERT INTO changes (op, subject) SELECT ?2, chunk_id FROM chunks WHERE document = ?1")?
        .execute([document, ChangeOp::ChunkRemoved.code()])?;
    connection.prepare_cached("DELETE FROM chunks WHERE document = ?1")?.execute([document])?;
    Ok(())
}

/// Moves the write-ahead log into the database and empties it, waiting at most `patience` for readers; false when one of
/// them still needs it.
pub(super) fn truncate_log(writer: &Connection, patience: Duration) -> rusqlite::Result<bool> {
    writer.busy_timeout(patience)?;
    let busy = writer.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, i64>(0));
    writer.busy_timeout(BUSY_TIMEOUT)?;
    Ok(busy? == 0)
}
