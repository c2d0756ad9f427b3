//! Fine-tuning jobs, their events and checkpoints as OpenAI's clients see them. The request and its checks lie in
//! [`request`].

mod extension;
pub(crate) mod request;

use std::collections::BTreeMap;

use anser_core::{Hyperparameters, Objective, TrainableParts, TrainingMetrics};
use anser_engine::{FineTuningCheckpoint, FineTuningJob, JobEvent};
use serde::Serialize;

use crate::wire::list::Identified;

/// One job. `anser` is an addition of ours that OpenAI's clients ignore.
#[derive(Debug, Serialize)]
pub(crate) struct Job {
    id: String,
    object: &'static str,
    created_at: i64,
    finished_at: Option<i64>,
    estimated_finish: Option<i64>,
    /// A paused job has a word of its own, which OpenAI's clients hand through.
    status: &'static str,
    error: Option<JobError>,
    model: String,
    fine_tuned_model: Option<String>,
    organization_id: String,
    training_file: String,
    validation_file: Option<String>,
    result_files: Vec<String>,
    trained_tokens: Option<u64>,
    seed: u64,
    hyperparameters: Settings,
    method: Method,
    integrations: [(); 0],
    metadata: BTreeMap<String, String>,
    anser: Details,
}

#[derive(Debug, Serialize)]
struct JobError {
    code: String,
    message: String,
    param: Option<String>,
}

/// The hyperparameters that OpenAI's clients know; those that are still open read `auto`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
struct Settings {
    batch_size: Auto<usize>,
    learning_rate_multiplier: Auto<f64>,
    n_epochs: Auto<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    beta: Option<Auto<f64>>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Auto<T>(Option<T>);

impl<T: Serialize> Serialize for Auto<T> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.0 {
            Some(value) => value.serialize(serializer),
            None => serializer.serialize_str("auto"),
        }
    }
}

#[derive(Debug, Serialize)]
struct Method {
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    supervised: Option<MethodSettings>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dpo: Option<MethodSettings>,
}

#[derive(Debug, Serialize)]
struct MethodSettings {
    hyperparameters: Settings,
}

/// What only this service knows of a job.
#[derive(Debug, Serialize)]
struct Details {
    parts: TrainableParts,
    /// All hyperparameters: as asked for, and, once the job is planned, as chosen.
    hyperparameters: Hyperparameters,
    plan: Option<Plan>,
    last_metrics: Option<TrainingMetrics>,
}

#[derive(Debug, Serialize)]
struct Plan {
    examples: usize,
    validation_examples: usize,
    tokens_per_epoch: u64,
    loss_tokens_per_epoch: u64,
    total_steps: usize,
    trainable_parameters: u64,
    data_fingerprint: String,
    estimated_seconds: Option<f64>,
    estimated_memory_bytes: u64,
}

impl From<FineTuningJob> for Job {
    fn from(job: FineTuningJob) -> Self {
        let asked = job.request;
        let planned = job.plan.as_ref().map(|plan| &plan.request);
        let hyperparameters = planned.map_or(&asked.hyperparameters, |planned| &planned.hyperparameters).clone();
        let objective = planned.map_or(asked.objective, |planned| planned.objective);
        let settings = Settings {
            batch_size: Auto(hyperparameters.batch_size),
            learning_rate_multiplier: Auto(hyperparameters.learning_rate_multiplier),
            n_epochs: Auto(hyperparameters.n_epochs),
            beta: None,
        };
        Self {
            id: job.id,
            object: "fine_tuning.job",
            created_at: job.created_at,
            finished_at: job.finished_at,
            estimated_finish: job.estimated_finish,
            status: job.status.as_str(),
            error: job.error.map(|error| JobError { code: error.code, message: error.message, param: error.param }),
            model: job.model,
            fine_tuned_model: job.fine_tuned_model,
            organization_id: job.organization,
            training_file: asked.training_file,
            validation_file: asked.validation_file,
            result_files: job.result_files,
            trained_tokens: job.trained_tokens,
            seed: job.seed,
            hyperparameters: settings,
            method: Method::new(objective, settings),
            integrations: [],
            metadata: asked.metadata,
            anser: Details {
                parts: asked.parts,
                hyperparameters,
                plan: job.plan.map(|plan| Plan {
                    examples: plan.examples,
                    validation_examples: plan.validation_examples,
                    tokens_per_epoch: plan.tokens_per_epoch,
                    loss_tokens_per_epoch: plan.loss_tokens_per_epoch,
                    total_steps: plan.total_steps,
                    trainable_parameters: plan.trainable_parameters,
                    data_fingerprint: plan.data_fingerprint,
                    estimated_seconds: plan.estimated_seconds,
                    estimated_memory_bytes: plan.estimated_memory_bytes,
                }),
                last_metrics: job.last_metrics,
            },
        }
    }
}

impl Method {
    fn new(objective: Objective, settings: Settings) -> Self {
        match objective {
            Objective::Supervised => {
                Self { kind: "supervised", supervised: Some(MethodSettings { hyperparameters: settings }), dpo: None }
            }
            Objective::Preference { beta } => {
                let hyperparameters = Settings { beta: Some(Auto(beta)), ..settings };
                Self { kind: "dpo", supervised: None, dpo: Some(MethodSettings { hyperparameters }) }
            }
        }
    }
}

impl Identified for Job {
    fn id(&self) -> &str {
        &self.id
    }
}

/// One event of a job: a sentence, and the figures of a step when it is about one.
#[derive(Debug, Serialize)]
pub(crate) struct Event {
    id: String,
    object: &'static str,
    created_at: i64,
    level: &'static str,
    message: String,
    #[serde(rename = "type")]
    kind: &'static str,
    data: Option<EventData>,
}

#[derive(Debug, Serialize)]
struct EventData {
    total_steps: usize,
    #[serde(flatten)]
    metrics: Metrics,
    epoch: f64,
    train_sequence_accuracy: f64,
    learning_rate: f64,
    gradient_norm: f64,
    tokens_per_second: f64,
    seconds_left: f64,
}

impl From<JobEvent> for Event {
    fn from(event: JobEvent) -> Self {
        Self {
            id: event.id,
            object: "fine_tuning.job.event",
            created_at: event.created_at,
            level: event.level.as_str(),
            message: event.message,
            kind: if event.metrics.is_some() { "metrics" } else { "message" },
            data: event.metrics.map(|metrics| EventData {
                total_steps: metrics.total_steps,
                epoch: metrics.epoch,
                train_sequence_accuracy: metrics.train_sequence_accuracy,
                learning_rate: metrics.learning_rate,
                gradient_norm: metrics.gradient_norm,
                tokens_per_second: metrics.tokens_per_second,
                seconds_left: metrics.seconds_left,
                metrics: metrics.into(),
            }),
        }
    }
}

impl Identified for Event {
    fn id(&self) -> &str {
        &self.id
    }
}

/// The figures of one step, under OpenAI's names; those that were not measured are left out.
#[derive(Debug, Serialize)]
struct Metrics {
    step: usize,
    train_loss: f64,
    train_mean_token_accuracy: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    valid_loss: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    valid_mean_token_accuracy: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    full_valid_loss: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    full_valid_mean_token_accuracy: Option<f64>,
}

impl From<TrainingMetrics> for Metrics {
    fn from(metrics: TrainingMetrics) -> Self {
        Self {
            step: metrics.step,
            train_loss: metrics.train_loss,
            train_mean_token_accuracy: metrics.train_token_accuracy,
            valid_loss: metrics.valid_loss,
            valid_mean_token_accuracy: metrics.valid_token_accuracy,
            full_valid_loss: metrics.full_valid_loss,
            full_valid_mean_token_accuracy: metrics.full_valid_token_accuracy,
        }
    }
}

/// One checkpoint, which can be chatted with like a finished model.
#[derive(Debug, Serialize)]
#[expect(clippy::struct_field_names, reason = "the names are those of the wire")]
pub(crate) struct Checkpoint {
    id: String,
    object: &'static str,
    created_at: i64,
    fine_tuned_model_checkpoint: String,
    fine_tuning_job_id: String,
    step_number: usize,
    metrics: Metrics,
}

impl From<FineTuningCheckpoint> for Checkpoint {
    fn from(checkpoint: FineTuningCheckpoint) -> Self {
        Self {
            id: checkpoint.id,
            object: "fine_tuning.job.checkpoint",
            created_at: checkpoint.created_at,
            fine_tuned_model_checkpoint: checkpoint.model,
            fine_tuning_job_id: checkpoint.job_id,
            step_number: checkpoint.step_number,
            metrics: checkpoint.metrics.into(),
        }
    }
}

impl Identified for Checkpoint {
    fn id(&self) -> &str {
        &self.id
    }
}
