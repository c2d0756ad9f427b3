//! `anser regress`: learning to predict a number from a text, and doing it.

use std::path::PathBuf;

use anser_engine::Analysis;
use anser_engine::regress::{RegressorOptions, RegressorReport};
use clap::{Args, Subcommand};

use super::analysis::{SourceArgs, check_outputs, check_pictures, run};
use super::predictors::{EvaluationArgs, SavedCommand, next_step};
use crate::config::Settings;
use crate::failure::Failure;
use crate::terminal::Terminal;

/// Subcommands of `anser regress`.
#[derive(Debug, Subcommand)]
#[command(
    after_help = "Examples:\n  anser regress train reviews --target Score --save score\n  anser regress train reviews --target Score --held-out 0.2 --plot predicted.svg\n  anser regress text score \"Arrived broken and nobody answered.\"\n  anser regress predict score reviews --write-to predicted_score"
)]
pub(crate) enum RegressCommand {
    /// Learn from documents with a numeric attribute, and measure how well that works
    Train(Box<TrainArgs>),
    #[command(flatten)]
    Saved(SavedCommand),
}

/// Arguments of `anser regress train`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  anser regress train reviews --target Score --save score\n  anser regress train sales.csv --text-field description --target price --folds 10 --clip\n\nRidge regression on embeddings. Every figure is measured on documents that it was not learnt from; the saved one is\nlearnt from all."
)]
pub(crate) struct TrainArgs {
    #[command(flatten)]
    source: SourceArgs,
    /// Numeric attribute or column to predict
    #[arg(long, value_name = "ATTRIBUTE")]
    target: String,
    /// Penalties to choose from; larger means smoother
    #[arg(long, value_name = "NUMBERS", value_delimiter = ',')]
    alpha: Vec<f64>,
    #[command(flatten)]
    evaluation: EvaluationArgs,
    /// Keep predictions within the values that were seen
    #[arg(long)]
    clip: bool,
    /// Same seed, same splits
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Keep the regression as the next version of this name
    #[arg(long, value_name = "NAME")]
    save: Option<String>,
    /// Write every document with its value and what was predicted: .parquet, .arrow, .csv, .json or .jsonl
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Write true against predicted values as SVG
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
}

impl RegressCommand {
    pub(crate) fn run(&self, settings: &Settings, terminal: &Terminal) -> Result<(), Failure> {
        match self {
            Self::Train(args) => args.run(settings, terminal),
            Self::Saved(command) => command.run(false, settings, terminal),
        }
    }
}

impl TrainArgs {
    fn run(&self, settings: &Settings, terminal: &Terminal) -> Result<(), Failure> {
        check_outputs(&self.source, &self.out, &self.plot)?;
        check_pictures(&self.plot)?;
        let defaults = RegressorOptions::default();
        let options = RegressorOptions {
            target: self.target.clone(),
            alpha: if self.alpha.is_empty() { defaults.alpha } else { self.alpha.clone() },
            evaluation: self.evaluation.method(),
            clip: self.clip,
            seed: self.seed,
            save_as: self.save.clone(),
        };
        let finished = run(settings, terminal, &self.source, Analysis::TrainRegressor(options))?;
        let report: RegressorReport = finished.report()?;
        if let Some(path) = &self.out {
            finished.write_table("documents", path)?;
        }
        if let Some(path) = &self.plot {
            finished.write_file("predicted.svg", path)?;
        }
        if terminal.is_json() {
            return terminal.json(&report);
        }
        print(terminal, &report)?;
        for path in self.out.iter().chain(&self.plot) {
            terminal.line(format!("wrote {}", path.display()))?;
        }
        next_step(terminal, "regress", report.saved.as_ref().map(|saved| (saved.name.as_str(), saved.version)))
    }
}

fn print(terminal: &Terminal, report: &RegressorReport) -> Result<(), Failure> {
    let evaluation = &report.evaluation;
    let (squared, absolute) = (&evaluation.mean_squared_error, &evaluation.mean_absolute_error);
    let rows = vec![
        [
            "mean squared error".to_owned(),
            format!("{:.4} ({:.4} to {:.4})", squared.mean, squared.low, squared.high),
            format!("{:.4}", evaluation.baseline.mean_squared_error),
        ],
        [
            "mean absolute error".to_owned(),
            format!("{:.4} ({:.4} to {:.4})", absolute.mean, absolute.low, absolute.high),
            format!("{:.4}", evaluation.baseline.mean_absolute_error),
        ],
        ["R²".to_owned(), format!("{:.3}", evaluation.r_squared), "0".to_owned()],
    ];
    terminal.table(["measure", "value (95 % interval)", "always the mean"], rows)?;
    let skipped = match (report.missing, report.not_numeric) {
        (0, 0) => String::new(),
        (missing, other) => {
            format!("; {missing} documents without the attribute and {other} where it is no number were left out")
        }
    };
    terminal.line(format!(
        "{:.1} % {} squared error than the mean, on {} documents that were not learnt from (alpha {}){skipped}",
        evaluation.improvement_percent.abs(),
        if evaluation.improvement_percent < 0.0 { "more" } else { "less" },
        evaluation.documents,
        report.alpha
    ))
}
