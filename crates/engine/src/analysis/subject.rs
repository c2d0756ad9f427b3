//! The documents that an analysis works on, as they were when it began.

use std::fs;
use std::path::Path;

use anser_core::storage::{self, DataDir};
use anser_core::{AttributeValue, CancelToken, Document, DocumentId, EmbedderInfo, Progress, ProgressUnit};
use anser_index::analysis::{VectorFile, Vectors};
use anser_index::{Collection, IndexOptions, Store};
use serde::{Deserialize, Serialize};

use super::kind::AnalysisParts;
use super::rows::{RowFile, RowWriter};
use super::{AnalysisRequest, AnalysisSource};
use crate::ingest::Ingester;
use crate::jobs::{Moment, pass};
use crate::scan::scan;
use crate::{EngineError, IngestOptions};

/// Written last: says that the other files are whole.
const MARK: &str = "subject.json";
const ROWS: &str = "rows.arrow";
const VECTORS: &str = "vectors.f32";
/// How many rows of a file were embedded when it was looked at last.
const EMBEDDED: &str = "embedded";
/// Folder of the store that a file is read into.
const STORE: &str = "store";
/// The one collection in it.
const TEMPORARY: &str = "rows";

/// Documents with one unit vector each, in order of id. Texts stay on disk, vectors are mapped.
pub(crate) struct Subject {
    /// What reports call it: the collection or file.
    pub(crate) name: String,
    /// Who made the vectors.
    pub(crate) embedder: EmbedderInfo,
    /// The documents' ids, in order.
    pub(crate) ids: Vec<DocumentId>,
    /// One vector for each document: the normalised mean of its chunks' vectors.
    pub(crate) vectors: Vectors,
    rows: RowFile,
}

#[derive(Serialize, Deserialize)]
struct Mark {
    embedder: EmbedderInfo,
}

/// How a source is read.
pub(super) struct Reading<'a> {
    pub(super) parts: &'a AnalysisParts,
    /// Where what is read goes, and where an earlier run of the same job may have left it.
    pub(super) folder: &'a Path,
    pub(super) cancel: &'a CancelToken,
    pub(super) progress: &'a dyn Progress,
    /// Called when something was reached that need not be done again.
    pub(super) checkpoint: &'a dyn Fn() -> Result<(), EngineError>,
}

impl Subject {
    /// Reads the source of `request` into a folder, or opens what an earlier run of the same job read into it.
    /// `InvalidInput` when there are no documents.
    pub(super) fn open(request: &AnalysisRequest, reading: &Reading<'_>) -> Result<Self, EngineError> {
        let (name, folder) = (request.source.name(), reading.folder);
        let embedder = if let Ok(text) = fs::read_to_string(folder.join(MARK)) {
            EngineError::parse_stored::<Mark>(&text, "documents of", &name)?.embedder
        } else {
            let embedder = collect(request, reading)?;
            (reading.checkpoint)()?;
            embedder
        };
        let vectors = Vectors::map(&folder.join(VECTORS), embedder.dimension)?;
        let rows = RowFile::new(folder.join(ROWS));
        let ids = rows.ids()?;
        if ids.len() != vectors.len() {
            return Err(EngineError::internal("the rows and vectors of an analysis do not fit together"));
        }
        Ok(Self { name, embedder, ids, vectors, rows })
    }

    /// Memory that the ids take, and the mapped vectors once all of them were touched, in bytes.
    pub(super) fn memory_bytes(&self) -> u64 {
        let ids: usize = self.ids.iter().map(|id| size_of::<DocumentId>() + id.as_str().len()).sum();
        (ids + self.vectors.len() * self.vectors.dimension() * size_of::<f32>()) as u64
    }

    /// How many documents there are; at least 1.
    pub(crate) fn len(&self) -> usize {
        self.ids.len()
    }

    /// All documents in order, read a few hundred at a time.
    pub(crate) fn documents(&self) -> Result<impl Iterator<Item = Result<Document, EngineError>> + use<>, EngineError> {
        self.rows.all()
    }

    /// Some documents, by their places, in the order asked for.
    pub(crate) fn some(&self, wanted: &[usize]) -> Result<Vec<Document>, EngineError> {
        self.rows.some(wanted)
    }

    /// One attribute of every document.
    pub(crate) fn attribute(&self, name: &str) -> Result<Vec<Option<AttributeValue>>, EngineError> {
        self.documents()?.map(|document| document.map(|mut document| document.attributes.remove(name))).collect()
    }
}

/// Reads the source into files of the folder.
fn collect(request: &AnalysisRequest, reading: &Reading<'_>) -> Result<EmbedderInfo, EngineError> {
    let parts = reading.parts;
    let path = match &request.source {
        AnalysisSource::Collection { name, .. } => {
            return write(parts.store.get(name)?.as_ref(), request, reading);
        }
        AnalysisSource::Path { path, .. } => path.clone(),
        AnalysisSource::Upload { file, .. } => parts.files.held_path(file)?,
    };
    let (AnalysisSource::Path { format, fields, .. } | AnalysisSource::Upload { format, fields, .. }) = &request.source
    else {
        return Err(EngineError::internal("a collection is no file"));
    };
    let data = DataDir::open(reading.folder.join(STORE))?;
    let store = Store::open(&data, IndexOptions::default())?;
    credit(&store, reading)?;
    let mut options = IngestOptions { format: *format, fields: fields.clone(), ..IngestOptions::default() };
    if let AnalysisSource::Upload { file, .. } = &request.source {
        let stored = parts.files.get(file)?;
        options.format = options.format.or_else(|| crate::FileFormat::from_path(Path::new(&stored.filename)));
        options.name = Some(stored.filename);
    }
    let ingester = Ingester { store: &store, models: &parts.models };
    let report = ingester.file(TEMPORARY, &path, &options, reading.progress, reading.cancel)?;
    if report.rejected > 0 {
        let first = report.errors.first().map(|error| format!("; the first: {error}")).unwrap_or_default();
        reading.progress.note(&format!("{} of {} rows were left out{first}", report.rejected, report.rows));
    }
    let embedder = write(store.get(TEMPORARY)?.as_ref(), request, reading)?;
    drop(store);
    let store = reading.folder.join(STORE);
    fs::remove_dir_all(&store).map_err(|e| EngineError::io("remove", &store, e))?;
    Ok(embedder)
}

/// Looks how many rows of a file earlier runs embedded. When there are more than the last time, crashes before do not
/// count: the job gets further.
fn credit(store: &Store, reading: &Reading<'_>) -> Result<(), EngineError> {
    let path = reading.folder.join(EMBEDDED);
    let before: u64 = fs::read_to_string(&path).ok().and_then(|text| text.parse().ok()).unwrap_or(0);
    let now = match store.get(TEMPORARY) {
        Ok(collection) => collection.info()?.documents,
        Err(_) => return Ok(()),
    };
    if now > before {
        (reading.checkpoint)()?;
        storage::write_atomic(&path, now.to_string().as_bytes())?;
    }
    Ok(())
}

/// Why there is nothing to analyse. Attributes of the filter that no document has are most likely misspelt.
fn nothing(collection: &Collection, request: &AnalysisRequest) -> Result<EngineError, EngineError> {
    let name = request.source.name();
    let message = match request.source.filter() {
        None => format!("\"{name}\" has no documents; ingest some first"),
        Some(filter) => {
            let explain = collection.explain_filter(filter)?;
            let unknown = explain.unknown_keys.iter().map(ToString::to_string);
            let remarks: Vec<String> = unknown.chain(explain.mismatched.iter().map(ToString::to_string)).collect();
            let advice = if remarks.is_empty() { "widen it".to_owned() } else { remarks.join("; ") };
            format!("\"{name}\" has no documents that the filter lets through; {advice}")
        }
    };
    Ok(EngineError::invalid("source", message))
}

/// Writes one moment of a collection into files of `folder`. `InvalidInput` when no document is let through.
fn write(
    collection: &Collection,
    request: &AnalysisRequest,
    reading: &Reading<'_>,
) -> Result<EmbedderInfo, EngineError> {
    let (folder, progress) = (reading.folder, reading.progress);
    let embedder = collection.embedder().clone();
    progress.start("reading documents", Some(collection.info()?.documents), ProgressUnit::Items);
    let mut vectors = VectorFile::create(&folder.join(VECTORS), embedder.dimension)?;
    let mut rows = RowWriter::create(&folder.join(ROWS))?;
    let mut read = 0_u64;
    scan(collection, request.source.filter(), |scanned| {
        reading.cancel.check()?;
        pass(Moment::Read)?;
        vectors.push(scanned.embedding.as_slice())?;
        rows.push(scanned.document)?;
        read += 1;
        progress.set(read);
        Ok(())
    })?;
    if read == 0 {
        return Err(nothing(collection, request)?);
    }
    vectors.finish()?;
    rows.finish()?;
    let mark = EngineError::store_json(&Mark { embedder: embedder.clone() })?;
    storage::write_atomic(&folder.join(MARK), mark.as_bytes())?;
    progress.finish();
    Ok(embedder)
}
