//! `anser eval moderation`: whether the content filter flags what it should.

use std::path::PathBuf;

use anser_engine::{DetectionScores, Engine, ModerationExample};
use clap::Args;

use crate::failure::Failure;
use crate::interrupt;
use crate::terminal::{Terminal, snippet};

/// Characters shown of a text that was judged wrongly.
const SNIPPET: usize = 100;

/// Arguments of `anser eval moderation`.
#[derive(Debug, Args)]
pub(crate) struct ModerationArgs {
    /// JSONL of labelled texts that the filter was not made of
    #[arg(long, value_name = "FILE")]
    examples: PathBuf,
}

impl ModerationArgs {
    pub(super) fn run(&self, engine: &Engine, terminal: &Terminal) -> Result<(), Failure> {
        let examples = ModerationExample::read_jsonl(&self.examples)?;
        let found = engine.evaluate_moderation(&examples, &interrupt::cancel_on_interrupt())?;
        if terminal.is_json() {
            return terminal.json(&found);
        }
        let any = ("any", &found.any);
        let rows = std::iter::once(any).chain(found.categories.iter().map(|(name, scores)| (*name, scores))).map(row);
        terminal.table(["category", "texts", "flagged", "precision", "recall", "F1"], rows.collect())?;
        for (text, categories) in &found.wrongly_flagged {
            terminal.line(format!("  flagged wrongly ({}): {}", categories.join(", "), snippet(text, SNIPPET)))?;
        }
        for text in &found.missed {
            terminal.line(format!("  missed: {}", snippet(text, SNIPPET)))?;
        }
        Ok(())
    }
}

fn row((name, scores): (&str, &DetectionScores)) -> [String; 6] {
    let share = |value: f64| format!("{value:.2}");
    [
        name.to_owned(),
        scores.positives.to_string(),
        scores.flagged.to_string(),
        share(scores.precision),
        share(scores.recall),
        share(scores.f1),
    ]
}
