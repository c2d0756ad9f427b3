//! One upload: bytes go straight to disk, and become a file when they are all there and good.

use std::io;
use std::sync::Arc;

use anser_core::{Error, ErrorKind, Trainer};

use super::staging::Draft;
use super::{FilePurpose, FileStore, StoredFile};
use crate::EngineError;
use crate::control::unix_now;

/// Seconds after which a file may expire.
const EXPIRY: std::ops::RangeInclusive<u64> = 3_600..=2_592_000;
/// Longest file name kept, in characters.
const MAX_FILENAME: usize = 255;

/// An upload under way. Dropping it leaves nothing behind.
pub struct FileUpload {
    store: Arc<FileStore>,
    trainer: Option<Arc<dyn Trainer>>,
    draft: Draft,
    filename: String,
    purpose: FilePurpose,
    expires_after_seconds: Option<u64>,
    too_large: bool,
}

impl FileUpload {
    pub(super) fn begin(
        store: &Arc<FileStore>,
        trainer: Option<Arc<dyn Trainer>>,
        filename: &str,
        purpose: FilePurpose,
        expires_after_seconds: Option<u64>,
    ) -> Result<Self, EngineError> {
        if let Some(seconds) = expires_after_seconds
            && !EXPIRY.contains(&seconds)
        {
            let (least, most) = (EXPIRY.start(), EXPIRY.end());
            let message = format!("expires_after is {seconds} seconds, but must lie between {least} and {most}");
            return Err(EngineError::invalid("expires_after", message));
        }
        if !purpose.is_uploaded() {
            let message = format!("files with the purpose \"{}\" are written by jobs, not uploaded", purpose.as_str());
            return Err(EngineError::invalid("purpose", message));
        }
        let draft = Draft::create(store.data())?;
        let (store, filename) = (Arc::clone(store), display_name(filename));
        Ok(Self { store, trainer, draft, filename, purpose, expires_after_seconds, too_large: false })
    }

    /// Appends bytes. `TooLarge` once the file is larger than the limit.
    pub fn append(&mut self, bytes: &[u8]) -> Result<(), EngineError> {
        let limit = self.store.max_bytes();
        self.too_large |= self.draft.bytes().saturating_add(bytes.len() as u64) > limit;
        if self.too_large {
            let message = format!("the file is larger than {limit} bytes, the limit of one file; split it");
            return Err(Error::new(ErrorKind::TooLarge, message).with_param("file").into());
        }
        self.draft.append(bytes)
    }

    /// Checks the whole file and stores it. Training data (`fine-tune`) is read through; every fault is in the error.
    pub fn finish(mut self) -> Result<StoredFile, EngineError> {
        if self.too_large {
            self.append(&[])?;
        }
        if self.draft.bytes() == 0 {
            return Err(EngineError::invalid("file", format!("the file \"{}\" is empty", self.filename)));
        }
        if self.purpose == FilePurpose::FineTune {
            let trainer = self.trainer.as_ref().ok_or_else(no_trainer)?;
            let check = trainer.check_file(self.draft.written()?)?;
            if check.problem_count > 0 || !check.problems.is_empty() {
                return Err(EngineError::TrainingFile { filename: self.filename, check: Box::new(check) });
            }
        }
        let expires_at = self.expires_after_seconds.map(|seconds| unix_now().saturating_add(seconds as i64));
        let staged = self.draft.settle(self.store.data(), &self.filename, self.purpose, expires_at)?;
        self.store.insert(staged)
    }
}

/// For calls that need a trainer where there is none.
pub(crate) fn no_trainer() -> EngineError {
    Error::new(ErrorKind::Unavailable, "this program was started without a trainer, so it cannot fine-tune").into()
}

impl io::Write for FileUpload {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.append(bytes).map_err(|error| match error {
            EngineError::Io { source, .. } => source,
            other => io::Error::other(other),
        })?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What is kept of a file name: the part behind the last slash, without control characters.
fn display_name(given: &str) -> String {
    let last = given.rsplit(['/', '\\']).next().unwrap_or_default();
    let name: String = last.chars().filter(|c| !c.is_control()).take(MAX_FILENAME).collect();
    let name = name.trim();
    if name.is_empty() || name.chars().all(|c| c == '.') { "upload".to_owned() } else { name.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_name_is_never_a_path() {
        for (given, kept) in [
            ("train.jsonl", "train.jsonl"),
            ("../../etc/passwd", "passwd"),
            ("C:\\data\\训练.jsonl", "训练.jsonl"),
            ("a\u{0}b\n.jsonl", "ab.jsonl"),
            ("..", "upload"),
            ("", "upload"),
            ("folder/", "upload"),
        ] {
            assert_eq!(display_name(given), kept);
        }
        assert_eq!(display_name(&"x".repeat(400)).len(), MAX_FILENAME);
    }
}
