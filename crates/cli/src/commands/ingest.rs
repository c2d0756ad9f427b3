//! `anser ingest`: files into a collection.

use std::path::PathBuf;

use anser_core::CancelToken;
use anser_engine::{Engine, ExternalVectors, FieldMapping, FileFormat, IngestOptions, IngestReport};
use clap::Args;

use super::analysis::parse_format;
use crate::compose;
use crate::config::Settings;
use crate::failure::Failure;
use crate::interrupt;
use crate::terminal::Terminal;

/// How many rejected rows are shown before the rest is only counted.
const SHOWN_ERRORS: usize = 10;

/// Arguments of `anser ingest`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  anser ingest reviews.csv --collection reviews\n  anser ingest reviews.csv --collection reviews --text-field Text --title-field Summary\n  anser ingest docs/ --collection handbook\n  anser ingest vectors.parquet --collection mine --vectors my-model-v2\n\nRunning it again after an interruption goes on where it stopped; rows that did not change are skipped."
)]
pub(crate) struct IngestArgs {
    /// Files to read: CSV, TSV, JSONL, JSON, Markdown, plain text, Parquet, Arrow, or a folder of Markdown and text
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Collection to put them in; made when missing
    #[arg(long, short, value_name = "NAME")]
    collection: String,
    /// Column that holds the text [default: guessed and shown]
    #[arg(long, value_name = "COLUMN")]
    text_field: Option<String>,
    /// Column that holds a unique id [default: guessed, else made from the content]
    #[arg(long, value_name = "COLUMN")]
    id_field: Option<String>,
    /// Column that holds a title [default: guessed]
    #[arg(long, value_name = "COLUMN")]
    title_field: Option<String>,
    /// The rows bring their vectors along, made by this model of yours; no model of ours is needed
    #[arg(long, value_name = "MODEL")]
    vectors: Option<String>,
    /// Column that holds the vectors [default: guessed, such as "embedding"]
    #[arg(long, value_name = "COLUMN")]
    embedding_field: Option<String>,
    /// Format, when the file's extension does not tell: csv, tsv, jsonl, json, markdown, text, parquet, arrow
    #[arg(long, value_name = "FORMAT", value_parser = parse_format)]
    format: Option<FileFormat>,
}

impl IngestArgs {
    pub(crate) fn run(&self, settings: &Settings, terminal: &Terminal) -> Result<(), Failure> {
        let options = self.options();
        let progress = terminal.progress();
        let engine = compose::engine(settings, progress.clone())?;
        let cancel = interrupt::cancel_on_interrupt();
        let mut reports = Vec::new();
        for file in &self.files {
            let report = engine.ingest_file(&self.collection, file, &options, progress.as_ref(), &cancel)?;
            if !terminal.is_json() {
                print_report(terminal, &file.display().to_string(), &report)?;
            }
            reports.push(report);
        }
        if terminal.is_json() {
            terminal.json(&reports)?;
        } else {
            self.print_next(terminal, &engine)?;
        }
        if reports.iter().all(|r| r.inserted + r.replaced + r.unchanged == 0) {
            return Err(Failure::failed("no row could be read into the collection; see the reasons above"));
        }
        cancelled(&cancel)
    }

    fn options(&self) -> IngestOptions {
        IngestOptions {
            format: self.format,
            fields: FieldMapping {
                id: self.id_field.clone(),
                title: self.title_field.clone(),
                text: self.text_field.clone(),
                embedding: self.embedding_field.clone(),
            },
            external: self.vectors.clone().map(|name| ExternalVectors { name, dimension: None }),
            ..IngestOptions::default()
        }
    }

    fn print_next(&self, terminal: &Terminal, engine: &Engine) -> Result<(), Failure> {
        let info = engine.collection(&self.collection)?.info().map_err(anser_engine::EngineError::from)?;
        terminal.line(format!(
            "{} now holds {} documents in {} chunks. Next: anser {} {} \"…\"",
            terminal.bold(&self.collection),
            info.documents,
            info.chunks,
            if info.embedder.is_external() { "search" } else { "ask" },
            self.collection
        ))
    }
}

fn cancelled(cancel: &CancelToken) -> Result<(), Failure> {
    if cancel.is_cancelled() {
        return Err(Failure::failed("stopped before the end; run the same command again to go on"));
    }
    Ok(())
}

/// Prints what became of one file.
pub(crate) fn print_report(terminal: &Terminal, name: &str, report: &IngestReport) -> Result<(), Failure> {
    terminal.line(format!(
        "{name}: {} rows: {} new, {} replaced, {} unchanged, {} rejected; {} chunks in {:.1} s",
        report.rows, report.inserted, report.replaced, report.unchanged, report.rejected, report.chunks, report.seconds
    ))?;
    if report.cached_chunks > 0 {
        terminal.line(format!("  {} of {} chunks from the embedding cache", report.cached_chunks, report.chunks))?;
    }
    for error in report.errors.iter().take(SHOWN_ERRORS) {
        terminal.line(format!("  rejected: {error}"))?;
    }
    let hidden = report.rejected.saturating_sub(report.errors.len().min(SHOWN_ERRORS) as u64);
    if hidden > 0 {
        terminal.line(format!("  … and {hidden} more rejected rows"))?;
    }
    for warning in report.warnings.iter().take(SHOWN_ERRORS) {
        terminal.line(format!("  warning: {warning}"))?;
    }
    if report.truncated_chunks > 0 {
        terminal.line(format!("  {} chunks were longer than the embedder reads", report.truncated_chunks))?;
    }
    Ok(())
}
