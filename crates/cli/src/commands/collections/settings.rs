//! `anser collections settings`: how a collection is searched unless a search says otherwise.

use anser_engine::{Engine, SearchMode, SearchSettingsChange};
use clap::Args;

use crate::commands::search::{Method, Mode, fusion_change, word};
use crate::failure::Failure;
use crate::terminal::Terminal;

/// Arguments of `anser collections settings`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  anser collections settings reviews\n  anser collections settings reviews --mode hybrid --vector-weight 0.7 --rerank-depth 30"
)]
pub(crate) struct SettingsArgs {
    /// Its name
    name: String,
    /// What is compared: meaning by vectors, words, or both
    #[arg(long, value_enum)]
    mode: Option<Mode>,
    /// How the rankings of a hybrid search become one
    #[arg(long, value_enum, value_name = "METHOD")]
    fusion: Option<Method>,
    /// Share of meaning in a hybrid search; words have the rest
    #[arg(long, value_name = "0..1")]
    vector_weight: Option<f32>,
    /// How many of the first hits the cross-encoder reorders, up to 200; 0 switches it off
    #[arg(long, value_name = "N")]
    rerank_depth: Option<usize>,
}

impl SettingsArgs {
    /// Shows the settings, after a change if there is one.
    pub(crate) fn run(&self, engine: &Engine, terminal: &Terminal) -> Result<(), Failure> {
        let change = SearchSettingsChange {
            mode: self.mode.map(SearchMode::from),
            fusion: fusion_change(self.fusion, self.vector_weight),
            rerank_depth: self.rerank_depth,
        };
        let mut settings = engine.search_settings(&self.name)?;
        if change != SearchSettingsChange::default() {
            settings = change.of(settings);
            engine.set_search_settings(&self.name, &settings)?;
        }
        if terminal.is_json() {
            return terminal.json(&settings);
        }
        terminal.line(format!(
            "{}\n  mode          {}\n  fusion        {}\n  vector weight {}\n  rerank depth  {}",
            terminal.bold(&self.name),
            word(&settings.mode),
            word(&settings.fusion.method),
            settings.fusion.vector_weight,
            settings.rerank_depth
        ))
    }
}
