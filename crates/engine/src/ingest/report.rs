//! What an ingest did: counts, the fields it used, and the rows it could not take.

use std::fmt;

use anser_core::{AttributeKind, excerpt};
use serde::Serialize;

use super::FileFormat;

/// Rejected rows, and likewise warnings, that a report lists one by one; all of them are counted.
pub const LISTED_ROW_ERRORS: usize = 100;

/// One row that was rejected, or one value that was left out, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RowError {
    /// The line on which the row begins, from 1, where the format has lines.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<u64>,
    /// The row's number, from 1, not counting a header.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub row: Option<u64>,
    /// The field at fault, when it is a single one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// What is wrong and what to do.
    pub message: String,
}

impl fmt::Display for RowError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.line, self.row) {
            (Some(line), _) => write!(f, "line {line}: ")?,
            (None, Some(row)) => write!(f, "row {row}: ")?,
            (None, None) => {}
        }
        if let Some(field) = &self.field {
            write!(f, "field \"{}\": ", excerpt(field, 40))?;
        }
        f.write_str(&self.message)
    }
}

/// A column that plays a part, and who chose it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ResolvedField {
    /// The column's name.
    pub column: String,
    /// Whether it was guessed rather than named by the caller.
    pub guessed: bool,
}

/// A column that became an attribute.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AttributeField {
    /// The column's name.
    pub name: String,
    /// The type of its values, found in the first rows.
    pub kind: AttributeKind,
    /// Later values that did not fit the type and were left out.
    pub misfits: u64,
}

/// The fields an ingest used.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct ResolvedFields {
    /// Where ids come from; `None`: from the rows' contents.
    pub id: Option<ResolvedField>,
    /// Where titles come from; `None`: nowhere, or, in Markdown, from the first heading.
    pub title: Option<ResolvedField>,
    /// Where texts come from; `None`: the whole file is the text.
    pub text: Option<ResolvedField>,
    /// Where vectors come from; `None`: the collection's embedder makes them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub embedding: Option<ResolvedField>,
    /// All other columns.
    pub attributes: Vec<AttributeField>,
    /// Columns that were left out: they only count the rows, or hold vectors that the collection has no use for.
    pub ignored: Vec<String>,
}

impl fmt::Display for ResolvedFields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let show = |field: &Option<ResolvedField>, without: &str| match field {
            Some(field) if field.guessed => format!("\"{}\" (guessed)", excerpt(&field.column, 40)),
            Some(field) => format!("\"{}\"", excerpt(&field.column, 40)),
            None => without.to_owned(),
        };
        write!(f, "text: {}", show(&self.text, "the whole file"))?;
        write!(f, ", title: {}", show(&self.title, "none"))?;
        write!(f, ", id: {}", show(&self.id, "derived from the content"))?;
        if self.embedding.is_some() {
            write!(f, ", vectors: {}", show(&self.embedding, ""))?;
        }
        if !self.attributes.is_empty() {
            let names: Vec<String> =
                self.attributes.iter().map(|a| format!("{} ({})", excerpt(&a.name, 40), kind_name(a.kind))).collect();
            write!(f, ", attributes: {}", names.join(", "))?;
        }
        for name in &self.ignored {
            write!(f, ", left out: {}", excerpt(name, 40))?;
        }
        Ok(())
    }
}

pub(super) fn kind_name(kind: AttributeKind) -> &'static str {
    match kind {
        AttributeKind::Bool => "true or false",
        AttributeKind::Integer => "integer",
        AttributeKind::Float => "number",
        AttributeKind::Time => "time",
        AttributeKind::String => "text",
        AttributeKind::StringList => "list of texts",
    }
}

/// What an ingest did. `rows = inserted + replaced + unchanged + rejected`.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct IngestReport {
    /// The format that was read; `None` for documents handed over directly.
    pub format: Option<FileFormat>,
    /// Rows seen.
    pub rows: u64,
    /// Documents that were new.
    pub inserted: u64,
    /// Documents that took the place of another one with the same id, stored before or earlier in the same source.
    pub replaced: u64,
    /// Documents that were stored already, exactly so; they were not embedded again.
    pub unchanged: u64,
    /// Rows that could not be taken.
    pub rejected: u64,
    /// Chunks embedded and stored.
    pub chunks: u64,
    /// Chunks that were longer than the embedder reads; the vector stands for their beginning.
    pub truncated_chunks: u64,
    /// Chunks whose vectors were known from the same text embedded before.
    pub cached_chunks: u64,
    /// The fields used.
    pub fields: ResolvedFields,
    /// Why rows were rejected: the first 100.
    pub errors: Vec<RowError>,
    /// Values left out of rows that were kept, and remarks about the source: the first 100.
    pub warnings: Vec<RowError>,
    /// How long it took, in seconds.
    pub seconds: f64,
}

impl IngestReport {
    pub(super) fn reject(&mut self, error: RowError) {
        self.rows += 1;
        self.rejected += 1;
        if self.errors.len() < LISTED_ROW_ERRORS {
            self.errors.push(error);
        }
    }

    /// Adds the counts, errors and warnings of a part that was read after this one.
    pub(super) fn add(&mut self, part: Self) {
        self.rows += part.rows;
        self.inserted += part.inserted;
        self.replaced += part.replaced;
        self.unchanged += part.unchanged;
        self.rejected += part.rejected;
        self.chunks += part.chunks;
        self.truncated_chunks += part.truncated_chunks;
        self.cached_chunks += part.cached_chunks;
        self.errors.extend(part.errors);
        self.errors.truncate(LISTED_ROW_ERRORS);
        self.warnings.extend(part.warnings);
        self.warnings.truncate(LISTED_ROW_ERRORS);
    }

    pub(super) fn warn(&mut self, warning: RowError) {
        if self.warnings.len() < LISTED_ROW_ERRORS {
            self.warnings.push(warning);
        }
    }
}
