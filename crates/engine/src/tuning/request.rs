//! What a fine-tuning job is asked to do.

use std::collections::BTreeMap;

use anser_core::{Hyperparameters, LoraOptions, Objective, TrainableParts};
use serde::{Deserialize, Serialize};

use crate::EngineError;

/// Characters of a suffix.
const MAX_SUFFIX: usize = 64;
/// Limits of metadata, as OpenAI sets them.
const MAX_METADATA: usize = 16;
const MAX_METADATA_KEY: usize = 64;
const MAX_METADATA_VALUE: usize = 512;
/// Largest seed.
const MAX_SEED: u32 = i32::MAX as u32;

/// A fine-tuning job as asked for.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct FineTuningRequest {
    /// The base model by its name, or a tuned model to go on from.
    pub model: String,
    /// Id of a file with the purpose `fine-tune`.
    pub training_file: String,
    /// Id of another such file, to measure on.
    pub validation_file: Option<String>,
    /// Becomes part of the tuned model's name, 1 to 64 characters.
    pub suffix: Option<String>,
    /// Everything random comes from it, 0 to 2^31 - 1; one is drawn when there is none.
    pub seed: Option<u32>,
    /// What the loss rewards.
    pub objective: Objective,
    /// Which weights learn.
    pub parts: TrainableParts,
    /// Settings; open ones are chosen while the job is validated.
    pub hyperparameters: Hyperparameters,
    /// Up to 16 pairs for the caller's own use.
    pub metadata: BTreeMap<String, String>,
}

impl FineTuningRequest {
    /// Checks everything that can be judged from the request alone.
    pub(super) fn check(&self) -> Result<(), EngineError> {
        if let Some(suffix) = &self.suffix {
            check_suffix(suffix)?;
        }
        if let Some(seed) = self.seed {
            within("seed", f64::from(seed), seed <= MAX_SEED, "0 and 2147483647")?;
        }
        if let Objective::Preference { beta: Some(beta) } = self.objective {
            within("hyperparameters.beta", beta, beta > 0.0 && beta <= 2.0, "0 (exclusive) and 2")?;
        }
        check_metadata(&self.metadata)?;
        check_parts(&self.parts)?;
        check_steps(&self.hyperparameters)?;
        check_rates(&self.hyperparameters)
    }
}

fn within(param: &'static str, value: f64, holds: bool, range: &str) -> Result<(), EngineError> {
    if holds {
        return Ok(());
    }
    let name = param.rsplit('.').next().unwrap_or(param);
    Err(EngineError::invalid(param, format!("{name} is {value}, but must lie between {range}")))
}

fn check_suffix(suffix: &str) -> Result<(), EngineError> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | ' ');
    if (1..=MAX_SUFFIX).contains(&suffix.chars().count()) && suffix.chars().all(allowed) && !suffix.trim().is_empty() {
        return Ok(());
    }
    let shown: String = suffix.chars().take(MAX_SUFFIX + 6).flat_map(char::escape_default).collect();
    let message = format!(
        "the suffix \"{shown}\" cannot be used; it has 1 to {MAX_SUFFIX} letters, digits, '-', '_', '.' or spaces"
    );
    Err(EngineError::invalid("suffix", message))
}

fn check_metadata(metadata: &BTreeMap<String, String>) -> Result<(), EngineError> {
    let too_long = |(key, value): (&String, &String)| {
        key.chars().count() > MAX_METADATA_KEY || value.chars().count() > MAX_METADATA_VALUE
    };
    if metadata.len() <= MAX_METADATA && !metadata.iter().any(too_long) {
        return Ok(());
    }
    let message = format!(
        "metadata has at most {MAX_METADATA} pairs with keys of up to {MAX_METADATA_KEY} and values of up to {MAX_METADATA_VALUE} characters"
    );
    Err(EngineError::invalid("metadata", message))
}

fn check_parts(parts: &TrainableParts) -> Result<(), EngineError> {
    match parts {
        TrainableParts::Lora(lora) => {
            within("lora.rank", lora.rank as f64, (1..=256).contains(&lora.rank), "1 and 256")?;
            within("lora.alpha", lora.alpha, lora.alpha > 0.0 && lora.alpha <= 4096.0, "0 (exclusive) and 4096")?;
            within("lora.dropout", lora.dropout, (0.0..1.0).contains(&lora.dropout), "0 and 1 (exclusive)")?;
            let known = LoraOptions::default().target_modules;
            let unknown = lora.target_modules.iter().find(|module| !known.contains(module));
            if lora.target_modules.is_empty() || unknown.is_some() {
                let wrong = unknown.map_or("no module".to_owned(), |module| format!("\"{module}\""));
                let message = format!("target_modules names {wrong}; choose from {}", known.join(", "));
                return Err(EngineError::invalid("lora.target_modules", message));
            }
            Ok(())
        }
        TrainableParts::LastBlocks { blocks } => {
            within("blocks", *blocks as f64, *blocks >= 1, "1 and the number of blocks of the model")
        }
        TrainableParts::All => Ok(()),
    }
}

/// What is counted.
fn check_steps(given: &Hyperparameters) -> Result<(), EngineError> {
    let counts = [
        ("hyperparameters.batch_size", given.batch_size, 1..=256),
        ("hyperparameters.n_epochs", given.n_epochs, 1..=50),
        ("hyperparameters.early_stopping_patience", given.early_stopping_patience, 0..=1_000_000),
        ("hyperparameters.eval_interval", given.eval_interval, 1..=1_000_000),
        ("hyperparameters.max_tokens", given.max_tokens, 2..=1_000_000),
    ];
    for (param, value, range) in counts {
        if let Some(value) = value {
            let bounds = format!("{} and {}", range.start(), range.end());
            within(param, value as f64, range.contains(&value), &bounds)?;
        }
    }
    Ok(())
}

/// What is measured.
fn check_rates(given: &Hyperparameters) -> Result<(), EngineError> {
    if given.learning_rate.is_some() && given.learning_rate_multiplier.is_some() {
        let message = "learning_rate and learning_rate_multiplier exclude each other; send one of them";
        return Err(EngineError::invalid("hyperparameters.learning_rate", message));
    }
    let scaled = |value: f64| value > 0.0 && value <= 1e6;
    let positive = "0 (exclusive) and 1000000";
    for (param, value, holds, range) in [
        ("hyperparameters.learning_rate_multiplier", given.learning_rate_multiplier, &scaled as &Test, positive),
        ("hyperparameters.learning_rate", given.learning_rate, &scaled, positive),
        ("hyperparameters.max_grad_norm", given.max_grad_norm, &scaled, positive),
        ("hyperparameters.warmup_ratio", given.warmup_ratio, &|v| (0.0..1.0).contains(&v), "0 and 1 (exclusive)"),
        ("hyperparameters.weight_decay", given.weight_decay, &|v| (0.0..=1e3).contains(&v), "0 and 1000"),
    ] {
        if let Some(value) = value {
            within(param, value, holds(value), range)?;
        }
    }
    Ok(())
}

/// Whether a value may be given.
type Test = dyn Fn(f64) -> bool;
