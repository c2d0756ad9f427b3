//! How a run goes, with every question answered: what the loop needs to know, whoever asked for it.

use anser_core::{Hyperparameters, Objective, Schedule, TrainingPlan};
use sha2::{Digest as _, Sha256};

use super::examples::hexadecimal;
use crate::TuneError;
use crate::optimizer::AdamWOptions;
use crate::schedule::LearningRate;

/// Tokens that are computed together; a step with more is divided. Fixed, because the division decides the order of
/// sums and a run that goes on must come to the same figures.
pub(crate) const PART_TOKENS: usize = 1024;

/// Strength of the pull towards the reference when none is given.
pub(crate) const BETA: f64 = 0.1;

/// A run's settings.
#[derive(Debug, Clone)]
pub(crate) struct Course {
    /// Digest of all that decides the figures.
    pub(crate) identity: String,
    pub(crate) objective: Objective,
    pub(crate) seed: u64,
    pub(crate) batch_size: usize,
    pub(crate) epochs: usize,
    pub(crate) steps_per_epoch: usize,
    pub(crate) learning_rate: LearningRate,
    pub(crate) optimizer: AdamWOptions,
    pub(crate) max_grad_norm: f64,
    pub(crate) patience: usize,
    pub(crate) eval_interval: usize,
    /// The rank that remains on average, when ranks are moved.
    pub(crate) adaptive_rank: Option<usize>,
}

impl Course {
    /// The course that a plan describes.
    pub(crate) fn of_plan(plan: &TrainingPlan) -> Result<Self, TuneError> {
        let request = &plan.request;
        let settings = Settings::of(&request.hyperparameters)?;
        let adaptive_rank = match &request.parts {
            anser_core::TrainableParts::Lora(options) if options.adaptive => Some(options.rank),
            _ => None,
        };
        let decisive = (
            (&request.base, request.objective, &request.parts, &request.hyperparameters),
            (request.seed, &plan.data_fingerprint, plan.total_steps, request.start_from.is_some()),
        );
        let json = serde_json::to_vec(&decisive).map_err(|error| TuneError::Internal(error.to_string()))?;
        Ok(Self {
            identity: hexadecimal(&Sha256::digest(json)),
            objective: request.objective,
            seed: request.seed,
            batch_size: settings.batch_size,
            epochs: settings.n_epochs,
            steps_per_epoch: plan.examples.div_ceil(settings.batch_size),
            learning_rate: LearningRate::new(
                settings.learning_rate,
                settings.warmup_ratio,
                plan.total_steps,
                settings.schedule,
            ),
            optimizer: AdamWOptions { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: settings.weight_decay },
            max_grad_norm: settings.max_grad_norm,
            patience: settings.early_stopping_patience,
            eval_interval: settings.eval_interval,
            adaptive_rank,
        })
    }

    /// Steps in all.
    pub(crate) fn total_steps(&self) -> usize {
        self.epochs * self.steps_per_epoch
    }

    /// Strength of the pull towards the reference, for preferences.
    pub(crate) fn beta(&self) -> Option<f64> {
        match self.objective {
            Objective::Supervised => None,
            Objective::Preference { beta } => Some(beta.unwrap_or(BETA)),
        }
    }
}

/// The hyperparameters of a plan, none of them open.
struct Settings {
    batch_size: usize,
    n_epochs: usize,
    learning_rate: f64,
    warmup_ratio: f64,
    schedule: Schedule,
    weight_decay: f64,
    max_grad_norm: f64,
    early_stopping_patience: usize,
    eval_interval: usize,
}

impl Settings {
    fn of(chosen: &Hyperparameters) -> Result<Self, TuneError> {
        fn set<T>(name: &'static str, value: Option<T>) -> Result<T, TuneError> {
            value.ok_or_else(|| TuneError::hyperparameter(name, "is open; train with a plan that was made by planning"))
        }
        Ok(Self {
            batch_size: set("batch_size", chosen.batch_size)?.max(1),
            n_epochs: set("n_epochs", chosen.n_epochs)?,
            learning_rate: set("learning_rate", chosen.learning_rate)?,
            warmup_ratio: set("warmup_ratio", chosen.warmup_ratio)?,
            schedule: set("schedule", chosen.schedule)?,
            weight_decay: set("weight_decay", chosen.weight_decay)?,
            max_grad_norm: set("max_grad_norm", chosen.max_grad_norm)?,
            early_stopping_patience: set("early_stopping_patience", chosen.early_stopping_patience)?,
            eval_interval: set("eval_interval", chosen.eval_interval)?.max(1),
        })
    }
}
