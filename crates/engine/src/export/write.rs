//! Writes spooled documents in each format.

use std::io::Write;
use std::sync::Arc;

use anser_core::{CancelToken, Document, Progress};
use arrow::array::{ArrayRef, FixedSizeListArray, Float32Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::error::ArrowError;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use serde::Serialize;

use super::spool::{Exported, Spool};
use crate::analysis::convert;
use crate::table::AttributeColumns;
use crate::{EngineError, ResultFormat};

/// Documents in memory at a time.
const BATCH: usize = 512;

/// Bytes of a part of a Parquet file, which is held in memory until it is written.
const ROW_GROUP_BYTES: usize = 32 << 20;

/// The column of vectors.
const EMBEDDING: &str = "embedding";

/// Who hears how far the writing is, and who may stop it.
type Watch<'a> = (&'a dyn Progress, &'a CancelToken);

/// Writes all documents of `spool`.
pub(super) fn write(
    spool: &Spool,
    format: ResultFormat,
    out: &mut (dyn Write + Send),
    watch: Watch<'_>,
) -> Result<(), EngineError> {
    if format == ResultFormat::JsonLines {
        return write_json_lines(spool, out, watch);
    }
    let table = Table::new(spool)?;
    let batches = Batches { documents: spool.read()?, table: &table, done: 0, watch };
    match format {
        ResultFormat::Parquet => write_parquet(&table.schema, batches, out),
        _ => convert(format, &table.schema, batches, out).map_err(arrow_failed),
    }
}

/// A line of JSON: a document as the API takes it.
#[derive(Serialize)]
struct Line<'a> {
    #[serde(flatten)]
    document: &'a Document,
    #[serde(skip_serializing_if = "Option::is_none")]
    embedding: Option<&'a [f32]>,
}

fn write_json_lines(spool: &Spool, out: &mut dyn Write, (progress, cancel): Watch<'_>) -> Result<(), EngineError> {
    for (done, exported) in (1..).zip(spool.read()?) {
        cancel.check()?;
        let Exported { document, vector } = exported?;
        let line = EngineError::store_json(&Line { document: &document, embedding: vector.as_deref() })?;
        out.write_all(line.as_bytes()).and_then(|()| out.write_all(b"\n")).map_err(failed)?;
        progress.set(done);
    }
    out.flush().map_err(failed)
}

fn write_parquet(
    schema: &SchemaRef,
    batches: impl Iterator<Item = Result<RecordBatch, ArrowError>>,
    out: &mut (dyn Write + Send),
) -> Result<(), EngineError> {
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_max_row_group_bytes(Some(ROW_GROUP_BYTES))
        .build();
    let mut writer = ArrowWriter::try_new(out, Arc::clone(schema), Some(properties)).map_err(parquet_failed)?;
    for batch in batches {
        writer.write(&batch.map_err(arrow_failed)?).map_err(parquet_failed)?;
    }
    writer.close().map(|_| ()).map_err(parquet_failed)
}

/// The columns of an export.
struct Table {
    schema: SchemaRef,
    attributes: AttributeColumns,
    dimension: Option<usize>,
}

impl Table {
    fn new(spool: &Spool) -> Result<Self, EngineError> {
        let dimension = spool.dimension();
        let mut own = vec!["id"];
        own.extend(dimension.map(|_| EMBEDDING));
        let attributes = spool.kinds.columns(&own);
        let mut fields = vec![Field::new("id", DataType::Utf8, false)];
        fields.extend(attributes.fields());
        if let Some(dimension) = dimension {
            let length = i32::try_from(dimension)
                .map_err(|_| EngineError::internal("a vector is longer than a column can hold"))?;
            fields.push(Field::new(EMBEDDING, DataType::FixedSizeList(number(), length), false));
        }
        Ok(Self { schema: Arc::new(Schema::new(fields)), attributes, dimension })
    }

    fn batch(&self, rows: Vec<Exported>) -> Result<RecordBatch, ArrowError> {
        let (mut documents, mut numbers) = (Vec::with_capacity(rows.len()), Vec::new());
        for row in rows {
            documents.push(row.document);
            numbers.extend(row.vector.unwrap_or_default());
        }
        let id: ArrayRef = Arc::new(StringArray::from_iter_values(documents.iter().map(|d| d.id.as_str())));
        let mut arrays = vec![id];
        arrays.extend(self.attributes.arrays(&documents));
        if let Some(dimension) = self.dimension {
            let values = Arc::new(Float32Array::from(numbers));
            arrays.push(Arc::new(FixedSizeListArray::try_new(number(), dimension as i32, values, None)?));
        }
        RecordBatch::try_new(Arc::clone(&self.schema), arrays)
    }
}

/// One number of a vector.
fn number() -> Arc<Field> {
    Arc::new(Field::new("item", DataType::Float32, false))
}

/// The documents as batches of columns.
struct Batches<'a, I> {
    documents: I,
    table: &'a Table,
    done: u64,
    watch: Watch<'a>,
}

impl<I: Iterator<Item = Result<Exported, EngineError>>> Iterator for Batches<'_, I> {
    type Item = Result<RecordBatch, ArrowError>;

    fn next(&mut self) -> Option<Self::Item> {
        let rows: Result<Vec<Exported>, EngineError> = self.documents.by_ref().take(BATCH).collect();
        let (progress, cancel) = self.watch;
        let rows = match rows.and_then(|rows| cancel.check().map(|()| rows).map_err(EngineError::from)) {
            Ok(rows) if rows.is_empty() => return None,
            Ok(rows) => rows,
            Err(error) => return Some(Err(ArrowError::ExternalError(Box::new(error)))),
        };
        self.done += rows.len() as u64;
        progress.set(self.done);
        Some(self.table.batch(rows))
    }
}

fn failed(error: std::io::Error) -> EngineError {
    EngineError::io("write", "the export", error)
}

fn arrow_failed(error: ArrowError) -> EngineError {
    match error {
        ArrowError::IoError(_, error) => failed(error),
        ArrowError::ExternalError(error) => match error.downcast::<EngineError>() {
            Ok(own) => *own,
            Err(other) => EngineError::internal(format!("the export cannot be written: {other}")),
        },
        other => EngineError::internal(format!("the export cannot be written: {other}")),
    }
}

fn parquet_failed(error: ParquetError) -> EngineError {
    match error {
        ParquetError::External(error) => match error.downcast::<std::io::Error>() {
            Ok(error) => failed(*error),
            Err(other) => EngineError::internal(format!("the export cannot be written: {other}")),
        },
        other => EngineError::internal(format!("the export cannot be written: {other}")),
    }
}
