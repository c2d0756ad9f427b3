//! `anser tune pretrain`: a small model from nothing but plain text.

use std::path::PathBuf;

use anser_core::{StopReason, StopSignal, TrainingEvent};
use anser_tune::{PretrainOptions, PretrainOutcome, PretrainSize, pretrain};
use clap::Args;

use crate::config::Settings;
use crate::failure::Failure;
use crate::terminal::Terminal;
use crate::training_view::{TrainingView, duration};

/// Arguments of `anser tune pretrain`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  anser tune pretrain examples/data/pretrain.txt --preset 1m --out my-model\n  anser tune pretrain book1.txt book2.txt --preset 5m --epochs 3 --out my-model\n  anser chat --chat my-model/model \"Once\"\n\nRun it again after Ctrl-C or a crash and it goes on."
)]
pub(crate) struct PretrainArgs {
    /// Plain text files in UTF-8
    #[arg(required = true, value_name = "TEXT")]
    texts: Vec<PathBuf>,
    /// Folder of the run; the model comes to lie in model/ below it
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Size in weights: 1m, 5m, 15m or 30m
    #[arg(long, value_name = "SIZE", default_value = "1m", value_parser = parse_size)]
    preset: PretrainSize,
    /// Tokens of the tokenizer at most
    #[arg(long, value_name = "N")]
    vocabulary: Option<usize>,
    /// Tokens that the model sees at once
    #[arg(long, value_name = "N")]
    context: Option<usize>,
    /// Passes over the text [default: 10]
    #[arg(long, value_name = "N")]
    epochs: Option<usize>,
    /// Sequences a step
    #[arg(long, value_name = "N")]
    batch_size: Option<usize>,
    /// Peak learning rate
    #[arg(long, value_name = "RATE")]
    learning_rate: Option<f64>,
    /// Everything random comes from it
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

fn parse_size(text: &str) -> Result<PretrainSize, String> {
    text.parse().map_err(|_| "use 1m, 5m, 15m or 30m".to_owned())
}

impl PretrainArgs {
    pub(crate) fn run(&self, settings: &Settings, terminal: &Terminal) -> Result<(), Failure> {
        let usual = PretrainOptions::preset(self.preset, self.texts.clone());
        let options = PretrainOptions {
            vocabulary: self.vocabulary.unwrap_or(usual.vocabulary),
            context: self.context.unwrap_or(usual.context),
            epochs: self.epochs.unwrap_or(usual.epochs),
            batch_size: self.batch_size.unwrap_or(usual.batch_size),
            learning_rate: self.learning_rate.unwrap_or(usual.learning_rate),
            seed: self.seed,
            threads: settings.threads,
            device: settings.device,
            ..usual
        };
        let stop = stop_on_interrupt();
        let mut view = TrainingView::new(terminal.is_quiet());
        let outcome = pretrain(&options, &self.out, &stop, &mut |event| match event {
            TrainingEvent::Message { text, .. } => view.remark(&text),
            TrainingEvent::Step(metrics) => view.step(&metrics),
            TrainingEvent::Checkpoint { .. } => {}
        });
        view.finish();
        if stop.get().is_some() && outcome.is_err() {
            return Err(Failure::failed("stopped before the end; run the same command again to go on"));
        }
        let outcome = outcome?;
        if terminal.is_json() { terminal.json(&outcome) } else { print(terminal, &outcome) }
    }
}

/// Set by the first Ctrl-C; the second ends the process.
fn stop_on_interrupt() -> StopSignal {
    let stop = StopSignal::default();
    let asked = stop.clone();
    let installed = ctrlc::set_handler(move || {
        if asked.get().is_some() {
            std::process::exit(130);
        }
        eprintln!("\nsaving the last step and stopping; press Ctrl-C again to stop at once");
        asked.stop(StopReason::Pause);
    });
    if let Err(error) = installed {
        tracing::warn!("Ctrl-C cannot be caught: {error}");
    }
    stop
}

fn print(terminal: &Terminal, outcome: &PretrainOutcome) -> Result<(), Failure> {
    terminal.line(format!(
        "{} weights and {} tokens of vocabulary, trained on {} tokens in {}",
        outcome.parameters,
        outcome.vocabulary,
        outcome.trained_tokens,
        duration(outcome.seconds)
    ))?;
    let perplexity = match (outcome.validation_perplexity, outcome.unigram_perplexity) {
        (Some(reached), Some(unigram)) => {
            format!(
                "perplexity {reached:.2} on text not learned from; the frequencies of the tokens alone reach {unigram:.0}"
            )
        }
        _ => format!("perplexity {:.2} on the last batch", outcome.training_perplexity),
    };
    terminal.line(perplexity)?;
    let folder = outcome.folder.display();
    terminal.line(format!("wrote {}. Next: anser chat --chat {folder} \"Once\"", terminal.bold(&folder.to_string())))
}
