//! Giving disk and memory back after deletions.

use std::fs;
use std::sync::Arc;

use anser_core::{CancelToken, Progress, ProgressUnit};
use serde::{Deserialize, Serialize};

use super::Collection;
use super::info::disk_bytes;
use crate::database::{GenerationState, cache_folder};
use crate::{IndexError, Result};

/// What a compaction did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Compaction {
    /// Bytes on disk before, caches included.
    pub bytes_before: u64,
    /// Bytes on disk after it.
    pub bytes_after: u64,
    /// Whether nothing that was deleted before is left in any file. False while somebody reads an older state of the
    /// collection: then the write-ahead log is emptied once they are done. False, too, while vectors are being made, whose
    /// files are left alone, and while a damaged database lies beside the present one: remove that when it is of no more use.
    pub erased: bool,
}

impl Collection {
    /// Rewrites everything that holds documents or vectors from those that are left: afterwards no file has a byte of a
    /// text or vector that was deleted before. Searches go on meanwhile, writers wait while the database is rewritten, which
    /// needs as much room again as is left of it. Where that is missing, and on `cancel`, nothing is lost.
    pub fn compact(&self, progress: &dyn Progress, cancel: &CancelToken) -> Result<Compaction> {
        let database = self.database()?;
        let bytes_before = disk_bytes(&self.folder);
        progress.start("compacting", Some(3), ProgressUnit::Items);
        self.upkeep.compact(cancel)?;
        progress.set(1);
        cancel.check()?;
        let caches_erased = self.remove_unsearched_caches()?;
        self.keywords.compact(database, cancel)?;
        self.allowed.compact()?;
        progress.set(2);
        let salvages_erased = database.remove_salvages()?;
        let erased = database.compact(cancel)? && caches_erased && salvages_erased;
        progress.set(3);
        progress.finish();
        let bytes_after = disk_bytes(&self.folder);
        tracing::info!(collection = %self.name, bytes_before, bytes_after, erased, "compacted");
        Ok(Compaction { bytes_before, bytes_after, erased })
    }

    /// Removes caches of vectors that are not searched now: they would be made anew before they are. False when somebody is
    /// making vectors: then those stay.
    fn remove_unsearched_caches(&self) -> Result<bool> {
        let lock = match self.reembed_lock() {
            Ok(lock) => Some(lock),
            Err(IndexError::Busy { .. }) => None,
            Err(e) => return Err(e),
        };
        self.remove_caches(&|state| match state {
            Some(GenerationState::Current) => false,
            Some(GenerationState::Building) => lock.is_some(),
            Some(GenerationState::Previous) | None => true,
        })?;
        Ok(lock.is_some())
    }

    /// Removes what interrupted or dropped generations of vectors left.
    pub(super) fn remove_stray_caches(&self) -> Result<()> {
        self.remove_caches(&|state| state.is_none())
    }

    fn remove_caches(&self, unwanted: &dyn Fn(Option<GenerationState>) -> bool) -> Result<()> {
        // Listed before the generations are read: a folder is made after its generation, so none that is needed looks stray.
        let mut folders = Vec::new();
        for entry in fs::read_dir(&self.folder).map_err(IndexError::io("list", &self.folder))? {
            let entry = entry.map_err(IndexError::io("list", &self.folder))?;
            let name = entry.file_name();
            folders.extend(name.to_str().filter(|n| n.starts_with("cache")).map(|n| (n.to_owned(), entry.path())));
        }
        let generations = self.database()?.generations()?;
        for (name, path) in folders {
            let state = generations.iter().find(|g| cache_folder(g.number) == name).map(|g| g.state);
            if unwanted(state)
                && let Err(e) = fs::remove_dir_all(&path)
                && e.kind() != std::io::ErrorKind::NotFound
            {
                return Err(IndexError::io("remove", &path)(e));
            }
        }
        Ok(())
    }

    /// Gives free pages of the database back in the background, once they are many.
    pub(super) fn reclaim_when_due(&self) {
        match self.upkeep.database.wants_reclaiming() {
            Ok(true) if !self.upkeep.closing.is_cancelled() => {}
            Ok(_) => return,
            Err(e) => return tracing::warn!(collection = %self.name, error = %e, "cannot look for free space"),
        }
        let mut reclaimer = self.reclaimer.lock();
        if reclaimer.as_ref().is_some_and(|thread| !thread.is_finished()) {
            return;
        }
        let upkeep = Arc::clone(&self.upkeep);
        *reclaimer = self.spawn("reclaim", move || {
            if let Err(e) = upkeep.database.reclaim(&upkeep.closing)
                && !upkeep.closing.is_cancelled()
            {
                tracing::warn!(error = %e, "cannot give free space back; a compaction will");
            }
        });
    }
}
