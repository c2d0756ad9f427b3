//! What the commands that analyse documents share: where documents come from, running the job, and what to do with its
//! results.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anser_core::{StopReason, StopSignal};
use anser_engine::{
    Analysis, AnalysisRequest, AnalysisSource, Engine, EngineError, EventLevel, FieldMapping, FileFormat, Filter, Job,
    JobEvent, JobState, ResultFormat,
};
use clap::Args;
use serde::de::DeserializeOwned;

use crate::compose;
use crate::config::Settings;
use crate::failure::Failure;
use crate::interrupt;
use crate::terminal::Terminal;

/// Which documents.
#[derive(Debug, Clone, Args)]
pub(crate) struct SourceArgs {
    /// A collection, or a file to read without keeping a collection of it (CSV, TSV, JSON, JSONL, Parquet, Arrow, …)
    source: String,
    /// Only documents for which this holds, such as `score <= 2 and lang = "en"`
    #[arg(long = "where", value_name = "CONDITION")]
    condition: Option<String>,
    /// Column of a file that holds the text [default: guessed]
    #[arg(long, value_name = "COLUMN")]
    text_field: Option<String>,
    /// Column of a file that holds the title [default: guessed]
    #[arg(long, value_name = "COLUMN")]
    title_field: Option<String>,
    /// Column of a file that holds unique ids [default: guessed]
    #[arg(long, value_name = "COLUMN")]
    id_field: Option<String>,
    /// Format of a file [default: by its name]
    #[arg(long, value_name = "FORMAT", value_parser = parse_format)]
    format: Option<FileFormat>,
    /// Make the job and leave it to a running `anser serve` instead of waiting for it; `anser jobs result` fetches what it
    /// makes
    #[arg(long)]
    detach: bool,
}

impl SourceArgs {
    /// Whether the job is left to a running server.
    pub(crate) fn is_detached(&self) -> bool {
        self.detach
    }

    /// The engine's words for it: a file where there is one, or where the name looks like that of a file.
    pub(crate) fn source(&self) -> Result<AnalysisSource, Failure> {
        let filter = self.condition.as_deref().map(parse_condition).transpose()?;
        let fields = FieldMapping {
            id: self.id_field.clone(),
            title: self.title_field.clone(),
            text: self.text_field.clone(),
            ..FieldMapping::default()
        };
        named_source(&self.source, self.format, fields, filter)
    }
}

/// The source of a name: a file where there is one, or where the name looks like that of a file, else a collection.
pub(crate) fn named_source(
    name: &str,
    format: Option<FileFormat>,
    fields: FieldMapping,
    filter: Option<Filter>,
) -> Result<AnalysisSource, Failure> {
    let path = Path::new(name);
    let file = name.contains(std::path::MAIN_SEPARATOR) || FileFormat::from_path(path).is_some();
    if !file && !path.is_file() {
        return Ok(AnalysisSource::Collection { name: name.to_owned(), filter });
    }
    let path = std::path::absolute(path).map_err(|e| EngineError::io("find", path, e))?;
    Ok(AnalysisSource::Path { path, format, fields, filter })
}

/// A format of files by its name.
pub(crate) fn parse_format(name: &str) -> Result<FileFormat, String> {
    FileFormat::from_name(name).ok_or_else(|| "use csv, tsv, jsonl, json, markdown, text, parquet or arrow".to_owned())
}

/// A condition as people write it.
pub(crate) fn parse_condition(text: &str) -> Result<Filter, Failure> {
    Ok(text.parse::<Filter>().map_err(EngineError::from)?)
}

/// An analysis that was run here and has succeeded.
pub(crate) struct Finished {
    pub(crate) engine: Arc<Engine>,
    pub(crate) job: Job,
}

impl Finished {
    /// Its report.
    pub(crate) fn report<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        Ok(self.engine.job_report(&self.job.id)?)
    }

    /// Writes one of its tables in the format that the name of `path` asks for. The file is replaced in one step.
    pub(crate) fn write_table(&self, table: &str, path: &Path) -> Result<(), Failure> {
        let format = ResultFormat::of(path)?;
        anser_engine::replace_file(path, |out| {
            self.engine.write_job_table(&self.job.id, table, format, out).map_err(std::io::Error::other)
        })?;
        Ok(())
    }

    /// Copies one of its other files. The file is replaced in one step.
    pub(crate) fn write_file(&self, name: &str, path: &Path) -> Result<(), Failure> {
        let from = self.engine.job_result_path(&self.job.id, name)?;
        let mut source = std::fs::File::open(&from).map_err(|e| EngineError::io("open", &from, e))?;
        anser_engine::replace_file(path, |out| std::io::copy(&mut source, out).map(|_| ()))?;
        Ok(())
    }
}

/// Refuses files that could not be written, before the work rather than after it: `tables` must name a table format, all
/// must lie in a folder that exists, and nobody would write any for a job that is left to a server.
pub(crate) fn check_outputs<'a>(
    source: &SourceArgs,
    tables: impl IntoIterator<Item = &'a PathBuf>,
    others: impl IntoIterator<Item = &'a PathBuf>,
) -> Result<(), Failure> {
    let tables: Vec<&PathBuf> = tables.into_iter().collect();
    for path in &tables {
        ResultFormat::of(path)?;
    }
    for path in tables.into_iter().chain(others) {
        if source.detach {
            return Err(Failure::usage(format!(
                "{} cannot be written with --detach, which does not wait for the job; leave the file out, and once the job has succeeded fetch it with `anser jobs result JOB --name NAME --out FILE`",
                path.display()
            )));
        }
        if let (Ok(out), Ok(input)) = (path.canonicalize(), Path::new(&source.source).canonicalize())
            && out == input
        {
            return Err(Failure::usage(format!("{} is the file that is read; write into another one", path.display())));
        }
        let folder = anser_core::storage::folder_of(path);
        if !folder.is_dir() {
            let message = format!("there is no folder {} to write {} into", folder.display(), path.display());
            return Err(EngineError::invalid("out", message).into());
        }
    }
    Ok(())
}

/// Refuses names that do not end as the pictures that these commands draw do.
pub(crate) fn check_pictures<'a>(pictures: impl IntoIterator<Item = &'a PathBuf>) -> Result<(), Failure> {
    let other = |path: &&PathBuf| path.extension().is_none_or(|ending| !ending.eq_ignore_ascii_case("svg"));
    match pictures.into_iter().find(other) {
        None => Ok(()),
        Some(path) => Err(Failure::usage(format!("{} would be an SVG picture; end its name in .svg", path.display()))),
    }
}

/// Runs an analysis as a job on this thread, with a progress bar. Ctrl-C cancels it.
pub(crate) fn run(
    settings: &Settings,
    terminal: &Terminal,
    source: &SourceArgs,
    analysis: Analysis,
) -> Result<Finished, Failure> {
    let engine = compose::engine(settings, terminal.progress())?;
    run_over(engine, terminal, source, &AnalysisRequest { source: source.source()?, analysis })
}

/// [`run`] of a request made from `source`, on an engine that is open already.
pub(crate) fn run_over(
    engine: Arc<Engine>,
    terminal: &Terminal,
    source: &SourceArgs,
    request: &AnalysisRequest,
) -> Result<Finished, Failure> {
    if !source.detach {
        return run_with(engine, terminal, request);
    }
    let job = engine.create_analysis_job(request)?;
    if terminal.is_json() {
        terminal.json(&job)?;
    } else {
        terminal.line(format!("{} waits for a running `anser serve`", job.id))?;
        terminal.line(format!("Next: anser jobs events {} --follow, then anser jobs result {0}", job.id))?;
    }
    Err(Failure::nothing_more())
}

/// Runs a request to its end on an engine that is open already.
pub(crate) fn run_with(
    engine: Arc<Engine>,
    terminal: &Terminal,
    request: &AnalysisRequest,
) -> Result<Finished, Failure> {
    let job = engine.create_analysis_job(request)?;
    let about = format!("{}: {} of {}", job.id, request.analysis.kind(), request.source.name());
    run_job(engine, terminal, &job.id, &about)
}

/// Runs a job to its end on this thread, with a progress bar. Ctrl-C cancels it.
pub(crate) fn run_job(engine: Arc<Engine>, terminal: &Terminal, id: &str, about: &str) -> Result<Finished, Failure> {
    let stop = StopSignal::default();
    interrupt::on_interrupt({
        let stop = stop.clone();
        move || stop.stop(StopReason::Cancel)
    });
    let progress = terminal.progress();
    progress.note(about);
    let mut tell = |event: &JobEvent| {
        // How it failed is what the command ends with.
        if event.level != EventLevel::Error {
            progress.note(&event.message);
        }
    };
    let job = engine.run_job_here(id, &stop, &mut tell, progress.as_ref());
    progress.finish();
    let job = job?;
    match job.state {
        JobState::Succeeded => Ok(Finished { engine, job }),
        JobState::Failed => {
            let failure = job.failure.map_or_else(|| "the job failed".to_owned(), |failure| failure.message);
            Err(Failure::failed(format!("{failure}; see `anser jobs events {id}`")))
        }
        JobState::Paused => {
            Err(Failure::failed(format!("the job {id} was paused; go on with `anser jobs resume {id}`")))
        }
        state => Err(Failure::failed(format!("the job {id} was {}", state.as_str()))),
    }
}
