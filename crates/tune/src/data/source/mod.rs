//! Files as people have them: JSON lines, JSON, CSV, TSV and spreadsheets, read into rows of named fields.

mod encoding;
mod json_text;
mod quotes;
mod sheet;
mod table;

use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::dialogue::{Dialogue, Finding, Severity, count, excerpt};
use super::json::Json;
use crate::TuneError;

/// Largest file that is prepared, in bytes; larger ones are for many machines.
const MAX_FILE_BYTES: u64 = 512 << 20;

/// What a source file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SourceFormat {
    /// One JSON object a line.
    Jsonl,
    /// A JSON array of objects, an object that holds one, or objects over several lines.
    Json,
    /// Fields separated by commas or semicolons, with a header.
    Csv,
    /// Fields separated by tabulators, with a header.
    Tsv,
    /// A spreadsheet (XLSX, XLS, ODS): the first sheet that holds anything, with a header.
    Xlsx,
}

impl SourceFormat {
    /// The name that reports and options use.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Jsonl => "jsonl",
            Self::Json => "json",
            Self::Csv => "csv",
            Self::Tsv => "tsv",
            Self::Xlsx => "xlsx",
        }
    }
}

/// A row of named fields.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct RawRow {
    /// Line of the text or row of the sheet, from 1.
    pub(super) line: u64,
    pub(super) fields: Vec<(String, Json)>,
}

/// What a source holds.
#[derive(Debug, Default)]
pub(super) struct RawRows {
    pub(super) rows: Vec<RawRow>,
    /// Lines that could not be read, and why.
    unread: Vec<(u64, String)>,
    /// Lines that could be read after their quotes were straightened, with one of them before and after.
    straightened: Vec<RawRow>,
    straightened_sample: Option<(String, String)>,
    /// Whether a number, date or truth value of a cell stands for its text.
    pub(super) tabular: bool,
}

/// A source that has been read.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) format: SourceFormat,
    pub(super) rows: Vec<RawRow>,
    pub(super) tabular: bool,
}

/// Reads a file in whatever format it has; `format` says it where name and first bytes do not. Encoding, quotes and lines
/// that cannot be read are put right with consent.
pub(super) fn read_source(
    path: &Path,
    format: Option<SourceFormat>,
    dialogue: &mut Dialogue<'_>,
) -> Result<Source, TuneError> {
    let length = fs::metadata(path).map_err(|e| TuneError::io("open the data file", path, e))?.len();
    if length > MAX_FILE_BYTES {
        let reason =
            format!("the file has {} MiB, more than {} MiB; prepare it in parts", length >> 20, MAX_FILE_BYTES >> 20);
        return Err(dialogue.refuse(reason));
    }
    let bytes = fs::read(path).map_err(|e| TuneError::io("read the data file", path, e))?;
    let is_workbook = bytes.starts_with(b"PK\x03\x04") || bytes.starts_with(b"\xD0\xCF\x11\xE0");
    if format == Some(SourceFormat::Xlsx) || (format.is_none() && is_workbook) {
        let rows = sheet::read(bytes).map_err(|reason| dialogue.refuse(reason))?;
        return settle(SourceFormat::Xlsx, rows, dialogue);
    }
    if let Some(reason) = not_text(&bytes) {
        return Err(dialogue.refuse(reason));
    }
    let text = text_of(&bytes, dialogue)?;
    drop(bytes);
    let format = format.unwrap_or_else(|| text_format(path, &text));
    let rows = match format {
        SourceFormat::Jsonl | SourceFormat::Json => json_text::read(&text),
        SourceFormat::Csv => table::read(&text, None),
        SourceFormat::Tsv => table::read(&text, Some(b'\t')),
        SourceFormat::Xlsx => Err("the file is no spreadsheet; name its format".to_owned()),
    };
    settle(format, rows.map_err(|reason| dialogue.refuse(reason))?, dialogue)
}

fn not_text(bytes: &[u8]) -> Option<&'static str> {
    let known: [(&[u8], &str); 6] = [
        (b"\x1F\x8B", "the file is compressed with gzip; unpack it"),
        (b"\x28\xB5\x2F\xFD", "the file is compressed with zstd; unpack it"),
        (b"PAR1", "the file is a Parquet file; export it as CSV or JSON lines"),
        (b"%PDF", "the file is a PDF; export its questions and answers as CSV or JSON lines"),
        (b"\x89PNG", "the file is an image; give a file of questions and answers"),
        (b"SQLite format 3", "the file is a database; export a table as CSV"),
    ];
    known.iter().find(|(magic, _)| bytes.starts_with(magic)).map(|(_, reason)| *reason)
}

fn text_of(bytes: &[u8], dialogue: &mut Dialogue<'_>) -> Result<String, TuneError> {
    let decoded = encoding::decode(bytes);
    if let Some(name) = decoded.guessed {
        let explanation = format!("The file is not UTF-8; its bytes look like {name}.");
        let sample = decoded.text.lines().find(|line| !line.is_ascii()).map(|line| {
            let raw = String::from_utf8_lossy(bytes);
            (raw.lines().find(|line| !line.is_ascii()).map(excerpt).unwrap_or_default(), excerpt(line))
        });
        dialogue.require(
            Finding::new("encoding", Severity::Warning, explanation),
            format!("Read it as {name}"),
            sample,
        )?;
    }
    if !decoded.damaged {
        return Ok(decoded.text);
    }
    let broken =
        |(number, line): (usize, &str)| line.contains(char::REPLACEMENT_CHARACTER).then_some(number as u64 + 1);
    let lines: Vec<u64> = decoded.text.lines().enumerate().filter_map(broken).collect();
    let finding =
        Finding::new("broken_characters", Severity::Warning, "Some bytes are no characters in the file's encoding.");
    dialogue.require(finding.at_lines(lines), "Take the broken bytes out", None)?;
    Ok(decoded.text.replace(char::REPLACEMENT_CHARACTER, ""))
}

/// By the name where it tells, otherwise by the first characters.
fn text_format(path: &Path, text: &str) -> SourceFormat {
    let extension = path.extension().and_then(|e| e.to_str()).unwrap_or_default().to_ascii_lowercase();
    match extension.as_str() {
        "csv" => SourceFormat::Csv,
        "tsv" | "tab" => SourceFormat::Tsv,
        _ => match text.trim_start().chars().next() {
            Some('[') => SourceFormat::Json,
            Some('{' | '｛') if extension == "json" => SourceFormat::Json,
            Some('{' | '｛') => SourceFormat::Jsonl,
            _ if matches!(extension.as_str(), "jsonl" | "ndjson") => SourceFormat::Jsonl,
            _ if extension == "json" => SourceFormat::Json,
            _ => SourceFormat::Csv,
        },
    }
}

/// Settles with the person what to do about lines that were not read as they stand.
fn settle(format: SourceFormat, mut raw: RawRows, dialogue: &mut Dialogue<'_>) -> Result<Source, TuneError> {
    if !raw.straightened.is_empty() {
        let number = raw.straightened.len();
        let explanation = format!(
            "{} not JSON because of typographic or single quotes, which word processors and Chinese keyboards write.",
            if number == 1 { "1 line is".to_owned() } else { format!("{number} lines are") }
        );
        let finding = Finding::new("typographic_quotes", Severity::Warning, explanation)
            .at_lines(raw.straightened.iter().map(|row| row.line));
        dialogue.require(finding, "Straighten the quotes around names and texts", raw.straightened_sample.take())?;
        raw.rows.append(&mut raw.straightened);
        raw.rows.sort_by_key(|row| row.line);
    }
    if let Some((line, reason)) = raw.unread.first() {
        let number = raw.unread.len();
        let explanation = format!("{} cannot be read; the first is line {line}: {reason}.", count(number, "line"));
        if raw.rows.is_empty() {
            let reason = format!("{reason}; write objects with named fields, such as question and answer");
            return Err(TuneError::File { path: dialogue.path().to_owned(), line: *line, field: None, reason });
        }
        let finding = Finding::new("unreadable_lines", Severity::Error, explanation)
            .at_lines(raw.unread.iter().map(|(line, _)| *line));
        dialogue.require(finding, format!("Leave out {}", count(number, "line")), None)?;
    }
    if raw.rows.is_empty() {
        return Err(dialogue.refuse("the file holds no row; give it examples"));
    }
    Ok(Source { format, rows: raw.rows, tabular: raw.tabular })
}
