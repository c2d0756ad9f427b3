//! The seam between the worker and whatever multiplies: every engine that can turn token ids into vectors.

use std::fmt;

use crate::EmbedError;
use crate::worker::Model;

/// One text as a backend takes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Input {
    /// Token ids, special tokens included: at least one, at most as many as the model reads.
    pub(crate) ids: Vec<u32>,
    /// What the ids were made of, prefix included, for engines that tokenise by themselves.
    pub(crate) text: String,
}

/// What several texts in one run cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Batching {
    /// Every text is padded to the longest, so a run costs their number times the longest one's tokens.
    Padded,
    /// Texts lie one behind another, so a run costs the sum of their tokens and no text knows of the others.
    Ragged,
}

/// A loaded model on one engine, shared by the threads that run it.
pub(crate) trait Backend: Send + Sync + 'static {
    /// Engine and number format in the words that people choose them by, such as `native bf16`.
    fn name(&self) -> String;

    /// What several texts in one run cost.
    fn batching(&self) -> Batching;

    /// Tokens of a run that keep this engine busy without making a question wait long behind it; 0 runs every text alone.
    fn run_tokens(&self) -> usize {
        0
    }

    /// Whether all sessions read the same weights, so that there may be one for every thread.
    fn shares_weights(&self) -> bool {
        self.batching() == Batching::Ragged
    }

    /// Sessions beyond which a further one gains nothing, because all of them would wait for the same device.
    fn most_sessions(&self) -> usize {
        usize::MAX
    }

    /// Something that runs the model on its own thread, with at most `threads` threads.
    fn session(&self, threads: usize) -> Result<Box<dyn Session>, EmbedError>;
}

impl fmt::Debug for dyn Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name())
    }
}

/// A model that one thread runs. It keeps nothing between two runs but memory, so a panic in one leaves the next unharmed.
pub(crate) trait Session: Send + 'static {
    /// One pooled vector for each input, in order; the caller scales them to unit norm. The reason of a failure completes
    /// "MODEL failed while running: ...".
    fn run(&mut self, batch: &[Input]) -> Result<Vec<Vec<f32>>, String>;
}

impl Model for Box<dyn Session> {
    type Item = Input;
    type Output = Vec<f32>;

    fn run(&mut self, batch: &[Input]) -> Result<Vec<Vec<f32>>, String> {
        self.as_mut().run(batch)
    }
}
