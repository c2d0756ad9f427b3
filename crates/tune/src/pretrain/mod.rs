//! Training from scratch: a tokenizer and a small llama-style model learned from plain text.

mod options;
mod text;
mod tokenizer;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anser_core::storage::write_atomic;
use anser_core::{
    Hyperparameters, Objective, Schedule, StopSignal, TrainableParts, TrainedKind, TrainingEvent, TrainingMetrics,
};
use anser_generate::ChatCodec;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use time::OffsetDateTime;

pub use options::{PretrainOptions, PretrainSize};

use crate::TuneError;
use crate::model::{ModelOptions, TrainableModel};
use crate::optimizer::AdamWOptions;
use crate::provenance::Provenance;
use crate::schedule::LearningRate;
use crate::trainer::{
    Course, Examples, FolderWriter, MODEL_FOLDER, OUTCOME, Run, RunInput, RunResult, SAVE_INTERVAL, copy_model,
    fingerprint, hexadecimal, usual_precision,
};

/// Decay of the weights: a model from scratch sees each text a few times only, and needs little.
const WEIGHT_DECAY: f64 = 0.1;

/// A model that was trained from scratch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PretrainOutcome {
    /// The model's folder, below the run's.
    pub folder: PathBuf,
    /// Weights of the model.
    pub parameters: u64,
    /// Tokens of its tokenizer.
    pub vocabulary: usize,
    /// Tokens of the text that was learned.
    pub training_tokens: u64,
    /// Tokens of the text that was measured on.
    pub validation_tokens: u64,
    /// Figures of the step that the model was written after.
    pub metrics: TrainingMetrics,
    /// Perplexity on that step's batch.
    pub training_perplexity: f64,
    /// Perplexity on the validation text; `None` without any.
    pub validation_perplexity: Option<f64>,
    /// What the frequencies of the tokens alone would reach there.
    pub unigram_perplexity: Option<f64>,
    /// Tokens that the loss counted, over all steps.
    pub trained_tokens: u64,
    /// Seconds of training.
    pub seconds: f64,
}

/// Text as the model reads it.
struct Corpus {
    training: Examples,
    validation: Examples,
    unigram_perplexity: Option<f64>,
}

/// Trains a tokenizer and a model on plain text in `folder`, which belongs to this run: when it holds the state of an
/// earlier call, goes on from there. Blocks; once `stop` is set, returns within a second. The model that was best on the
/// validation text is in `folder/model`, as a folder that every llama runtime reads.
pub fn pretrain(
    options: &PretrainOptions,
    folder: &Path,
    stop: &StopSignal,
    on_event: &mut dyn FnMut(TrainingEvent),
) -> Result<PretrainOutcome, TuneError> {
    options.check()?;
    std::fs::create_dir_all(folder).map_err(|error| TuneError::io("create", folder, error))?;
    let texts = text::read(&options.texts)?;
    // The tokenizer that an earlier call left, or a new one.
    let tokenizer_folder = folder.join("tokenizer");
    let tokenizer = if let Some(tokenizer) = tokenizer::read_from(&tokenizer_folder)? {
        tokenizer
    } else {
        let tokenizer = tokenizer::train(&texts, options.vocabulary)?;
        tokenizer::write(&tokenizer, &tokenizer_folder)?;
        tokenizer
    };
    let vocabulary = tokenizer.get_vocab_size(true);
    let codec = Arc::new(ChatCodec::open(&tokenizer_folder, vocabulary)?);
    let corpus = corpus(options, &texts, &tokenizer)?;
    drop(texts);

    let config = options.config(vocabulary);
    let precision = options.precision.unwrap_or_else(|| usual_precision(options.device));
    let threads = match options.threads {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        threads => threads,
    };
    let model_options = ModelOptions {
        parts: TrainableParts::All,
        precision,
        recompute: false,
        seed: options.seed,
        threads,
        device: options.device,
    };
    let model = TrainableModel::from_scratch(&config, &model_options)?;
    let parameters = model.trainable_parameters();
    let course = course(options, &corpus, precision)?;
    if let Some(outcome) = finished(folder, &course.identity) {
        return Ok(outcome);
    }
    let text = format!(
        "a model of {parameters} weights learns {} tokens, {} held out, with a tokenizer of {vocabulary}, in {} steps",
        corpus.training.targets(),
        corpus.validation.targets(),
        course.total_steps()
    );
    on_event(TrainingEvent::Message { warning: false, text });
    let hyperparameters = hyperparameters(options, &course, precision);
    let writer = FolderWriter { config, codec, precision, base: None };
    let input = RunInput {
        course: &course,
        folder,
        training: &corpus.training,
        validation: &corpus.validation,
        writer: &writer,
        save_interval: SAVE_INTERVAL,
        stop,
    };
    let result = Run::open(input, model, on_event)?.train()?;
    let model_folder = folder.join(MODEL_FOLDER);
    copy_model(&folder.join(&result.model.folder), &model_folder)?;
    record(options, hyperparameters, &corpus, &result, parameters).write(&model_folder)?;
    let metrics = result.model.metrics;
    let outcome = PretrainOutcome {
        folder: model_folder,
        parameters,
        vocabulary,
        training_tokens: corpus.training.targets(),
        validation_tokens: corpus.validation.targets(),
        training_perplexity: metrics.train_loss.exp(),
        validation_perplexity: metrics.full_valid_loss.map(f64::exp),
        unigram_perplexity: corpus.unigram_perplexity,
        metrics,
        trained_tokens: result.trained_tokens,
        seconds: result.seconds,
    };
    let finished = Finished { identity: course.identity.clone(), outcome };
    let json = serde_json::to_vec(&finished).map_err(|error| TuneError::Internal(error.to_string()))?;
    write_atomic(&folder.join(OUTCOME), &json)?;
    crate::checkpoint::StateFolder::of_run(folder).remove()?;
    Ok(finished.outcome)
}

/// What [`OUTCOME`] holds.
#[derive(Serialize, Deserialize)]
struct Finished {
    identity: String,
    outcome: PretrainOutcome,
}

/// What an earlier call came to, when it was for the same text and settings.
fn finished(folder: &Path, identity: &str) -> Option<PretrainOutcome> {
    let json = std::fs::read(folder.join(OUTCOME)).ok()?;
    let Finished { identity: found, outcome } = serde_json::from_slice(&json).ok()?;
    // The run's folder may have been moved since.
    let model = folder.join(MODEL_FOLDER);
    (found == identity && model.is_dir()).then_some(PretrainOutcome { folder: model, ..outcome })
}

/// Encodes the texts and sets the last share of their tokens aside.
fn corpus(options: &PretrainOptions, texts: &[String], tokenizer: &tokenizers::Tokenizer) -> Result<Corpus, TuneError> {
    let mut tokens = Vec::new();
    for text in texts {
        tokens.extend(tokenizer::encode(tokenizer, text)?);
    }
    let held_out = (tokens.len() as f64 * options.validation_share).round() as usize;
    let (training, validation) = tokens.split_at(tokens.len() - held_out.min(tokens.len()));
    if training.len() < options.context {
        return Err(TuneError::hyperparameter(
            "texts",
            format!("hold {} tokens, fewer than one context of {}; give more text", training.len(), options.context),
        ));
    }
    let vocabulary = tokenizer.get_vocab_size(true);
    Ok(Corpus {
        unigram_perplexity: (validation.len() > 1).then(|| text::unigram_perplexity(training, validation, vocabulary)),
        training: text::sequences(training, options.context),
        validation: text::sequences(validation, options.context),
    })
}

fn course(options: &PretrainOptions, corpus: &Corpus, precision: anser_core::Precision) -> Result<Course, TuneError> {
    let steps_per_epoch = corpus.training.units.len().div_ceil(options.batch_size);
    let epochs = match options.tokens {
        Some(tokens) => tokens.div_ceil(corpus.training.targets().max(1)).try_into().unwrap_or(usize::MAX),
        None => options.epochs,
    };
    let total_steps = epochs.saturating_mul(steps_per_epoch);
    let data = fingerprint(&corpus.training, &corpus.validation);
    let decisive = (
        (options.hidden, options.blocks, options.heads, options.context, options.batch_size),
        (options.learning_rate, options.warmup_ratio, options.seed, epochs, precision, data),
    );
    let json = serde_json::to_vec(&decisive).map_err(|error| TuneError::Internal(error.to_string()))?;
    Ok(Course {
        identity: hexadecimal(&Sha256::digest(json)),
        objective: Objective::Supervised,
        seed: options.seed,
        batch_size: options.batch_size,
        epochs,
        steps_per_epoch,
        learning_rate: LearningRate::new(options.learning_rate, options.warmup_ratio, total_steps, Schedule::Cosine),
        // The shorter memory of squared gradients that language models are trained from scratch with.
        optimizer: AdamWOptions { beta1: 0.9, beta2: 0.95, epsilon: 1e-8, weight_decay: WEIGHT_DECAY },
        max_grad_norm: 1.0,
        patience: 0,
        eval_interval: (total_steps / 20).clamp(5, 200),
        adaptive_rank: None,
    })
}

fn hyperparameters(options: &PretrainOptions, course: &Course, precision: anser_core::Precision) -> Hyperparameters {
    Hyperparameters {
        batch_size: Some(options.batch_size),
        learning_rate_multiplier: None,
        n_epochs: Some(course.epochs),
        learning_rate: Some(options.learning_rate),
        warmup_ratio: Some(options.warmup_ratio),
        schedule: Some(Schedule::Cosine),
        weight_decay: Some(WEIGHT_DECAY),
        max_grad_norm: Some(course.max_grad_norm),
        early_stopping_patience: Some(0),
        eval_interval: Some(course.eval_interval),
        max_tokens: Some(options.context),
        precision: Some(precision),
        recompute: Some(false),
    }
}

fn record(
    options: &PretrainOptions,
    hyperparameters: Hyperparameters,
    corpus: &Corpus,
    result: &RunResult,
    parameters: u64,
) -> Provenance {
    let (software, version) = Provenance::software();
    Provenance {
        software,
        version,
        kind: TrainedKind::Full,
        base: None,
        base_sha256: None,
        data_fingerprint: fingerprint(&corpus.training, &corpus.validation),
        examples: corpus.training.units.len(),
        validation_examples: corpus.validation.units.len(),
        objective: Objective::Supervised,
        parts: TrainableParts::All,
        continued: false,
        hyperparameters,
        seed: options.seed,
        trainable_parameters: parameters,
        metrics: result.model.metrics,
        trained_tokens: result.trained_tokens,
        seconds: result.seconds,
        finished_at: OffsetDateTime::now_utc(),
    }
}
