//! The documents of an analysis in a file of their own, so that a job sees one moment of its collection from beginning to
//! end, without holding texts in memory.

use std::fs::File;
use std::io::{BufReader, BufWriter};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anser_core::{Document, DocumentId};
use arrow::array::{Array, AsArray, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use arrow::error::ArrowError;
use arrow::ipc::reader::FileReader;
use arrow::ipc::writer::FileWriter;

use crate::EngineError;

/// Documents in a batch of the file: what is read to get at one of them.
const BATCH: usize = 512;

/// A file of documents being written.
pub(super) struct RowWriter {
    writer: FileWriter<BufWriter<File>>,
    waiting: Vec<Document>,
    path: PathBuf,
}

impl RowWriter {
    pub(super) fn create(path: &Path) -> Result<Self, EngineError> {
        let fields = [("id", false), ("title", true), ("text", false), ("attributes", false)];
        let schema =
            Arc::new(Schema::new(fields.map(|(name, optional)| Field::new(name, DataType::Utf8, optional)).to_vec()));
        let file = File::create(path).map_err(|e| EngineError::io("create", path, e))?;
        let writer = FileWriter::try_new(BufWriter::new(file), &schema).map_err(|e| arrow_error("create", path, e))?;
        Ok(Self { writer, waiting: Vec::new(), path: path.to_path_buf() })
    }

    pub(super) fn push(&mut self, document: Document) -> Result<(), EngineError> {
        self.waiting.push(document);
        if self.waiting.len() == BATCH { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), EngineError> {
        let rows = std::mem::take(&mut self.waiting);
        if rows.is_empty() {
            return Ok(());
        }
        let attributes: Vec<String> =
            rows.iter().map(|row| EngineError::store_json(&row.attributes)).collect::<Result<_, _>>()?;
        let columns: Vec<Arc<dyn Array>> = vec![
            Arc::new(StringArray::from_iter_values(rows.iter().map(|row| row.id.as_str()))),
            Arc::new(rows.iter().map(|row| row.title.as_deref()).collect::<StringArray>()),
            Arc::new(StringArray::from_iter_values(rows.iter().map(|row| &row.text))),
            Arc::new(StringArray::from_iter_values(attributes)),
        ];
        let batch = RecordBatch::try_new(self.writer.schema().clone(), columns);
        batch.and_then(|batch| self.writer.write(&batch)).map_err(|e| arrow_error("write", &self.path, e))
    }

    pub(super) fn finish(mut self) -> Result<(), EngineError> {
        self.flush()?;
        self.writer.finish().map_err(|e| arrow_error("write", &self.path, e))
    }
}

/// A file of documents that is whole.
pub(super) struct RowFile {
    path: PathBuf,
}

impl RowFile {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path }
    }

    fn reader(&self, columns: Option<Vec<usize>>) -> Result<FileReader<BufReader<File>>, EngineError> {
        let file = File::open(&self.path).map_err(|e| EngineError::io("open", &self.path, e))?;
        FileReader::try_new(BufReader::new(file), columns).map_err(|e| arrow_error("read", &self.path, e))
    }

    /// The ids of all documents in order; nothing else of them is looked at.
    pub(super) fn ids(&self) -> Result<Vec<DocumentId>, EngineError> {
        let mut ids = Vec::new();
        for batch in self.reader(Some(vec![0]))? {
            let batch = batch.map_err(|e| arrow_error("read", &self.path, e))?;
            let column = batch.column(0).as_string::<i32>();
            for row in 0..batch.num_rows() {
                ids.push(DocumentId::new(column.value(row))?);
            }
        }
        Ok(ids)
    }

    /// All documents in order, a batch in memory at a time.
    pub(super) fn all(&self) -> Result<impl Iterator<Item = Result<Document, EngineError>> + use<>, EngineError> {
        let path = self.path.clone();
        Ok(self.reader(None)?.flat_map(move |batch| -> Vec<Result<Document, EngineError>> {
            match batch {
                Ok(batch) => (0..batch.num_rows()).map(|row| document(&batch, row)).collect(),
                Err(error) => vec![Err(arrow_error("read", &path, error))],
            }
        }))
    }

    /// Some documents, in the order asked for; each batch that holds one of them is read once.
    pub(super) fn some(&self, wanted: &[usize]) -> Result<Vec<Document>, EngineError> {
        let mut order: Vec<usize> = (0..wanted.len()).collect();
        order.sort_unstable_by_key(|&at| wanted[at]);
        let mut reader = self.reader(None)?;
        let mut found: Vec<Option<Document>> = vec![None; wanted.len()];
        let mut current: Option<(usize, RecordBatch)> = None;
        for at in order {
            let (number, row) = (wanted[at] / BATCH, wanted[at] % BATCH);
            if current.as_ref().is_none_or(|(loaded, _)| *loaded != number) {
                reader.set_index(number).map_err(|e| arrow_error("read", &self.path, e))?;
                let batch = reader.next().transpose().map_err(|e| arrow_error("read", &self.path, e))?;
                current = batch.map(|batch| (number, batch));
            }
            if let Some((_, batch)) = &current
                && row < batch.num_rows()
            {
                found[at] = Some(document(batch, row)?);
            }
        }
        let missing = || EngineError::internal("an analysis asked for a document that it does not have");
        found.into_iter().map(|document| document.ok_or_else(missing)).collect()
    }
}

fn document(batch: &RecordBatch, row: usize) -> Result<Document, EngineError> {
    let column = |at: usize| batch.column(at).as_string::<i32>();
    let id = column(0).value(row);
    Ok(Document {
        id: DocumentId::new(id)?,
        title: column(1).is_valid(row).then(|| column(1).value(row).to_owned()),
        text: column(2).value(row).to_owned(),
        attributes: EngineError::parse_stored(column(3).value(row), "attributes of document", id)?,
    })
}

fn arrow_error(action: &'static str, path: &Path, error: ArrowError) -> EngineError {
    let source = match error {
        ArrowError::IoError(_, source) => source,
        other => std::io::Error::other(other),
    };
    EngineError::io(action, path, source)
}
