//! `anser tune models`, `delete` and `promote`: what becomes of tuned models.

use std::path::PathBuf;

use anser_engine::Engine;
use clap::Args;

use super::show::date;
use crate::compose;
use crate::config::Settings;
use crate::failure::Failure;
use crate::interrupt;
use crate::terminal::{Terminal, bytes, confirm};

/// Arguments of `anser tune promote`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  anser tune promote ft:SmolLM2-135M-Instruct:anser:house-style:0198… --heldout heldout.jsonl\n\nThe model must be significantly better on the held-out examples, and no worse on a small general set; otherwise\nnothing changes, the reasons are printed, and the exit code is 1."
)]
pub(crate) struct PromoteArgs {
    /// The tuned model, `ft:…`
    model: String,
    /// Examples that it was not trained on, in the shape of training data
    #[arg(long, value_name = "FILE")]
    heldout: PathBuf,
}

/// All tuned models.
pub(super) fn list(engine: &Engine, terminal: &Terminal) -> Result<(), Failure> {
    let models = engine.tuned_models()?;
    if terminal.is_json() {
        return terminal.json(&models);
    }
    if models.is_empty() {
        return terminal.line("no tuned models yet; make one with `anser tune create FILE`");
    }
    let default = engine.default_chat_model()?;
    let rows = models.iter().map(|model| {
        let answers = if model.id == default { " (answers by default)" } else { "" };
        [format!("{}{answers}", model.id), model.base.clone(), bytes(model.bytes), date(model.created_at)]
    });
    terminal.table(["model", "base", "disk", "created"], rows.collect())
}

/// Deletes a tuned model with its files.
pub(super) fn delete(engine: &Engine, id: &str, yes: bool, terminal: &Terminal) -> Result<(), Failure> {
    let model = engine.tuned_model(id)?;
    if !yes && !confirm(&format!("delete {} ({})?", model.id, bytes(model.bytes)))? {
        return Err(Failure::failed(format!("{id} was kept; pass --yes to delete without a question")));
    }
    let deleted = engine.delete_tuned_model(id)?;
    if terminal.is_json() {
        return terminal.json(&serde_json::json!({"id": id, "deleted": deleted}));
    }
    terminal.line(format!("deleted {id}"))
}
