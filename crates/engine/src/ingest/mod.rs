//! Reads files, request bodies and documents into collections.
//!
//! The road of a row: a source (`source/`) gives rows with their line numbers; the first thousand decide what each
//! column is for (`mapping`) and which type it has (`values`); rows become documents (`rows`) with an id and a
//! fingerprint (`identity`); documents that are not stored already are cut into chunks (`chunking`), embedded and
//! stored in durable batches (`batch`), all of which goes on at once (`pipeline`). A bad row costs that row and is reported with its line. An ingest that was
//! interrupted at any point is resumed by running it again: what is stored already is skipped, nothing is doubled.

mod batch;
mod brought;
mod chunking;
mod feed;
mod format;
mod identity;
mod mapping;
mod options;
mod passages;
mod pipeline;
mod report;
mod rows;
mod source;
mod target;
mod values;
mod whole;

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use anser_core::{AttributeValue, CancelToken, Document, EmbedderInfo, Progress, ProgressUnit, storage};
use anser_index::Store;

pub(crate) use batch::patiently;
pub(crate) use chunking::passage;
pub use format::FileFormat;
pub use options::{ExternalVectors, FieldMapping, IngestOptions};
pub use report::{AttributeField, IngestReport, LISTED_ROW_ERRORS, ResolvedField, ResolvedFields, RowError};
pub(crate) use whole::embed_whole;

use crate::{Engine, EngineError, ServedModels};
use batch::{BatchMaker, Incoming};
use brought::brought_vector;
use feed::{Feed, failed};
use mapping::{Mapping, Sample};
use pipeline::Intake;
use rows::{RowReader, check_text};
use source::{
    ByteSource, ColumnarSource, DelimitedSource, DocumentsSource, Extent, Piece, Placed, ProseSource, ReadFailure,
    RowSource, open_json, prose_files, spool,
};
use target::Target;

/// What messages call a source without a name.
const NAMELESS_SOURCE: &str = "the uploaded data";

/// Who watches an ingest and may stop it.
#[derive(Clone, Copy)]
struct Watch<'a> {
    progress: &'a dyn Progress,
    cancel: &'a CancelToken,
}

/// Something to ingest, with what messages call it.
struct Origin {
    source: Box<dyn RowSource>,
    name: PathBuf,
    format: Option<FileFormat>,
}

impl Engine {
    /// Reads a file, or the Markdown and text files below a folder, into `collection`, which is created when missing.
    ///
    /// Rows that cannot be taken are reported and the others kept. A source that is unusable as a whole is
    /// [`EngineError::BadFile`]; what was read before it broke stays ingested. Cancelling keeps all whole batches.
    pub fn ingest_file(
        &self,
        collection: &str,
        path: &Path,
        options: &IngestOptions,
        progress: &dyn Progress,
        cancel: &CancelToken,
    ) -> Result<IngestReport, EngineError> {
        self.ingester().file(collection, path, options, progress, cancel)
    }

    /// Reads rows from `source`, such as the body of a request, into `collection`, which is created when missing.
    ///
    /// An I/O error that holds an [`anser_core::Error`] is passed on as that error. See [`Engine::ingest_file`].
    pub fn ingest_reader(
        &self,
        collection: &str,
        format: FileFormat,
        source: Box<dyn Read + Send>,
        options: &IngestOptions,
        progress: &dyn Progress,
        cancel: &CancelToken,
    ) -> Result<IngestReport, EngineError> {
        let name = PathBuf::from(options.name.as_deref().unwrap_or(NAMELESS_SOURCE));
        let source = open(source, format, None, options).map_err(|failure| failed(failure, &name, 0))?;
        let origin = Origin { source, name, format: Some(format) };
        self.ingester().ingest(collection, origin, options, Watch { progress, cancel })
    }

    /// Stores documents as they are in `collection`, which is created when missing.
    pub fn ingest_documents(
        &self,
        collection: &str,
        documents: Vec<Document>,
        progress: &dyn Progress,
        cancel: &CancelToken,
    ) -> Result<IngestReport, EngineError> {
        let source = Box::new(DocumentsSource::new(documents));
        let origin = Origin { source, name: PathBuf::from(NAMELESS_SOURCE), format: None };
        self.ingester().ingest(collection, origin, &IngestOptions::default(), Watch { progress, cancel })
    }

    fn ingester(&self) -> Ingester<'_> {
        Ingester { store: &self.store, models: self.models() }
    }
}

/// Reads into the collections of one store.
pub(crate) struct Ingester<'a> {
    pub(crate) store: &'a Store,
    pub(crate) models: &'a ServedModels,
}

impl Ingester<'_> {
    /// [`Engine::ingest_file`].
    pub(crate) fn file(
        &self,
        collection: &str,
        path: &Path,
        options: &IngestOptions,
        progress: &dyn Progress,
        cancel: &CancelToken,
    ) -> Result<IngestReport, EngineError> {
        let watch = Watch { progress, cancel };
        let metadata = std::fs::metadata(path).map_err(|e| EngineError::io("read", path, e))?;
        if metadata.is_dir() {
            return self.ingest(collection, open_folder(path, options)?, options, watch);
        }
        let Some(format) = options.format.or_else(|| FileFormat::from_path(path)) else {
            let known: Vec<&str> = FileFormat::ALL.iter().map(|format| format.name()).collect();
            let message = format!("its format cannot be told from its name; choose one of {}", known.join(", "));
            return Err(EngineError::BadFile { path: path.to_path_buf(), message });
        };
        let file = File::open(path).map_err(|e| EngineError::io("open", path, e))?;
        let named = IngestOptions {
            name: options.name.clone().or_else(|| Some(path.file_name()?.to_string_lossy().into_owned())),
            ..options.clone()
        };
        // Pipes and devices have no length of their own.
        let total = metadata.is_file().then_some(metadata.len());
        let source = match format {
            FileFormat::Parquet | FileFormat::ArrowStream if metadata.is_file() => open_columnar(file, format, options),
            _ => open(Box::new(file), format, total, &named),
        };
        let source = source.map_err(|failure| failed(failure, path, 0))?;
        let origin = Origin { source, name: path.to_path_buf(), format: Some(format) };
        self.ingest(collection, origin, options, watch)
    }

    fn ingest(
        &self,
        collection: &str,
        origin: Origin,
        options: &IngestOptions,
        watch: Watch<'_>,
    ) -> Result<IngestReport, EngineError> {
        storage::check_name("collection", collection)?;
        let begun = Instant::now();
        let Origin { source, name, format } = origin;
        let mut report = IngestReport { format, ..IngestReport::default() };
        let (extent, columns) = (source.extent(), source.columns());
        let mut feed = Feed::start(source, &name)?;
        let sample = feed.sample(watch.cancel)?;
        let target = Target::find(self, collection, options)?;
        let mut reader = settle_mapping(&mut feed, &sample, (columns, target.is_external()), options, &name)?;
        if let Some((mapping, _)) = &reader {
            watch.progress.note(&mapping.fields.to_string());
            for remark in &mapping.remarks {
                note(remark.clone(), &mut report, watch.progress);
            }
        }
        let dimension = reader.as_ref().and_then(|(mapping, _)| target::first_dimension(&sample, mapping));
        let mut reader = reader.take().map(|(mapping, max_text)| RowReader::new(mapping, max_text));

        let (target, embedder) = target.open(self, collection, dimension, &name)?;
        let owner = embedder.is_none().then(|| target.embedder().clone());
        let (embedder, reused) = embedder.unzip();
        let maker = BatchMaker::new(target, embedder.as_deref(), options, watch.cancel)?;
        let (total, unit) = match extent {
            Extent::Bytes(total) => (total, ProgressUnit::Bytes),
            Extent::Rows(total) => (total, ProgressUnit::Items),
        };
        // Progress may be shown to others, whom the folder does not concern.
        let shown =
            name.file_name().map_or_else(|| name.display().to_string(), |name| name.to_string_lossy().into_owned());
        watch.progress.start(&format!("ingest {shown}"), total, unit);
        let mut steps = Steps { reader: reader.as_mut(), owner: owner.as_ref(), options, watch };
        let outcome = pipeline::run(&maker, watch.progress, report, |intake| steps.run(sample, &mut feed, intake));
        watch.progress.finish();
        let mut report = outcome?;
        feed.finish(report.rows - report.rejected)?;
        if let Some(reader) = reader {
            report.fields = reader.into_fields();
        }
        // Of a chunk that was left out again in the end, nobody wants to know whether it was known.
        report.cached_chunks = reused.map_or(0, |reused| reused.get()).min(report.chunks);
        report.seconds = begun.elapsed().as_secs_f64();
        Ok(report)
    }
}

/// Walks the pieces of a source.
struct Steps<'a> {
    reader: Option<&'a mut RowReader>,
    /// Whose vectors the rows have to bring along; `None` where the collection's embedder makes them.
    owner: Option<&'a EmbedderInfo>,
    options: &'a IngestOptions,
    watch: Watch<'a>,
}

impl Steps<'_> {
    fn run(&mut self, sample: Vec<Placed>, feed: &mut Feed, intake: &mut Intake<'_, '_>) -> Result<(), EngineError> {
        let mut sample = sample.into_iter();
        let mut position = 0;
        loop {
            let placed = match sample.next() {
                Some(placed) => Some(placed),
                None => feed.next(self.watch.cancel)?,
            };
            let Some(placed) = placed else { break };
            position = placed.position;
            if let Some(incoming) = self.incoming(placed.piece, &mut intake.report) {
                intake.push(incoming, position)?;
            }
        }
        intake.send(position)
    }

    /// The document that a piece stands for; a piece that stands for none is reported.
    fn incoming(&mut self, piece: Piece, report: &mut IngestReport) -> Option<Incoming> {
        let (document, vector, markdown, line, row) = match piece {
            Piece::Row(row) => {
                let (line, number) = (row.line, row.row);
                let reader = self.reader.as_mut()?;
                match reader.document(row, &mut |warning| report.warn(warning)) {
                    Ok((document, vector)) => (document, vector, false, line, number),
                    Err(error) => {
                        report.reject(error);
                        return None;
                    }
                }
            }
            Piece::Document { document, row, markdown } => {
                if let Err(message) = check_text(&document.text, self.options.max_text_bytes) {
                    report.reject(RowError { line: None, row: Some(row), field: None, message });
                    return None;
                }
                if let Some(field) = not_finite(&document) {
                    let message = "the number is not finite".to_owned();
                    report.reject(RowError { line: None, row: Some(row), field: Some(field), message });
                    return None;
                }
                (document, None, markdown, None, row)
            }
            Piece::Rejected(error) => {
                report.reject(error);
                return None;
            }
            Piece::Note(remark) => {
                note(remark, report, self.watch.progress);
                return None;
            }
        };
        let vector = match self.owner.map(|owner| brought_vector(vector, owner)).transpose() {
            Ok(vector) => vector,
            Err(message) => {
                let field = self.reader.as_ref().and_then(|reader| reader.embedding_column()).map(str::to_owned);
                report.reject(RowError { line, row: Some(row), field, message });
                return None;
            }
        };
        Some(Incoming { document, markdown, vector, line, row })
    }
}

/// The first attribute that cannot be stored as JSON.
fn not_finite(document: &Document) -> Option<String> {
    let bad = |value: &AttributeValue| matches!(value, AttributeValue::Float(v) if !v.is_finite());
    document.attributes.iter().find(|(_, value)| bad(value)).map(|(name, _)| name.clone())
}

fn note(remark: String, report: &mut IngestReport, progress: &dyn Progress) {
    progress.note(&remark);
    report.warn(RowError { line: None, row: None, field: None, message: remark });
}

/// What the columns of the sampled rows are for; `None` for sources of finished documents.
fn settle_mapping(
    feed: &mut Feed,
    sample: &[Placed],
    (columns, brings_vectors): (Option<Vec<Arc<str>>>, bool),
    options: &IngestOptions,
    source: &Path,
) -> Result<Option<(Mapping, usize)>, EngineError> {
    let rows: Vec<_> =
        sample.iter().filter_map(|p| if let Piece::Row(row) = &p.piece { Some(row) } else { None }).collect();
    if sample.iter().any(|placed| matches!(placed.piece, Piece::Document { .. })) {
        return Ok(None);
    }
    if rows.is_empty() {
        feed.finish(0)?;
        let rejected: Vec<_> = sample
            .iter()
            .filter_map(|p| if let Piece::Rejected(error) = &p.piece { Some(error) } else { None })
            .collect();
        let message = match rejected.first() {
            Some(first) => format!("none of the first {} rows can be read; {first}", rejected.len()),
            None => "it holds no rows".to_owned(),
        };
        return Err(EngineError::BadFile { path: source.to_path_buf(), message });
    }
    let mapping = Mapping::resolve(&Sample { columns, rows }, &options.fields, brings_vectors, source)?;
    Ok(Some((mapping, options.max_text_bytes)))
}

fn open(
    reader: ByteSource,
    format: FileFormat,
    total: Option<u64>,
    options: &IngestOptions,
) -> Result<Box<dyn RowSource>, ReadFailure> {
    let limit = options.max_row_bytes;
    Ok(match format {
        FileFormat::Csv => Box::new(DelimitedSource::open(reader, total, options.delimiter, limit)?),
        FileFormat::Tsv => Box::new(DelimitedSource::open(reader, total, Some(b'\t'), limit)?),
        FileFormat::Jsonl => open_json(reader, true, total, limit)?,
        FileFormat::Json => open_json(reader, false, total, limit)?,
        FileFormat::Markdown | FileFormat::Text => {
            Box::new(ProseSource::single(reader, total, options.name.clone(), format, options.max_text_bytes))
        }
        FileFormat::Parquet | FileFormat::ArrowStream => open_columnar(spool(reader)?, format, options)?,
    })
}

fn open_columnar(file: File, format: FileFormat, options: &IngestOptions) -> Result<Box<dyn RowSource>, ReadFailure> {
    let limit = options.max_row_bytes;
    Ok(if format == FileFormat::Parquet {
        Box::new(ColumnarSource::open_parquet(file, limit)?)
    } else {
        Box::new(ColumnarSource::open_arrow(file, limit)?)
    })
}

fn open_folder(folder: &Path, options: &IngestOptions) -> Result<Origin, EngineError> {
    let files = prose_files(folder).map_err(|e| EngineError::io("list", folder, e))?;
    if files.is_empty() {
        let message =
            "the folder holds no Markdown or text files (.md, .markdown, .txt); name a file instead".to_owned();
        return Err(EngineError::BadFile { path: folder.to_path_buf(), message });
    }
    let source = Box::new(ProseSource::folder(folder, files, options.max_text_bytes));
    Ok(Origin { source, name: folder.to_path_buf(), format: None })
}
