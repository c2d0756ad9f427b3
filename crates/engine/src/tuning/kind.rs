//! Fine-tuning as a kind of job: plan, train, register what comes of it.

use std::path::Path;
use std::sync::Arc;

use anser_core::storage::DataDir;
use anser_core::{
    ErrorKind, StopReason, TrainableParts, TrainedKind, Trainer, TrainingEvent, TrainingMetrics, TrainingOutcome,
    TrainingPlan, TrainingRequest,
};
use serde_json::{Value, json};

use super::install::{InstalledFolder, written_provenance};
use super::job::Detail;
use super::model::NewTunedModel;
use super::{FineTuningRequest, TunedModel, TunedModels, checkpoint, model, naming, results};
use crate::control::{ControlDatabase, unix_now};
use crate::files::{FileStore, StagedFile};
use crate::jobs::{self, JobContext, JobEnd, JobKind, JobLane};
use crate::{EngineError, EventLevel, FilePurpose, JobFailure};

/// Name in the table of jobs.
pub(super) const KIND: &str = "fine_tuning";

/// What fine-tuning jobs work with.
pub(crate) struct FineTuning {
    pub(crate) trainer: Arc<dyn Trainer>,
    pub(crate) database: Arc<ControlDatabase>,
    pub(crate) data: DataDir,
    pub(crate) files: Arc<FileStore>,
    pub(crate) tuned: Arc<TunedModels>,
}

impl JobKind for FineTuning {
    fn name(&self) -> &'static str {
        KIND
    }

    fn lane(&self) -> JobLane {
        JobLane::Training
    }

    fn validate(&self, context: &JobContext<'_>) -> Result<(), EngineError> {
        let (request, mut detail) = read(context)?;
        let info = |message: String| context.log(EventLevel::Info, message, None);
        info(format!("Validating training file: {}", request.training_file));
        if let Some(file) = &request.validation_file {
            info(format!("Validating validation file: {file}"));
        }
        context.flush()?;
        let training = self.training_request(&request, &detail)?;
        let planned = self.trainer.plan(&training, &context.progress());
        let plan = planned.map_err(|error| name_file(error, &training, &request))?;
        info("Files validated, moving job to queued state".to_owned());
        let total = plan.total_steps as u64;
        detail.plan = Some(plan);
        context.save(&detail, Some(total))
    }

    fn run(&self, context: &JobContext<'_>) -> Result<JobEnd, EngineError> {
        let (request, detail) = read(context)?;
        let mut plan = detail.plan.clone().ok_or_else(|| EngineError::internal("a job ran before it was planned"))?;
        // The data folder may have moved since the job was planned.
        let current = self.training_request(&request, &detail)?;
        plan.request.training_file = current.training_file;
        plan.request.validation_file = current.validation_file;
        plan.request.start_from = current.start_from;
        plan.request.base = current.base;
        let fresh = context.job().progress.done == 0;
        let begun = if fresh { "Fine-tuning job started" } else { "Fine-tuning job goes on from its last saved step" };
        context.log(EventLevel::Info, begun, None);
        let run = Run { kind: self, context, request: &request, detail: &detail, plan: &plan };
        let mut failed = None;
        let outcome = self.trainer.train(&plan, context.folder(), context.stop(), &mut |event| {
            if failed.is_none()
                && let Err(error) = run.take(event)
            {
                context.stop().stop(StopReason::Cancel);
                failed = Some(error);
            }
        });
        if let Some(error) = failed {
            return Err(error);
        }
        match outcome {
            Ok(outcome) => run.complete(&outcome),
            Err(error) if error.kind() == ErrorKind::Cancelled => Ok(JobEnd::Stopped),
            Err(error) => Err(error.into()),
        }
    }

    fn failure(&self, error: &EngineError) -> JobFailure {
        let param = error.param().map(str::to_owned);
        let code = match (error.kind(), param.as_deref()) {
            (ErrorKind::InvalidInput, Some("training_file" | "file")) => "invalid_training_file",
            (ErrorKind::InvalidInput, Some("validation_file")) => "invalid_validation_file",
            (ErrorKind::InvalidInput | ErrorKind::Conflict, _) => "invalid_request",
            (ErrorKind::TooLarge, _) => "out_of_memory",
            (ErrorKind::NotFound | ErrorKind::Unavailable | ErrorKind::Overloaded, _) => "unavailable",
            (ErrorKind::Corrupt | ErrorKind::Io, _) => "storage_error",
            (ErrorKind::Internal | ErrorKind::Cancelled, _) => "internal_error",
        };
        JobFailure { code: code.to_owned(), message: error.to_string(), param }
    }
}

impl FineTuning {
    /// The request in the trainer's words.
    fn training_request(&self, request: &FineTuningRequest, detail: &Detail) -> Result<TrainingRequest, EngineError> {
        let parent = detail.parent.as_deref().map(|id| self.tuned.get(id)).transpose()?;
        let (base, start_from) = match parent {
            None => (detail.base.clone(), None),
            Some(TunedModel { kind: TrainedKind::Full, folder, .. }) => (folder.display().to_string(), None),
            Some(TunedModel { base, base_folder, folder, .. }) => {
                (base_folder.map_or(base, |folder| folder.display().to_string()), Some(folder))
            }
        };
        Ok(TrainingRequest {
            base,
            training_file: self.files.held_path(&request.training_file)?,
            validation_file: request.validation_file.as_ref().map(|file| self.files.held_path(file)).transpose()?,
            objective: request.objective,
            parts: request.parts.clone(),
            hyperparameters: request.hyperparameters.clone(),
            seed: detail.seed,
            start_from,
        })
    }

    /// The model that an adapter of this job is read beside, or that a whole model was trained from.
    fn base_of(&self, detail: &Detail, kind: TrainedKind) -> Result<String, EngineError> {
        let Some(parent) = &detail.parent else { return Ok(detail.base.clone()) };
        let parent = self.tuned.get(parent)?;
        Ok(match (kind, parent.kind) {
            (TrainedKind::Full, _) => detail.base.clone(),
            (TrainedKind::Adapter, TrainedKind::Full) => parent.id,
            (TrainedKind::Adapter, TrainedKind::Adapter) => parent.base,
        })
    }
}

/// Says which of the request's files an error is about, by its id and not by where it lies.
fn name_file(error: anser_core::Error, training: &TrainingRequest, request: &FineTuningRequest) -> EngineError {
    let said = error.to_string();
    let files = [
        ("training_file", Some(&training.training_file), Some(&request.training_file)),
        ("validation_file", training.validation_file.as_ref(), request.validation_file.as_ref()),
    ];
    for (param, path, id) in files {
        if let (ErrorKind::InvalidInput, Some(path), Some(id)) = (error.kind(), path, id)
            && said.contains(&path.display().to_string())
        {
            let message = said.replace(&path.display().to_string(), id);
            return EngineError::InvalidRequest { param, message };
        }
    }
    error.into()
}

fn read(context: &JobContext<'_>) -> Result<(FineTuningRequest, Detail), EngineError> {
    let job = context.job();
    let unreadable = |e| EngineError::internal(format!("the job {} cannot be read: {e}", job.id));
    let request = serde_json::from_value(job.request.clone()).map_err(unreadable)?;
    Ok((request, serde_json::from_value(job.detail.clone()).map_err(unreadable)?))
}

/// One run under way.
struct Run<'a, 'c> {
    kind: &'a FineTuning,
    context: &'a JobContext<'c>,
    request: &'a FineTuningRequest,
    detail: &'a Detail,
    plan: &'a TrainingPlan,
}

impl Run<'_, '_> {
    /// Writes down what the trainer tells.
    fn take(&self, event: TrainingEvent) -> Result<(), EngineError> {
        match event {
            TrainingEvent::Message { warning, text } => {
                let level = if warning { EventLevel::Warn } else { EventLevel::Info };
                self.context.log(level, text, None);
            }
            TrainingEvent::Step(metrics) => {
                self.context.set_done(metrics.step as u64);
                self.context.log(EventLevel::Info, step_message(&metrics), Some(metrics));
                // Before the trainer goes on: a step that it saved must not be missing from the curve after a crash.
                if let Err(error) = self.context.flush() {
                    tracing::warn!(%error, "the figures of a step could not be written yet");
                }
            }
            TrainingEvent::Checkpoint { metrics, folder } => self.checkpoint(&metrics, &folder)?,
        }
        Ok(())
    }

    fn checkpoint(&self, metrics: &TrainingMetrics, folder: &Path) -> Result<(), EngineError> {
        let job = &self.context.job().id;
        let id = naming::checkpoint_id(&self.detail.model_id, metrics.step);
        if self.kind.tuned.exists(&id)? {
            return Ok(());
        }
        let kind = match self.plan.request.parts {
            TrainableParts::Lora(_) => TrainedKind::Adapter,
            TrainableParts::LastBlocks { .. } | TrainableParts::All => TrainedKind::Full,
        };
        let name = naming::checkpoint_folder(job, metrics.step);
        let provenance = self.provenance(&id, folder, metrics, None)?;
        let installed = InstalledFolder::create(&self.kind.data, &name, folder, &provenance)?;
        let base = self.kind.base_of(self.detail, kind)?;
        let new = NewTunedModel {
            id: &id,
            base: &base,
            parent: self.detail.parent.as_deref(),
            job,
            created_at: unix_now(),
            kind,
            folder: &name,
            bytes: installed.bytes,
            checkpoint_of: Some(&self.detail.model_id),
            metrics: *metrics,
            provenance: &provenance,
        };
        self.kind.database.write(|tx| {
            checkpoint::insert(tx, self.context.key(), &id, new.created_at, metrics)?;
            model::insert(tx, &new)
        })?;
        installed.keep();
        let said = format!("Checkpoint created at step {}", metrics.step);
        self.context.log(EventLevel::Info, said, None);
        Ok(())
    }

    /// Puts everything in place, so that one transaction makes it so.
    fn complete(&self, outcome: &TrainingOutcome) -> Result<JobEnd, EngineError> {
        let (context, kind) = (self.context, self.kind);
        if outcome.stopped_early {
            let said = format!("Training ended early: validation was best at step {}", outcome.metrics.step);
            context.log(EventLevel::Info, said, None);
        }
        let job = context.job().id.clone();
        let id = self.detail.model_id.clone();
        context.log(EventLevel::Info, format!("New fine-tuned model created: {id}"), None);
        context.flush()?;
        let provenance = self.provenance(&id, &outcome.folder, &outcome.metrics, Some(outcome.trained_tokens))?;
        let installed = InstalledFolder::create(&kind.data, &job, &outcome.folder, &provenance)?;
        let steps = kind.database.read(|connection| jobs::step_metrics(connection, context.key()))?;
        let purpose = FilePurpose::FineTuneResults;
        let files = [
            StagedFile::write(&kind.data, results::RESULT_FILE, purpose, &results::result_csv(&steps)?)?,
            StagedFile::write(&kind.data, results::METRICS_FILE, purpose, &results::metrics_csv(&steps)?)?,
        ];
        let base = kind.base_of(self.detail, outcome.kind)?;
        let mut detail = self.detail.clone();
        detail.result_files = files.iter().map(|file| file.stored.id.clone()).collect();
        detail.trained_tokens = Some(outcome.trained_tokens);
        let (key, outcome) = (context.key(), outcome.clone());
        Ok(JobEnd::Done(Box::new(move |tx| {
            files.iter().try_for_each(|file| file.insert(tx))?;
            let new = NewTunedModel {
                id: &id,
                base: &base,
                parent: detail.parent.as_deref(),
                job: &job,
                created_at: unix_now(),
                kind: outcome.kind,
                folder: &job,
                bytes: installed.bytes,
                checkpoint_of: None,
                metrics: outcome.metrics,
                provenance: &provenance,
            };
            model::insert(tx, &new)?;
            jobs::write_detail(tx, key, &detail)?;
            let said = "The job has successfully completed";
            jobs::append_event(tx, key, &crate::JobEvent::info(said))?;
            Ok(Box::new(move || {
                installed.keep();
                for file in files {
                    file.keep();
                }
            }))
        })))
    }

    /// How a model of this run came about, beside what the trainer itself wrote about it.
    fn provenance(
        &self,
        id: &str,
        folder: &Path,
        metrics: &TrainingMetrics,
        trained_tokens: Option<u64>,
    ) -> Result<Value, EngineError> {
        let hash =
            |file: &String| self.kind.files.held(file).map(|stored| json!({"id": file, "sha256": stored.sha256}));
        let mut record = written_provenance(folder);
        let request = &self.plan.request;
        for (key, value) in [
            ("model", json!(id)),
            ("base", json!(self.detail.base)),
            ("parent", json!(self.detail.parent)),
            ("job", json!(self.context.job().id)),
            ("training_file", hash(&self.request.training_file)?),
            ("validation_file", json!(self.request.validation_file.as_ref().map(hash).transpose()?)),
            ("data_fingerprint", json!(self.plan.data_fingerprint)),
            ("objective", json!(request.objective)),
            ("parts", json!(request.parts)),
            ("hyperparameters", json!(request.hyperparameters)),
            ("seed", json!(self.detail.seed)),
            ("metrics", json!(metrics)),
            ("trained_tokens", json!(trained_tokens)),
        ] {
            record.insert(key.to_owned(), value);
        }
        record.entry("software").or_insert_with(|| json!("Anser"));
        record.entry("version").or_insert_with(|| json!(env!("CARGO_PKG_VERSION")));
        Ok(Value::Object(record))
    }
}

/// A step in OpenAI's words.
fn step_message(metrics: &TrainingMetrics) -> String {
    let losses = [
        ("training", Some(metrics.train_loss)),
        ("validation", metrics.valid_loss),
        ("full validation", metrics.full_valid_loss),
    ];
    let told: Vec<String> =
        losses.iter().filter_map(|(name, loss)| loss.map(|loss| format!("{name} loss={loss:.2}"))).collect();
    format!("Step {}/{}: {}", metrics.step, metrics.total_steps, told.join(", "))
}
