//! Fine-tuning jobs as users see them.

use anser_core::{TrainingMetrics, TrainingPlan};
use rusqlite::Connection;
use serde::{Deserialize, Serialize};

use super::FineTuningRequest;
use crate::{EngineError, Job, JobFailure, JobState, jobs};

/// How far a fine-tuning job is, in OpenAI's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FineTuningStatus {
    /// Its files are being checked.
    ValidatingFiles,
    /// It waits for a worker.
    Queued,
    /// It trains.
    Running,
    /// It was put aside.
    Paused,
    /// It has a tuned model.
    Succeeded,
    /// It ended with an error.
    Failed,
    /// Somebody gave it up.
    Cancelled,
}

impl FineTuningStatus {
    /// As it is written on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ValidatingFiles => "validating_files",
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
}

impl From<JobState> for FineTuningStatus {
    fn from(state: JobState) -> Self {
        match state {
            JobState::Validating => Self::ValidatingFiles,
            JobState::Queued => Self::Queued,
            JobState::Running => Self::Running,
            JobState::Paused => Self::Paused,
            JobState::Succeeded => Self::Succeeded,
            JobState::Failed => Self::Failed,
            JobState::Cancelled => Self::Cancelled,
        }
    }
}

/// A fine-tuning job.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FineTuningJob {
    /// `ftjob-…`.
    pub id: String,
    /// Seconds since 1970.
    pub created_at: i64,
    /// When a worker first took it up; seconds since 1970.
    pub started_at: Option<i64>,
    /// When it ended; seconds since 1970.
    pub finished_at: Option<i64>,
    /// How far it is.
    pub status: FineTuningStatus,
    /// The model it starts from, as asked for.
    pub model: String,
    /// The tuned model, once there is one.
    pub fine_tuned_model: Option<String>,
    /// Who it is for.
    pub organization: String,
    /// Ids of `result.csv` and `metrics.csv`, once it has succeeded.
    pub result_files: Vec<String>,
    /// What was asked for.
    pub request: FineTuningRequest,
    /// Every setting resolved, once the files are checked.
    pub plan: Option<TrainingPlan>,
    /// Tokens that the loss counted, once it has succeeded.
    pub trained_tokens: Option<u64>,
    /// The seed asked for, or the one that was drawn.
    pub seed: u64,
    /// Why it failed.
    pub error: Option<JobFailure>,
    /// When it will end if it goes on like this; seconds since 1970.
    pub estimated_finish: Option<i64>,
    /// Figures of its last step.
    pub last_metrics: Option<TrainingMetrics>,
}

/// What the table of jobs keeps beside the request.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Detail {
    pub(super) seed: u64,
    pub(super) organization: String,
    /// Name of the tuned model to be.
    pub(super) model_id: String,
    /// The model at the root, whatever the job starts from.
    pub(super) base: String,
    /// The tuned model that the job goes on from.
    pub(super) parent: Option<String>,
    pub(super) plan: Option<TrainingPlan>,
    pub(super) result_files: Vec<String>,
    pub(super) trained_tokens: Option<u64>,
}

impl FineTuningJob {
    pub(super) fn from_job(connection: &Connection, job: Job) -> Result<Self, EngineError> {
        let unreadable = |e| EngineError::internal(format!("the job {} cannot be read: {e}", job.id));
        let request: FineTuningRequest = serde_json::from_value(job.request).map_err(unreadable)?;
        let detail: Detail = serde_json::from_value(job.detail).map_err(unreadable)?;
        let last = jobs::last_step(connection, &job.id)?;
        let planned = detail.plan.as_ref().and_then(|plan| plan.estimated_seconds);
        let estimated_finish = match &last {
            Some((at, metrics)) => Some(at.saturating_add(metrics.seconds_left.ceil() as i64)),
            None => job.started_at.zip(planned).map(|(at, seconds)| at.saturating_add(seconds.ceil() as i64)),
        };
        Ok(Self {
            created_at: job.created_at,
            started_at: job.started_at,
            finished_at: job.finished_at,
            status: job.state.into(),
            model: request.model.clone(),
            fine_tuned_model: (job.state == JobState::Succeeded).then_some(detail.model_id),
            organization: detail.organization,
            result_files: detail.result_files,
            request,
            plan: detail.plan,
            trained_tokens: detail.trained_tokens,
            seed: detail.seed,
            error: job.failure,
            estimated_finish: estimated_finish.filter(|_| job.state == JobState::Running),
            last_metrics: last.map(|(_, metrics)| metrics),
            id: job.id,
        })
    }
}
