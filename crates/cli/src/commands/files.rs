//! `anser files`: what was uploaded and what jobs wrote.

use std::fs::File;
use std::io;

use anser_engine::{Engine, FilePurpose, StoredFile};
use clap::Subcommand;

use super::tune::show::{all_pages, date, minute};
use crate::compose;
use crate::config::Settings;
use crate::failure::Failure;
use crate::terminal::{Terminal, bytes};

/// Subcommands of `anser files`.
#[derive(Debug, Subcommand)]
#[command(
    after_help = "Examples:\n  anser files list --purpose fine-tune\n  anser files content file-0198… > metrics.csv"
)]
pub(crate) enum FilesCommand {
    /// Files, newest first
    List {
        /// Only those for this: fine-tune, fine-tune-results, …
        #[arg(long)]
        purpose: Option<String>,
        /// How many
        #[arg(long, short = 'n', default_value_t = 100)]
        limit: usize,
    },
    /// One file
    Show {
        /// Its id, `file-…`
        file: String,
    },
    /// Print a file's bytes
    Content {
        /// Its id, `file-…`
        file: String,
    },
    /// Delete a file
    Delete {
        /// Its id, `file-…`
        file: String,
    },
}

impl FilesCommand {
    pub(crate) fn run(&self, settings: &Settings, terminal: &Terminal) -> Result<(), Failure> {
        let engine = compose::engine(settings, terminal.progress())?;
        match self {
            Self::List { purpose, limit } => {
                let purpose = purpose.as_deref().map(parse_purpose).transpose()?;
                let files = all_pages(*limit, false, |file: &StoredFile| &file.id, |page| engine.files(purpose, page))?;
                list(&files, terminal)
            }
            Self::Show { file } => {
                let file = engine.file(file)?;
                if terminal.is_json() {
                    return terminal.json(&file);
                }
                terminal.line(format!(
                    "{}  {}\n  purpose  {}\n  size     {}\n  created  {}\n  status   {}",
                    terminal.bold(&file.id),
                    file.filename,
                    file.purpose.as_str(),
                    bytes(file.bytes),
                    date(file.created_at),
                    file.status_details.as_deref().unwrap_or(file.status.as_str())
                ))
            }
            Self::Content { file } => print_file(&engine, file),
            Self::Delete { file } => {
                engine.delete_file(file)?;
                if terminal.is_json() {
                    return terminal.json(&serde_json::json!({"id": file, "deleted": true}));
                }
                terminal.line(format!("deleted {file}"))
            }
        }
    }
}

/// Prints the bytes of a file.
pub(super) fn print_file(engine: &Engine, id: &str) -> Result<(), Failure> {
    let path = engine.file_path(id)?;
    let mut source = File::open(&path).map_err(|e| anser_core::Error::io("open", &path, e))?;
    io::copy(&mut source, &mut io::stdout().lock())?;
    Ok(())
}

fn parse_purpose(text: &str) -> Result<FilePurpose, Failure> {
    FilePurpose::parse(text).ok_or_else(|| {
        Failure::usage(format!(
            "\"{text}\" is not a purpose; use fine-tune, fine-tune-results or another of OpenAI's words"
        ))
    })
}

fn list(files: &[StoredFile], terminal: &Terminal) -> Result<(), Failure> {
    if terminal.is_json() {
        return terminal.json(&files);
    }
    if files.is_empty() {
        return terminal.line("no files yet; `anser tune create FILE` uploads one");
    }
    let rows = files.iter().map(|file| {
        [
            file.id.clone(),
            file.filename.clone(),
            file.purpose.as_str().to_owned(),
            bytes(file.bytes),
            minute(file.created_at),
        ]
    });
    terminal.table(["file", "name", "purpose", "size", "created"], rows.collect())
}
