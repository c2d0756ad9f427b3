//! `anser export`: a collection as a file.

use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;

use anser_engine::{ExportOptions, ResultFormat, replace_file};
use clap::Args;

use super::analysis::parse_condition;
use super::search::note_unknown_keys;
use crate::compose;
use crate::config::Settings;
use crate::failure::Failure;
use crate::interrupt;
use crate::terminal::Terminal;

/// Arguments of `anser export`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  anser export reviews --out reviews.parquet\n  anser export reviews --out reviews.parquet --vectors\n  anser export reviews --where 'score <= 2' --out bad.csv\n  anser export reviews | head -3\n\nWhat is exported as Parquet, Arrow or JSON is read back by `anser ingest` as it was. With --vectors each document has one\nvector, `embedding`: its own, or the normalised mean of those of its chunks."
)]
pub(crate) struct ExportArgs {
    /// Collection to export
    collection: String,
    /// File to write; its name ends in .parquet, .arrow, .jsonl, .json or .csv [default: JSON lines to standard output]
    #[arg(long, short, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Format, when the file's name does not tell: parquet, arrow, jsonl, json, csv
    #[arg(long, value_name = "FORMAT", value_parser = parse_format)]
    format: Option<ResultFormat>,
    /// Only documents for which this holds, such as `score <= 2 and lang = "en"`
    #[arg(long = "where", value_name = "CONDITION")]
    condition: Option<String>,
    /// Each document's vector too; not in CSV
    #[arg(long)]
    vectors: bool,
}

fn parse_format(text: &str) -> Result<ResultFormat, String> {
    ResultFormat::named(text).ok_or_else(|| "use parquet, arrow, jsonl, json or csv".to_owned())
}

impl ExportArgs {
    pub(crate) fn run(&self, settings: &Settings, terminal: &Terminal) -> Result<(), Failure> {
        let format = match (self.format, &self.out) {
            (Some(format), _) => format,
            (None, Some(path)) => ResultFormat::of(path)?,
            (None, None) => ResultFormat::JsonLines,
        };
        let binary = matches!(format, ResultFormat::Parquet | ResultFormat::Arrow);
        if self.out.is_none() && binary && io::stdout().is_terminal() {
            return Err(Failure::usage("that is not text; give --out FILE or a pipe"));
        }
        let filter = self.condition.as_deref().map(parse_condition).transpose()?;
        let options = ExportOptions { format, filter, vectors: self.vectors };
        let (progress, cancel) = (terminal.progress(), interrupt::cancel_on_interrupt());
        let engine = compose::engine(settings, progress.clone())?;
        let export = engine.export_collection(&self.collection, &options, progress.as_ref(), &cancel)?;
        note_unknown_keys(terminal, export.report().filter.as_ref());
        let Some(path) = &self.out else {
            // Not locked while it is written: what writes must be able to move between threads.
            let mut out = io::BufWriter::new(io::stdout());
            export.write(&mut out, progress.as_ref(), &cancel)?;
            return Ok(out.flush()?);
        };
        let mut failure = None;
        let replaced = replace_file(path, |out| {
            export.write(out, progress.as_ref(), &cancel).map_err(|error| {
                failure = Some(error);
                io::Error::other("the export failed")
            })
        });
        if let Some(failure) = failure {
            return Err(failure.into());
        }
        replaced?;
        if terminal.is_json() {
            return terminal.json(export.report());
        }
        terminal.line(format!("wrote {} documents to {}", export.report().documents, path.display()))
    }
}
