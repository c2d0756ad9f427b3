//! Cooperative cancellation.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use crate::{Error, Result};

/// A flag shared by a caller and the work done for it. Clones share the flag.
#[derive(Debug, Clone, Default)]
pub struct CancelToken(pub(crate) Arc<AtomicU8>);

impl CancelToken {
    /// A token that nobody has cancelled yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks the work to stop at its next check.
    pub fn cancel(&self) {
        self.0.fetch_max(2, Ordering::AcqRel);
    }

    /// Whether somebody asked to stop.
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Acquire) > 0
    }

    /// `Err` of kind `Cancelled` once somebody asked to stop.
    pub fn check(&self) -> Result<()> {
        if self.is_cancelled() { Err(Error::cancelled()) } else { Ok(()) }
    }
}
