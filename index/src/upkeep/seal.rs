//! Turning the tail into segments, merging small ones, and dropping the rows that were removed.

use std::time::{Duration, Instant};

use anser_core::{CancelToken, ChunkId};

use super::Upkeep;
use crate::ann::{HnswParams, Part, Segment, Snapshot, write_vectors};
use crate::cache::{SealLock, SegmentFolder};
use crate::database::VECTORS_CACHE;
use crate::{IndexOptions, Result};

/// So many segments of similar size are made into one.
const FAN_OUT: usize = 4;
/// A segment is written anew once more than one of so many of its rows were removed.
const REMOVED_SHARE: usize = 4;
/// Pause between two attempts to have what another process has.
const PATIENCE: Duration = Duration::from_millis(50);

/// What to make segments of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    /// The tail, and segments that are due for it.
    Due,
    /// Every segment of which a row was removed, however few.
    EveryRemovedRow,
}

impl Upkeep {
    /// Turns the tail, and segments that are due for it, into one new segment. False when another process was doing so
    /// and `wait` was not wanted.
    pub(crate) fn seal(&self, wait: bool) -> Result<bool> {
        self.make_segments(Wanted::Due, wait, &self.closing)
    }

    /// Writes every segment anew of which rows were removed, so that nothing of them is left in memory or on disk. Waits for
    /// whoever is making segments.
    ///
    /// # Errors
    /// `Cancelled` once `cancel` says so; then everything is as before.
    pub(crate) fn compact(&self, cancel: &CancelToken) -> Result<()> {
        self.make_segments(Wanted::EveryRemovedRow, true, cancel)?;
        Ok(())
    }

    /// Whether a segment should be made of something.
    pub(super) fn is_due(&self, snapshot: &Snapshot) -> bool {
        snapshot.tail_len() >= self.options.seal_threshold || snapshot.segments().iter().any(must_be_written)
    }

    fn make_segments(&self, wanted: Wanted, wait: bool, cancel: &CancelToken) -> Result<bool> {
        let _sealing = loop {
            match self.sealing.try_lock_for(PATIENCE) {
                Some(guard) => break guard,
                None => cancel.check()?,
            }
        };
        let Some(lock) = self.wait_for_lock(wait, cancel)? else { return Ok(false) };
        self.adopt_newer(Some(&lock))?;
        let mut before = self.catch_up_now()?;
        // Rows that go into a new segment get a new checksum, so they must be sound.
        let (merged, kept) = loop {
            let (merged, kept) = choose(&before, wanted, self.options.seal_threshold);
            let sound = self.check(merged.iter().copied(), cancel, Some(&lock))?;
            if sound {
                break (merged, kept);
            }
            drop((merged, kept));
            before = self.catch_up_now()?;
        };
        let nothing_to_do = match wanted {
            Wanted::Due => before.tail_len() == 0 && !worth_it(&merged),
            Wanted::EveryRemovedRow => merged.is_empty(),
        };
        if nothing_to_do {
            self.cache.remove_leftovers(&lock)?;
            return Ok(true);
        }
        let number = self.cache.next_number(before.manifest(), &lock)?;
        let mut parts: Vec<Part> = kept.into_iter().cloned().collect();
        let made = self.make_segment(number, &before, &merged, (cancel, &lock))?;
        let folder = made.map(|(segment, folder)| {
            parts.push(Part::whole(segment));
            folder
        });
        self.cache.publish(number, before.seq(), &parts, &lock)?;
        if let Some(folder) = folder {
            folder.keep();
        }
        self.install(&Snapshot::new(before.dimension(), number, before.seq(), parts), Some(&lock))?;
        self.database.cache_reached(VECTORS_CACHE, before.seq())?;
        self.cache.remove_leftovers(&lock)?;
        Ok(true)
    }

    /// The lock under which segments are made; `None` when another process has it and `wait` was not wanted.
    fn wait_for_lock(&self, wait: bool, cancel: &CancelToken) -> Result<Option<SealLock>> {
        loop {
            match self.cache.lock()? {
                Some(lock) => return Ok(Some(lock)),
                None if !wait => return Ok(None),
                None => {
                    cancel.check()?;
                    std::thread::sleep(PATIENCE);
                }
            }
        }
    }

    /// Takes over what another process published, so that the next manifest builds on it.
    pub(super) fn adopt_newer(&self, lock: Option<&SealLock>) -> Result<()> {
        let Ok(Some(manifest)) = self.cache.manifest() else { return Ok(()) };
        let current = self.vectors.snapshot();
        if manifest.number <= current.manifest() {
            return Ok(());
        }
        let trimmed = self.database.reader()?.transact(|connection| self.database.trimmed_seq(connection))?;
        let opened = self.open_newest(&current, trimmed, lock)?;
        self.install(&opened, lock)
    }

    /// Writes the tail and the rows of `merged` as one segment; `None` when no row is left.
    fn make_segment(
        &self,
        number: u64,
        before: &Snapshot,
        merged: &[&Part],
        (cancel, lock): (&CancelToken, &SealLock),
    ) -> Result<Option<(Segment, SegmentFolder)>> {
        let started = Instant::now();
        let mut rows: Vec<(ChunkId, &[f32])> = merged.iter().flat_map(|p| p.rows()).chain(before.tail_rows()).collect();
        if rows.is_empty() {
            return Ok(None);
        }
        rows.sort_unstable_by_key(|(id, _)| *id);
        cancel.check()?;
        let folder = self.cache.new_segment_folder(number, lock)?;
        let mut writer = write_vectors(folder.path(), before.dimension())?;
        for (id, row) in rows {
            writer.push(id, row)?;
        }
        let IndexOptions { m, ef_construction, threads, builder, .. } = self.options;
        let params = HnswParams { m, ef_construction, threads, builder };
        let place = (self.cache.folder(), folder.name().to_owned());
        let segment = Segment::complete(place, writer.finish()?, &params, cancel)?;
        let (rows, seconds) = (segment.files.rows, started.elapsed().as_secs_f32());
        tracing::info!(rows, number, seconds, ef = segment.ef_for(self.options.target_recall), "segment made");
        Ok(Some((segment, folder)))
    }
}

/// Too many of its rows no longer count, or its graph is missing.
fn must_be_written(part: &Part) -> bool {
    part.removed.len() as usize * REMOVED_SHARE > part.segment.vectors.len() || part.segment.lacks_graph()
}

/// Whether anything changes when `merged` become one.
fn worth_it(merged: &[&Part]) -> bool {
    match merged {
        [] => false,
        [one] => must_be_written(one),
        _ => true,
    }
}

/// Which segments to merge with the tail, and which to keep: small ones and those with many removed rows are merged, and
/// so are those of similar size once there are enough of them, so that a row is rewritten only a logarithmic number of
/// times.
fn choose(snapshot: &Snapshot, wanted: Wanted, small: usize) -> (Vec<&Part>, Vec<&Part>) {
    let (mut merged, kept): (Vec<&Part>, Vec<&Part>) = snapshot.segments().iter().partition(|p| match wanted {
        Wanted::Due => p.live() < small || must_be_written(p),
        Wanted::EveryRemovedRow => !p.removed.is_empty(),
    });
    if wanted == Wanted::EveryRemovedRow {
        return (merged, kept);
    }
    let rows = snapshot.tail_len() + merged.iter().map(|p| p.live()).sum::<usize>();
    let (similar, larger): (Vec<&Part>, Vec<&Part>) = kept.into_iter().partition(|p| p.live() <= 2 * rows);
    if similar.len() + 1 >= FAN_OUT {
        merged.extend(similar);
        return (merged, larger);
    }
    (merged, similar.into_iter().chain(larger).collect())
}
