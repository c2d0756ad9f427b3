//! `anser eval few-shot`: how good a classifier gets from a few examples of each class.

use anser_engine::FieldMapping;
use anser_engine::classify::FewShotRequest;
use clap::Args;

use crate::commands::analysis::named_source;
use crate::compose;
use crate::config::Settings;
use crate::failure::Failure;
use crate::interrupt;
use crate::terminal::Terminal;

/// Arguments of `anser eval few-shot`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  anser eval few-shot train.csv test.csv --text-field text --label category\n  anser eval few-shot train.csv test.csv --label category --shots 16 --draws 20 --json"
)]
pub(crate) struct FewShotArgs {
    /// Collection or file that examples are drawn from
    train: String,
    /// Collection or file that is predicted
    test: String,
    /// Attribute or column that holds the label, in both
    #[arg(long, value_name = "ATTRIBUTE")]
    label: String,
    /// Column of a file that holds the text [default: guessed]
    #[arg(long, value_name = "COLUMN")]
    text_field: Option<String>,
    /// Examples of each class
    #[arg(long, default_value_t = 8, value_name = "N")]
    shots: usize,
    /// How often examples are drawn
    #[arg(long, default_value_t = 10, value_name = "N")]
    draws: usize,
    /// Same seed, same examples
    #[arg(long, default_value_t = 42)]
    seed: u64,
}

impl FewShotArgs {
    pub(crate) fn run(&self, settings: &Settings, terminal: &Terminal) -> Result<(), Failure> {
        let source = |name: &str| {
            let fields = FieldMapping { text: self.text_field.clone(), ..FieldMapping::default() };
            named_source(name, None, fields, None)
        };
        let request = FewShotRequest {
            shots: self.shots,
            draws: self.draws,
            seed: self.seed,
            ..FewShotRequest::new(source(&self.train)?, source(&self.test)?, self.label.clone())
        };
        let progress = terminal.progress();
        let engine = compose::engine(settings, progress.clone())?;
        let found = engine.evaluate_few_shot(&request, progress.as_ref(), &interrupt::cancel_on_interrupt())?;
        if terminal.is_json() {
            return terminal.json(&found);
        }
        let draws: Vec<String> = found.accuracies.iter().map(|accuracy| format!("{accuracy:.4}")).collect();
        terminal.line(format!(
            "accuracy {:.4} ± {:.4}, macro F1 {:.4} (means of {} draws of {} examples of each of {} classes)",
            found.accuracy,
            found.deviation,
            found.macro_f1,
            found.accuracies.len(),
            found.shots,
            found.classes
        ))?;
        terminal.line(format!(
            "{} test documents, embedded by {}; each draw: {}",
            found.test,
            found.embedder,
            draws.join(" ")
        ))
    }
}
