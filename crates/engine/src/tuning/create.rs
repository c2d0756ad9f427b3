//! Making fine-tuning jobs, looking at them and asking something of them.

use std::collections::BTreeMap;

use rand::Rng;
use rusqlite::{Connection, ToSql};

use super::job::Detail;
use super::kind::KIND;
use super::{FineTuningJob, FineTuningRequest, naming};
use crate::control::new_id;
use crate::files::{FileStore, no_trainer};
use crate::jobs::{self, NewJob};
use crate::{Engine, EngineError, FilePurpose, FileStatus, Job, JobEvent, JobState, Jobs, Page, PageRequest};

impl Engine {
    /// Makes a fine-tuning job. It begins by checking its files and choosing what the request left open; nothing is made
    /// when the request itself is at fault (`InvalidInput` with the field).
    pub fn create_fine_tuning_job(&self, request: &FineTuningRequest) -> Result<FineTuningJob, EngineError> {
        if self.trainer.is_none() {
            return Err(no_trainer());
        }
        request.check()?;
        let id = new_id("ftjob");
        let seed = u64::from(request.seed.unwrap_or_else(|| rand::rng().random_range(0..=i32::MAX as u32)));
        self.control.write(|tx| {
            let files: Vec<String> =
                std::iter::once(&request.training_file).chain(&request.validation_file).cloned().collect();
            check_file(tx, "training_file", &request.training_file)?;
            if let Some(file) = &request.validation_file {
                check_file(tx, "validation_file", file)?;
            }
            let (base, parent) = self.start_of(tx, &request.model)?;
            let suffix = request.suffix.as_deref().map(naming::sanitize_suffix).unwrap_or_default();
            let organization = self.organization.clone();
            let model_id = naming::model_id(&base, &organization, &suffix);
            let detail = Detail { seed, organization, model_id, base, parent, ..Detail::default() };
            let job = NewJob {
                id: &id,
                kind: KIND,
                state: JobState::Validating,
                request: to_value(request)?,
                detail: to_value(&detail)?,
                unit: "steps",
                files,
            };
            let key = Jobs::insert(tx, &job)?;
            jobs::append_event(tx, key, &JobEvent::info(format!("Created fine-tuning job: {id}")))
        })?;
        self.jobs.announce();
        self.fine_tuning_job(&id)
    }

    /// The base model, and the tuned model, that training from `model` starts from.
    fn start_of(&self, connection: &Connection, model: &str) -> Result<(String, Option<String>), EngineError> {
        if let Some(tuned) = self.tuned.find(connection, model)? {
            return Ok((naming::root_name(&tuned.id).to_owned(), Some(tuned.id)));
        }
        let known = self.models().trainable();
        if known.iter().any(|name| name == model) {
            return Ok((model.to_owned(), None));
        }
        let message =
            format!("there is no model with the name \"{model}\"; choose {} or a tuned model", known.join(", "));
        Err(EngineError::invalid("model", message))
    }

    /// One fine-tuning job; `NotFound` when there is none of that id.
    pub fn fine_tuning_job(&self, id: &str) -> Result<FineTuningJob, EngineError> {
        let job = self.fine_tuning(id)?;
        self.control.read(|connection| FineTuningJob::from_job(connection, job))
    }

    /// Fine-tuning jobs whose metadata holds all pairs of `metadata`, newest first unless the page says otherwise.
    pub fn fine_tuning_jobs(
        &self,
        page: &PageRequest,
        metadata: &BTreeMap<String, String>,
    ) -> Result<Page<FineTuningJob>, EngineError> {
        let pair = " AND EXISTS (SELECT 1 FROM json_each(request, '$.metadata') AS pair
            WHERE pair.key = ? AND pair.value = ?)";
        let condition = format!("kind = ?{}", pair.repeat(metadata.len()));
        let mut values: Vec<&dyn ToSql> = vec![&KIND];
        for (key, value) in metadata {
            values.push(key);
            values.push(value);
        }
        self.control.read(|connection| {
            let jobs = Jobs::list_where(connection, &condition, &values, page)?;
            jobs.try_map(|job| FineTuningJob::from_job(connection, job))
        })
    }

    /// [`Engine::cancel_job`] for a fine-tuning job.
    pub fn cancel_fine_tuning_job(&self, id: &str) -> Result<FineTuningJob, EngineError> {
        self.fine_tuning(id)?;
        self.cancel_job(id)?;
        self.fine_tuning_job(id)
    }

    /// [`Engine::pause_job`] for a fine-tuning job.
    pub fn pause_fine_tuning_job(&self, id: &str) -> Result<FineTuningJob, EngineError> {
        self.fine_tuning(id)?;
        self.pause_job(id)?;
        self.fine_tuning_job(id)
    }

    /// [`Engine::resume_job`] for a fine-tuning job.
    pub fn resume_fine_tuning_job(&self, id: &str) -> Result<FineTuningJob, EngineError> {
        self.fine_tuning(id)?;
        self.resume_job(id)?;
        self.fine_tuning_job(id)
    }

    /// What happened to a fine-tuning job, newest first unless the page says otherwise.
    pub fn fine_tuning_events(&self, id: &str, page: &PageRequest) -> Result<Page<JobEvent>, EngineError> {
        self.fine_tuning(id)?;
        self.job_events(id, page)
    }

    fn fine_tuning(&self, id: &str) -> Result<Job, EngineError> {
        let unknown = || EngineError::not_found(format!("there is no fine-tuning job with the id \"{id}\""));
        match self.job(id) {
            Ok(job) if job.kind == KIND => Ok(job),
            Ok(_) => Err(unknown()),
            Err(error) if error.kind() == anser_core::ErrorKind::NotFound => Err(unknown()),
            Err(error) => Err(error),
        }
    }
}

/// Refuses files that cannot be trained on. Reported as a fault of the request, as OpenAI does.
fn check_file(connection: &Connection, param: &'static str, id: &str) -> Result<(), EngineError> {
    let file = FileStore::find(connection, id).map_err(|error| match error.kind() {
        anser_core::ErrorKind::NotFound => EngineError::invalid(param, format!("{error}; upload it first")),
        _ => error,
    })?;
    if file.purpose != FilePurpose::FineTune {
        let purpose = file.purpose.as_str();
        let message = format!("the file {id} has the purpose \"{purpose}\"; upload it with the purpose \"fine-tune\"");
        return Err(EngineError::invalid(param, message));
    }
    if file.status != FileStatus::Processed {
        let status = file.status.as_str();
        return Err(EngineError::invalid(param, format!("the file {id} is not ready for use, its status is {status}")));
    }
    Ok(())
}

fn to_value(value: &impl serde::Serialize) -> Result<serde_json::Value, EngineError> {
    serde_json::to_value(value).map_err(|e| EngineError::internal(format!("a value cannot be stored: {e}")))
}
