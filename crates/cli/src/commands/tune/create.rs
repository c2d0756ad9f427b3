//! `anser tune create`: from a training file to a tuned model.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anser_core::{
    Hyperparameters, LoraOptions, Objective, Precision, Schedule, StopReason, StopSignal, TrainableParts, TrainingPlan,
};
use anser_engine::{Engine, EngineError, FilePurpose, FineTuningJob, FineTuningRequest, FineTuningStatus, JobEvent};
use clap::{Args, ValueEnum};

use super::show::print_job;
use crate::compose;
use crate::config::Settings;
use crate::failure::Failure;
use crate::terminal::{Terminal, bytes};
use crate::training_view::{TrainingView, duration};

/// How a model is tuned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Method {
    /// Low-rank updates beside the frozen model
    Lora,
    /// LoRA that moves ranks to where they matter
    AdaptiveLora,
    /// The last transformer blocks and the final norm; the rest stays frozen
    LastBlocks,
    /// Every weight
    Full,
    /// Direct preference optimisation on LoRA, for preference data
    Dpo,
}

/// Arguments of `anser tune create`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  anser tune create examples/data/house_style/train.jsonl --suffix house-style\n  anser tune create train.jsonl --validation-file valid.jsonl --epochs 5 --learning-rate 5e-4 --seed 7\n  anser tune create preferences.jsonl --method dpo --beta 0.1\n  anser tune create file-0198… --detach\n\nCtrl-C pauses the run; `anser tune resume JOB` goes on with it. A second Ctrl-C gives it up.\nWith --detach the job waits for a running `anser serve` over the same data folder."
)]
pub(crate) struct CreateArgs {
    /// Training data (JSONL of chats, prompts with completions, or preferences), or the id of an uploaded file
    training: String,
    /// Data to measure on, never trained on: a file or the id of one
    #[arg(long, value_name = "FILE")]
    validation_file: Option<String>,
    /// Model to start from: a chat model of `anser models list` or a tuned model [default: the chat model]
    #[arg(long, value_name = "MODEL")]
    model: Option<String>,
    /// Part of the tuned model's name
    #[arg(long)]
    suffix: Option<String>,
    /// Everything random comes from it [default: drawn, and stated]
    #[arg(long)]
    seed: Option<u32>,
    #[command(flatten)]
    method: MethodArgs,
    #[command(flatten)]
    hyperparameters: HyperparameterArgs,
    /// Leave the job to a running server
    #[arg(long)]
    detach: bool,
}

/// What learns, and what it learns from.
#[derive(Debug, Args)]
#[command(next_help_heading = "Method")]
struct MethodArgs {
    /// What learns
    #[arg(long, value_enum, default_value_t = Method::Lora)]
    method: Method,
    /// Rank of the low-rank updates [default: 8]
    #[arg(long, value_name = "N")]
    rank: Option<usize>,
    /// The updates are scaled by alpha / rank [default: twice the rank]
    #[arg(long)]
    alpha: Option<f64>,
    /// Share of an update's inputs dropped while training [default: 0]
    #[arg(long, value_name = "SHARE")]
    dropout: Option<f64>,
    /// Matrices that get an update, e.g. `q_proj,v_proj` [default: all seven]
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    targets: Option<Vec<String>>,
    /// Blocks that learn with --method last-blocks
    #[arg(long, value_name = "N", default_value_t = 4)]
    blocks: usize,
    /// Pull towards the base model with --method dpo, above 0 and at most 2
    #[arg(long)]
    beta: Option<f64>,
}

/// Settings of the run; what is not given is chosen and stated.
#[derive(Debug, Args)]
#[command(next_help_heading = "Hyperparameters")]
struct HyperparameterArgs {
    /// Passes over the training data, 1 to 50
    #[arg(long, value_name = "N")]
    epochs: Option<usize>,
    /// Examples a step, 1 to 256
    #[arg(long, value_name = "N")]
    batch_size: Option<usize>,
    /// Factor on the method's usual learning rate
    #[arg(long, value_name = "FACTOR", conflicts_with = "learning_rate")]
    learning_rate_multiplier: Option<f64>,
    /// Peak learning rate
    #[arg(long, value_name = "RATE")]
    learning_rate: Option<f64>,
    /// Share of the steps in which the learning rate climbs
    #[arg(long, value_name = "SHARE")]
    warmup: Option<f64>,
    /// Course of the learning rate after that
    #[arg(long, value_parser = parse_schedule, value_name = "cosine|linear|constant")]
    schedule: Option<Schedule>,
    /// Decoupled weight decay
    #[arg(long, value_name = "RATE")]
    weight_decay: Option<f64>,
    /// Evaluations without a better validation loss after which training ends; 0 never ends it
    #[arg(long, value_name = "N")]
    patience: Option<usize>,
    /// Steps between evaluations
    #[arg(long, value_name = "N")]
    eval_interval: Option<usize>,
    /// Longest example in tokens
    #[arg(long, value_name = "N")]
    max_tokens: Option<usize>,
    /// Number format of frozen weights
    #[arg(long, value_parser = parse_precision, value_name = "f32|bf16")]
    precision: Option<Precision>,
}

fn parse_schedule(text: &str) -> Result<Schedule, String> {
    match text {
        "cosine" => Ok(Schedule::Cosine),
        "linear" => Ok(Schedule::Linear),
        "constant" => Ok(Schedule::Constant),
        _ => Err("use cosine, linear or constant".to_owned()),
    }
}

fn parse_precision(text: &str) -> Result<Precision, String> {
    match text {
        "f32" => Ok(Precision::F32),
        "bf16" => Ok(Precision::Bf16),
        _ => Err("use f32 or bf16".to_owned()),
    }
}

impl CreateArgs {
    pub(crate) fn run(&self, settings: &Settings, terminal: &Terminal) -> Result<(), Failure> {
        let engine = compose::engine(settings, terminal.progress())?;
        let mut fresh = Vec::new();
        let job = self.job(settings, &engine, &mut fresh).inspect_err(|_| {
            // What was uploaded for a job that does not come to be is of no use to anybody.
            for file in &fresh {
                engine.delete_file(file).ok();
            }
        })?;
        if self.detach {
            if terminal.is_json() {
                return terminal.json(&job);
            }
            return terminal.line(format!(
                "{} waits for a running `anser serve` over this data folder. Next: anser tune show {}",
                terminal.bold(&job.id),
                job.id
            ));
        }
        run_in_foreground(&engine, &job.id, terminal)
    }

    /// Creates the job; `fresh` receives the ids of files uploaded for it.
    fn job(&self, settings: &Settings, engine: &Engine, fresh: &mut Vec<String>) -> Result<FineTuningJob, Failure> {
        let training_file = uploaded(engine, &self.training, fresh)?;
        let validation_file = self.validation_file.as_deref().map(|file| uploaded(engine, file, fresh)).transpose()?;
        let request = FineTuningRequest {
            model: self.model.clone().unwrap_or_else(|| settings.chat.clone()),
            training_file,
            validation_file,
            suffix: self.suffix.clone(),
            seed: self.seed,
            objective: self.method.objective()?,
            parts: self.method.parts()?,
            hyperparameters: self.hyperparameters.given(),
            metadata: BTreeMap::new(),
        };
        Ok(engine.create_fine_tuning_job(&request)?)
    }
}

impl MethodArgs {
    fn objective(&self) -> Result<Objective, Failure> {
        match (self.method, self.beta) {
            (Method::Dpo, beta) => Ok(Objective::Preference { beta }),
            (_, None) => Ok(Objective::Supervised),
            (_, Some(_)) => Err(Failure::usage("--beta belongs to --method dpo")),
        }
    }

    fn parts(&self) -> Result<TrainableParts, Failure> {
        let lora = matches!(self.method, Method::Lora | Method::AdaptiveLora | Method::Dpo);
        let given = self.rank.is_some() || self.alpha.is_some() || self.dropout.is_some() || self.targets.is_some();
        if given && !lora {
            return Err(Failure::usage("--rank, --alpha, --dropout and --targets belong to the LoRA methods"));
        }
        Ok(match self.method {
            Method::LastBlocks => TrainableParts::LastBlocks { blocks: self.blocks },
            Method::Full => TrainableParts::All,
            Method::Lora | Method::AdaptiveLora | Method::Dpo => {
                let usual = LoraOptions::default();
                let rank = self.rank.unwrap_or(usual.rank);
                TrainableParts::Lora(LoraOptions {
                    rank,
                    alpha: self.alpha.unwrap_or(usual.alpha / usual.rank as f64 * rank as f64),
                    dropout: self.dropout.unwrap_or(usual.dropout),
                    target_modules: self.targets.clone().unwrap_or(usual.target_modules),
                    adaptive: self.method == Method::AdaptiveLora,
                })
            }
        })
    }
}

impl HyperparameterArgs {
    fn given(&self) -> Hyperparameters {
        Hyperparameters {
            batch_size: self.batch_size,
            learning_rate_multiplier: self.learning_rate_multiplier,
            n_epochs: self.epochs,
            learning_rate: self.learning_rate,
            warmup_ratio: self.warmup,
            schedule: self.schedule,
            weight_decay: self.weight_decay,
            max_grad_norm: None,
            early_stopping_patience: self.patience,
            eval_interval: self.eval_interval,
            max_tokens: self.max_tokens,
            precision: self.precision,
            recompute: None,
        }
    }
}

/// The id of a training file: what is not a file here is taken for an id.
fn uploaded(engine: &Engine, file: &str, fresh: &mut Vec<String>) -> Result<String, Failure> {
    let path = Path::new(file);
    if !path.exists() && file.starts_with("file-") {
        return Ok(engine.file(file)?.id);
    }
    let mut source = File::open(path)
        .map_err(|e| Failure::failed(format!("cannot open the training file {}: {e}", path.display())))?;
    let name = path.file_name().map_or_else(|| PathBuf::from("train.jsonl"), PathBuf::from);
    let mut upload = engine.begin_upload(&name.to_string_lossy(), FilePurpose::FineTune, None)?;
    std::io::copy(&mut source, &mut upload)
        .map_err(|e| Failure::failed(format!("cannot read the training file {}: {e}", path.display())))?;
    let id = match upload.finish() {
        Ok(stored) => stored.id,
        Err(error @ EngineError::TrainingFile { .. }) => {
            let next = format!("{error}; `anser tune prepare {}` reads such data and mends them", path.display());
            return Err(Failure::failed(next));
        }
        Err(error) => return Err(error.into()),
    };
    fresh.push(id.clone());
    Ok(id)
}

/// Runs a queued job to its end, showing it; Ctrl-C pauses it, a second one cancels it.
pub(super) fn run_in_foreground(engine: &Arc<Engine>, id: &str, terminal: &Terminal) -> Result<(), Failure> {
    let stop = StopSignal::default();
    let asked = stop.clone();
    let installed = ctrlc::set_handler(move || {
        if asked.get().is_some() {
            eprintln!("\ngiving the job up");
            asked.stop(StopReason::Cancel);
        } else {
            eprintln!("\npausing; press Ctrl-C again to give the job up");
            asked.stop(StopReason::Pause);
        }
    });
    if let Err(error) = installed {
        tracing::warn!("Ctrl-C cannot be caught: {error}");
    }
    let mut view = TrainingView::new(terminal.is_quiet());
    let mut announced = false;
    let mut observer = |event: &JobEvent| {
        if !announced && event.metrics.is_some() {
            announced = true;
            if let Some(plan) = engine.fine_tuning_job(id).ok().and_then(|job| job.plan)
                && !terminal.is_json()
            {
                let _ = terminal.line(plan_line(&plan));
            }
        }
        view.show(event);
    };
    let run = engine.run_job_here(id, &stop, &mut observer, terminal.progress().as_ref());
    view.finish();
    run?;
    let job = engine.fine_tuning_job(id)?;
    if terminal.is_json() {
        terminal.json(&job)?;
    } else {
        print_job(terminal, &job)?;
        print_next(terminal, &job)?;
    }
    ended(&job)
}

/// What the run is about to do, in one line.
fn plan_line(plan: &TrainingPlan) -> String {
    let time = plan.estimated_seconds.map(|s| format!(", about {}", duration(s))).unwrap_or_default();
    format!(
        "{} examples, {} to measure on; {} tokens an epoch; {} steps; {} weights learn; about {} of memory{time}",
        plan.examples,
        plan.validation_examples,
        plan.tokens_per_epoch,
        plan.total_steps,
        plan.trainable_parameters,
        bytes(plan.estimated_memory_bytes)
    )
}

fn print_next(terminal: &Terminal, job: &FineTuningJob) -> Result<(), Failure> {
    match (&job.fine_tuned_model, job.status) {
        (Some(model), FineTuningStatus::Succeeded) => terminal.line(format!(
            "Next: anser chat --model {model} \"…\", anser tune metrics {} --svg curves.svg, \
             anser eval answers --tuned {model} --heldout FILE",
            job.id
        )),
        (_, FineTuningStatus::Paused) => terminal.line(format!("Next: anser tune resume {}", job.id)),
        _ => Ok(()),
    }
}

/// A job that did not end well is a command that failed.
fn ended(job: &FineTuningJob) -> Result<(), Failure> {
    match job.status {
        FineTuningStatus::Failed => {
            let reason = job.error.as_ref().map_or("no reason was recorded", |error| error.message.as_str());
            Err(Failure::failed(format!("the job {} failed: {reason}", job.id)))
        }
        FineTuningStatus::Cancelled => Err(Failure::failed(format!("the job {} was cancelled", job.id))),
        _ => Ok(()),
    }
}
