//! The states of a job and the ways between them: the one place that says which step is legal.

use serde::{Deserialize, Serialize};

/// How far a job is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum JobState {
    /// What it was given is being checked, or waits to be.
    Validating,
    /// It waits for a worker.
    Queued,
    /// A worker is at it.
    Running,
    /// It was put aside with its state saved, and goes on when it is resumed.
    Paused,
    /// It is done.
    Succeeded,
    /// It ended with an error.
    Failed,
    /// Somebody gave it up.
    Cancelled,
}

impl JobState {
    /// Every state.
    pub const ALL: [Self; 7] =
        [Self::Validating, Self::Queued, Self::Running, Self::Paused, Self::Succeeded, Self::Failed, Self::Cancelled];

    /// As it is stored.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Validating => "validating",
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    /// Whether nothing can happen to the job any more.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Cancelled)
    }

    /// Whether a job may step from this state to `next`.
    pub(crate) fn may_become(self, next: Self) -> bool {
        use JobState::{Cancelled, Failed, Paused, Queued, Running, Succeeded, Validating};
        match self {
            Validating => matches!(next, Queued | Paused | Failed | Cancelled),
            Queued => matches!(next, Running | Paused | Cancelled),
            Running => matches!(next, Queued | Paused | Succeeded | Failed | Cancelled),
            Paused => matches!(next, Queued | Cancelled),
            Succeeded | Failed | Cancelled => false,
        }
    }
}
