//! `anser tune models`, `delete` and `promote`: what becomes of tuned models.

use std::path::PathBuf;

use anser_engine::{Engine, HeldOutExample};
use clap::Args;

use super::show::minute;
use crate::commands::eval::tuned::ComparisonArgs;
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
    #[command(flatten)]
    how: ComparisonArgs,
}

impl PromoteArgs {
    pub(super) fn run(&self, settings: &Settings, terminal: &Terminal) -> Result<(), Failure> {
        let progress = terminal.progress();
        let engine = compose::engine(settings, progress.clone())?;
        let request = self.how.request(&self.model, HeldOutExample::read_jsonl(&self.heldout)?);
        let report = engine.promote_if_better(&request, progress.as_ref(), &interrupt::cancel_on_interrupt())?;
        if terminal.is_json() {
            terminal.json(&report)?;
        } else {
            terminal.line(report.render().trim_end())?;
        }
        if report.promoted { Ok(()) } else { Err(Failure::failed(format!("{} was not promoted", self.model))) }
    }
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
        [format!("{}{answers}", model.id), bytes(model.bytes), minute(model.created_at)]
    });
    terminal.table(["model", "disk", "created"], rows.collect())
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

/// Undoes a promotion.
pub(super) fn demote(engine: &Engine, terminal: &Terminal) -> Result<(), Failure> {
    engine.set_default_chat_model(None, serde_json::Value::Null)?;
    let model = engine.default_chat_model()?;
    if terminal.is_json() {
        return terminal.json(&serde_json::json!({"default": model}));
    }
    terminal.line(format!("{model} answers by default"))
}
