//! Everything that reads a collection's database.

use std::collections::HashMap;

use anser_core::{Attributes, ByteSpan, Chunk, ChunkId, Document, DocumentId, Embedding, ScoredChunk};
use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, Row, Rows};

use super::Database;
use crate::ann::from_blob;
use crate::{Filter, Result};

/// How much a collection holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CollectionCounts {
    /// Documents.
    pub(crate) documents: u64,
    /// Chunks of all documents.
    pub(crate) chunks: u64,
}

/// A document with one vector that stands for all of it.
#[derive(Debug, Clone, PartialEq)]
pub struct ScannedDocument {
    /// The document.
    pub document: Document,
    /// The mean of its chunks' vectors, scaled to unit norm.
    pub embedding: Embedding,
}

const DOCUMENT_COLUMNS: &str = "id, title, text, attributes";

impl Database {
    /// Calls `each` with every chunk's vector, in order of chunk id.
    pub(crate) fn each_vector(
        &self,
        connection: &Connection,
        mut each: impl FnMut(ChunkId, Embedding) -> Result<()>,
    ) -> Result<()> {
        let failed = || self.failed("read the vectors of");
        let sql = format!("SELECT chunk_id, vector FROM {} ORDER BY chunk_id", self.embeddings);
        let mut select = connection.prepare(&sql).map_err(failed())?;
        let mut rows = select.query([]).map_err(failed())?;
        while let Some(row) = rows.next().map_err(failed())? {
            let id = ChunkId(row.get::<_, i64>(0).map_err(failed())? as u64);
            let blob = row.get_ref(1).and_then(|v| Ok(v.as_blob()?)).map_err(failed())?;
            each(id, from_blob(id, blob, self.identity.embedder.dimension)?)?;
        }
        Ok(())
    }

    /// How much there is.
    pub(crate) fn counts(&self) -> Result<CollectionCounts> {
        self.reader()?.transact(|connection| {
            let count = |sql: &str| connection.query_row(sql, [], |row| row.get::<_, i64>(0)).map(|n| n as u64);
            let documents = count("SELECT count(*) FROM documents").map_err(self.failed("read"))?;
            let chunks = count("SELECT count(*) FROM chunks").map_err(self.failed("read"))?;
            Ok(CollectionCounts { documents, chunks })
        })
    }

    /// The stored fingerprint of each of `ids` that exists.
    pub(crate) fn fingerprints(&self, ids: &[DocumentId]) -> Result<HashMap<DocumentId, String>> {
        self.reader()?.transact(|connection| {
            let mut found = HashMap::with_capacity(ids.len());
            let mut select = connection
                .prepare_cached("SELECT fingerprint FROM documents WHERE id = ?1")
                .map_err(self.failed("read"))?;
            for id in ids {
                let fingerprint = select.query_row([id.as_str()], |row| row.get(0)).optional();
                if let Some(fingerprint) = fingerprint.map_err(self.failed("read"))? {
                    found.insert(id.clone(), fingerprint);
                }
            }
            Ok(found)
        })
    }

    /// The document called `id`.
    pub(crate) fn document(&self, id: &DocumentId) -> Result<Option<Document>> {
        self.reader()?.transact(|connection| document_by_id(connection, id).map_err(self.failed("read")))
    }

    /// Up to `limit` documents in order of id, from the first one after `after`.
    pub(crate) fn documents(&self, after: Option<&DocumentId>, limit: usize) -> Result<Vec<Document>> {
        let sql = format!("SELECT {DOCUMENT_COLUMNS} FROM documents WHERE id > ?1 ORDER BY id LIMIT ?2");
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        self.reader()?.transact(|connection| {
            let mut select = connection.prepare_cached(&sql).map_err(self.failed("read"))?;
            // No id is empty, so every id comes after the empty text.
            let rows = select.query_map((after.map_or("", DocumentId::as_str), limit), document);
            rows.and_then(Iterator::collect).map_err(self.failed("read"))
        })
    }

    /// The chunks of the document called `id`, in order; none when there is no such document.
    pub(crate) fn chunks(&self, id: &DocumentId) -> Result<Vec<Chunk>> {
        let sql = "SELECT k.chunk_id, d.id, k.ordinal, k.span_start, k.span_end, k.text, k.tokens \
                   FROM documents d JOIN chunks k ON k.document = d.key WHERE d.id = ?1 ORDER BY k.ordinal";
        self.reader()?.transact(|connection| {
            let mut select = connection.prepare_cached(sql).map_err(self.failed("read"))?;
            let rows = select.query_map([id.as_str()], chunk);
            rows.and_then(Iterator::collect).map_err(self.failed("read"))
        })
    }

    /// The hits with their texts; those that `connection` does not see are left out.
    pub(crate) fn hydrate(&self, connection: &Connection, hits: &[(ChunkId, f32)]) -> Result<Vec<ScoredChunk>> {
        let sql = "SELECT k.chunk_id, d.id, k.ordinal, k.span_start, k.span_end, k.text, k.tokens, d.title, d.attributes \
                   FROM chunks k JOIN documents d ON d.key = k.document WHERE k.chunk_id = ?1";
        let mut select = connection.prepare_cached(sql).map_err(self.failed("read"))?;
        let mut found = Vec::with_capacity(hits.len());
        for (id, score) in hits {
            let hit = select.query_row([id.0 as i64], |row| {
                let (title, attributes) = (row.get(7)?, attributes(row, 8)?);
                Ok(ScoredChunk {
                    chunk: chunk(row)?,
                    score: *score,
                    vector_score: None,
                    keyword_score: None,
                    rerank_score: None,
                    highlights: Vec::new(),
                    title,
                    attributes,
                })
            });
            found.extend(hit.optional().map_err(self.failed("read"))?);
        }
        Ok(found)
    }

    /// The chunks of the documents called `ids`, ascending; unknown ids have none.
    pub(crate) fn chunks_of(&self, connection: &Connection, ids: &[DocumentId]) -> Result<Vec<ChunkId>> {
        let sql = "SELECT k.chunk_id FROM documents d JOIN chunks k ON k.document = d.key WHERE d.id = ?1";
        let mut select = connection.prepare_cached(sql).map_err(self.failed("read"))?;
        let mut found = Vec::new();
        for id in ids {
            let chunks = select.query_map([id.as_str()], |row| row.get::<_, i64>(0));
            let chunks: Vec<i64> = chunks.and_then(Iterator::collect).map_err(self.failed("read"))?;
            found.extend(chunks.into_iter().map(|chunk| ChunkId(chunk as u64)));
        }
        found.sort_unstable();
        found.dedup();
        Ok(found)
    }

    /// The same chunks with their documents' keys; those that `connection` does not see are left out.
    pub(crate) fn documents_of(
        &self,
        connection: &Connection,
        chunks: &[(ChunkId, f32)],
    ) -> Result<Vec<(ChunkId, f32, i64)>> {
        let sql = "SELECT document FROM chunks WHERE chunk_id = ?1";
        let mut select = connection.prepare_cached(sql).map_err(self.failed("read"))?;
        let mut found = Vec::with_capacity(chunks.len());
        for (id, score) in chunks {
            let document = select.query_row([id.0 as i64], |row| row.get(0)).optional();
            found.extend(document.map_err(self.failed("read"))?.map(|document| (*id, *score, document)));
        }
        Ok(found)
    }

    /// The vectors of some chunks; those that `connection` does not see are left out.
    pub(crate) fn vectors_of(
        &self,
        connection: &Connection,
        chunks: &[ChunkId],
    ) -> Result<HashMap<ChunkId, Embedding>> {
        let sql = format!("SELECT vector FROM {} WHERE chunk_id = ?1", self.embeddings);
        let mut select = connection.prepare_cached(&sql).map_err(self.failed("read"))?;
        let mut found = HashMap::with_capacity(chunks.len());
        for id in chunks {
            let blob = select.query_row([id.0 as i64], |row| row.get::<_, Vec<u8>>(0)).optional();
            if let Some(blob) = blob.map_err(self.failed("read"))? {
                found.insert(*id, from_blob(*id, &blob, self.identity.embedder.dimension)?);
            }
        }
        Ok(found)
    }

    /// The normalised mean of the vectors of a document's chunks; `None` when it has none or is not there.
    pub(crate) fn mean_vector(&self, id: &DocumentId) -> Result<Option<Embedding>> {
        let sql = format!(
            "SELECT k.chunk_id, e.vector FROM documents d JOIN chunks k ON k.document = d.key \
             JOIN {} e ON e.chunk_id = k.chunk_id WHERE d.id = ?1 ORDER BY k.ordinal",
            self.embeddings
        );
        let blobs: Vec<(i64, Vec<u8>)> = self.reader()?.transact(|connection| {
            let mut select = connection.prepare_cached(&sql).map_err(self.failed("read"))?;
            let rows = select.query_map([id.as_str()], |row| Ok((row.get(0)?, row.get(1)?)));
            rows.and_then(Iterator::collect).map_err(self.failed("read"))
        })?;
        let dimension = self.identity.embedder.dimension;
        let vector = |(chunk, blob): &(i64, Vec<u8>)| from_blob(ChunkId(*chunk as u64), blob, dimension);
        let vectors: Vec<Embedding> = blobs.iter().map(vector).collect::<Result<_>>()?;
        let mut sum = vec![0.0f32; dimension];
        for vector in &vectors {
            sum.iter_mut().zip(vector.as_slice()).for_each(|(s, v)| *s += v);
        }
        // Vectors that cancel out have no mean direction; then the first chunk stands for all.
        Ok(Embedding::normalize(sum).ok().or_else(|| vectors.into_iter().next()))
    }

    /// Every document that has chunks, in order of id, with the mean of their vectors. One row is held at a time besides
    /// the result.
    pub(crate) fn scan(
        &self,
        filter: Option<&Filter>,
        visit: &mut dyn FnMut(ScannedDocument) -> Result<()>,
    ) -> Result<()> {
        let sql = format!("{} ORDER BY d.id, k.ordinal", self.scan_query());
        self.reader()?.transact(|connection| {
            let mut select = connection.prepare(&sql).map_err(self.failed("scan"))?;
            let rows = select.query([]).map_err(self.failed("scan"))?;
            self.each_scanned(rows, &mut |document, sum| match filter {
                Some(filter) if !filter.matches(&document.attributes) => Ok(()),
                _ => visit(self.with_mean(connection, document, sum)?),
            })
        })
    }

    /// Those of the documents with these keys that have chunks, likewise.
    pub(crate) fn scan_some(
        &self,
        connection: &Connection,
        keys: &[i64],
        visit: &mut dyn FnMut(ScannedDocument) -> Result<()>,
    ) -> Result<()> {
        let failed = || self.failed("scan");
        let mut select = connection.prepare("SELECT id FROM documents WHERE key = ?1").map_err(failed())?;
        let mut named: Vec<(String, i64)> = Vec::with_capacity(keys.len());
        for key in keys {
            named.push((select.query_row([key], |row| row.get(0)).map_err(failed())?, *key));
        }
        named.sort_unstable();
        let sql = format!("{} WHERE d.key = ?1 ORDER BY k.ordinal", self.scan_query());
        let mut select = connection.prepare(&sql).map_err(failed())?;
        for (_, key) in named {
            let rows = select.query([key]).map_err(failed())?;
            self.each_scanned(rows, &mut |document, sum| visit(self.with_mean(connection, document, sum)?))?;
        }
        Ok(())
    }

    /// The columns that [`each_scanned`](Self::each_scanned) reads.
    fn scan_query(&self) -> String {
        format!(
            "SELECT d.id, d.title, d.text, d.attributes, k.chunk_id, e.vector FROM documents d \
             JOIN chunks k ON k.document = d.key JOIN {} e ON e.chunk_id = k.chunk_id",
            self.embeddings
        )
    }

    /// Shows `each` every document with the sum of its vectors. The rows of a document follow each other.
    fn each_scanned(&self, mut rows: Rows<'_>, each: &mut dyn FnMut(Document, Vec<f32>) -> Result<()>) -> Result<()> {
        let failed = || self.failed("scan");
        let dimension = self.identity.embedder.dimension;
        let mut last: Option<(Document, Vec<f32>)> = None;
        while let Some(row) = rows.next().map_err(failed())? {
            let id = ChunkId(row.get::<_, i64>(4).map_err(failed())? as u64);
            let blob = row.get_ref(5).and_then(|v| Ok(v.as_blob()?)).map_err(failed())?;
            let vector = from_blob(id, blob, dimension)?;
            let document_id = row.get_ref(0).and_then(|v| Ok(v.as_str()?)).map_err(failed())?;
            match &mut last {
                Some((last, sum)) if last.id.as_str() == document_id => {
                    sum.iter_mut().zip(vector.as_slice()).for_each(|(s, v)| *s += v);
                }
                _ => {
                    let next = (document(row).map_err(failed())?, vector.into_vec());
                    if let Some((document, sum)) = last.replace(next) {
                        each(document, sum)?;
                    }
                }
            }
        }
        last.map_or(Ok(()), |(document, sum)| each(document, sum))
    }

    /// The direction of a sum of unit vectors. Vectors that cancel out have none; then the first chunk stands for all.
    fn with_mean(&self, connection: &Connection, document: Document, sum: Vec<f32>) -> Result<ScannedDocument> {
        let length = sum.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>().sqrt();
        // The vector of a single chunk is the mean of its document, bit for bit.
        let mean = if (length - 1.0).abs() < 1e-6 { Embedding::from_unit(sum) } else { Embedding::normalize(sum) };
        if let Ok(embedding) = mean {
            return Ok(ScannedDocument { document, embedding });
        }
        let sql = format!(
            "SELECT k.chunk_id, e.vector FROM documents d JOIN chunks k ON k.document = d.key \
             JOIN {} e ON e.chunk_id = k.chunk_id WHERE d.id = ?1 ORDER BY k.ordinal LIMIT 1",
            self.embeddings
        );
        let first = connection.query_row(&sql, [document.id.as_str()], |row| Ok((row.get::<_, i64>(0)?, row.get(1)?)));
        let (id, blob): (i64, Vec<u8>) = first.map_err(self.failed("scan"))?;
        let embedding = from_blob(ChunkId(id as u64), &blob, self.identity.embedder.dimension)?;
        Ok(ScannedDocument { document, embedding })
    }
}

/// The document called `id`, in the transaction that `connection` is in.
pub(super) fn document_by_id(connection: &Connection, id: &DocumentId) -> rusqlite::Result<Option<Document>> {
    let sql = format!("SELECT {DOCUMENT_COLUMNS} FROM documents WHERE id = ?1");
    connection.prepare_cached(&sql)?.query_row([id.as_str()], document).optional()
}

/// Reads [`DOCUMENT_COLUMNS`].
fn document(row: &Row<'_>) -> rusqlite::Result<Document> {
    Ok(Document { id: document_id(row, 0)?, title: row.get(1)?, text: row.get(2)?, attributes: attributes(row, 3)? })
}

/// Reads `chunk_id`, document id, `ordinal`, `span_start`, `span_end`, `text`, `tokens`.
fn chunk(row: &Row<'_>) -> rusqlite::Result<Chunk> {
    Ok(Chunk {
        id: ChunkId(row.get::<_, i64>(0)? as u64),
        document_id: document_id(row, 1)?,
        ordinal: row.get(2)?,
        span: ByteSpan { start: row.get::<_, i64>(3)? as usize, end: row.get::<_, i64>(4)? as usize },
        text: row.get(5)?,
        tokens: row.get(6)?,
    })
}

fn document_id(row: &Row<'_>, column: usize) -> rusqlite::Result<DocumentId> {
    DocumentId::new(row.get::<_, String>(column)?).map_err(|e| unreadable(column, e))
}

fn attributes(row: &Row<'_>, column: usize) -> rusqlite::Result<Attributes> {
    serde_json::from_str(row.get_ref(column)?.as_str()?).map_err(|e| unreadable(column, e))
}

fn unreadable(column: usize, error: impl std::error::Error + Send + Sync + 'static) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, Type::Text, Box::new(error))
}
