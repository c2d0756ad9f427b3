//! A trainer that learns nothing, but does everything else that a trainer does: it checks lines, plans, takes steps that
//! can be stopped and gone on with, and writes checkpoints.
//!
//! A training file with `WAIT` in it makes the run wait before its third step until [`FakeTrainer::release`], one with
//! `BREAK` makes it fail there.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use anser_core::{
    Error, ErrorKind, Hyperparameters, LineProblem, Precision, Progress, Result, Schedule, StopSignal, TrainedKind,
    Trainer, TrainingEvent, TrainingFileCheck, TrainingMetrics, TrainingOutcome, TrainingPlan, TrainingRequest,
};
use serde_json::Value;

/// Clones share what they are told.
#[derive(Clone, Default)]
pub(crate) struct FakeTrainer(Arc<Shared>);

#[derive(Default)]
struct Shared {
    released: AtomicBool,
    waiting: AtomicUsize,
    runs: AtomicUsize,
}

impl FakeTrainer {
    /// Lets every `WAIT` go on.
    pub(crate) fn release(&self) {
        self.0.released.store(true, Ordering::SeqCst);
    }

    /// Runs that wait now.
    pub(crate) fn waiting(&self) -> usize {
        self.0.waiting.load(Ordering::SeqCst)
    }

    /// Runs begun or gone on with so far.
    pub(crate) fn runs(&self) -> usize {
        self.0.runs.load(Ordering::SeqCst)
    }

    fn wait(&self, stop: &StopSignal) -> Result<()> {
        self.0.waiting.fetch_add(1, Ordering::SeqCst);
        while !self.0.released.load(Ordering::SeqCst) && stop.get().is_none() {
            std::thread::sleep(Duration::from_millis(2));
        }
        self.0.waiting.fetch_sub(1, Ordering::SeqCst);
        if stop.get().is_some() { Err(Error::cancelled()) } else { Ok(()) }
    }
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).map_err(|e| Error::io("read", path, e))
}

/// The figures of a step; they depend on nothing but its number.
pub(crate) fn metrics(step: usize, total_steps: usize, validated: bool) -> TrainingMetrics {
    let loss = 2.0 / step as f64;
    TrainingMetrics {
        step,
        total_steps,
        epoch: step as f64 / total_steps as f64,
        train_loss: loss,
        train_token_accuracy: 0.5,
        train_sequence_accuracy: 0.25,
        valid_loss: validated.then_some(loss + 0.5),
        valid_token_accuracy: validated.then_some(0.4),
        full_valid_loss: None,
        full_valid_token_accuracy: None,
        learning_rate: 1e-4,
        gradient_norm: 1.0,
        tokens_per_second: 100.0,
        seconds_left: (total_steps - step) as f64,
    }
}

impl Trainer for FakeTrainer {
    fn check_file(&self, path: &Path) -> Result<TrainingFileCheck> {
        let bytes = fs::read(path).map_err(|e| Error::io("read", path, e))?;
        let mut check =
            TrainingFileCheck { format: Some("chat".to_owned()), examples: 0, problems: Vec::new(), problem_count: 0 };
        for (at, line) in String::from_utf8_lossy(&bytes).lines().enumerate() {
            let parsed = serde_json::from_str::<Value>(line);
            if parsed.is_ok_and(|line| line["messages"].as_array().is_some_and(|messages| !messages.is_empty())) {
                check.examples += 1;
            } else {
                check.problems.push(LineProblem {
                    line: at as u64 + 1,
                    field: Some("messages".to_owned()),
                    message: "the line holds no messages; write {\"messages\":[…]}".to_owned(),
                });
            }
        }
        check.problem_count = check.problems.len();
        Ok(check)
    }

    fn plan(&self, request: &TrainingRequest, _: &dyn Progress) -> Result<TrainingPlan> {
        let examples = self.check_file(&request.training_file)?.examples;
        let given = &request.hyperparameters;
        let (n_epochs, batch_size) = (given.n_epochs.unwrap_or(2), given.batch_size.unwrap_or(4));
        let hyperparameters = Hyperparameters {
            batch_size: Some(batch_size),
            learning_rate_multiplier: given.learning_rate_multiplier.or(Some(1.0)),
            n_epochs: Some(n_epochs),
            learning_rate: given.learning_rate.or(Some(1e-4)),
            warmup_ratio: given.warmup_ratio.or(Some(0.1)),
            schedule: given.schedule.or(Some(Schedule::Cosine)),
            weight_decay: given.weight_decay.or(Some(0.0)),
            max_grad_norm: given.max_grad_norm.or(Some(1.0)),
            early_stopping_patience: given.early_stopping_patience.or(Some(0)),
            eval_interval: given.eval_interval.or(Some(1)),
            max_tokens: given.max_tokens.or(Some(128)),
            precision: given.precision.or(Some(Precision::F32)),
            recompute: given.recompute.or(Some(false)),
        };
        Ok(TrainingPlan {
            request: TrainingRequest { hyperparameters, ..request.clone() },
            examples,
            validation_examples: 0,
            tokens_per_epoch: examples as u64 * 10,
            loss_tokens_per_epoch: examples as u64 * 5,
            total_steps: examples.div_ceil(batch_size) * n_epochs,
            trainable_parameters: 1000,
            data_fingerprint: "d".repeat(64),
            estimated_seconds: Some(1.0),
            estimated_memory_bytes: 1 << 20,
        })
    }

    fn train(
        &self,
        plan: &TrainingPlan,
        folder: &Path,
        stop: &StopSignal,
        on_event: &mut dyn FnMut(TrainingEvent),
    ) -> Result<TrainingOutcome> {
        self.0.runs.fetch_add(1, Ordering::SeqCst);
        let script = read(&plan.request.training_file)?;
        let (state, total) = (folder.join("step"), plan.total_steps);
        let done: usize = fs::read_to_string(&state).ok().and_then(|text| text.parse().ok()).unwrap_or(0);
        let per_epoch = total / plan.request.hyperparameters.n_epochs.unwrap_or(1);
        let validated = plan.request.validation_file.is_some();
        let mut best = PathBuf::new();
        for step in done + 1..=total {
            if step == 3 && script.contains("BREAK") {
                return Err(Error::new(ErrorKind::InvalidInput, "the loss is not a number; lower the learning rate"));
            }
            if step == 3 && script.contains("WAIT") {
                self.wait(stop)?;
            }
            if stop.get().is_some() {
                return Err(Error::cancelled());
            }
            let metrics = metrics(step, total, validated);
            on_event(TrainingEvent::Step(metrics));
            if step % per_epoch == 0 {
                best = folder.join(format!("checkpoint-{step}"));
                fs::create_dir_all(&best).map_err(|e| Error::io("create", &best, e))?;
                for name in ["adapter_config.json", "adapter_model.safetensors"] {
                    fs::write(best.join(name), step.to_string()).map_err(|e| Error::io("write", &best, e))?;
                }
                on_event(TrainingEvent::Checkpoint { metrics, folder: best.clone() });
            }
            fs::write(&state, step.to_string()).map_err(|e| Error::io("write", &state, e))?;
        }
        Ok(TrainingOutcome {
            kind: TrainedKind::Adapter,
            folder: best,
            metrics: metrics(total, total, validated),
            trained_tokens: plan.loss_tokens_per_epoch * 2,
            stopped_early: false,
        })
    }
}
