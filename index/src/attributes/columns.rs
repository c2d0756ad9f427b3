//! All attributes of a collection at one moment, as columns.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use anser_core::{AttributeKind, Attributes, ChunkId, DocumentId};
use rusqlite::{Connection, OptionalExtension};

use super::block::{Block, Edit};
use super::chunks::{Chunks, Owned};
use super::draft::Draft;
use super::plan::Plan;
use super::rows::{BLOCK_ROWS, RowBits};
use crate::database::{ChangeOp, Database};
use crate::{Filter, IndexError, Result};

/// The attributes of all documents and their chunks after the change `seq`. Rows number the documents in order of their keys;
/// those of deleted documents stay, empty, until the columns are made anew.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Columns {
    seq: i64,
    blocks: Vec<Arc<Block>>,
    chunks: Chunks,
}

/// Documents that pass a filter: one bit for each row.
#[derive(Debug)]
pub(crate) struct Passing(Vec<u64>);

/// So many rows, of which more than half are those of deleted documents, are reason to make the columns anew.
const WORTH_PACKING: usize = 4 * BLOCK_ROWS;

impl Columns {
    pub(super) fn new(seq: i64, blocks: Vec<Block>, chunks: Chunks) -> Self {
        Self { seq, blocks: blocks.into_iter().map(Arc::new).collect(), chunks }
    }

    /// The last change that they reflect.
    pub(crate) fn seq(&self) -> i64 {
        self.seq
    }

    pub(super) fn blocks(&self) -> &[Arc<Block>] {
        &self.blocks
    }

    pub(super) fn chunks(&self) -> &Chunks {
        &self.chunks
    }

    /// Documents, deleted ones not counted.
    pub(crate) fn documents(&self) -> usize {
        self.blocks.iter().map(|block| block.live.count()).sum()
    }

    /// Chunks of all documents.
    pub(crate) fn chunk_count(&self) -> usize {
        self.chunks.len()
    }

    /// Bytes they take in memory, about.
    pub(crate) fn bytes(&self) -> usize {
        self.blocks.iter().map(|block| block.bytes()).sum::<usize>() + self.chunks.bytes()
    }

    /// Reads all columns from the state of the database that `connection` sees.
    pub(super) fn read(database: &Database, connection: &Connection) -> Result<Self> {
        let failed = || database.failed("read the attributes of");
        let seq = database.last_seq(connection)?;
        let (mut blocks, mut draft, mut keys) = (Vec::new(), Draft::default(), Vec::with_capacity(BLOCK_ROWS));
        let mut select = connection.prepare("SELECT key, attributes FROM documents ORDER BY key").map_err(failed())?;
        let mut rows = select.query([]).map_err(failed())?;
        while let Some(row) = rows.next().map_err(failed())? {
            let key: i64 = row.get(0).map_err(failed())?;
            let json = row.get_ref(1).and_then(|value| Ok(value.as_str()?)).map_err(failed())?;
            draft.push(keys.len() as u16, json).map_err(|e| unreadable(database, connection, key, &e))?;
            keys.push(key);
            if keys.len() == BLOCK_ROWS {
                blocks.push(Block::new(&keys, std::mem::take(&mut draft)));
                keys.clear();
            }
        }
        if !keys.is_empty() {
            blocks.push(Block::new(&keys, draft));
        }
        let mut made = Self::new(seq, blocks, Chunks::default());
        made.chunks = made.read_chunks(database, connection)?;
        Ok(made)
    }

    fn read_chunks(&self, database: &Database, connection: &Connection) -> Result<Chunks> {
        let failed = || database.failed("read the chunks of");
        // This order is that of an index that holds both, so the texts of the chunks are not touched.
        let sql = "SELECT document, chunk_id FROM chunks ORDER BY document";
        let mut select = connection.prepare(sql).map_err(failed())?;
        let mut rows = select.query([]).map_err(failed())?;
        let mut owned: Vec<Owned> = Vec::new();
        let mut last = None;
        while let Some(row) = rows.next().map_err(failed())? {
            let key: i64 = row.get(0).map_err(failed())?;
            let at = match last {
                Some((of, at)) if of == key => at,
                _ => self.row(key).ok_or_else(|| orphan(key))?,
            };
            last = Some((key, at));
            owned.push((row.get::<_, i64>(1).map_err(failed())? as u64, at));
        }
        owned.sort_unstable();
        Ok(Chunks::new(&owned))
    }

    /// These with all later changes that `connection` sees. `None` where they must be read anew, because the changes do not
    /// fit or so many documents were deleted that it is time to forget their rows.
    pub(super) fn replay(&self, database: &Database, connection: &Connection) -> Result<Option<Self>> {
        let seq = database.last_seq(connection)?;
        let changes = Changes::read(database, connection, self.seq)?;
        let newest = self.blocks.last().map_or(i64::MIN, |block| block.last_key());
        let mut edits: BTreeMap<usize, Vec<Edit<'_>>> = BTreeMap::new();
        let mut new: Vec<(i64, &str)> = Vec::new();
        for (key, json) in &changes.documents {
            match (self.block(*key), json) {
                (Some(block), json) => edits.entry(block).or_default().push((*key, json.as_deref())),
                (None, Some(json)) if *key > newest => new.push((*key, json)),
                (None, Some(_)) => return Ok(None),
                (None, None) => {}
            }
        }
        let unreadable = |(key, e): (i64, serde_json::Error)| unreadable(database, connection, key, &e);
        let mut made = Self { seq, blocks: self.blocks.clone(), chunks: Chunks::default() };
        let room = made.blocks.last().map_or(0, |block| BLOCK_ROWS - block.rows());
        let (fill, rest) = new.split_at(room.min(new.len()));
        if !fill.is_empty() {
            edits.entry(made.blocks.len() - 1).or_default();
        }
        let last = made.blocks.len().saturating_sub(1);
        for (at, edits) in &edits {
            let Some(block) = made.blocks.get_mut(*at) else { continue };
            let behind = if *at == last { fill } else { &[] };
            *block = Arc::new(block.changed(edits, behind).map_err(unreadable)?);
        }
        for some in rest.chunks(BLOCK_ROWS) {
            let (keys, mut draft): (Vec<i64>, Draft) = (some.iter().map(|(key, _)| *key).collect(), Draft::default());
            for (row, (key, json)) in some.iter().enumerate() {
                draft.push(row as u16, json).map_err(|e| unreadable((*key, e)))?;
            }
            made.blocks.push(Arc::new(Block::new(&keys, draft)));
        }
        let mut added = Vec::with_capacity(changes.added.len());
        for (id, key) in &changes.added {
            let Some(row) = made.row(*key) else { return Ok(None) };
            added.push((*id, row));
        }
        let fits = added.first().is_none_or(|(first, _)| self.chunks.last().is_none_or(|last| last < *first));
        if !fits || !added.is_sorted_by(|(a, _), (b, _)| a < b) {
            return Ok(None);
        }
        made.chunks = self.chunks.changed(&changes.removed, &added);
        let rows: usize = made.blocks.iter().map(|block| block.rows()).sum();
        Ok((rows < WORTH_PACKING || made.documents() * 2 >= rows).then_some(made))
    }

    /// Whether they hold as many documents and chunks as the database.
    pub(super) fn fits(&self, database: &Database, connection: &Connection) -> Result<bool> {
        let sql = "SELECT (SELECT count(*) FROM documents), (SELECT count(*) FROM chunks)";
        let counted = connection.query_row(sql, [], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?)));
        let (documents, chunks) = counted.map_err(database.failed("read"))?;
        Ok(documents == self.documents() as i64 && chunks == self.chunks.len() as i64)
    }

    /// The block that has a row for a document.
    fn block(&self, key: i64) -> Option<usize> {
        let at = self.blocks.partition_point(|block| block.last_key() < key);
        self.blocks.get(at)?.row(key).map(|_| at)
    }

    /// The row of a document.
    fn row(&self, key: i64) -> Option<u64> {
        let at = self.blocks.partition_point(|block| block.last_key() < key);
        Some((at * BLOCK_ROWS + self.blocks.get(at)?.row(key)?) as u64)
    }

    /// The key of the document in a row.
    fn key(&self, row: usize) -> Option<i64> {
        self.blocks.get(row / BLOCK_ROWS).map(|block| block.key(row % BLOCK_ROWS))
    }

    /// The documents that `filter` lets through. `matches` is asked about the few documents, by key, that have texts so long
    /// that the columns alone do not tell.
    pub(crate) fn passing(&self, filter: &Filter, matches: &mut dyn FnMut(i64) -> Result<bool>) -> Result<Passing> {
        let plan = Plan::new(filter);
        let mut words = Vec::with_capacity(self.blocks.len() * BLOCK_ROWS / 64);
        for block in &self.blocks {
            let mut open = RowBits::none();
            let mut passing = block.passing(&plan, &mut open);
            open.and(&block.live);
            for row in open.iter() {
                if matches(block.key(row))? {
                    passing.set(row);
                } else {
                    passing.unset(row);
                }
            }
            words.extend_from_slice(passing.words());
        }
        Ok(Passing(words))
    }

    /// The chunks of the documents that pass, ascending, and how many of these documents have chunks.
    pub(crate) fn chunks_of(&self, passing: &Passing) -> (Vec<ChunkId>, usize) {
        self.chunks.of_rows(&passing.0)
    }

    /// The keys of the documents that pass, ascending.
    pub(crate) fn keys_of(&self, passing: &Passing) -> Vec<i64> {
        let rows = passing.0.iter().enumerate().filter(|(_, word)| **word != 0);
        rows.flat_map(|(at, word)| (at * 64..at * 64 + 64).filter(move |row| word >> (row % 64) & 1 == 1))
            .filter_map(|row| self.key(row))
            .collect()
    }

    /// The names of all attributes.
    pub(crate) fn keys(&self) -> BTreeSet<String> {
        self.blocks.iter().flat_map(|block| block.columns.keys()).map(|key| (**key).to_owned()).collect()
    }

    /// Whether a document has an attribute of this name.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.blocks.iter().any(|block| block.columns.contains_key(key))
    }

    /// For each type that an attribute has in documents, how many these are and the key of the first of them.
    pub(crate) fn kinds_of(&self, key: &str) -> Vec<(AttributeKind, usize, i64)> {
        let mut found: Vec<(AttributeKind, usize, i64)> = Vec::new();
        for block in &self.blocks {
            for part in block.columns.get(key).into_iter().flatten() {
                if let Some((_, count, _)) = found.iter_mut().find(|(kind, ..)| *kind == part.kind) {
                    *count += part.rows.len();
                } else {
                    let first = part.rows.first().map_or(0, |row| block.key(row));
                    found.push((part.kind, part.rows.len(), first));
                }
            }
        }
        found
    }
}

/// What happened since, as it stands in the end.
struct Changes {
    /// By key: the attributes as JSON, `None` where the document is gone.
    documents: BTreeMap<i64, Option<String>>,
    removed: Vec<u64>,
    /// Chunks that came and are still there, with the keys of their documents.
    added: Vec<(u64, i64)>,
}

impl Changes {
    fn read(database: &Database, connection: &Connection, after: i64) -> Result<Self> {
        let (mut documents, mut removed, mut added) = (BTreeSet::new(), Vec::new(), Vec::new());
        database.each_change(connection, after, &mut |op, subject| match op {
            ChangeOp::ChunkAdded => added.push(subject),
            ChangeOp::ChunkRemoved => removed.push(subject as u64),
            ChangeOp::DocumentStored | ChangeOp::DocumentRemoved => {
                documents.insert(subject);
            }
        })?;
        let failed = || database.failed("read the attributes of");
        let one = |sql: &str| connection.prepare_cached(sql).map_err(failed());
        let mut stored = BTreeMap::new();
        let mut select = one("SELECT attributes FROM documents WHERE key = ?1")?;
        for key in documents {
            stored.insert(key, select.query_row([key], |row| row.get(0)).optional().map_err(failed())?);
        }
        let mut select = one("SELECT document FROM chunks WHERE chunk_id = ?1")?;
        let mut owned = Vec::with_capacity(added.len());
        for id in added {
            let key: Option<i64> = select.query_row([id], |row| row.get(0)).optional().map_err(failed())?;
            owned.extend(key.map(|key| (id as u64, key)));
        }
        Ok(Self { documents: stored, removed, added: owned })
    }
}

/// The document that has this key.
pub(crate) fn id_of(database: &Database, connection: &Connection, key: i64) -> Result<DocumentId> {
    let sql = "SELECT id FROM documents WHERE key = ?1";
    let id: String = connection
        .prepare_cached(sql)
        .and_then(|mut select| select.query_row([key], |row| row.get(0)))
        .map_err(database.failed("read"))?;
    Ok(DocumentId::new(id)?)
}

/// The attributes of the document that has this key, as they are stored.
pub(crate) fn attributes_of(database: &Database, connection: &Connection, key: i64) -> Result<Attributes> {
    let sql = "SELECT attributes FROM documents WHERE key = ?1";
    let json: String = connection
        .prepare_cached(sql)
        .and_then(|mut select| select.query_row([key], |row| row.get(0)))
        .map_err(database.failed("read the attributes of"))?;
    serde_json::from_str(&json).map_err(|e| unreadable(database, connection, key, &e))
}

fn unreadable(database: &Database, connection: &Connection, key: i64, error: &serde_json::Error) -> IndexError {
    match id_of(database, connection, key) {
        Ok(id) => {
            IndexError::corrupt(format!("attributes of document \"{}\"", anser_core::excerpt(id.as_str(), 80)), error)
        }
        Err(other) => other,
    }
}

fn orphan(key: i64) -> IndexError {
    IndexError::corrupt("chunk table", format!("it names a document {key} that is not there"))
}
