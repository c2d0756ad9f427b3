//! Fine-tunes a model on a file of examples and prints the curve.
//!
//! `cargo run -p anser-tune --example fine_tune -- MODEL TRAIN.jsonl [VALID.jsonl] [NAME=VALUE ...]`
//!
//! MODEL is a GGUF file or a model folder. Names: `epochs`, `batch`, `rate`, `rank`, `blocks` (train the last so many),
//! `all=1`, `dpo=BETA`, `adaptive=1`, `precision=f32|bf16`, `seed`, `patience`, `folder` (kept, and gone on from).

use std::error::Error;
use std::path::PathBuf;
use std::time::Instant;

use anser_core::{
    Hyperparameters, LoraOptions, NoProgress, Objective, Precision, StopSignal, TrainableParts, Trainer, TrainingEvent,
    TrainingRequest,
};
use anser_tune::{LocalTrainer, TrainerOptions};

fn main() -> Result<(), Box<dyn Error>> {
    let (named, files): (Vec<String>, Vec<String>) = std::env::args().skip(1).partition(|word| word.contains('='));
    let value = |name: &str| {
        named.iter().find_map(|word| word.split_once('=').filter(|(key, _)| *key == name).map(|(_, value)| value))
    };
    let [model, training, rest @ ..] = files.as_slice() else {
        return Err("give a model and a training file".into());
    };
    let number = |name: &str| value(name).map(str::parse::<usize>).transpose();
    let decimal = |name: &str| value(name).map(str::parse::<f64>).transpose();
    let lora = LoraOptions {
        rank: number("rank")?.unwrap_or(8),
        adaptive: value("adaptive").is_some(),
        ..LoraOptions::default()
    };
    let parts = match (number("blocks")?, value("all")) {
        (Some(blocks), _) => TrainableParts::LastBlocks { blocks },
        (None, Some(_)) => TrainableParts::All,
        (None, None) => TrainableParts::Lora(lora),
    };
    let request = TrainingRequest {
        base: model.clone(),
        training_file: training.into(),
        validation_file: rest.first().map(PathBuf::from),
        objective: decimal("dpo")?.map_or(Objective::Supervised, |beta| Objective::Preference { beta: Some(beta) }),
        parts,
        hyperparameters: Hyperparameters {
            batch_size: number("batch")?,
            n_epochs: number("epochs")?,
            learning_rate: decimal("rate")?,
            early_stopping_patience: number("patience")?,
            precision: match value("precision") {
                Some("f32") => Some(Precision::F32),
                Some("bf16") => Some(Precision::Bf16),
                _ => None,
            },
            ..Hyperparameters::default()
        },
        seed: number("seed")?.unwrap_or(1) as u64,
        start_from: value("start").map(PathBuf::from),
    };
    let folder = value("folder").map_or_else(|| std::env::temp_dir().join("anser-fine-tune"), PathBuf::from);
    if value("folder").is_none() && folder.exists() {
        std::fs::remove_dir_all(&folder)?;
    }
    let trainer = LocalTrainer::new(TrainerOptions::default(), Box::new(|name, _| Ok(PathBuf::from(name))));
    let plan = trainer.plan(&request, &NoProgress)?;
    println!("{plan:#?}");
    let begun = Instant::now();
    let outcome = trainer.train(&plan, &folder, &StopSignal::default(), &mut |event| print(&event))?;
    println!("{outcome:#?}\n{:.1} s", begun.elapsed().as_secs_f64());
    Ok(())
}

fn print(event: &TrainingEvent) {
    match event {
        TrainingEvent::Message { text, .. } => println!("{text}"),
        TrainingEvent::Checkpoint { folder, .. } => println!("written: {}", folder.display()),
        TrainingEvent::Step(metrics) => {
            let shown = |value: Option<f64>| value.map_or_else(String::new, |value| format!("{value:.4}"));
            println!(
                "step {:>4}/{} loss {:.4} accuracy {:.3} norm {:.3} rate {:.2e} valid {} all {} {:.0} tokens/s, {:.0} s left",
                metrics.step,
                metrics.total_steps,
                metrics.train_loss,
                metrics.train_token_accuracy,
                metrics.gradient_norm,
                metrics.learning_rate,
                shown(metrics.valid_loss),
                shown(metrics.full_valid_loss),
                metrics.tokens_per_second,
                metrics.seconds_left,
            );
        }
    }
}
