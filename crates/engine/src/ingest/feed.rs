//! Reads a source on a thread of its own, so that reading and parsing go on while a batch is embedded.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use anser_core::CancelToken;

use super::source::{Piece, Placed, ReadFailure, RowSource};
use crate::EngineError;

/// Pieces that travel together, unless they are large.
const GROUP_PIECES: usize = 64;

/// A group of this size travels at once, in bytes.
const GROUP_BYTES: usize = 1 << 20;

/// Groups that wait to be taken: with [`GROUP_BYTES`] and the row limit this bounds the memory that reading takes.
const GROUPS_AHEAD: usize = 2;

/// How often a wait for rows looks whether the caller asked to stop.
const CANCEL_CHECK: Duration = Duration::from_millis(100);

/// Rows looked at before types and roles are settled.
const SAMPLE_ROWS: usize = 1000;

/// A sample of this size is enough even when it has fewer rows, in bytes.
const SAMPLE_BYTES: usize = 8 << 20;

/// When so many pieces hold no usable row, the source is refused.
const SAMPLE_PIECES: usize = 10_000;

enum Message {
    Pieces(Vec<Placed>),
    Failed(ReadFailure),
    End,
}

/// The receiving end of the reading thread.
pub(super) struct Feed {
    messages: Receiver<Message>,
    waiting: std::vec::IntoIter<Placed>,
    source: PathBuf,
    ended: bool,
    failure: Option<ReadFailure>,
}

impl Feed {
    /// Starts to read. The thread ends with the source, or when the feed is dropped and the next piece is read.
    pub(super) fn start(source: Box<dyn RowSource>, name: &Path) -> Result<Self, EngineError> {
        let (sender, messages) = sync_channel(GROUPS_AHEAD);
        thread::Builder::new()
            .name("ingest-reader".to_owned())
            .spawn(move || read(source, &sender))
            .map_err(|e| EngineError::io("start a thread to read", name, e))?;
        let source = name.to_path_buf();
        Ok(Self { messages, waiting: Vec::new().into_iter(), source, ended: false, failure: None })
    }

    /// The next piece; `None` at the end and after a failure, which [`Feed::finish`] then returns.
    pub(super) fn next(&mut self, cancel: &CancelToken) -> Result<Option<Placed>, EngineError> {
        loop {
            cancel.check()?;
            if let Some(piece) = self.waiting.next() {
                return Ok(Some(piece));
            }
            if self.ended {
                return Ok(None);
            }
            match self.messages.recv_timeout(CANCEL_CHECK) {
                Ok(Message::Pieces(pieces)) => self.waiting = pieces.into_iter(),
                Ok(Message::End) => self.ended = true,
                Ok(Message::Failed(failure)) => (self.ended, self.failure) = (true, Some(failure)),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    // Only a panic in a library that decodes the format ends the thread without a word.
                    let reason = "it is damaged in a way that its reader could not cope with".to_owned();
                    (self.ended, self.failure) = (true, Some(ReadFailure::Bad(reason)));
                }
            }
        }
    }

    /// The first pieces: enough rows to see what the columns hold, or all there are.
    pub(super) fn sample(&mut self, cancel: &CancelToken) -> Result<Vec<Placed>, EngineError> {
        let mut pieces = Vec::new();
        let (mut rows, mut bytes) = (0, 0);
        while let Some(placed) = self.next(cancel)? {
            bytes += placed.bytes;
            let settled = match &placed.piece {
                Piece::Row(_) => {
                    rows += 1;
                    rows >= SAMPLE_ROWS || bytes >= SAMPLE_BYTES
                }
                Piece::Document { .. } => true,
                Piece::Rejected(_) | Piece::Note(_) => rows == 0 && pieces.len() >= SAMPLE_PIECES,
            };
            pieces.push(placed);
            if settled {
                break;
            }
        }
        Ok(pieces)
    }

    /// Whether everything went well; `kept` rows were ingested before a failure.
    pub(super) fn finish(&mut self, kept: u64) -> Result<(), EngineError> {
        let Some(failure) = self.failure.take() else { return Ok(()) };
        Err(failed(failure, &self.source, kept))
    }
}

/// The engine's error for a source that cannot be read, after `kept` rows were ingested.
pub(super) fn failed(failure: ReadFailure, source: &Path, kept: u64) -> EngineError {
    match failure {
        ReadFailure::Bad(message) if kept > 0 => {
            let message = format!("{message}; the {kept} rows before that were ingested");
            EngineError::BadFile { path: source.to_path_buf(), message }
        }
        ReadFailure::Bad(message) => EngineError::BadFile { path: source.to_path_buf(), message },
        ReadFailure::Io(error) => match error.downcast::<anser_core::Error>() {
            // A source may have a reason of its own, such as a limit on the size of a request.
            Ok(own) => EngineError::Core(own),
            Err(error) => EngineError::io("read", source, error),
        },
    }
}

fn read(mut source: Box<dyn RowSource>, sender: &SyncSender<Message>) {
    loop {
        let mut group = Vec::new();
        let mut bytes = 0;
        let end = loop {
            match source.next_piece() {
                Ok(Some(placed)) => {
                    bytes += placed.bytes;
                    group.push(placed);
                }
                Ok(None) => break Some(Message::End),
                Err(failure) => break Some(Message::Failed(failure)),
            }
            if group.len() >= GROUP_PIECES || bytes >= GROUP_BYTES {
                break None;
            }
        };
        // Nobody listens any more: the ingest was cancelled or has failed.
        if sender.send(Message::Pieces(group)).is_err() {
            return;
        }
        if let Some(end) = end {
            let _ = sender.send(end);
            return;
        }
    }
}
