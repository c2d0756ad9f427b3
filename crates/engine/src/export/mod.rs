//! Collections as files: documents with their attributes as typed columns, and with their vectors where those are asked
//! for, in a form that ingest reads back.
//!
//! One moment of the collection is first written into temporary files (`spool`), so that a slow reader of the export holds
//! up nobody and the types of all attributes are known before the first row is written. What is in memory at a time is a
//! few hundred documents.
//!
//! Read back, texts, titles, ids and attributes are the same, with these exceptions: CSV joins lists of texts into one
//! text; in formats with columns an attribute whose values have several types becomes text, times end at microseconds, and
//! an attribute called like another column is called `attribute.NAME`. Vectors of documents of one chunk are the same bit
//! for bit; a document of several chunks has the normalised mean of their vectors.

mod spool;
mod write;

use std::io::Write;

use anser_core::{CancelToken, Progress, ProgressUnit};
use anser_index::{Filter, FilterExplain};
use serde::Serialize;

use self::spool::Spool;
use crate::{Engine, EngineError, ResultFormat};

/// What is exported, and as what.
#[derive(Debug, Clone, PartialEq)]
pub struct ExportOptions {
    /// The format. JSON lines hold documents as the API takes them, attributes in a member of their own; the others have a
    /// column for each attribute.
    pub format: ResultFormat,
    /// Only documents that this lets through.
    pub filter: Option<Filter>,
    /// Whether each document's vector is exported too, as `embedding`: of fixed size and 32-bit floats in Parquet and
    /// Arrow, a list in JSON; not in CSV.
    pub vectors: bool,
}

/// What was exported.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ExportReport {
    /// Documents written.
    pub documents: u64,
    /// Numbers of each vector, where vectors were written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dimension: Option<usize>,
    /// What the filter let through, when there was one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filter: Option<FilterExplain>,
}

/// One moment of a collection, ready to be written.
pub struct Export {
    spool: Spool,
    format: ResultFormat,
    report: ExportReport,
}

impl Export {
    /// What is written.
    pub fn report(&self) -> &ExportReport {
        &self.report
    }

    /// Writes the documents, in order of id.
    pub fn write(
        &self,
        out: &mut (dyn Write + Send),
        progress: &dyn Progress,
        cancel: &CancelToken,
    ) -> Result<(), EngineError> {
        progress.start("writing documents", Some(self.spool.documents), ProgressUnit::Items);
        write::write(&self.spool, self.format, out, (progress, cancel))?;
        progress.finish();
        Ok(())
    }
}

impl Engine {
    /// Reads one moment of a collection into temporary files, so that it can be written out. They need room on the disk of
    /// the data folder until the export is dropped.
    ///
    /// `NotFound` for an unknown collection, `InvalidInput` for vectors in CSV.
    pub fn export_collection(
        &self,
        collection: &str,
        options: &ExportOptions,
        progress: &dyn Progress,
        cancel: &CancelToken,
    ) -> Result<Export, EngineError> {
        if options.vectors && options.format == ResultFormat::Csv {
            return Err(EngineError::invalid(
                "vectors",
                "CSV has no lists of numbers; export vectors as parquet, arrow, json or jsonl",
            ));
        }
        let collection = self.collection(collection)?;
        let filter = options.filter.as_ref().map(|filter| collection.explain_filter(filter)).transpose()?;
        progress.start("reading documents", Some(collection.info()?.documents), ProgressUnit::Items);
        let dimension = options.vectors.then_some(collection.embedder().dimension);
        let spool = Spool::fill(self.data.root(), &collection, options.filter.as_ref(), dimension, (progress, cancel))?;
        progress.finish();
        let report = ExportReport { documents: spool.documents, dimension, filter };
        Ok(Export { spool, format: options.format, report })
    }
}
