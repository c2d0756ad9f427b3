//! The formats in which a job's tables are handed out.
//!
//! Tables are kept as Parquet. Arrow has the same columns and types. In the text formats a time is RFC 3339 in UTC, a number
//! has as many digits as it takes to read the very same one back, and a missing value is an empty field (CSV) or `null`
//! (JSON); a number that is not finite is `NaN`, `inf` or `-inf` in CSV and `null` in JSON. A list of texts is a JSON list,
//! and in CSV one field with `; ` between the texts.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, RecordBatch, StringArray};
use arrow::csv::Writer as CsvWriter;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::ipc::writer::StreamWriter;
use arrow::json::WriterBuilder as JsonBuilder;
use arrow::json::writer::{JsonArray, LineDelimited};

use crate::EngineError;

/// Stands between the texts of a list where a format has no lists.
const LIST_SEPARATOR: &str = "; ";
/// Times are written for this zone, by its offset: its name would need a table of zones.
const UTC: &str = "+00:00";

/// A format of tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResultFormat {
    /// Apache Parquet, zstd-compressed, with typed columns.
    Parquet,
    /// Arrow IPC stream.
    Arrow,
    /// Comma-separated values with a header, UTF-8; a missing value is an empty field.
    Csv,
    /// One JSON array of objects.
    Json,
    /// One JSON object a line.
    JsonLines,
}

impl ResultFormat {
    /// The format that a file's name asks for: `.parquet`, `.arrow`, `.csv`, `.json` or `.jsonl` (also `.ndjson`).
    pub fn of(path: &Path) -> Result<Self, EngineError> {
        let extension = path.extension().and_then(|e| e.to_str()).unwrap_or_default().to_ascii_lowercase();
        Self::named(&extension).ok_or_else(|| {
            let message = format!(
                "cannot tell what kind of table {} should be; end its name in .parquet, .arrow, .csv, .json or .jsonl",
                path.display()
            );
            EngineError::invalid("out", message)
        })
    }

    /// The format of a name: `parquet`, `arrow`, `csv`, `json`, `jsonl` or `ndjson`.
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "parquet" => Some(Self::Parquet),
            "arrow" | "arrows" | "ipc" => Some(Self::Arrow),
            "csv" => Some(Self::Csv),
            "json" => Some(Self::Json),
            "jsonl" | "ndjson" => Some(Self::JsonLines),
            _ => None,
        }
    }

    /// Ending of the names of such files, without the dot.
    pub fn extension(self) -> &'static str {
        match self {
            Self::Parquet => "parquet",
            Self::Arrow => "arrow",
            Self::Csv => "csv",
            Self::Json => "json",
            Self::JsonLines => "jsonl",
        }
    }

    /// As HTTP says it.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Parquet => "application/vnd.apache.parquet",
            Self::Arrow => "application/vnd.apache.arrow.stream",
            Self::Csv => "text/csv; charset=utf-8",
            Self::Json => "application/json",
            Self::JsonLines => "application/x-ndjson",
        }
    }
}

/// Writes batches of a table in any format but Parquet, in which it lies already.
pub(crate) fn convert(
    format: ResultFormat,
    schema: &SchemaRef,
    batches: impl Iterator<Item = Result<RecordBatch, ArrowError>>,
    out: &mut (dyn Write + Send),
) -> Result<(), ArrowError> {
    let text = |batch: Result<RecordBatch, ArrowError>| as_text(&batch?, format == ResultFormat::Csv);
    match format {
        ResultFormat::Parquet => Err(ArrowError::NotYetImplemented("the table is Parquet already".to_owned())),
        ResultFormat::Arrow => {
            let mut writer = StreamWriter::try_new(out, schema)?;
            batches.into_iter().try_for_each(|batch| writer.write(&batch?))?;
            writer.finish()
        }
        ResultFormat::Csv => {
            let mut writer = CsvWriter::new(out);
            // Without rows the header is still due.
            writer.write(&text(Ok(RecordBatch::new_empty(Arc::clone(schema))))?)?;
            batches.map(text).try_for_each(|batch| writer.write(&batch?))
        }
        ResultFormat::Json => {
            let mut writer = JsonBuilder::new().with_explicit_nulls(true).build::<_, JsonArray>(out);
            batches.map(text).try_for_each(|batch| writer.write(&batch?))?;
            writer.finish()
        }
        ResultFormat::JsonLines => {
            let mut writer = JsonBuilder::new().with_explicit_nulls(true).build::<_, LineDelimited>(out);
            batches.map(text).try_for_each(|batch| writer.write(&batch?))?;
            writer.finish()
        }
    }
}

/// The same rows with columns that text formats can write: times in a zone of which the offset is known, and, for `flat`
/// formats, lists of texts as one text.
fn as_text(batch: &RecordBatch, flat: bool) -> Result<RecordBatch, ArrowError> {
    let schema = batch.schema();
    let (mut fields, mut columns) = (Vec::new(), Vec::new());
    for (field, column) in schema.fields().iter().zip(batch.columns()) {
        let column: ArrayRef = match field.data_type() {
            DataType::Timestamp(unit, _) => {
                arrow::compute::cast(column, &DataType::Timestamp(*unit, Some(UTC.into())))?
            }
            DataType::List(items) if flat && items.data_type() == &DataType::Utf8 => Arc::new(joined(column)),
            _ => Arc::clone(column),
        };
        fields.push(Field::new(field.name(), column.data_type().clone(), field.is_nullable()));
        columns.push(column);
    }
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)
}

/// Each list of texts as one text.
fn joined(lists: &ArrayRef) -> StringArray {
    let lists = lists.as_list::<i32>();
    let join = |list: ArrayRef| {
        let texts: Vec<&str> = list.as_string::<i32>().iter().flatten().collect();
        texts.join(LIST_SEPARATOR)
    };
    lists.iter().map(|list| list.map(join)).collect()
}

#[cfg(test)]
mod tests;
