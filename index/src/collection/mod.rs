//! One collection: documents, their chunks, and the search over them.

mod allowed;
mod compact;
mod info;
mod memory;
mod nearest;
mod rank;
mod reembed;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use anser_core::{AttributeValue, Chunk, Document, DocumentId, EmbedderInfo};
use parking_lot::Mutex;
use rusqlite::Connection;

pub(crate) use self::allowed::{Allowed, AllowedCache};
pub use self::allowed::{FilterExplain, FilterStrategy, UnknownKey};
pub use self::compact::Compaction;
pub use self::info::CollectionInfo;
pub(crate) use self::info::info;
pub use self::memory::IndexMemory;
pub use self::rank::{RankOutcome, RankParams, RankQuery, RankedDocument};
pub use self::reembed::{Overlap, Reembedding};
use crate::ann::Snapshot;
use crate::cache::Cache;
use crate::database::{DATABASE_FILE, Database, NewDocument, ScannedDocument, UpsertOutcome};
use crate::keyword::Keywords;
use crate::upkeep::Upkeep;
use crate::{Filter, IndexError, IndexOptions, Result, SearchSettings};

/// How often a search begins anew because the database changed between its first look and its last, or because the words
/// of a newer state were searched than the vectors.
pub(crate) const SEARCH_ATTEMPTS: usize = 4;

/// A named set of documents that can be searched. Shared between threads; other processes may use the same collection
/// at the same time, and every search sees what was acknowledged before it began, whoever wrote it.
#[derive(Debug)]
pub struct Collection {
    name: String,
    folder: PathBuf,
    pub(crate) upkeep: Arc<Upkeep>,
    pub(crate) allowed: AllowedCache,
    pub(crate) keywords: Arc<Keywords>,
    deleted: AtomicBool,
    sealer: Mutex<Option<JoinHandle<()>>>,
    reclaimer: Mutex<Option<JoinHandle<()>>>,
}

impl Collection {
    /// Opens the collection in `folder`.
    pub(crate) fn open(name: &str, folder: &Path, options: &IndexOptions) -> Result<Self> {
        let database = Database::open(&folder.join(DATABASE_FILE))?;
        let cache = Cache::new(folder, database.identity());
        let upkeep = Arc::new(Upkeep::open(database, cache, options.clone())?);
        let allowed = AllowedCache::new(folder, &upkeep);
        let keywords = Arc::new(Keywords::new(folder, &upkeep.database.identity().id));
        let (name, folder) = (name.to_owned(), folder.to_path_buf());
        let collection = Self {
            name,
            folder,
            upkeep,
            allowed,
            keywords,
            deleted: AtomicBool::new(false),
            sealer: Mutex::default(),
            reclaimer: Mutex::default(),
        };
        collection.seal_when_due(&collection.upkeep.vectors.snapshot());
        Ok(collection)
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Who makes its vectors; a query must come from an embedder with the same fingerprint.
    pub fn embedder(&self) -> &EmbedderInfo {
        &self.upkeep.database.identity().embedder
    }

    /// What it is and how much it holds.
    pub fn info(&self) -> Result<CollectionInfo> {
        info(&self.name, &self.folder, self.database()?)
    }

    /// Stores documents, each replacing what has its id: all of them or, on an error, none. They are durable and can be
    /// found once this returns.
    ///
    /// # Errors
    /// `InvalidInput` when a vector has another dimension than the collection, a chunk's text is not the text under its
    /// span, or an attribute is not finite.
    pub fn upsert(&self, documents: &[NewDocument]) -> Result<UpsertOutcome> {
        let outcome = self.database()?.upsert(documents)?;
        self.note_changes();
        Ok(outcome)
    }

    /// The stored fingerprint of each of `ids` that exists.
    pub fn fingerprints(&self, ids: &[DocumentId]) -> Result<HashMap<DocumentId, String>> {
        self.database()?.fingerprints(ids)
    }

    /// Sets or, for `None`, removes attributes of documents by id and name in one durable transaction, and counts the
    /// documents of which one changed. Texts and vectors stay as they are; documents that are gone are left out.
    /// `InvalidInput` for a number that is not finite.
    pub fn set_attributes(&self, changes: &[(DocumentId, &str, Option<AttributeValue>)]) -> Result<usize> {
        self.database()?.set_attributes(changes)
    }

    /// Deletes documents with their chunks and counts those that existed. Their rows are overwritten in the database; what
    /// caches still hold of them, and pages between which rows were moved, is certain to be gone after
    /// [`compact`](Self::compact).
    pub fn delete(&self, ids: &[DocumentId]) -> Result<usize> {
        let deleted = self.database()?.delete(ids)?;
        self.note_changes();
        self.reclaim_when_due();
        Ok(deleted)
    }

    /// Deletes documents on a condition: shows `choose` those of `ids` that exist, as they are now, and deletes the ids that
    /// it names, in one transaction, so that nothing changes between the look and the deletion. Ids that were not shown stay.
    /// Returns how many were deleted; what is left of them on disk is as after [`delete`](Self::delete).
    pub fn delete_chosen(
        &self,
        ids: &[DocumentId],
        choose: &mut dyn FnMut(&HashMap<DocumentId, Document>) -> Vec<DocumentId>,
    ) -> Result<usize> {
        let deleted = self.database()?.delete_chosen(ids, choose)?;
        self.note_changes();
        self.reclaim_when_due();
        Ok(deleted)
    }

    /// The document called `id`.
    pub fn document(&self, id: &DocumentId) -> Result<Option<Document>> {
        self.database()?.document(id)
    }

    /// Up to `limit` documents in order of id, from the first one after `after`.
    pub fn documents(&self, after: Option<&DocumentId>, limit: usize) -> Result<Vec<Document>> {
        self.database()?.documents(after, limit)
    }

    /// The chunks of the document called `document`, in order; none when there is no such document.
    pub fn chunks(&self, document: &DocumentId) -> Result<Vec<Chunk>> {
        self.database()?.chunks(document)
    }

    /// Shows `visit` every document that has chunks and that `filter` lets through, in order of id, with the normalised
    /// mean of its chunks' vectors: all of one moment, one at a time. An error of `visit` ends the scan.
    ///
    /// # Errors
    /// `InvalidInput` when the filter compares an attribute with a type that it has in no document.
    pub fn scan(&self, filter: Option<&Filter>, visit: &mut dyn FnMut(ScannedDocument) -> Result<()>) -> Result<()> {
        let database = self.database()?;
        let Some(filter) = filter else { return database.scan(None, visit) };
        let done = database.reader()?.transact(|connection| {
            let (keys, documents) = self.allowed.passing(filter, database, connection)?;
            let few = keys.len() <= documents / 2;
            if few { database.scan_some(connection, &keys, visit).map(|()| true) } else { Ok(false) }
        })?;
        if done { Ok(()) } else { database.scan(Some(filter), visit) }
    }

    /// How it is searched unless a request says otherwise.
    pub fn search_settings(&self) -> Result<SearchSettings> {
        let database = self.database()?;
        database.reader()?.transact(|connection| database.search_settings(connection))
    }

    /// Changes how it is searched unless a request says otherwise. Durable once this returns.
    ///
    /// # Errors
    /// `InvalidInput` for a weight outside [0, 1].
    pub fn set_search_settings(&self, settings: &SearchSettings) -> Result<()> {
        settings.fusion.check()?;
        self.database()?.set_search_settings(settings)
    }

    /// What a filter lets through, and which of its attributes no document has.
    pub fn explain_filter(&self, filter: &Filter) -> Result<FilterExplain> {
        let database = self.database()?;
        database.reader()?.transact(|connection| Ok(self.allowed.get(filter, database, connection)?.explain.clone()))
    }

    /// Runs `read` on one state of the database and the vectors of that state.
    pub(crate) fn on_snapshot<T>(&self, mut read: impl FnMut(&Connection, &Snapshot) -> Result<T>) -> Result<T> {
        let database = self.database()?;
        let mut reader = database.reader()?;
        for attempt in 1.. {
            let outcome = reader.transact(|connection| {
                let snapshot = self.upkeep.catch_up(connection)?;
                // The snapshot may be newer than this transaction; then its hits might not be seen by it.
                if snapshot.seq() != database.last_seq(connection)? && attempt < SEARCH_ATTEMPTS {
                    return Ok(None);
                }
                Ok(Some((read(connection, &snapshot)?, snapshot)))
            })?;
            if let Some((outcome, snapshot)) = outcome {
                self.seal_when_due(&snapshot);
                return Ok(outcome);
            }
        }
        Err(IndexError::internal("a search ended without a result"))
    }

    /// Makes a segment of everything that is not in one yet, and waits until it is made. The keyword index is written too,
    /// where there is one.
    pub fn seal(&self) -> Result<()> {
        let database = self.database()?;
        self.upkeep.seal(true)?;
        if self.keywords.is_used() {
            self.keywords.seal(database, true)?;
        }
        Ok(())
    }

    /// Whether the database now in `folder` is the one that is open here.
    pub(crate) fn is_at(&self, folder: &Path) -> bool {
        self.upkeep.database.is_at(&folder.join(DATABASE_FILE))
    }

    /// Stops background work and refuses all further use.
    pub(crate) fn close_deleted(&self) {
        self.deleted.store(true, Ordering::Release);
        self.stop();
    }

    /// Whether its vectors are still those that are searched.
    pub(crate) fn is_current(&self) -> Result<bool> {
        match self.database()?.reader()?.transact(|_| Ok(())) {
            Err(IndexError::Superseded { .. }) => Ok(false),
            other => other.map(|()| true),
        }
    }

    /// Stops background work.
    pub(crate) fn stop(&self) {
        self.upkeep.closing.cancel();
        self.allowed.close();
        self.keywords.stop();
        for background in [&self.sealer, &self.reclaimer] {
            if let Some(thread) = background.lock().take()
                && thread.join().is_err()
            {
                tracing::error!(collection = %self.name, "a thread in the background panicked");
            }
        }
    }

    /// The database, unless the collection was deleted.
    pub(crate) fn database(&self) -> Result<&Database> {
        if self.deleted.load(Ordering::Acquire) {
            return Err(IndexError::NotFound { name: self.name.clone() });
        }
        Ok(&self.upkeep.database)
    }

    /// Takes up what was just committed. A failure does not undo the commit: the next search tries again and reports it.
    fn note_changes(&self) {
        match self.upkeep.catch_up_now() {
            Ok(snapshot) => {
                self.seal_when_due(&snapshot);
                self.keywords.keep_up(&self.upkeep, snapshot.seq());
            }
            Err(e) => tracing::warn!(collection = %self.name, error = %e, "stored, but not yet searchable"),
        }
    }

    fn seal_when_due(&self, snapshot: &Snapshot) {
        if !self.upkeep.wants_sealing(snapshot) || self.upkeep.closing.is_cancelled() {
            return;
        }
        let mut sealer = self.sealer.lock();
        if sealer.as_ref().is_some_and(|thread| !thread.is_finished()) {
            return;
        }
        let upkeep = Arc::clone(&self.upkeep);
        *sealer = self.spawn("seal", move || upkeep.seal_in_background());
    }

    /// Starts a thread for work in the background.
    fn spawn(&self, work: &str, body: impl FnOnce() + Send + 'static) -> Option<JoinHandle<()>> {
        let spawned = std::thread::Builder::new().name(format!("{work}-{}", self.name)).spawn(body);
        if let Err(e) = &spawned {
            tracing::warn!(collection = %self.name, error = %e, "cannot start a thread in the background");
        }
        spawned.ok()
    }
}

impl Drop for Collection {
    fn drop(&mut self) {
        self.stop();
    }
}
