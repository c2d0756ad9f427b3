//! Fine-tuning: what is asked for, what is planned, what happens on the way and what comes out.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use serde::{Deserialize, Serialize};

use crate::{CancelToken, Progress, Result};

/// What the loss rewards.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Objective {
    /// Cross-entropy on the tokens of the assistant's turns.
    #[default]
    Supervised,
    /// Direct preference optimisation (Rafailov et al. 2023): the preferred output over the other one.
    Preference {
        /// Strength of the pull towards the base model, in (0, 2]; `None` lets the trainer choose.
        beta: Option<f64>,
    },
}

/// Which weights learn.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum TrainableParts {
    /// Low-rank updates beside frozen matrices (Hu et al. 2021).
    Lora(LoraOptions),
    /// The last `blocks` transformer blocks and the final norm; everything below stays frozen.
    LastBlocks {
        /// How many, at least 1.
        blocks: usize,
    },
    /// Every weight.
    All,
}

impl Default for TrainableParts {
    fn default() -> Self {
        Self::Lora(LoraOptions::default())
    }
}

/// Shape of the low-rank updates.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct LoraOptions {
    /// Rank of each update.
    pub rank: usize,
    /// The update is scaled by `alpha / rank`.
    pub alpha: f64,
    /// Share of an adapter's inputs that is dropped while training, in [0, 1).
    pub dropout: f64,
    /// Matrices that get an update, in PEFT's names: `q_proj`, `k_proj`, `v_proj`, `o_proj`, `gate_proj`, `up_proj`,
    /// `down_proj`.
    pub target_modules: Vec<String>,
    /// Move ranks between the matrices while training, to where they matter, at the same total.
    pub adaptive: bool,
}

impl Default for LoraOptions {
    fn default() -> Self {
        let all = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"];
        Self { rank: 8, alpha: 16.0, dropout: 0.0, target_modules: all.map(str::to_owned).to_vec(), adaptive: false }
    }
}

/// Number format of frozen weights and of the matrix products while training; sums are f32 in either.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// 32-bit floats.
    F32,
    /// 16-bit brain floats: half the memory, and faster where the processor multiplies them.
    Bf16,
}

/// Course of the learning rate after warm-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Schedule {
    /// Half a cosine down to zero (Loshchilov and Hutter 2016).
    #[default]
    Cosine,
    /// A straight line down to zero.
    Linear,
    /// No decay.
    Constant,
}

/// Settings of a run; `None` lets the trainer choose, and a plan has them all filled in.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Hyperparameters {
    /// Examples a step, 1 to 256.
    pub batch_size: Option<usize>,
    /// Factor on the method's usual learning rate, above 0.
    pub learning_rate_multiplier: Option<f64>,
    /// Passes over the training data, 1 to 50.
    pub n_epochs: Option<usize>,
    /// Peak learning rate itself; excludes the multiplier.
    pub learning_rate: Option<f64>,
    /// Share of all steps in which the learning rate climbs to its peak, in [0, 1).
    pub warmup_ratio: Option<f64>,
    /// Course of the learning rate after that.
    pub schedule: Option<Schedule>,
    /// Decoupled weight decay of AdamW.
    pub weight_decay: Option<f64>,
    /// Largest norm of all gradients together; longer ones are scaled down.
    pub max_grad_norm: Option<f64>,
    /// Evaluations without a better validation loss after which training ends; 0 never ends it.
    pub early_stopping_patience: Option<usize>,
    /// Steps between evaluations on validation data.
    pub eval_interval: Option<usize>,
    /// Longest example in tokens; longer ones are cut at the end.
    pub max_tokens: Option<usize>,
    /// Number format.
    pub precision: Option<Precision>,
    /// Whether activations are computed again in the backward pass instead of kept.
    pub recompute: Option<bool>,
}

/// A fine-tuning run as asked for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TrainingRequest {
    /// Name of the base model.
    pub base: String,
    /// Training data: JSON lines of chats, prompts with completions, or preferences.
    pub training_file: PathBuf,
    /// Data to measure on, of the same kind.
    pub validation_file: Option<PathBuf>,
    /// What the loss rewards.
    pub objective: Objective,
    /// Which weights learn.
    pub parts: TrainableParts,
    /// Settings; open ones are chosen by [`Trainer::plan`].
    pub hyperparameters: Hyperparameters,
    /// Everything random comes from it.
    pub seed: u64,
    /// Folder of an adapter to go on from, instead of a fresh one.
    pub start_from: Option<PathBuf>,
}

/// A run with every question answered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TrainingPlan {
    /// The request with all hyperparameters filled in.
    pub request: TrainingRequest,
    /// Training examples.
    pub examples: usize,
    /// Validation examples.
    pub validation_examples: usize,
    /// Tokens read in one pass over the training data.
    pub tokens_per_epoch: u64,
    /// Those of them that the loss counts.
    pub loss_tokens_per_epoch: u64,
    /// Optimiser steps in all.
    pub total_steps: usize,
    /// Weights that learn.
    pub trainable_parameters: u64,
    /// SHA-256 over the data as the model reads it.
    pub data_fingerprint: String,
    /// Seconds that the run will take, from a measured throughput; `None` before anything was measured here.
    pub estimated_seconds: Option<f64>,
    /// Peak memory that the run will take, in bytes.
    pub estimated_memory_bytes: u64,
}

/// Figures of one step. Losses are means over the counted tokens, in nats; accuracies lie in [0, 1].
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct TrainingMetrics {
    /// Optimiser steps done, from 1.
    pub step: usize,
    /// Steps in all.
    pub total_steps: usize,
    /// Passes over the data done, with fraction.
    pub epoch: f64,
    /// Loss on this step's batch.
    pub train_loss: f64,
    /// Share of counted tokens that were the likeliest.
    pub train_token_accuracy: f64,
    /// Share of examples all of whose counted tokens were the likeliest.
    pub train_sequence_accuracy: f64,
    /// Loss on one validation batch.
    pub valid_loss: Option<f64>,
    /// Token accuracy on that batch.
    pub valid_token_accuracy: Option<f64>,
    /// Loss on all validation data, measured at the end of an epoch and of the run.
    pub full_valid_loss: Option<f64>,
    /// Token accuracy on all validation data.
    pub full_valid_token_accuracy: Option<f64>,
    /// Learning rate of this step.
    pub learning_rate: f64,
    /// Norm of all gradients before clipping.
    pub gradient_norm: f64,
    /// Tokens read a second, since the run began or was resumed.
    pub tokens_per_second: f64,
    /// Seconds until the end at this rate.
    pub seconds_left: f64,
}

/// What a run tells whoever watches.
#[derive(Debug, Clone, PartialEq)]
pub enum TrainingEvent {
    /// A remark; `warning` when somebody should act on it.
    Message {
        /// Whether it is a warning.
        warning: bool,
        /// One sentence.
        text: String,
    },
    /// A step is done.
    Step(TrainingMetrics),
    /// A model that can be served was written: at the end of each epoch.
    Checkpoint {
        /// Its step's figures.
        metrics: TrainingMetrics,
        /// The folder it lies in, below the run's.
        folder: PathBuf,
    },
}

/// What a trained model is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TrainedKind {
    /// Low-rank updates in PEFT's format, to be read beside the base model.
    Adapter,
    /// A whole model: `config.json`, `model.safetensors`, `tokenizer.json`, `chat_template.jinja`.
    Full,
}

/// A finished run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TrainingOutcome {
    /// What lies in `folder`.
    pub kind: TrainedKind,
    /// The model that was best on validation data, or the last one without any; below the run's folder.
    pub folder: PathBuf,
    /// Its figures.
    pub metrics: TrainingMetrics,
    /// Tokens that the loss counted, over all steps.
    pub trained_tokens: u64,
    /// Whether training ended before its last step because validation no longer improved.
    pub stopped_early: bool,
}

/// One fault of a training file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LineProblem {
    /// Line, from 1; 0 for the file as a whole.
    pub line: u64,
    /// Field at fault, as a path such as `messages[1].content`.
    pub field: Option<String>,
    /// One sentence: what is wrong and what to do.
    pub message: String,
}

/// What a training file holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrainingFileCheck {
    /// `chat`, `prompt_completion` or `preference`; `None` when the first lines do not tell.
    pub format: Option<String>,
    /// Lines that hold an example.
    pub examples: usize,
    /// Faults, the first hundred.
    pub problems: Vec<LineProblem>,
    /// Faults in all.
    pub problem_count: usize,
}

/// How a run that is under way is told to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopReason {
    /// Keep the state of the last finished step, to go on from later.
    Pause,
    /// Give up.
    Cancel,
}

/// A shared word to a run: go on, pause, or give up. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct StopSignal(Arc<AtomicU8>);

impl StopSignal {
    /// Asks the run to end. Giving up outweighs a pause.
    pub fn stop(&self, reason: StopReason) {
        let word = match reason {
            StopReason::Pause => 1,
            StopReason::Cancel => 2,
        };
        self.0.fetch_max(word, Ordering::AcqRel);
    }

    /// What was asked, if anything.
    pub fn get(&self) -> Option<StopReason> {
        match self.0.load(Ordering::Acquire) {
            0 => None,
            1 => Some(StopReason::Pause),
            _ => Some(StopReason::Cancel),
        }
    }

    /// A token that is cancelled as soon as a stop is asked for, for whatever reason.
    pub fn token(&self) -> CancelToken {
        CancelToken(Arc::clone(&self.0))
    }
}

/// Turns examples into tuned models.
pub trait Trainer: Send + Sync {
    /// Reads a training file through and lists its faults. `Err` only when the file cannot be read.
    fn check_file(&self, path: &Path) -> Result<TrainingFileCheck>;

    /// Answers every open question of `request`. `InvalidInput` names the hyperparameter or the line at fault;
    /// `progress` shows the base model's download.
    fn plan(&self, request: &TrainingRequest, progress: &dyn Progress) -> Result<TrainingPlan>;

    /// Trains in `folder`, which belongs to this run: when it holds the state of an earlier call, goes on from there, in
    /// the same order of data and to the same figures. Blocks. Looks at `stop` many times a second; once it is set,
    /// returns `Cancelled` within a second, after saving the last finished step when the reason is a pause.
    fn train(
        &self,
        plan: &TrainingPlan,
        folder: &Path,
        stop: &StopSignal,
        on_event: &mut dyn FnMut(TrainingEvent),
    ) -> Result<TrainingOutcome>;
}
