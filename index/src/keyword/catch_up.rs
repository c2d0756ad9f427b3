//! Keeping the keyword index in step with the database.

use std::sync::Arc;

use anser_core::ChunkId;
use rusqlite::Connection;

use super::analyser::Analyser;
use super::part::{Part, Row};
use super::snapshot::{Snapshot, View};
use super::{Keywords, guarded};
use crate::Result;
use crate::database::{ChangeOp, Database};

/// Bytes of text that are made into one piece at a time.
const BLOCK_BYTES: usize = 4 << 20;
/// Bytes of a title that are searched: it is read once for every chunk of its document.
const TITLE_BYTES: usize = 4 << 10;

impl Keywords {
    /// Takes in what is new, at least up to the state that `connection` sees in its transaction, whoever wrote it.
    pub(super) fn catch_up(&self, database: &Database, connection: &Connection) -> Result<Arc<Snapshot>> {
        let seq = database.last_seq(connection)?;
        let current = self.snapshot();
        if current.seq >= seq {
            return Ok(current);
        }
        let fixed = self.writing.lock();
        let current = self.snapshot();
        if current.seq >= seq {
            return Ok(current);
        }
        let mut next = (*current).clone();
        if next.seq < 0 {
            next = self.open(database)?.unwrap_or(next);
            self.folder.tidy(&next);
        }
        self.advance(&mut next, *fixed, (database, connection))?;
        let next = Arc::new(next);
        *self.current.write() = Arc::clone(&next);
        Ok(next)
    }

    /// The newest generation on disk, if it is sound. It may reflect more than a transaction that began before sees; but it
    /// does not fit a database that was restored from a backup, which has not seen its last change.
    pub(super) fn open(&self, database: &Database) -> Result<Option<Snapshot>> {
        let distrusted = *self.distrusted.lock();
        let mut tried = None;
        loop {
            let opened = match self.folder.manifest() {
                Ok(Some(manifest)) if tried == Some(manifest.generation) => return Ok(None),
                Ok(Some(manifest)) => {
                    tried = Some(manifest.generation);
                    // Asked after the manifest was read: others may have written both since the caller's transaction began.
                    let last = database.reader()?.transact(|connection| database.last_seq(connection))?;
                    if manifest.seq > last || distrusted == tried {
                        tracing::warn!(folder = %self.folder.path().display(), "the keyword index does not fit; making it anew");
                        return Ok(None);
                    }
                    guarded(|| self.folder.open(&manifest))
                }
                Ok(None) => return Ok(None),
                Err(e) => {
                    tracing::warn!(error = %e, "the keyword index cannot be used; making it anew");
                    return Ok(None);
                }
            };
            match opened {
                Ok(snapshot) => return Ok(Some(snapshot)),
                // Another process may have replaced it meanwhile.
                Err(e) => tracing::warn!(error = %e, "the keyword index cannot be used; making it anew if it stays so"),
            }
        }
    }

    /// Brings `state` to what `connection` sees. Chunk ids rise and are never reused, and a chunk's text never changes: so
    /// whatever has a higher id than was seen before is new.
    pub(super) fn advance(
        &self,
        state: &mut Snapshot,
        fixed: u64,
        (database, connection): (&Database, &Connection),
    ) -> Result<()> {
        let seq = database.last_seq(connection)?;
        if state.seq >= seq {
            return Ok(());
        }
        if !state.views.is_empty() {
            let gone = if state.seq < database.trimmed_seq(connection)? {
                missing(state, database, connection)?
            } else {
                removed_after(state, database, connection)?
            };
            state.remove(&gone);
        }
        let analyser = Analyser::new();
        let mut rows: Vec<Row> = Vec::new();
        let mut bytes = 0;
        let after = state.last_chunk;
        database.each_chunk_text(connection, after, &mut |chunk, title, text| {
            self.closing.check()?;
            let title = title.map(|title| title.get(..title.floor_char_boundary(TITLE_BYTES)).unwrap_or(title));
            bytes += text.len() + title.map_or(0, str::len);
            rows.push(Row { chunk, title: title.map(str::to_owned), text: text.to_owned() });
            if bytes >= BLOCK_BYTES {
                take_in(state, &mut rows, (fixed, &analyser))?;
                bytes = 0;
                // All removals up to `seq` have been made, so what was taken in so far can be kept; but not all was.
                state.seq = seq - 1;
                self.shed(state, fixed)?;
            }
            Ok(())
        })?;
        take_in(state, &mut rows, (fixed, &analyser))?;
        state.seq = seq;
        Ok(())
    }
}

/// Appends `rows` and empties them.
fn take_in(state: &mut Snapshot, rows: &mut Vec<Row>, (fixed, analyser): (u64, &Analyser)) -> Result<()> {
    let Some(last) = rows.last().map(|row| row.chunk.0) else { return Ok(()) };
    let part = guarded(|| Part::build(rows, analyser))?;
    rows.clear();
    state.append(part, fixed)?;
    state.last_chunk = last;
    Ok(())
}

/// The chunks that were removed since, by the sequence of changes.
fn removed_after(state: &Snapshot, database: &Database, connection: &Connection) -> Result<Vec<ChunkId>> {
    let mut gone = Vec::new();
    database.each_change(connection, state.seq, &mut |op, subject| {
        if op == ChangeOp::ChunkRemoved {
            gone.push(ChunkId(subject as u64));
        }
    })?;
    Ok(gone)
}

/// The chunks that are not there any more, when the sequence of changes does not reach back far enough.
fn missing(state: &Snapshot, database: &Database, connection: &Connection) -> Result<Vec<ChunkId>> {
    let mut ours = state.views.iter().flat_map(View::chunks).peekable();
    let mut gone = Vec::new();
    database.each_chunk_id(connection, state.last_chunk, &mut |chunk| {
        while let Some(ours) = ours.next_if(|ours| *ours < chunk) {
            gone.push(ours);
        }
        ours.next_if_eq(&chunk);
    })?;
    gone.extend(ours);
    Ok(gone)
}
