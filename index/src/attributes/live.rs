//! The newest columns, kept in step with the database, whoever writes to it.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Instant;

use parking_lot::Mutex;
use rusqlite::Connection;

use super::columns::Columns;
use super::file::ColumnFile;
use crate::Result;
use crate::upkeep::Upkeep;

/// States that are remembered for those who read an older state of the database. They share all blocks that did not change.
const REMEMBERED: usize = 3;
/// Columns of fewer documents are read from the database faster than anybody notices.
const KEPT_ABOVE: usize = 20_000;
/// A file is written anew once it is so many changes behind, or a tenth of the documents where that is more.
const BEHIND: i64 = 20_000;
/// What the change sequence calls the file.
const CACHE: &str = "attributes";

/// The columns of a collection. Readers take the state they need; one at a time brings them up to date.
#[derive(Debug)]
pub(crate) struct LiveColumns {
    upkeep: Arc<Upkeep>,
    file: Arc<ColumnFile>,
    /// Ascending by the change that they reflect.
    recent: Mutex<VecDeque<Arc<Columns>>>,
    /// Held by whoever brings them up to date.
    updating: Mutex<()>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

impl LiveColumns {
    /// The columns of a collection, whose file lies in `folder`. Nothing is read yet, but what interrupted writers left is
    /// removed.
    pub(crate) fn new(folder: &Path, upkeep: &Arc<Upkeep>) -> Self {
        let file = Arc::new(ColumnFile::new(folder, &upkeep.database.identity().id));
        file.remove_leftovers();
        let upkeep = Arc::clone(upkeep);
        Self { upkeep, file, recent: Mutex::default(), updating: Mutex::default(), writer: Mutex::default() }
    }

    /// The columns of exactly the state that `connection` sees in its transaction.
    pub(crate) fn at(&self, connection: &Connection) -> Result<Arc<Columns>> {
        let database = &self.upkeep.database;
        let seq = database.last_seq(connection)?;
        if let Some(found) = self.remembered(seq) {
            return Ok(found);
        }
        let _updating = self.updating.lock();
        if let Some(found) = self.remembered(seq) {
            return Ok(found);
        }
        let trimmed = database.trimmed_seq(connection)?;
        let usable = |columns: &Arc<Columns>| (trimmed..=seq).contains(&columns.seq());
        let known = self.recent.lock().iter().rev().find(|columns| usable(columns)).cloned();
        let columns = match known {
            Some(known) => known.replay(database, connection)?.map(Arc::new),
            None => self.opened(seq, trimmed, connection)?,
        };
        let columns = if let Some(columns) = columns {
            columns
        } else {
            let started = Instant::now();
            let columns = Columns::read(database, connection)?;
            let (documents, bytes) = (columns.documents(), columns.bytes());
            let seconds = started.elapsed().as_secs_f32();
            tracing::debug!(documents, bytes, seconds, "columns of attributes read from the database");
            Arc::new(columns)
        };
        self.remember(&columns);
        self.write_when_due(&columns);
        Ok(columns)
    }

    /// The columns in the file, brought up to the change `seq`.
    fn opened(&self, seq: i64, trimmed: i64, connection: &Connection) -> Result<Option<Arc<Columns>>> {
        let Some(stored) = self.file.open().filter(|columns| (trimmed..=seq).contains(&columns.seq())) else {
            return Ok(None);
        };
        let Some(columns) = stored.replay(&self.upkeep.database, connection)? else { return Ok(None) };
        // A restored backup of the database may have gone another way since than the one that the file was made of.
        Ok(columns.fits(&self.upkeep.database, connection)?.then(|| Arc::new(columns)))
    }

    /// Drops what the file holds of documents that were deleted, by writing it anew.
    pub(crate) fn compact(&self) -> Result<()> {
        self.close();
        self.file.remove()?;
        if self.recent.lock().is_empty() {
            return self.upkeep.database.cache_dropped(CACHE);
        }
        let columns = self.upkeep.database.reader()?.transact(|connection| self.at(connection))?;
        self.write_when_due(&columns);
        self.close();
        Ok(())
    }

    /// Waits until the file is written that is being written.
    pub(crate) fn close(&self) {
        if let Some(thread) = self.writer.lock().take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that writes the columns of attributes panicked");
        }
    }

    /// The last change that the file reflects, where this process wrote or read it.
    #[cfg(test)]
    pub(super) fn file_seq(&self) -> Option<i64> {
        self.file.seq()
    }

    fn remembered(&self, seq: i64) -> Option<Arc<Columns>> {
        self.recent.lock().iter().find(|columns| columns.seq() == seq).cloned()
    }

    fn remember(&self, columns: &Arc<Columns>) {
        let mut recent = self.recent.lock();
        let at = recent.partition_point(|other| other.seq() < columns.seq());
        recent.insert(at, Arc::clone(columns));
        while recent.len() > REMEMBERED {
            recent.pop_front();
        }
    }

    /// Writes the file in the background when it is missing or far behind. A failure is logged: the file only saves time.
    fn write_when_due(&self, columns: &Arc<Columns>) {
        let behind = columns.seq().saturating_sub(self.file.seq().unwrap_or(i64::MIN));
        let documents = columns.documents();
        if documents < KEPT_ABOVE || behind < BEHIND.max(documents as i64 / 10) || self.upkeep.closing.is_cancelled() {
            return;
        }
        let mut writer = self.writer.lock();
        if writer.as_ref().is_some_and(|thread| !thread.is_finished()) {
            return;
        }
        let (file, columns, upkeep) = (Arc::clone(&self.file), Arc::clone(columns), Arc::clone(&self.upkeep));
        let spawned = std::thread::Builder::new().name("attributes".into()).spawn(move || {
            // The changes that the file does not know are kept for those who open it.
            let written = file.write(&columns).and_then(|()| upkeep.database.cache_reached(CACHE, columns.seq()));
            match written {
                Err(e) if !upkeep.closing.is_cancelled() => {
                    tracing::warn!(error = %e, "cannot keep the columns of attributes; they will be made anew");
                }
                _ => {}
            }
        });
        match spawned {
            Ok(thread) => *writer = Some(thread),
            Err(e) => tracing::warn!(error = %e, "cannot start a thread that writes the columns of attributes"),
        }
    }
}

impl Drop for LiveColumns {
    fn drop(&mut self) {
        self.close();
    }
}
