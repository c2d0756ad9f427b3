//! `anser jobs`: everything that takes longer than a request.

use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use anser_engine::{
    AnalysisFigures, Engine, EngineError, Job, JobEvent, JobProgress, JobResult, JobState, JobWish, PageRequest,
    ResultFormat, replace_file,
};
use clap::{Args, Subcommand};

use super::files::print_file;
use super::tune::show::{all_pages, date, minute};
use crate::compose;
use crate::config::Settings;
use crate::failure::Failure;
use crate::terminal::{Terminal, bytes};
use crate::training_view::duration;

/// How often a job that is followed is looked at.
const LOOK: Duration = Duration::from_millis(250);

/// Subcommands of `anser jobs`.
#[derive(Debug, Subcommand)]
#[command(after_help = "Examples:\n  anser jobs list\n  anser jobs events job-0198… --follow\n  \
    anser jobs result job-0198… --name documents --out clusters.parquet\n  anser jobs cancel ftjob-0198…")]
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
        /// Wait for more until it has ended or is paused
        #[arg(long, short)]
        follow: bool,
    },
    /// Give it up
    Cancel {
        /// Its id
        job: String,
    },
    /// Put it aside; what it has done so far is kept
    Pause {
        /// Its id
        job: String,
    },
    /// Queue a paused job again, for a running `anser serve`
    Resume {
        /// Its id
        job: String,
    },
    /// List, print or save what it made
    Result(ResultArgs),
    /// Delete a job that has ended, with all it made
    Delete {
        /// Its id
        job: String,
    },
}

/// Which result, and where to.
#[derive(Debug, Args)]
#[command(
    after_help = "Without --name, lists what there is. Fine-tuning jobs print the figures of every step as CSV.\n\n\
    Examples:\n  anser jobs result job-0198…\n  anser jobs result job-0198… --name report.json\n  \
    anser jobs result job-0198… --name documents --format csv\n  anser jobs result job-0198… --name map.svg --out map.svg"
)]
pub(crate) struct ResultArgs {
    /// The job's id
    job: String,
    /// A file, such as `report.json` or `map.svg`, or a table, such as `documents`
    #[arg(long)]
    name: Option<String>,
    /// Format of a table: csv, json, jsonl, arrow or parquet [default: by the name of --out, else csv]
    #[arg(long, value_name = "FORMAT", value_parser = parse_format, requires = "name")]
    format: Option<ResultFormat>,
    /// File to write instead of printing
    #[arg(long, value_name = "FILE", requires = "name")]
    out: Option<PathBuf>,
    /// Which result file of a fine-tuning job, from 1 [default: 1]; results of other jobs are chosen with --name
    #[arg(long, value_name = "N", value_parser = parse_number, conflicts_with = "name")]
    file: Option<usize>,
}

fn parse_number(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|number| *number > 0).ok_or_else(|| "files are counted from 1".to_owned())
}

fn parse_format(text: &str) -> Result<ResultFormat, String> {
    ResultFormat::named(text).ok_or_else(|| "use csv, json, jsonl, arrow or parquet".to_owned())
}

impl JobsCommand {
    pub(crate) fn run(&self, settings: &Settings, terminal: &Terminal) -> Result<(), Failure> {
        let engine = compose::engine(settings, terminal.progress())?;
        match self {
            Self::List { limit } => list(&engine, usize::from(*limit), terminal),
            Self::Show { job } => show(&engine, &engine.job(job)?, terminal),
            Self::Events { job, follow: false } => super::tune::show::events(&engine, job, terminal),
            Self::Events { job, follow: true } => follow(&engine, job, terminal),
            Self::Cancel { job } => moved(&engine.cancel_job(job)?, terminal),
            Self::Pause { job } => moved(&engine.pause_job(job)?, terminal),
            Self::Resume { job } => moved(&engine.resume_job(job)?, terminal),
            Self::Result(args) => args.run(&engine, terminal),
            Self::Delete { job } => {
                engine.delete_job(job)?;
                if terminal.is_json() {
                    return terminal.json(&serde_json::json!({"id": job, "deleted": true}));
                }
                terminal.line(format!("{job} is deleted"))
            }
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

/// What a person should know of a job that is called running and has lost its process.
const INTERRUPTED: &str = "its process is gone: `anser serve` goes on with it, `anser jobs cancel` gives it up";

fn moved(job: &Job, terminal: &Terminal) -> Result<(), Failure> {
    if terminal.is_json() { terminal.json(job) } else { terminal.line(state(job)) }
}

/// How far it is in few words: `reading documents 42 %, 12 seconds left`.
fn progress(job: &Job) -> String {
    let JobProgress { stage, done, total, unit, eta_seconds, .. } = &job.progress;
    let count = match (total, stage) {
        (Some(0) | None, _) => String::new(),
        (Some(total), Some(_)) => format!("{:.0} %", 100.0 * *done as f64 / *total as f64),
        (Some(total), None) => format!("{done} of {total} {unit}"),
    };
    let left = eta_seconds.map(|seconds| format!("{} left", duration(seconds as f64)));
    let place = [stage.clone().unwrap_or_default(), count].into_iter().filter(|part| !part.is_empty());
    let place = place.collect::<Vec<_>>().join(" ");
    [Some(place), left].into_iter().flatten().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(", ")
}

fn list(engine: &Engine, limit: usize, terminal: &Terminal) -> Result<(), Failure> {
    let jobs = all_pages(limit, false, |job: &Job| &job.id, |page| engine.jobs(page))?;
    if terminal.is_json() {
        return terminal.json(&jobs);
    }
    if jobs.is_empty() {
        return terminal.line("no jobs yet");
    }
    let row = |job: &Job| -> Result<[String; 5], Failure> {
        let interrupted = engine.job_was_interrupted(job)?;
        let state = if interrupted { "interrupted" } else { job.state.as_str() };
        Ok([job.id.clone(), job.kind.clone(), state.to_owned(), progress(job), minute(job.created_at)])
    };
    let rows = jobs.iter().map(row).collect::<Result<_, _>>()?;
    terminal.table(["job", "kind", "state", "progress", "created"], rows)
}

fn show(engine: &Engine, job: &Job, terminal: &Terminal) -> Result<(), Failure> {
    if terminal.is_json() {
        return terminal.json(job);
    }
    terminal.line(state(job))?;
    if engine.job_was_interrupted(job)? {
        terminal.line(INTERRUPTED)?;
    }
    let figures = serde_json::from_value::<AnalysisFigures>(job.detail.clone()).ok();
    let results: Vec<String> = engine.job_results(&job.id)?.into_iter().map(|result| result.name).collect();
    let facts = [
        ("kind", Some(job.kind.clone())),
        ("progress", Some(progress(job)).filter(|text| !text.is_empty())),
        ("took", figures.map(|figures| figures.to_string())),
        ("created", Some(date(job.created_at))),
        ("finished", job.finished_at.map(date)),
        ("error", job.failure.as_ref().map(|failure| failure.message.clone())),
        ("results", Some(results.join(", ")).filter(|names| !names.is_empty())),
    ];
    for (name, value) in facts.into_iter().filter_map(|(name, value)| Some((name, value?))) {
        terminal.line(format!("  {name:<10}{value}"))?;
    }
    match job.state {
        JobState::Succeeded if !results.is_empty() => terminal.line(format!("Next: anser jobs result {}", job.id)),
        JobState::Paused => terminal.line(format!("Next: anser jobs resume {}", job.id)),
        _ => Ok(()),
    }
}

/// Prints events as they come, until the job has ended or is paused. With `--json`, one object a line.
fn follow(engine: &Engine, id: &str, terminal: &Terminal) -> Result<(), Failure> {
    let mut after: Option<String> = None;
    loop {
        // Looked at before its events, so that none of the last ones is missed.
        let job = engine.job(id)?;
        loop {
            let page = PageRequest { after: after.clone(), ascending: true, ..PageRequest::default() };
            let page = engine.job_events(id, &page)?;
            for event in &page.items {
                print_event(event, terminal)?;
                after = Some(event.id.clone());
            }
            if !page.has_more {
                break;
            }
        }
        if job.state.is_final() || job.state == JobState::Paused {
            return if terminal.is_json() { Ok(()) } else { terminal.line(state(&job)) };
        }
        thread::sleep(LOOK);
    }
}

fn print_event(event: &JobEvent, terminal: &Terminal) -> Result<(), Failure> {
    if terminal.is_json() {
        return terminal.line(serde_json::to_string(event)?);
    }
    terminal.line(format!("{}  {:<5} {}", date(event.created_at), event.level.as_str(), event.message))
}

impl ResultArgs {
    fn run(&self, engine: &Engine, terminal: &Terminal) -> Result<(), Failure> {
        let job = engine.job(&self.job)?;
        if job.kind == "fine_tuning" {
            return self.figures(engine);
        }
        if self.file.is_some() {
            return Err(Failure::usage(format!(
                "--file counts result files of fine-tuning jobs, and {} is a job of the kind {}; choose a result with --name, such as --name report.json",
                job.id, job.kind
            )));
        }
        let results = engine.job_results(&self.job)?;
        if results.is_empty() {
            let message = format!("{} is {} and has no results", job.id, job.state.as_str());
            return Err(Failure::failed(message));
        }
        match &self.name {
            None => self.list(&results, terminal),
            Some(name) => self.one(engine, &results, name, terminal),
        }
    }

    fn list(&self, results: &[JobResult], terminal: &Terminal) -> Result<(), Failure> {
        if terminal.is_json() {
            return terminal.json(&results);
        }
        let rows = results.iter().map(|one| [one.name.clone(), one.content_type.clone(), bytes(one.bytes)]);
        terminal.table(["name", "type", "size"], rows.collect())?;
        let first = results.iter().find_map(|one| one.name.strip_suffix(".parquet")).unwrap_or("report.json");
        terminal.line(format!("Next: anser jobs result {} --name {first} --out FILE", self.job))
    }

    fn one(&self, engine: &Engine, results: &[JobResult], name: &str, terminal: &Terminal) -> Result<(), Failure> {
        let table = name.strip_suffix(".parquet").unwrap_or(name);
        let is_table = results.iter().any(|one| one.name.strip_suffix(".parquet") == Some(table));
        if !is_table {
            if self.format.is_some() {
                return Err(Failure::usage(format!("{name} is not a table, so it has no other format")));
            }
            let ending = |path: &Path| path.extension().map(std::ffi::OsStr::to_ascii_lowercase);
            if let Some(out) = self.out.as_deref().filter(|out| ending(out) != ending(Path::new(name))) {
                return Err(Failure::usage(format!(
                    "{} is to be {name}; end its name as that one does",
                    out.display()
                )));
            }
            let from = engine.job_result_path(&self.job, name)?;
            let mut source = std::fs::File::open(&from).map_err(|e| EngineError::io("open", &from, e))?;
            let picture = Path::new(name).extension().is_some_and(|ending| ending == "png");
            let readable = !(picture && io::stdout().is_terminal());
            return self.write(terminal, readable, |out| io::copy(&mut source, out).map(|_| ()));
        }
        let format = match (self.format, &self.out) {
            (Some(format), Some(path)) if ResultFormat::of(path).is_ok_and(|named| named != format) => {
                return Err(Failure::usage(format!(
                    "{} names another format than --format; leave one out",
                    path.display()
                )));
            }
            (Some(format), _) => format,
            (None, Some(path)) => ResultFormat::of(path)?,
            (None, None) if terminal.is_json() => ResultFormat::Json,
            (None, None) => ResultFormat::Csv,
        };
        let readable = !matches!(format, ResultFormat::Parquet | ResultFormat::Arrow) || !io::stdout().is_terminal();
        self.write(terminal, readable, |out| {
            engine.write_job_table(&self.job, table, format, out).map_err(io::Error::other)
        })
    }

    /// Writes to the file asked for, in one step, or to standard output.
    fn write(
        &self,
        terminal: &Terminal,
        readable: bool,
        write: impl FnOnce(&mut (dyn io::Write + Send)) -> io::Result<()>,
    ) -> Result<(), Failure> {
        let Some(path) = &self.out else {
            if !readable {
                return Err(Failure::usage("that is not text; give --out FILE or a pipe"));
            }
            // Not locked while the table is written: what writes must be able to move between threads.
            write(&mut io::BufWriter::new(io::stdout()))?;
            return Ok(());
        };
        replace_file(path, |out| write(out))?;
        if terminal.is_json() { Ok(()) } else { terminal.line(format!("wrote {}", path.display())) }
    }

    fn figures(&self, engine: &Engine) -> Result<(), Failure> {
        let job = engine.fine_tuning_job(&self.job)?;
        let number = self.file.unwrap_or(1);
        let id = job.result_files.get(number - 1).ok_or_else(|| match job.result_files.len() {
            0 => Failure::failed(format!("{} is {} and has no result", self.job, job.status.as_str())),
            files => Failure::failed(format!("{} has {files} result files; there is no number {number}", self.job)),
        })?;
        print_file(engine, id)
    }
}
