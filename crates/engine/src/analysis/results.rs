//! What a job made: files with a name and a content type, kept after the job has ended.
//!
//! A table is written as Parquet, a batch at a time, and turned into what a reader asks for when it is read.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use anser_core::storage::{DataDir, folder_of, sync_folder};
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;
use rusqlite::{Connection, Transaction, params};
use serde::Serialize;

use super::formats::{self, ResultFormat};
use crate::jobs::{Moment, pass};
use crate::{Engine, EngineError};

/// Name of the result that says everything but the rows.
pub(crate) const REPORT: &str = "report.json";
/// The table that most analyses make.
const DOCUMENTS: &str = "documents.parquet";
/// Bytes of a table that are in memory while it is written.
const ROW_GROUP_BYTES: usize = 64 << 20;

/// One file that a job made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct JobResult {
    /// Its name within the job: `report.json`, `documents.parquet`, `map.svg`, …
    pub name: String,
    /// What kind of file it is, as HTTP says it.
    pub content_type: String,
    /// Its length.
    pub bytes: u64,
}

/// Where a running job puts its results. They are the job's once it has succeeded.
pub(crate) struct ResultFolder {
    folder: PathBuf,
}

impl ResultFolder {
    /// An empty folder; what an interrupted run left in it is removed.
    pub(super) fn create(folder: PathBuf) -> Result<Self, EngineError> {
        if folder.exists() {
            fs::remove_dir_all(&folder).map_err(|e| EngineError::io("remove", &folder, e))?;
        }
        fs::create_dir_all(&folder).map_err(|e| EngineError::io("create the folder", &folder, e))?;
        Ok(Self { folder })
    }

    /// Writes `report.json`: the whole result but for its rows.
    pub(crate) fn report(&self, report: &impl Serialize) -> Result<(), EngineError> {
        let text = serde_json::to_string_pretty(report).map_err(|e| EngineError::internal(e.to_string()))?;
        self.file(REPORT, text.as_bytes())
    }

    /// Writes a file whose name's ending says what it is: `.svg`, `.png`, `.html`, `.json`, `.csv`.
    pub(crate) fn file(&self, name: &str, bytes: &[u8]) -> Result<(), EngineError> {
        pass(Moment::Write)?;
        let path = self.folder.join(name);
        fs::write(&path, bytes).map_err(|e| EngineError::io("write", &path, e))
    }

    /// Begins a table called `name`, which becomes `name.parquet`. The table named first in a job's documentation is
    /// `documents`: one row for each document, with its id in the column `id`.
    pub(crate) fn table(&self, name: &str, schema: SchemaRef) -> Result<TableWriter, EngineError> {
        pass(Moment::Write)?;
        let path = self.folder.join(format!("{name}.parquet"));
        let file = File::create(&path).map_err(|e| EngineError::io("create", &path, e))?;
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(ZstdLevel::default()))
            .set_max_row_group_bytes(Some(ROW_GROUP_BYTES))
            .build();
        let writer = ArrowWriter::try_new(BufWriter::new(file), schema, Some(properties));
        Ok(TableWriter { writer: writer.map_err(|e| parquet_error("create", &path, e))?, path })
    }

    /// Moves everything to where results of `job` are kept, as part of the transaction that ends the job. All of it is on
    /// the disk before. When the transaction is not committed, what was moved belongs to nobody: the next run replaces it,
    /// and it is removed when the job ends otherwise.
    pub(super) fn install(&self, data: &DataDir, tx: &Transaction<'_>, job: &str, key: i64) -> Result<(), EngineError> {
        let target = data.job_results(job)?;
        let parent = folder_of(&target);
        fs::create_dir_all(parent).map_err(|e| EngineError::io("create the folder", parent, e))?;
        if target.exists() {
            fs::remove_dir_all(&target).map_err(|e| EngineError::io("remove", &target, e))?;
        }
        let mut names: Vec<String> = Vec::new();
        for entry in fs::read_dir(&self.folder).map_err(|e| EngineError::io("list", &self.folder, e))? {
            let entry = entry.map_err(|e| EngineError::io("list", &self.folder, e))?;
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
        // The report first, then the table of documents, other tables, and pictures, each by name: the order of lists.
        let rank = |name: &str| match name {
            REPORT => 0,
            DOCUMENTS => 1,
            table if table.ends_with(".parquet") => 2,
            _ => 3,
        };
        names.sort_by(|a, b| rank(a).cmp(&rank(b)).then_with(|| a.cmp(b)));
        tx.execute("DELETE FROM job_results WHERE job = ?1", [key])?;
        for (position, name) in names.iter().enumerate() {
            let path = self.folder.join(name);
            let file = File::open(&path).map_err(|e| EngineError::io("open", &path, e))?;
            let bytes = file.metadata().map_err(|e| EngineError::io("read", &path, e))?.len();
            file.sync_all().map_err(|e| EngineError::io("write", &path, e))?;
            tx.execute(
                "INSERT INTO job_results (job, position, name, content_type, bytes) VALUES (?1, ?2, ?3, ?4, ?5)",
                params![key, position as i64, name, content_type(name), bytes as i64],
            )?;
        }
        sync_folder(&self.folder)?;
        pass(Moment::BeforeMove)?;
        fs::rename(&self.folder, &target).map_err(|e| EngineError::io("move", &self.folder, e))?;
        sync_folder(parent)?;
        pass(Moment::AfterMove)
    }
}

/// A table being written.
pub(crate) struct TableWriter {
    writer: ArrowWriter<BufWriter<File>>,
    path: PathBuf,
}

impl TableWriter {
    /// Appends rows of the table's schema.
    pub(crate) fn write(&mut self, batch: &RecordBatch) -> Result<(), EngineError> {
        self.writer.write(batch).map_err(|e| parquet_error("write", &self.path, e))
    }

    /// Ends the table.
    pub(crate) fn finish(self) -> Result<(), EngineError> {
        let Self { writer, path } = self;
        let mut file = writer.into_inner().map_err(|e| parquet_error("write", &path, e))?;
        file.flush().map_err(|e| EngineError::io("write", &path, e))
    }
}

fn content_type(name: &str) -> &'static str {
    match name.rsplit_once('.').map(|(_, extension)| extension) {
        Some("json") => "application/json",
        Some("parquet") => ResultFormat::Parquet.content_type(),
        Some("svg") => "image/svg+xml",
        Some("png") => "image/png",
        Some("html") => "text/html; charset=utf-8",
        Some("csv") => "text/csv; charset=utf-8",
        _ => "application/octet-stream",
    }
}

fn parquet_error(action: &'static str, path: &Path, error: parquet::errors::ParquetError) -> EngineError {
    EngineError::io(action, path, std::io::Error::other(error))
}

impl Engine {
    /// The files that a job made, the report first; none before it has succeeded.
    pub fn job_results(&self, id: &str) -> Result<Vec<JobResult>, EngineError> {
        self.job(id)?;
        self.control.read(|connection| list(connection, id))
    }

    /// Where one file of a job lies; `NotFound` when there is none of that name.
    pub fn job_result_path(&self, id: &str, name: &str) -> Result<PathBuf, EngineError> {
        let results = self.job_results(id)?;
        if results.iter().any(|result| result.name == name) {
            return Ok(self.data.job_results(id)?.join(name));
        }
        let names: Vec<&str> = results.iter().map(|result| result.name.as_str()).collect();
        Err(EngineError::not_found(if names.is_empty() {
            format!("the job {id} has no results")
        } else {
            format!("the job {id} has no result of that name; it has {}", names.join(", "))
        }))
    }

    /// The report of a job that has succeeded, as its kind's type.
    pub fn job_report<T: serde::de::DeserializeOwned>(&self, id: &str) -> Result<T, EngineError> {
        let path = self.job_result_path(id, REPORT)?;
        let text = fs::read_to_string(&path).map_err(|e| EngineError::io("read", &path, e))?;
        EngineError::parse_stored(&text, "report of job", id)
    }

    /// Writes a table of a job (`documents`, …) to `out` in some format, a batch in memory at a time.
    pub fn write_job_table(
        &self,
        id: &str,
        table: &str,
        format: ResultFormat,
        out: &mut (dyn Write + Send),
    ) -> Result<(), EngineError> {
        let path = self.job_result_path(id, &format!("{table}.parquet"))?;
        let failed = |error: std::io::Error| EngineError::io("read", &path, error);
        let mut file = File::open(&path).map_err(failed)?;
        if format == ResultFormat::Parquet {
            return std::io::copy(&mut file, out).map(|_| ()).map_err(failed);
        }
        let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(|e| failed(std::io::Error::other(e)))?;
        let schema = builder.schema().clone();
        let batches = builder.build().map_err(|e| failed(std::io::Error::other(e)))?;
        formats::convert(format, &schema, batches, out).map_err(|e| failed(std::io::Error::other(e)))
    }
}

fn list(connection: &Connection, id: &str) -> Result<Vec<JobResult>, EngineError> {
    let sql = "SELECT name, content_type, bytes FROM job_results
        WHERE job = (SELECT jobs.key FROM jobs WHERE jobs.id = ?1) ORDER BY position";
    let mut statement = connection.prepare_cached(sql)?;
    let rows = statement.query_map([id], |row| {
        Ok(JobResult { name: row.get(0)?, content_type: row.get(1)?, bytes: row.get::<_, i64>(2)? as u64 })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}
