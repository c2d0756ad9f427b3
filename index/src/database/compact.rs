//! Giving space back, and erasing what was deleted.
//!
//! `secure_delete` overwrites what a statement frees, but a page that is split or merged may keep copies of rows that moved to
//! its neighbour, in the gap that nobody looks at. Only a file that is written anew from the rows that are left is certain to
//! hold nothing else, so compaction rewrites it; what runs in the background only gives back free pages.

use std::thread;
use std::time::Duration;

use anser_core::CancelToken;
use rusqlite::Connection;

use super::Database;
use super::write::truncate_log;
use crate::{IndexError, Result};

/// Free pages are given back in the background once they are this share of the file, as a divisor ...
const FREE_SHARE: i64 = 4;
/// ... and so many bytes at least.
const FREE_BYTES: i64 = 16 << 20;
/// Pages given back in one step, during which nobody else can write.
const STEP_PAGES: i64 = 256;
/// Pause between two steps, for others who want to write.
const STEP_PAUSE: Duration = Duration::from_millis(5);
/// How often a cancelled compaction is noticed.
const CANCEL_LOOK: Duration = Duration::from_millis(20);
/// How long readers that hold the write-ahead log are waited for.
const LOG_PATIENCE: Duration = Duration::from_secs(5);

impl Database {
    /// Rewrites the file from the rows that are left and empties the write-ahead log, so that nothing that was deleted is in
    /// either. Readers go on meanwhile, writers wait. False when a reader kept the log from being emptied in time: it is
    /// emptied later.
    ///
    /// Needs room for a second copy of what is left, next to the file and in the system's folder for temporary files. When
    /// that is missing, or on `cancel`, or in a crash, the file stays as it is.
    pub(crate) fn compact(&self, cancel: &CancelToken) -> Result<bool> {
        cancel.check()?;
        let writer = self.writer();
        let interrupt = writer.get_interrupt_handle();
        let done = CancelToken::new();
        let outcome = thread::scope(|scope| {
            scope.spawn(|| {
                while !done.is_cancelled() {
                    if cancel.is_cancelled() {
                        interrupt.interrupt();
                    }
                    thread::sleep(CANCEL_LOOK);
                }
            });
            let outcome = writer.execute_batch("VACUUM");
            done.cancel();
            outcome
        });
        cancel.check()?;
        outcome.map_err(self.failed("compact"))?;
        truncate_log(&writer, LOG_PATIENCE).map_err(self.failed("empty the log of"))
    }

    /// Whether so much of the file is free that it should be given back.
    pub(crate) fn wants_reclaiming(&self) -> Result<bool> {
        let reader = self.reader()?;
        let Some(connection) = reader.connection.as_ref() else { return Ok(false) };
        let pragma = |name: &str| self.number(connection, name);
        let (free, all) = (pragma("freelist_count")?, pragma("page_count")?);
        // A file that is older than this way of giving back says so.
        Ok(free * FREE_SHARE > all && free * pragma("page_size")? >= FREE_BYTES && pragma("auto_vacuum")? == 2)
    }

    /// Gives all free pages back in small steps, between which others write; stops on `cancel`.
    pub(crate) fn reclaim(&self, cancel: &CancelToken) -> Result<()> {
        loop {
            cancel.check()?;
            let left = {
                let writer = self.writer();
                let before = self.number(&writer, "freelist_count")?;
                let step = format!("PRAGMA incremental_vacuum({STEP_PAGES})");
                let mut select = writer.prepare(&step).map_err(self.failed("compact"))?;
                let mut rows = select.query([]).map_err(self.failed("compact"))?;
                while rows.next().map_err(self.failed("compact"))?.is_some() {}
                drop(rows);
                let after = self.number(&writer, "freelist_count")?;
                if after < before { after } else { 0 }
            };
            if left == 0 {
                break;
            }
            thread::sleep(STEP_PAUSE);
        }
        self.erase_log();
        Ok(())
    }

    fn number(&self, connection: &Connection, pragma: &str) -> Result<i64> {
        let value = connection.pragma_query_value(None, pragma, |row| row.get(0));
        value.map_err(|e| IndexError::database("read", &self.path)(e))
    }
}
