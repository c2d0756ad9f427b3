//! `anser reembed`: the vectors of a collection, made anew by another model.

use anser_engine::reembed::{ReembedOptions, ReembedReport};
use clap::Args;

use super::analysis::run_job;
use crate::compose;
use crate::config::Settings;
use crate::failure::Failure;
use crate::terminal::Terminal;

/// Arguments of `anser reembed`.
#[derive(Debug, Args)]
#[command(
    after_help = "The collection is searched by its present vectors until the new ones are complete, and the present ones are kept: --rollback goes back to them, --drop-previous gives their space back. An interrupted run goes on where it was when it is repeated.\n\nExamples:\n  anser reembed mine --model bge-small-en-v1.5\n  anser reembed mine --load 0.5\n  anser reembed mine --rollback"
)]
pub(crate) struct ReembedArgs {
    /// The collection
    collection: String,
    /// The embedder [default: the one that is set]
    #[arg(long, value_name = "NAME", conflicts_with_all = ["rollback", "drop_previous"])]
    model: Option<String>,
    /// Go back to the vectors of before; documents that came since are embedded by their model
    #[arg(long)]
    rollback: bool,
    /// Drop the vectors of before: they cannot be gone back to afterwards
    #[arg(long, conflicts_with_all = ["rollback", "batch", "load", "queries", "detach"])]
    drop_previous: bool,
    /// Chunks embedded and stored in one step
    #[arg(long, value_name = "N", default_value_t = ReembedOptions::default().batch)]
    batch: usize,
    /// Share of the time to work, above 0 and at most 1; the rest is left to others
    #[arg(long, value_name = "SHARE", default_value_t = ReembedOptions::default().load)]
    load: f64,
    /// Chunks whose nearest neighbours are compared before and after
    #[arg(long, value_name = "N", default_value_t = ReembedOptions::default().queries)]
    queries: usize,
    /// Make the job and leave it to a running `anser serve` that has the model
    #[arg(long)]
    detach: bool,
}

impl ReembedArgs {
    pub(crate) fn run(&self, settings: &Settings, terminal: &Terminal) -> Result<(), Failure> {
        let name = &self.collection;
        let mut settings = settings.clone();
        if let Some(model) = &self.model {
            settings.embedder.clone_from(model);
        }
        let mut engine = compose::engine(&settings, terminal.progress())?;
        if self.drop_previous {
            let dropped = engine.drop_previous_vectors(name)?;
            if terminal.is_json() {
                return terminal.json(&serde_json::json!({"collection": name, "dropped": dropped}));
            }
            let said = if dropped { "dropped the vectors of before" } else { "there are no vectors of before" };
            return terminal.line(format!("{name}: {said}"));
        }
        if self.rollback {
            let previous = engine.previous_embedder(name)?;
            // Documents that came since need the model of before, if it is one.
            if !previous.is_external() {
                settings.embedder = previous.model;
                drop(engine);
                engine = compose::engine(&settings, terminal.progress())?;
            }
        }
        let options = ReembedOptions {
            model: None,
            rollback: self.rollback,
            batch: self.batch,
            load: self.load,
            queries: self.queries,
        };
        let job = engine.create_reembed_job(name, &options)?;
        if self.detach {
            if terminal.is_json() {
                return terminal.json(&job);
            }
            terminal.line(format!("{} waits for a running `anser serve`", job.id))?;
            return terminal.line(format!("Next: anser jobs events {} --follow", job.id));
        }
        let finished = run_job(engine, terminal, &job.id, &format!("{}: embedding {name} anew", job.id))?;
        let report: ReembedReport = serde_json::from_value(finished.job.detail)?;
        if terminal.is_json() {
            return terminal.json(&report);
        }
        terminal.line(report.to_string())?;
        if self.rollback {
            return Ok(());
        }
        terminal.line(format!(
            "Next: search it with --embedder {}; back with `anser reembed {name} --rollback`, for good with `anser reembed {name} --drop-previous`",
            report.to
        ))
    }
}
