//! `anser jobs`: everything that takes longer than a request.

use anser_engine::{Engine, Job, JobProgress, JobWish};
use clap::Subcommand;

use super::files::print_file;
use super::tune::show::{all_pages, date, minute};
use crate::compose;
use crate::config::Settings;
use crate::failure::Failure;
use crate::terminal::Terminal;

/// Subcommands of `anser jobs`.
#[derive(Debug, Subcommand)]
#[command(after_help = "Examples:\n  anser jobs list\n  anser jobs cancel ftjob-0198…")]
pub(crate) enum JobsCommand {
    /// The last jobs of any kind, newest first
    List {
        /// How many
        #[arg(long, short = 'n', default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=1000))]
        limit: u16,
    },
    /// One job
    Show {
        /// Its id
        job: String,
    },
    /// What happened to it, oldest first
    Events {
        /// Its id
        job: String,
    },
    /// Give it up
    Cancel {
        /// Its id
        job: String,
    },
    /// Print what it made: for fine-tuning, the figures of every step as CSV
    Result {
        /// Its id
        job: String,
        /// Which of its result files, from 1
        #[arg(long, default_value_t = 1, value_name = "N", value_parser = parse_number)]
        file: usize,
    },
}

fn parse_number(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|number| *number > 0).ok_or_else(|| "files are counted from 1".to_owned())
}

impl JobsCommand {
    pub(crate) fn run(&self, settings: &Settings, terminal: &Terminal) -> Result<(), Failure> {
        let engine = compose::engine(settings, terminal.progress())?;
        match self {
            Self::List { limit } => list(&engine, usize::from(*limit), terminal),
            Self::Show { job } => show(&engine.job(job)?, terminal),
            Self::Events { job } => super::tune::show::events(&engine, job, terminal),
            Self::Cancel { job } => {
                let job = engine.cancel_job(job)?;
                if terminal.is_json() { terminal.json(&job) } else { terminal.line(state(&job)) }
            }
            Self::Result { job, file } => result(&engine, job, *file),
        }
    }
}

/// The state, and what will become of it within a second.
fn state(job: &Job) -> String {
    let wish = match job.wish {
        Some(JobWish::Cancel) => ", about to be cancelled",
        Some(JobWish::Pause) => ", about to pause",
        None => "",
    };
    format!("{} is {}{wish}", job.id, job.state.as_str())
}

fn progress(job: &Job) -> String {
    let JobProgress { done, total, unit } = &job.progress;
    total.map(|total| format!("{done} of {total} {unit}")).unwrap_or_default()
}

fn list(engine: &Engine, limit: usize, terminal: &Terminal) -> Result<(), Failure> {
    let jobs = all_pages(limit, false, |job: &Job| &job.id, |page| engine.jobs(page))?;
    if terminal.is_json() {
        return terminal.json(&jobs);
    }
    if jobs.is_empty() {
        return terminal.line("no jobs yet");
    }
    let rows = jobs.iter().map(|job| {
        [job.id.clone(), job.kind.clone(), job.state.as_str().to_owned(), progress(job), minute(job.created_at)]
    });
    terminal.table(["job", "kind", "state", "progress", "created"], rows.collect())
}

fn show(job: &Job, terminal: &Terminal) -> Result<(), Failure> {
    if terminal.is_json() {
        return terminal.json(job);
    }
    terminal.line(state(job))?;
    let finished = job.finished_at.map(date);
    let failure = job.failure.as_ref().map(|failure| failure.message.clone());
    let facts = [
        ("kind", Some(job.kind.clone())),
        ("progress", Some(progress(job)).filter(|text| !text.is_empty())),
        ("created", Some(date(job.created_at))),
        ("finished", finished),
        ("error", failure),
    ];
    for (name, value) in facts.into_iter().filter_map(|(name, value)| Some((name, value?))) {
        terminal.line(format!("  {name:<10}{value}"))?;
    }
    Ok(())
}

fn result(engine: &Engine, id: &str, file: usize) -> Result<(), Failure> {
    let job = engine.fine_tuning_job(id)?;
    let id = job.result_files.get(file - 1).ok_or_else(|| match job.result_files.len() {
        0 => Failure::failed(format!("{id} is {} and has no result", job.status.as_str())),
        files => Failure::failed(format!("{id} has {files} result files; there is no number {file}")),
    })?;
    print_file(engine, id)
}
