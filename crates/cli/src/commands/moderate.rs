//! `anser moderate`: whether texts are offensive, by the bundled content filter.

use anser_core::CancelToken;
use clap::Args;

use crate::compose;
use crate::config::Settings;
use crate::failure::Failure;
use crate::terminal::{Terminal, snippet};

/// Characters of a text in the table.
const SNIPPET: usize = 80;

/// Arguments of `anser moderate`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  anser moderate \"have a nice day\"\n  anser moderate \"first text\" \"second text\" --json"
)]
pub(crate) struct ModerateArgs {
    /// Texts to look at
    #[arg(required = true)]
    texts: Vec<String>,
}

impl ModerateArgs {
    pub(crate) fn run(&self, settings: &Settings, terminal: &Terminal) -> Result<(), Failure> {
        let engine = compose::engine(settings, terminal.progress())?;
        let found = engine.moderate(&self.texts, &CancelToken::new())?;
        if terminal.is_json() {
            return terminal.json(&found);
        }
        let rows = self.texts.iter().zip(&found).map(|(text, moderation)| {
            let mut scores: Vec<_> = moderation.scores.iter().collect();
            scores.sort_by(|a, b| b.1.total_cmp(&a.1));
            let highest = scores.iter().take(3).map(|(category, score)| format!("{category} {score:.2}"));
            [
                snippet(text, SNIPPET),
                if moderation.flagged { "flagged".to_owned() } else { "no".to_owned() },
                highest.collect::<Vec<_>>().join(", "),
            ]
        });
        terminal.table(["text", "flagged", "highest scores"], rows.collect())
    }
}
