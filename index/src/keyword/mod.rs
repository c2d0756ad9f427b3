//! Search by words: BM25 over titles and texts.
//!
//! The index is a cache of the database. Pieces on disk hold most of it, pieces in memory what came since, and a search
//! that begins after a change has been acknowledged takes it in first, whoever made it. Scores depend on what is stored
//! alone: every piece is scored with the figures of the whole collection, without what was removed.

mod analyser;
mod bm25;
mod catch_up;
mod folder;
mod highlight;
mod part;
mod phrase;
mod query;
mod score;
mod seal;
mod snapshot;
mod source;
#[cfg(test)]
mod tests;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Instant;

use anser_core::{CancelToken, ChunkId};
use parking_lot::{Mutex, RwLock};
use rusqlite::Connection;

use self::analyser::Analyser;
use self::folder::Folder;
pub(crate) use self::highlight::Highlighter;
use self::query::KeywordQuery;
pub(crate) use self::score::KeywordParams;
use self::snapshot::Snapshot;
use crate::database::Database;
use crate::search::KeywordExplain;
use crate::{IndexError, Result};

/// The keyword index of one collection.
#[derive(Debug)]
pub(crate) struct Keywords {
    folder: Folder,
    current: RwLock<Arc<Snapshot>>,
    /// Held by whoever makes the next snapshot from the current one. Pieces of chunks up to this id stay as they are,
    /// because a generation is being made of them.
    writing: Mutex<u64>,
    /// Held while a generation is made by this process.
    sealing: Mutex<()>,
    /// A generation on disk that turned out to be damaged.
    distrusted: Mutex<Option<u64>>,
    background: Mutex<Background>,
    /// Cancelled when the collection is closed.
    closing: CancelToken,
}

#[derive(Debug, Default)]
struct Background {
    thread: Option<JoinHandle<()>>,
    /// When it may try again after a failure.
    not_before: Option<Instant>,
}

/// What a search by words found.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct KeywordFound {
    /// Best first; equal scores by rising chunk id.
    pub(crate) hits: Vec<(ChunkId, f32)>,
    /// The scores of those chunks that were asked for besides, where the words occur.
    pub(crate) also: Vec<(ChunkId, f32)>,
    /// What was made of the words.
    pub(crate) explain: KeywordExplain,
    /// The change up to which it reflects the database.
    pub(crate) seq: i64,
}

impl Keywords {
    /// The index in a collection's folder, by the collection's random id. Nothing is read before it is needed.
    pub(crate) fn new(collection_folder: &Path, collection: &str) -> Self {
        Self {
            folder: Folder::new(collection_folder, collection),
            current: RwLock::new(Arc::new(Snapshot::empty())),
            writing: Mutex::new(0),
            sealing: Mutex::default(),
            distrusted: Mutex::default(),
            background: Mutex::default(),
            closing: CancelToken::new(),
        }
    }

    /// Finds the chunks that suit the words of `text` best, among all that `connection` sees in its transaction.
    pub(crate) fn search(
        &self,
        text: &str,
        params: KeywordParams<'_>,
        (database, connection): (&Database, &Connection),
    ) -> Result<KeywordFound> {
        let query = KeywordQuery::parse(text, &mut Analyser::new());
        let snapshot = self.catch_up(database, connection)?;
        let (snapshot, scores) = match guarded(|| score::search(&snapshot, &query, params)) {
            Err(e @ IndexError::Corrupt { .. }) => {
                tracing::warn!(error = %e, "the keyword index cannot be used; making it anew");
                self.distrust(&snapshot);
                let snapshot = self.catch_up(database, connection)?;
                let scores = guarded(|| score::search(&snapshot, &query, params))?;
                (snapshot, scores)
            }
            other => (snapshot, other?),
        };
        Ok(KeywordFound {
            hits: scores.hits,
            also: scores.also,
            explain: KeywordExplain { matched: scores.matched, ..query.explain() },
            seq: snapshot.seq,
        })
    }

    /// Whether words have been searched for, here or by another process.
    pub(crate) fn is_used(&self) -> bool {
        self.snapshot().seq >= 0 || self.folder.path().exists()
    }

    /// What can be found now.
    fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.current.read())
    }

    /// Forgets a state that turned out to be damaged, unless that was done already.
    fn distrust(&self, damaged: &Arc<Snapshot>) {
        let _writing = self.writing.lock();
        let mut current = self.current.write();
        if current.views.iter().zip(&damaged.views).any(|(now, then)| Arc::ptr_eq(&now.part, &then.part)) {
            *self.distrusted.lock() = Some(current.generation);
            *current = Arc::new(Snapshot::empty());
        }
    }

    /// Stops background work and waits for it.
    pub(crate) fn stop(&self) {
        self.closing.cancel();
        let thread = self.background.lock().thread.take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the thread that keeps the keyword index panicked");
        }
    }
}

/// Runs `read`. Bytes that changed under it may make tantivy panic; that is damage, not the end of the process.
fn guarded<T>(read: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(read))
        .unwrap_or_else(|_| Err(IndexError::corrupt("keyword index", "reading it ended in a panic")))
}
