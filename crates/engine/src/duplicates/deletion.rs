//! Deleting what a finished job found to be redundant, as long as it still reads as it did then.

use std::collections::{HashMap, HashSet};
use std::fs::File;

use anser_core::{Document, DocumentId};
use anser_index::Collection;
use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::UInt32Type;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde::{Deserialize, Serialize};

use super::facts::content_hash;
use crate::analysis::{AnalysisRequest, AnalysisSource};
use crate::{Engine, EngineError, JobState};

/// Documents deleted in one transaction.
const BATCH: usize = 1000;

/// What a deletion of duplicates did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeletedDuplicates {
    /// The collection.
    pub collection: String,
    /// Documents deleted.
    pub deleted: usize,
    /// Redundant documents that were left alone because they, or the document kept in their place, have been changed or
    /// deleted since they were compared.
    pub left: usize,
}

impl Engine {
    /// Deletes the redundant documents that a finished `duplicates` job found in a collection. A document goes only if its
    /// title and text are what was compared, and those of the kept document that stands for it too, both looked at in the
    /// transaction that deletes it. Documents that came later are never touched, and a second call deletes nothing more.
    ///
    /// # Errors
    /// `NotFound` for an unknown job or collection; `InvalidInput` for a job of another kind, one that has not succeeded,
    /// or one that read a file.
    pub fn delete_duplicates(&self, job_id: &str) -> Result<DeletedDuplicates, EngineError> {
        let job = self.job(job_id)?;
        if job.kind != "duplicates" {
            let message = format!(
                "the job {job_id} is of the kind {}; only one of the kind duplicates names documents to delete",
                job.kind
            );
            return Err(EngineError::invalid("job", message));
        }
        if job.state != JobState::Succeeded {
            let message =
                format!("the job {job_id} is {}; duplicates can be deleted once it has succeeded", job.state.as_str());
            return Err(EngineError::WrongState { message });
        }
        let request: AnalysisRequest = serde_json::from_value(job.request)
            .map_err(|e| EngineError::internal(format!("the request of the job {job_id} cannot be read: {e}")))?;
        let AnalysisSource::Collection { name, .. } = request.source else {
            let message = format!(
                "the job {job_id} read a file, and nothing is deleted from files; take the rows of its table whose keep is true instead"
            );
            return Err(EngineError::invalid("job", message));
        };
        let collection = self.collection(&name)?;
        let path = self.job_result_path(job_id, "documents.parquet")?;
        let unreadable = |error: std::io::Error| EngineError::io("read", &path, error);
        let file = File::open(&path).map_err(unreadable)?;
        let reader = ParquetRecordBatchReaderBuilder::try_new(file)
            .and_then(|builder| builder.with_batch_size(BATCH).build())
            .map_err(|e| unreadable(std::io::Error::other(e)))?;
        let mut outcome = DeletedDuplicates { collection: name, deleted: 0, left: 0 };
        let mut group = KeptOfGroup::default();
        for batch in reader {
            let batch = batch.map_err(|e| unreadable(std::io::Error::other(e)))?;
            let redundant = group.redundant(&batch)?;
            let deleted = delete(&collection, &redundant)?;
            outcome.deleted += deleted;
            outcome.left += redundant.len() - deleted;
        }
        Ok(outcome)
    }
}

/// A document that may go, and the one that stands for it, with what they said when they were compared.
struct Redundant {
    id: DocumentId,
    content: u128,
    kept: DocumentId,
    kept_content: u128,
}

/// The kept documents of the group that is being read. The table has them before those they stand for.
#[derive(Default)]
struct KeptOfGroup {
    group: Option<u32>,
    contents: HashMap<String, u128>,
}

impl KeptOfGroup {
    /// The redundant documents among the next rows of the table.
    fn redundant(&mut self, batch: &RecordBatch) -> Result<Vec<Redundant>, EngineError> {
        let column = |name: &str| {
            let missing = || EngineError::internal(format!("the table of duplicates has no column {name}"));
            batch.column_by_name(name).ok_or_else(missing)
        };
        let (ids, kept_ids) = (column("id")?.as_string::<i32>(), column("kept_id")?.as_string::<i32>());
        let (titles, texts) = (column("title")?.as_string::<i32>(), column("text")?.as_string::<i32>());
        let (groups, keep) = (column("group")?.as_primitive::<UInt32Type>(), column("keep")?.as_boolean());
        let mut found = Vec::new();
        for row in 0..batch.num_rows() {
            if self.group != Some(groups.value(row)) {
                *self = Self { group: Some(groups.value(row)), contents: HashMap::new() };
            }
            let title = titles.is_valid(row).then(|| titles.value(row));
            let content = content_hash(title, texts.value(row));
            if keep.value(row) {
                self.contents.insert(ids.value(row).to_owned(), content);
                continue;
            }
            let kept = kept_ids.value(row);
            let orphan =
                || EngineError::internal("the table of duplicates names a kept document after one it stands for");
            let kept_content = *self.contents.get(kept).ok_or_else(orphan)?;
            found.push(Redundant {
                id: DocumentId::new(ids.value(row))?,
                content,
                kept: DocumentId::new(kept)?,
                kept_content,
            });
        }
        Ok(found)
    }
}

/// Deletes those that still read as they did and whose kept documents do; returns how many.
fn delete(collection: &Collection, redundant: &[Redundant]) -> Result<usize, EngineError> {
    if redundant.is_empty() {
        return Ok(0);
    }
    let looked_at: HashSet<&DocumentId> = redundant.iter().flat_map(|one| [&one.id, &one.kept]).collect();
    let looked_at: Vec<DocumentId> = looked_at.into_iter().cloned().collect();
    let deleted = collection.delete_chosen(&looked_at, &mut |stored| {
        let reads = |id: &DocumentId, content: u128| {
            stored.get(id).is_some_and(|now: &Document| content_hash(now.title.as_deref(), &now.text) == content)
        };
        let unchanged = |one: &&Redundant| reads(&one.id, one.content) && reads(&one.kept, one.kept_content);
        redundant.iter().filter(unchanged).map(|one| one.id.clone()).collect()
    })?;
    Ok(deleted)
}
