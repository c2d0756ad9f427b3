//! A trainer that counts steps, saves after each, and can be told to fail, to panic or to be slow.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anser_core::storage::write_atomic;
use anser_core::{
    Error, LineProblem, Progress, ProgressUnit, Result, StopReason, StopSignal, TrainableParts, TrainedKind, Trainer,
    TrainingEvent, TrainingFileCheck, TrainingMetrics, TrainingOutcome, TrainingPlan, TrainingRequest,
};
use parking_lot::Mutex;

/// Steps of one epoch, at the end of which there is a checkpoint.
pub(crate) const EPOCH: usize = 4;

/// Trains nothing.
#[derive(Default)]
pub(crate) struct FakeTrainer {
    /// How long a step takes.
    pub(crate) pace: Mutex<Duration>,
    /// The step at which the run fails or panics.
    pub(crate) fail_at: Mutex<Option<usize>>,
    pub(crate) panic_at: Mutex<Option<usize>>,
    /// The request of the last run.
    pub(crate) trained: Mutex<Option<TrainingRequest>>,
}

impl Trainer for FakeTrainer {
    fn check_file(&self, path: &Path) -> Result<TrainingFileCheck> {
        let text = fs::read_to_string(path).map_err(|e| Error::io("read", path, e))?;
        let mut check =
            TrainingFileCheck { format: Some("chat".into()), examples: 0, problems: Vec::new(), problem_count: 0 };
        for (line, text) in (1..).zip(text.lines()) {
            match serde_json::from_str::<serde_json::Value>(text) {
                Ok(value) if value.get("messages").is_some() => check.examples += 1,
                _ => {
                    check.problem_count += 1;
                    if check.problems.len() < 100 {
                        let message = "there are no messages; write {\"messages\": […]}".to_owned();
                        check.problems.push(LineProblem { line, field: Some("messages".into()), message });
                    }
                }
            }
        }
        Ok(check)
    }

    fn plan(&self, request: &TrainingRequest, progress: &dyn Progress) -> Result<TrainingPlan> {
        progress.start("Downloading the base model", None, ProgressUnit::Bytes);
        let examples = self.check_file(&request.training_file)?.examples;
        if examples < 10 {
            let path = request.training_file.display();
            return Err(Error::invalid(format!("{path}: it has {examples} examples, but must have at least 10")));
        }
        let mut request = request.clone();
        let epochs = *request.hyperparameters.n_epochs.get_or_insert(2);
        request.hyperparameters.batch_size.get_or_insert(3);
        Ok(TrainingPlan {
            request,
            examples,
            validation_examples: 0,
            tokens_per_epoch: 120,
            loss_tokens_per_epoch: 60,
            total_steps: epochs * EPOCH,
            trainable_parameters: 10,
            data_fingerprint: "fingerprint".into(),
            estimated_seconds: Some(3.0),
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
        *self.trained.lock() = Some(plan.request.clone());
        assert!(plan.request.training_file.exists());
        let saved = folder.join("saved");
        let done: usize = fs::read_to_string(&saved).ok().and_then(|text| text.parse().ok()).unwrap_or(0);
        if done > 0 {
            on_event(TrainingEvent::Message { warning: false, text: format!("Going on after step {done}") });
        }
        let mut metrics = metrics(plan, done);
        for step in done + 1..=plan.total_steps {
            std::thread::sleep(*self.pace.lock());
            match stop.get() {
                Some(StopReason::Pause) => {
                    write_atomic(&saved, (step - 1).to_string().as_bytes())?;
                    return Err(Error::cancelled());
                }
                Some(StopReason::Cancel) => return Err(Error::cancelled()),
                None => {}
            }
            if *self.fail_at.lock() == Some(step) {
                return Err(Error::internal("the loss is not a number"));
            }
            assert!(*self.panic_at.lock() != Some(step), "step {step} panics");
            metrics = self::metrics(plan, step);
            on_event(TrainingEvent::Step(metrics));
            if step.is_multiple_of(EPOCH) {
                let checkpoint = folder.join(format!("epoch-{}", step / EPOCH));
                write_model(plan, &checkpoint, step)?;
                on_event(TrainingEvent::Checkpoint { metrics, folder: checkpoint });
                write_atomic(&saved, step.to_string().as_bytes())?;
            }
        }
        let best = folder.join(format!("epoch-{}", plan.total_steps / EPOCH));
        let kind = kind(plan);
        Ok(TrainingOutcome { kind, folder: best, metrics, trained_tokens: 120, stopped_early: false })
    }
}

fn kind(plan: &TrainingPlan) -> TrainedKind {
    match plan.request.parts {
        TrainableParts::Lora(_) => TrainedKind::Adapter,
        _ => TrainedKind::Full,
    }
}

fn write_model(plan: &TrainingPlan, folder: &Path, step: usize) -> Result<()> {
    let files = match kind(plan) {
        TrainedKind::Adapter => ["adapter_config.json", "adapter_model.safetensors"],
        TrainedKind::Full => ["config.json", "model.safetensors"],
    };
    files.iter().try_for_each(|file| write_atomic(&folder.join(file), step.to_string().as_bytes()))?;
    write_atomic(&folder.join("provenance.json"), b"{\"base_hash\": \"abc\"}")
}

/// The figures of a step are the same whenever it is done.
fn metrics(plan: &TrainingPlan, step: usize) -> TrainingMetrics {
    let at_end = step.is_multiple_of(EPOCH);
    TrainingMetrics {
        step,
        total_steps: plan.total_steps,
        epoch: step as f64 / EPOCH as f64,
        train_loss: 4.0 / (step as f64 + 1.0) + plan.request.seed as f64,
        train_token_accuracy: 0.5,
        valid_loss: at_end.then_some(1.25),
        valid_token_accuracy: at_end.then_some(0.75),
        seconds_left: (plan.total_steps - step) as f64,
        ..TrainingMetrics::default()
    }
}
