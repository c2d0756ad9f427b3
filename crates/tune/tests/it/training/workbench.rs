//! A tiny base model, data written on the spot, and a record of what a run told.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anser_core::{
    Hyperparameters, LoraOptions, NoProgress, Objective, Precision, StopSignal, TrainableParts, Trainer, TrainingEvent,
    TrainingMetrics, TrainingOutcome, TrainingPlan, TrainingRequest,
};
use anser_tune::{LocalTrainer, TrainerOptions};
use serde_json::{Value, json};
use tempfile::TempDir;

#[path = "../../../../generate/tests/it/tiny_model.rs"]
mod tiny_model;

/// A folder with a model of two blocks and one token for each byte, and a trainer that finds it.
pub(super) struct Workbench {
    folder: TempDir,
    pub(super) trainer: LocalTrainer,
}

impl Workbench {
    pub(super) fn new() -> Self {
        Self::saving_every(Duration::ZERO)
    }

    /// A workbench whose trainer keeps its state that often.
    pub(super) fn saving_every(save_interval: Duration) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let trainer = trainer_in(folder.path(), save_interval);
        tiny_model::TinyModel::default().write(folder.path());
        Self { folder, trainer }
    }

    /// A path in the folder.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes JSON lines.
    pub(super) fn write(&self, name: &str, lines: &[Value]) -> PathBuf {
        let text: Vec<String> = lines.iter().map(ToString::to_string).collect();
        let text = text.join("\n") + "\n";
        std::fs::write(self.path(name), text).unwrap();
        self.path(name)
    }

    /// Low-rank training on ten questions, in steps of four examples.
    pub(super) fn request(&self) -> TrainingRequest {
        TrainingRequest {
            base: "tiny".to_owned(),
            training_file: self.write("train.jsonl", &questions(10)),
            validation_file: None,
            objective: Objective::Supervised,
            parts: TrainableParts::Lora(LoraOptions::default()),
            hyperparameters: Hyperparameters {
                batch_size: Some(4),
                n_epochs: Some(3),
                learning_rate: Some(1e-2),
                precision: Some(Precision::F32),
                ..Hyperparameters::default()
            },
            seed: 5,
            start_from: None,
        }
    }

    pub(super) fn plan(&self, request: &TrainingRequest) -> TrainingPlan {
        self.trainer.plan(request, &NoProgress).unwrap()
    }

    /// Plans and trains in a folder of this name.
    pub(super) fn train(&self, request: &TrainingRequest, name: &str) -> (TrainingOutcome, Told) {
        self.train_plan(&self.plan(request), name)
    }

    pub(super) fn train_plan(&self, plan: &TrainingPlan, name: &str) -> (TrainingOutcome, Told) {
        let mut told = Told::default();
        let outcome = self
            .trainer
            .train(plan, &self.path(name), &StopSignal::default(), &mut |event| told.0.push(event))
            .unwrap();
        (outcome, told)
    }
}

/// A trainer whose one base model is `model.gguf` in `folder`.
pub(super) fn trainer_in(folder: &Path, save_interval: Duration) -> LocalTrainer {
    let throughput = Some(folder.join("throughput.json"));
    let options = TrainerOptions { threads: 2, throughput, save_interval, ..TrainerOptions::default() };
    let model = folder.join("model.gguf");
    let locate = move |name: &str, _: &dyn anser_core::Progress| match name {
        "tiny" => Ok(model.clone()),
        _ => Err(anser_core::Error::not_found(format!("there is no model {name}"))),
    };
    LocalTrainer::new(options, Box::new(locate))
}

/// Chats of one short question and answer each.
pub(super) fn questions(count: usize) -> Vec<Value> {
    let answers = ["red", "a fox", "seven", "no", "blue hat", "it rains", "ten", "salt", "yes", "the sea"];
    (0..count).map(|at| chat(&format!("q{at}?"), answers[at % answers.len()])).collect()
}

pub(super) fn chat(question: &str, answer: &str) -> Value {
    json!({"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]})
}

/// Everything that a run told.
#[derive(Debug, Clone, Default)]
pub(super) struct Told(pub(super) Vec<TrainingEvent>);

impl Told {
    pub(super) fn steps(&self) -> Vec<TrainingMetrics> {
        let step = |event: &TrainingEvent| if let TrainingEvent::Step(metrics) = event { Some(*metrics) } else { None };
        self.0.iter().filter_map(step).collect()
    }

    pub(super) fn checkpoints(&self) -> Vec<(usize, PathBuf)> {
        let checkpoint = |event: &TrainingEvent| match event {
            TrainingEvent::Checkpoint { metrics, folder } => Some((metrics.step, folder.clone())),
            _ => None,
        };
        self.0.iter().filter_map(checkpoint).collect()
    }

    pub(super) fn messages(&self) -> Vec<String> {
        let message = |event: &TrainingEvent| match event {
            TrainingEvent::Message { text, .. } => Some(text.clone()),
            _ => None,
        };
        self.0.iter().filter_map(message).collect()
    }
}

/// The figures of a step that do not depend on time, to the last bit.
pub(super) fn exact(metrics: &TrainingMetrics) -> Vec<u64> {
    let optional =
        [metrics.valid_loss, metrics.valid_token_accuracy, metrics.full_valid_loss, metrics.full_valid_token_accuracy];
    [
        metrics.step as f64,
        metrics.epoch,
        metrics.train_loss,
        metrics.train_token_accuracy,
        metrics.train_sequence_accuracy,
        metrics.learning_rate,
        metrics.gradient_norm,
    ]
    .into_iter()
    .chain(optional.map(|value| value.unwrap_or(-1.0)))
    .map(f64::to_bits)
    .collect()
}

/// The bytes of every file of a model, by name; its record has a date and is left out.
pub(super) fn files(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<(String, Vec<u8>)> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| (entry.file_name().into_string().unwrap(), std::fs::read(entry.path()).unwrap()))
        .filter(|(name, _)| name != anser_tune::PROVENANCE)
        .collect();
    files.sort();
    files
}
