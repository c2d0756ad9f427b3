//! Moving the keyword index from memory to disk, in the background and without holding up searches.

use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anser_core::CancelToken;
use roaring::RoaringBitmap;

use super::folder::FolderLock;
use super::part::Part;
use super::snapshot::{Snapshot, View};
use super::{Keywords, guarded};
use crate::Result;
use crate::database::Database;
use crate::upkeep::Upkeep;

/// Name of this cache where the database notes how far each has got.
const CACHE: &str = "keywords";
/// Terms in memory that make it worth writing them to disk.
const TAIL_TERMS: u64 = 200_000;
/// Terms in memory that are too many to wait for the background.
const MOST_TAIL_TERMS: u64 = 8_000_000;
/// Removed rows of a piece that make it worth writing it anew.
const MANY_REMOVED: u64 = 256;
/// Changes that the background takes in before any search asks for them.
const LAG: i64 = 5_000;
/// Pause after a failed attempt in the background.
const RETRY_AFTER: Duration = Duration::from_mins(1);

/// When a piece is written anew without the rows that were removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rewrite {
    /// Once a quarter of them was.
    Quarter,
    /// As soon as one was, so that no term of it stays on disk.
    Any,
}

impl Keywords {
    /// Lets the background catch up with the database once much has changed, and write to disk once much is in memory.
    pub(crate) fn keep_up(self: &Arc<Self>, upkeep: &Arc<Upkeep>, seq: i64) {
        let snapshot = self.snapshot();
        let due = seq - snapshot.seq.max(0) >= LAG || wants_sealing(&snapshot);
        if !due || self.closing.is_cancelled() {
            return;
        }
        let mut background = self.background.lock();
        let busy = background.thread.as_ref().is_some_and(|thread| !thread.is_finished());
        if busy || background.not_before.is_some_and(|instant| Instant::now() < instant) {
            return;
        }
        let (keywords, upkeep) = (Arc::clone(self), Arc::clone(upkeep));
        let work = move || {
            let done = keywords.catch_up_and_seal(&upkeep.database);
            let failed = match &done {
                Err(e) if !keywords.closing.is_cancelled() => {
                    tracing::warn!(error = %e, "cannot write the keyword index; searching goes on without that");
                    true
                }
                // Another process is at it.
                Ok(false) => true,
                _ => false,
            };
            keywords.background.lock().not_before = failed.then(|| Instant::now() + RETRY_AFTER);
        };
        match std::thread::Builder::new().name("keywords".into()).spawn(work) {
            Ok(thread) => background.thread = Some(thread),
            Err(e) => tracing::warn!(error = %e, "cannot start a thread that keeps the keyword index"),
        }
    }

    fn catch_up_and_seal(&self, database: &Database) -> Result<bool> {
        let snapshot = database.reader()?.transact(|connection| self.catch_up(database, connection))?;
        if wants_sealing(&snapshot) { self.seal(database, false) } else { Ok(true) }
    }

    /// Writes what is in memory to disk. False when another process was doing so and `wait` was not wanted.
    pub(crate) fn seal(&self, database: &Database, wait: bool) -> Result<bool> {
        self.write(database, (wait, Rewrite::Quarter), &self.closing)
    }

    /// Brings everything to disk without what was removed, so that no term of deleted texts is left in its files.
    pub(crate) fn compact(&self, database: &Database, cancel: &CancelToken) -> Result<()> {
        if !self.folder.path().exists() {
            return Ok(());
        }
        self.write(database, (true, Rewrite::Any), cancel)?;
        Ok(())
    }

    fn write(&self, database: &Database, (wait, rewrite): (bool, Rewrite), cancel: &CancelToken) -> Result<bool> {
        let _sealing = self.sealing.lock();
        let Some(lock) = self.folder.lock(wait)? else { return Ok(false) };
        self.adopt_newer(database)?;
        let present = self.snapshot();
        if !self.folder.holds(&present) {
            tracing::warn!(folder = %self.folder.path().display(), "the keyword index is gone; making it anew");
            self.distrust(&present);
        }
        let before = {
            let snapshot = database.reader()?.transact(|connection| self.catch_up(database, connection))?;
            let mut fixed = self.writing.lock();
            // What another search took in meanwhile may be written as well.
            let before = self.snapshot();
            *fixed = before.last_chunk.max(snapshot.last_chunk);
            before
        };
        let written = guarded(|| self.write_generation(&before, rewrite, (&lock, cancel)));
        let written = written.and_then(|written| match written {
            Some(written) => {
                self.install(&before, &written);
                database.cache_reached(CACHE, written.seq)?;
                self.folder.remove_others(&written, &lock)
            }
            None => Ok(()),
        });
        *self.writing.lock() = 0;
        written.map(|()| true)
    }

    /// Takes over what another process published, so that the next generation builds on it.
    fn adopt_newer(&self, database: &Database) -> Result<()> {
        let newer = match self.folder.manifest() {
            Ok(Some(manifest)) => manifest.generation > self.snapshot().generation,
            _ => false,
        };
        if !newer || self.snapshot().seq < 0 {
            return Ok(());
        }
        database.reader()?.transact(|connection| {
            let Some(mut opened) = self.open(database)? else { return Ok(()) };
            let fixed = self.writing.lock();
            self.advance(&mut opened, *fixed, (database, connection))?;
            // It may be older than what a search has taken in meanwhile.
            if opened.seq >= self.snapshot().seq {
                *self.current.write() = Arc::new(opened);
            }
            Ok(())
        })
    }

    /// The next generation, on disk; `None` when the present one will do.
    fn write_generation(
        &self,
        before: &Snapshot,
        rewrite: Rewrite,
        (lock, cancel): (&FolderLock, &CancelToken),
    ) -> Result<Option<Snapshot>> {
        let groups = plan(before);
        let on_disk = self.folder.manifest().ok().flatten();
        let stays = |group: &Range<usize>| keeps(before, group, rewrite);
        let published = on_disk.as_ref().is_some_and(|manifest| manifest.generation == before.generation);
        if published && groups.iter().all(stays) {
            return Ok(None);
        }
        let generation = on_disk.map_or(0, |manifest| manifest.generation).max(before.generation) + 1;
        let mut views = Vec::with_capacity(groups.len());
        for (number, group) in groups.iter().enumerate() {
            cancel.check()?;
            self.closing.check()?;
            let parts = before.views.get(group.clone()).unwrap_or_default();
            if stays(group) {
                views.extend(parts.iter().cloned());
                continue;
            }
            let folder = self.folder.new_part(generation, number, lock)?;
            let parts: Vec<(&Part, &RoaringBitmap)> = parts.iter().map(|view| (&*view.part, &*view.removed)).collect();
            let merged = Part::merge(&parts, Some((self.folder.path(), folder)))?;
            views.extend(merged.map(|part| View::new(Arc::new(part), RoaringBitmap::new())));
        }
        let written = Snapshot { generation, views, ..*before };
        self.folder.publish(&written, lock)?;
        Ok(Some(written))
    }

    /// Shows `written` in place of the pieces it was made of, without what was removed meanwhile. If these are not shown
    /// any more, nothing is changed.
    fn install(&self, before: &Snapshot, written: &Snapshot) {
        let _writing = self.writing.lock();
        let current = self.snapshot();
        let same =
            before.views.iter().filter(|view| current.views.iter().any(|now| Arc::ptr_eq(&now.part, &view.part)));
        // A piece in memory of which every row was removed is no longer there.
        let gone: Vec<_> = before
            .views
            .iter()
            .flat_map(|then| {
                let now = current.views.iter().find(|now| Arc::ptr_eq(&now.part, &then.part));
                let removed = now.map_or_else(|| (0..then.part.rows).collect(), |now| (*now.removed).clone());
                let rows: Vec<u32> = (removed - &*then.removed).iter().collect();
                rows.into_iter().map(|row| then.part.chunk(row))
            })
            .collect();
        if same.count() == 0 && !before.views.is_empty() {
            return;
        }
        let later = current.views.iter().filter(|view| view.part.chunk(0).0 > before.last_chunk);
        let mut next = Snapshot { seq: current.seq, last_chunk: current.last_chunk, ..written.clone() };
        next.remove(&gone);
        next.views.extend(later.cloned());
        *self.current.write() = Arc::new(next);
    }

    /// Writes what `state` has in memory to disk at once when that is very much, so that an index that is made anew does
    /// not have to fit into memory.
    pub(super) fn shed(&self, state: &mut Snapshot, fixed: u64) -> Result<()> {
        if fixed > 0 || state.tail_terms() < MOST_TAIL_TERMS {
            return Ok(());
        }
        let written = self.folder.lock(false).and_then(|lock| match lock {
            Some(lock) => {
                let written = self.write_generation(state, Rewrite::Quarter, (&lock, &self.closing))?;
                if let Some(written) = &written {
                    self.folder.remove_others(written, &lock)?;
                }
                Ok(written)
            }
            None => Ok(None),
        });
        match written {
            Ok(Some(written)) => *state = written,
            Ok(None) => {}
            Err(e) => {
                self.closing.check()?;
                tracing::warn!(error = %e, "cannot write the keyword index; it stays in memory");
            }
        }
        Ok(())
    }
}

fn wants_sealing(snapshot: &Snapshot) -> bool {
    let mut disk = snapshot.views.iter().filter(|view| view.part.folder.is_some());
    let worth_it = |view: &View| needs_rewriting(view) && view.removed.len() >= MANY_REMOVED;
    snapshot.tail_terms() >= TAIL_TERMS || disk.any(worth_it)
}

fn needs_rewriting(view: &View) -> bool {
    view.removed.len() * 4 > u64::from(view.part.rows)
}

/// Whether a group of pieces is one on disk that stays as it is.
fn keeps(snapshot: &Snapshot, group: &Range<usize>, rewrite: Rewrite) -> bool {
    match snapshot.views.get(group.clone()) {
        Some([view]) => {
            let rewritten = match rewrite {
                Rewrite::Quarter => needs_rewriting(view),
                Rewrite::Any => !view.removed.is_empty(),
            };
            view.part.folder.is_some() && !rewritten
        }
        _ => false,
    }
}

/// Which neighbouring pieces become one. All that is in memory does, with those on disk before it that are not more than
/// twice as large, so that a row is written only a logarithmic number of times.
fn plan(snapshot: &Snapshot) -> Vec<Range<usize>> {
    let all = snapshot.views.len();
    let mut start = snapshot.on_disk();
    let mut rows: u64 = snapshot.views.iter().skip(start).map(View::live).sum();
    if rows > 0 {
        while let Some(before) = start.checked_sub(1).and_then(|last| snapshot.views.get(last))
            && before.live() <= 2 * rows
        {
            rows += before.live();
            start -= 1;
        }
    }
    let single = (0..start).map(|at| at..at + 1);
    single.chain((start < all).then_some(start..all)).collect()
}
