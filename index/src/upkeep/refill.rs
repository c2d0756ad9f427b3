//! Vectors that no sound cache holds, from the database itself.

use anser_core::{ChunkId, Embedding};
use rusqlite::Connection;

use super::Upkeep;
use crate::Result;
use crate::ann::{Part, Segment, Snapshot, VectorWriter, write_vectors};
use crate::cache::{SealLock, SegmentFolder};

/// More rows than this go to a file of vectors at once instead of staying in memory until a segment is made.
const IN_MEMORY: usize = 65_536;

impl Upkeep {
    /// `base` with everything that it lacks of what the database holds now. `lock` for a caller who has it.
    pub(super) fn refill(&self, base: &Snapshot, lock: Option<&SealLock>) -> Result<Snapshot> {
        // Whoever cannot have the lock now, or cannot write, keeps the rows in memory.
        let taken = if lock.is_none() { self.cache.lock().ok().flatten() } else { None };
        if let Some(lock) = lock.or(taken.as_ref()) {
            match self.refilled(base, Some(lock)) {
                Err(e) if e.kind() == anser_core::ErrorKind::Io => {
                    tracing::warn!(error = %e, "the vector cache cannot be written; its rows stay in memory");
                }
                other => return other,
            }
        }
        self.refilled(base, None)
    }

    fn refilled(&self, base: &Snapshot, lock: Option<&SealLock>) -> Result<Snapshot> {
        self.database.reader()?.transact(|connection| {
            let seq = self.database.last_seq(connection)?;
            let base = if base.seq() >= 0 && base.seq() >= self.database.trimmed_seq(connection)? {
                self.replay(connection, base, seq.max(base.seq()))?
            } else {
                Snapshot::new(base.dimension(), base.manifest(), seq, Vec::new())
            };
            let (made, rows) = self.stream(connection, &base, lock)?;
            made.changed(&[], rows.iter().map(|(id, e)| (*id, e.as_slice())), seq)
        })
    }

    /// Reads the rows that `base` lacks. Many become a segment without a graph, which is published; few are returned.
    fn stream(
        &self,
        connection: &Connection,
        base: &Snapshot,
        lock: Option<&SealLock>,
    ) -> Result<(Snapshot, Vec<(ChunkId, Embedding)>)> {
        let mut rows: Vec<(ChunkId, Embedding)> = Vec::new();
        let mut file: Option<(SegmentFolder, VectorWriter)> = None;
        let whole = base.len() == 0;
        self.database.each_vector(connection, |id, embedding| {
            if !whole && base.holds(id) {
                return Ok(());
            }
            if let Some((_, writer)) = &mut file {
                return writer.push(id, embedding.as_slice());
            }
            rows.push((id, embedding));
            if let Some(lock) = lock
                && rows.len() > IN_MEMORY
            {
                let folder = self.cache.new_segment_folder(self.cache.next_number(base.manifest(), lock)?, lock)?;
                let mut writer = write_vectors(folder.path(), base.dimension())?;
                for (id, embedding) in rows.drain(..) {
                    writer.push(id, embedding.as_slice())?;
                }
                file = Some((folder, writer));
            }
            Ok(())
        })?;
        let (Some((folder, writer)), Some(lock)) = (file, lock) else { return Ok((base.clone(), rows)) };
        let segment = Segment::without_graph((self.cache.folder(), folder.name().to_owned()), writer.finish()?)?;
        tracing::info!(rows = segment.files.rows, "vectors were read from the database; their graph follows");
        let number = self.cache.next_number(base.manifest(), lock)?;
        let made = base.with_part(Part::whole(segment));
        // What else is in memory comes again out of the change sequence, unless that was trimmed.
        if base.tail_len() == 0 {
            self.cache.publish(number, base.seq(), made.segments(), lock)?;
            folder.keep();
            return Ok((made.renumbered(number), rows));
        }
        // No other segment may be called so while this one is searched.
        folder.keep();
        Ok((made.renumbered(number), rows))
    }
}
