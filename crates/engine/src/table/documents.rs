//! Writing a table of documents a batch at a time.

use std::ops::Range;
use std::sync::Arc;

use anser_core::{Document, ProgressUnit};
use arrow::array::{ArrayRef, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};

use super::AttributeColumns;
use crate::EngineError;
use crate::analysis::{TableWriter, Work};

/// Documents in memory at a time.
const BATCH: usize = 1024;

/// A table with the columns `id`, an analysis's own, `title`, `text` and the attributes, being written.
pub(crate) struct DocumentTable {
    writer: TableWriter,
    schema: SchemaRef,
    columns: AttributeColumns,
}

impl DocumentTable {
    /// Begins the table `name` of a job. `own` are the analysis's columns, which come after `id`.
    pub(crate) fn create(work: &Work<'_>, name: &str, own: Vec<Field>) -> Result<Self, EngineError> {
        let names: Vec<&str> = std::iter::once("id").chain(own.iter().map(|field| field.name().as_str())).collect();
        let columns = AttributeColumns::of(work.subject, &names, work.cancel)?;
        let id = Field::new("id", DataType::Utf8, false);
        let fields: Vec<Field> = std::iter::once(id).chain(own).chain(columns.fields()).collect();
        let schema: SchemaRef = Arc::new(Schema::new(fields));
        Ok(Self { writer: work.results.table(name, schema.clone())?, schema, columns })
    }

    /// Appends documents with the arrays of the analysis's own columns, one value for each document.
    pub(crate) fn write(&mut self, documents: &[Document], own: Vec<ArrayRef>) -> Result<(), EngineError> {
        let id: ArrayRef = Arc::new(StringArray::from_iter_values(documents.iter().map(|d| d.id.as_str())));
        let arrays = std::iter::once(id).chain(own).chain(self.columns.arrays(documents)).collect();
        let batch = RecordBatch::try_new(self.schema.clone(), arrays)
            .map_err(|e| EngineError::internal(format!("the columns of a table do not fit together: {e}")))?;
        self.writer.write(&batch)
    }

    /// Ends the table.
    pub(crate) fn finish(self) -> Result<(), EngineError> {
        self.writer.finish()
    }
}

/// Writes all documents of the subject, in its order, as the table `name`. `values` gives the analysis's own columns of
/// the documents at a range of places.
pub(crate) fn write_documents(
    work: &Work<'_>,
    name: &str,
    own: Vec<Field>,
    values: &mut dyn FnMut(Range<usize>) -> Vec<ArrayRef>,
) -> Result<(), EngineError> {
    work.progress.start("writing the table", Some(work.subject.len() as u64), ProgressUnit::Items);
    let mut table = DocumentTable::create(work, name, own)?;
    let (mut waiting, mut written) = (Vec::with_capacity(BATCH), 0_usize);
    for document in work.subject.documents()? {
        work.cancel.check()?;
        waiting.push(document?);
        let end = written + waiting.len();
        if waiting.len() == BATCH || end == work.subject.len() {
            table.write(&waiting, values(written..end))?;
            waiting.clear();
            written = end;
            work.progress.set(written as u64);
        }
    }
    table.finish()?;
    work.progress.finish();
    Ok(())
}
