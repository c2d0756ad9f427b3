//! How long work tells whoever watches how far it is.

/// What a progress figure counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProgressUnit {
    /// Bytes downloaded or read.
    Bytes,
    /// Rows, documents, texts: things counted one by one.
    Items,
}

/// A watcher of one piece of work. Implementations draw bars, write events, or do nothing.
pub trait Progress: Send + Sync {
    /// Work called `what` begins; `total` is known or not.
    fn start(&self, what: &str, total: Option<u64>, unit: ProgressUnit);
    /// `done` of the total are finished since [`Progress::start`].
    fn set(&self, done: u64);
    /// A remark worth a line of its own.
    fn note(&self, message: &str);
    /// The work begun last is over.
    fn finish(&self);
}

/// Watches nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoProgress;

impl Progress for NoProgress {
    fn start(&self, _: &str, _: Option<u64>, _: ProgressUnit) {}
    fn set(&self, _: u64) {}
    fn note(&self, _: &str) {}
    fn finish(&self) {}
}
