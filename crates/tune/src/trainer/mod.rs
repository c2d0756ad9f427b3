//! [`LocalTrainer`]: plans and runs fine-tuning on this machine.

mod clock;
mod course;
mod defaults;
mod examples;
mod figures;
mod metrics_log;
mod plan;
mod run;
mod throughput;
mod written;

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anser_core::storage::write_atomic;
use anser_core::{
    Device, NoProgress, Progress, StopSignal, TrainableParts, TrainedKind, Trainer, TrainingEvent, TrainingFileCheck,
    TrainingOutcome, TrainingPlan, TrainingRequest,
};
use anser_generate::{BaseModel, LoraAdapter};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

pub(crate) use course::Course;
pub(crate) use defaults::usual_precision;
pub(crate) use examples::{Examples, Unit, fingerprint, hexadecimal};
pub(crate) use run::{Run, RunInput, RunResult};
pub(crate) use written::{FolderWriter, ModelWriter, copy_model};

use crate::TuneError;
use crate::data::{MINIMUM_EXAMPLES, check_training_file};
use crate::model::TrainableModel;
use crate::provenance::Provenance;
use written::AdapterWriter;

/// Time between two saved states.
pub(crate) const SAVE_INTERVAL: Duration = Duration::from_secs(20);
/// Folder of the finished model, below the run's.
pub(crate) const MODEL_FOLDER: &str = "model";
/// File that a finished run leaves, so that asking again gives the same answer.
pub(crate) const OUTCOME: &str = "outcome.json";

/// Finds the file or folder of a base model by its name, and downloads it if need be.
pub type Locate = dyn Fn(&str, &dyn Progress) -> anser_core::Result<PathBuf> + Send + Sync;

/// How a [`LocalTrainer`] works.
#[derive(Debug, Clone)]
pub struct TrainerOptions {
    /// Threads of the matrix products; 0 takes as many as the machine has cores.
    pub threads: usize,
    /// What multiplies.
    pub device: Device,
    /// File in which measured speeds are kept for the next plan.
    pub throughput: Option<PathBuf>,
    /// Time between two saved states: what a killed run loses at most.
    pub save_interval: Duration,
}

impl TrainerOptions {
    /// What multiplies, as measured speeds are kept by.
    pub(crate) fn by(&self) -> String {
        match self.device {
            Device::Cpu => format!("threads={}", self.threads),
            device => device.to_string(),
        }
    }
}

impl Default for TrainerOptions {
    fn default() -> Self {
        Self { threads: 0, device: Device::Cpu, throughput: None, save_interval: SAVE_INTERVAL }
    }
}

/// Trains on this machine, on its processor or on a GPU.
///
/// A run's folder holds `metrics.csv` and `result.csv` with the figures of each step, `checkpoints/step-N` with a
/// model that can be served from the end of each pass, `state` with what is needed to go on after an interruption, and
/// at the end `model` with the best of them and its `provenance.json`. For preferences, accuracies are the share of pairs
/// in which the preferred output gained more on the reference than the other one.
pub struct LocalTrainer {
    options: TrainerOptions,
    locate: Box<Locate>,
}

impl std::fmt::Debug for LocalTrainer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LocalTrainer").field("options", &self.options).finish_non_exhaustive()
    }
}

/// What [`OUTCOME`] holds.
#[derive(Serialize, Deserialize)]
struct Finished {
    identity: String,
    outcome: TrainingOutcome,
}

impl LocalTrainer {
    /// A trainer that finds base models with `locate`.
    pub fn new(mut options: TrainerOptions, locate: Box<Locate>) -> Self {
        if options.threads == 0 {
            options.threads = std::thread::available_parallelism().map_or(1, usize::from);
        }
        Self { options, locate }
    }

    fn open(&self, name: &str, progress: &dyn Progress) -> Result<BaseModel, TuneError> {
        Ok(BaseModel::open(&(self.locate)(name, progress)?)?)
    }

    fn run(
        &self,
        plan: &TrainingPlan,
        folder: &Path,
        stop: &StopSignal,
        on_event: &mut dyn FnMut(TrainingEvent),
    ) -> Result<TrainingOutcome, TuneError> {
        let course = Course::of_plan(plan)?;
        if let Some(outcome) = finished(folder, &course.identity) {
            return Ok(outcome);
        }
        let request = &plan.request;
        let mut base = self.open(&request.base, &NoProgress)?;
        let data = plan::read_data(request, &base, stop)?;
        if data.fingerprint() != plan.data_fingerprint {
            return Err(TuneError::File {
                path: request.training_file.clone(),
                line: 0,
                field: None,
                reason: "the training or validation data is not what was planned with; plan again".to_owned(),
            });
        }
        warn_of_cuts(&data.training, request, on_event);
        if let Some(reason) = stop.get() {
            return Err(TuneError::Stopped(reason));
        }
        let options = plan::model_options(request, &self.options)?;
        let start = request.start_from.as_deref().map(LoraAdapter::read).transpose()?;
        let model = TrainableModel::load(&mut base, &options, start.as_ref())?;
        let base_sha256 = base.hash()?;
        let writer: Box<dyn ModelWriter> = match request.parts {
            TrainableParts::Lora(_) => Box::new(AdapterWriter { base: request.base.clone() }),
            _ => Box::new(FolderWriter {
                config: base.config().clone(),
                codec: base.codec(),
                precision: options.precision,
                base: Some(RefCell::new(base)),
            }),
        };
        let input = RunInput {
            course: &course,
            folder,
            training: &data.training,
            validation: &data.validation,
            writer: writer.as_ref(),
            save_interval: self.options.save_interval,
            stop,
        };
        let mut run = Run::open(input, model, on_event)?;
        let result = run.train();
        if let Some(file) = &self.options.throughput {
            throughput::remember(file, request, &self.options.by(), run.rate());
        }
        let result = result?;
        let outcome = finish(plan, folder, (writer.kind(), base_sha256), &result)?;
        let finished = Finished { identity: course.identity, outcome };
        let json = serde_json::to_vec(&finished).map_err(|error| TuneError::Internal(error.to_string()))?;
        write_atomic(&folder.join(OUTCOME), &json)?;
        crate::checkpoint::StateFolder::of_run(folder).remove()?;
        Ok(TrainingOutcome { folder: folder.join(&finished.outcome.folder), ..finished.outcome })
    }
}

/// What an earlier call came to, when it was for the same plan.
fn finished(folder: &Path, identity: &str) -> Option<TrainingOutcome> {
    let json = std::fs::read(folder.join(OUTCOME)).ok()?;
    let Finished { identity: found, outcome } = serde_json::from_slice(&json).ok()?;
    let folder = folder.join(&outcome.folder);
    (found == identity && folder.is_dir()).then_some(TrainingOutcome { folder, ..outcome })
}

/// Puts the result in its place, with its record.
fn finish(
    plan: &TrainingPlan,
    folder: &Path,
    (kind, base_sha256): (TrainedKind, String),
    result: &RunResult,
) -> Result<TrainingOutcome, TuneError> {
    let model = folder.join(MODEL_FOLDER);
    copy_model(&folder.join(&result.model.folder), &model)?;
    let (software, version) = Provenance::software();
    let request = &plan.request;
    Provenance {
        software,
        version,
        kind,
        base: Some(request.base.clone()),
        base_sha256: Some(base_sha256),
        data_fingerprint: plan.data_fingerprint.clone(),
        examples: plan.examples,
        validation_examples: plan.validation_examples,
        objective: request.objective,
        parts: request.parts.clone(),
        continued: request.start_from.is_some(),
        hyperparameters: request.hyperparameters.clone(),
        seed: request.seed,
        trainable_parameters: plan.trainable_parameters,
        metrics: result.model.metrics,
        trained_tokens: result.trained_tokens,
        seconds: result.seconds,
        finished_at: OffsetDateTime::now_utc(),
    }
    .write(&model)?;
    Ok(TrainingOutcome {
        kind,
        folder: MODEL_FOLDER.into(),
        metrics: result.model.metrics,
        trained_tokens: result.trained_tokens,
        stopped_early: result.stopped_early,
    })
}

fn warn_of_cuts(examples: &Examples, request: &TrainingRequest, on_event: &mut dyn FnMut(TrainingEvent)) {
    let tokens = request.hyperparameters.max_tokens.unwrap_or_default();
    let all = examples.units.len() + examples.left_out;
    if examples.cut > 0 {
        let text = format!("{} of {all} training examples are longer than {tokens} tokens and are cut", examples.cut);
        on_event(TrainingEvent::Message { warning: true, text });
    }
    if examples.left_out > 0 {
        let text = format!(
            "{} of {all} training examples are left out: after {tokens} tokens nothing of them is left to learn",
            examples.left_out
        );
        on_event(TrainingEvent::Message { warning: true, text });
    }
}

impl Trainer for LocalTrainer {
    fn check_file(&self, path: &Path) -> anser_core::Result<TrainingFileCheck> {
        Ok(check_training_file(path, MINIMUM_EXAMPLES)?)
    }

    fn plan(&self, request: &TrainingRequest, progress: &dyn Progress) -> anser_core::Result<TrainingPlan> {
        let base = self.open(&request.base, progress)?;
        Ok(plan::plan(request, &base, &self.options)?)
    }

    fn train(
        &self,
        plan: &TrainingPlan,
        folder: &Path,
        stop: &StopSignal,
        on_event: &mut dyn FnMut(TrainingEvent),
    ) -> anser_core::Result<TrainingOutcome> {
        Ok(self.run(plan, folder, stop, on_event)?)
    }
}
