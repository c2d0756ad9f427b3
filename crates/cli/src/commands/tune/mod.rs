//! `anser tune`: from questions and answers to a model of one's own.

mod create;
mod export;
mod metrics;
mod models;
mod prepare;
mod pretrain;
pub(crate) mod show;

use std::path::PathBuf;

use anser_engine::FineTuningStatus;
use clap::Subcommand;

use crate::compose;
use crate::config::Settings;
use crate::failure::Failure;
use crate::terminal::Terminal;

/// Subcommands of `anser tune`.
#[derive(Debug, Subcommand)]
#[command(
    after_help = "Examples:\n  anser tune prepare questions.xlsx --question-field Question --answer-field Answer\n  anser tune create prepared/questions.train.jsonl --validation-file prepared/questions.valid.jsonl --suffix faq\n  anser tune metrics ftjob-0198… --svg curves.svg\n  anser eval answers --tuned ft:… --heldout heldout.jsonl\n  anser tune promote ft:… --heldout heldout.jsonl"
)]
pub(crate) enum TuneCommand {
    /// Check training data, mend it, split it, and say what training will take
    Prepare(prepare::PrepareArgs),
    /// Tune a model on training data
    Create(create::CreateArgs),
    /// The last jobs, newest first
    List {
        /// How many
        #[arg(long, short = 'n', default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=1000))]
        limit: u16,
    },
    /// One job: what it does and how far it is
    Show(JobId),
    /// What happened to a job, oldest first
    Events(JobId),
    /// Loss and accuracy of every step, as a table and as curves
    Metrics {
        #[command(flatten)]
        job: JobId,
        /// Write the curves as SVG
        #[arg(long, value_name = "FILE")]
        svg: Option<PathBuf>,
    },
    /// Give a job up
    Cancel(JobId),
    /// Stop a job so that it can go on later
    Pause(JobId),
    /// Go on with a job that was paused or whose process died
    Resume {
        #[command(flatten)]
        job: JobId,
        /// Leave the job to a running server
        #[arg(long)]
        detach: bool,
    },
    /// The tuned models that are here
    Models,
    /// Delete a tuned model
    Delete {
        /// Its name, `ft:…`
        model: String,
        /// Do not ask
        #[arg(long, short)]
        yes: bool,
    },
    /// Write a tuned model as one whole for other programs
    Export(export::ExportArgs),
    /// Make a tuned model the one that answers, if it is better
    Promote(models::PromoteArgs),
    /// Let the base model answer again
    Demote,
    /// Train a small model from scratch on plain text
    Pretrain(pretrain::PretrainArgs),
}

/// Which job is meant.
#[derive(Debug, clap::Args)]
pub(crate) struct JobId {
    /// The job, `ftjob-…`
    #[arg(value_name = "JOB")]
    id: String,
}

impl TuneCommand {
    pub(crate) fn run(&self, settings: &Settings, terminal: &Terminal) -> Result<(), Failure> {
        match self {
            Self::Prepare(args) => return args.run(settings, terminal),
            Self::Create(args) => return args.run(settings, terminal),
            Self::Export(args) => return args.run(settings, terminal),
            Self::Promote(args) => return args.run(settings, terminal),
            Self::Pretrain(args) => return args.run(settings, terminal),
            _ => {}
        }
        let engine = compose::engine(settings, terminal.progress())?;
        match self {
            Self::List { limit } => show::list(&engine, usize::from(*limit), terminal),
            Self::Show(job) => show::show(&engine, &job.id, terminal),
            Self::Events(job) => show::events(&engine, &job.id, terminal),
            Self::Metrics { job, svg } => metrics::metrics(&engine, &job.id, svg.as_deref(), terminal),
            Self::Cancel(job) => show::moved(&engine.cancel_fine_tuning_job(&job.id)?, terminal),
            Self::Pause(job) => show::moved(&engine.pause_fine_tuning_job(&job.id)?, terminal),
            Self::Resume { job, detach } => {
                let mut found = engine.fine_tuning_job(&job.id)?;
                // A job whose process died is still called running, and whoever takes it up goes on with it.
                if found.status == FineTuningStatus::Paused || found.status.is_final() {
                    found = engine.resume_fine_tuning_job(&job.id)?;
                }
                if *detach {
                    return show::moved(&found, terminal);
                }
                create::run_in_foreground(&engine, &job.id, terminal)
            }
            Self::Models => models::list(&engine, terminal),
            Self::Delete { model, yes } => models::delete(&engine, model, *yes, terminal),
            Self::Demote => models::demote(&engine, terminal),
            // Handled above: they open the engine themselves.
            Self::Prepare(_) | Self::Create(_) | Self::Export(_) | Self::Promote(_) | Self::Pretrain(_) => Ok(()),
        }
    }
}
