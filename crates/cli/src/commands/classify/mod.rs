//! `anser classify`: learning to put documents into classes, and doing it.

mod train;

use clap::Subcommand;

use super::predictors::SavedCommand;
use crate::config::Settings;
use crate::failure::Failure;
use crate::terminal::Terminal;

/// Subcommands of `anser classify`.
#[derive(Debug, Subcommand)]
#[command(
    after_help = "Examples:\n  anser classify train reviews --label Score --save stars\n  anser classify train tickets.csv --label queue --held-out 0.2 --abstain-below 0.6\n  anser classify train reviews --method zero-shot --labels positive,negative --save sentiment\n  anser classify text stars \"Arrived broken and nobody answered.\"\n  anser classify predict stars reviews --write-to predicted_stars --out predicted.parquet\n  anser classify delete stars@1"
)]
pub(crate) enum ClassifyCommand {
    /// Learn from labelled documents, or from the labels' names alone, and measure how well that works
    Train(Box<train::TrainArgs>),
    #[command(flatten)]
    Saved(SavedCommand),
}

impl ClassifyCommand {
    pub(crate) fn run(&self, settings: &Settings, terminal: &Terminal) -> Result<(), Failure> {
        match self {
            Self::Train(args) => args.run(settings, terminal),
            Self::Saved(command) => command.run(true, settings, terminal),
        }
    }
}
