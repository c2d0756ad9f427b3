//! The clusters that a job found, kept so that other documents can be assigned to them.

use std::fs::File;
use std::sync::Arc;

use anser_core::EmbedderInfo;
use anser_index::analysis::Vectors;
use arrow::array::{ArrayRef, AsArray, Float32Array, RecordBatch, StringArray, UInt32Array};
use arrow::datatypes::{DataType, Field, Float32Type, Schema};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::report::{ClusterReport, ClusterSummary};
use crate::EngineError;
use crate::analysis::Work;

/// Name of the table.
const TABLE: &str = "centroids";
/// Columns before the numbers.
const BEFORE: usize = 2;

/// Clusters of another job.
pub(super) struct SavedClusters {
    pub(super) report: ClusterReport,
    pub(super) centroids: Vectors,
}

/// Writes the table `centroids`: one row a cluster with the columns `cluster`, `label` and the numbers of its unit mean
/// direction, `v0`, `v1`, ….
pub(super) fn save(work: &Work<'_>, clusters: &[ClusterSummary], centroids: &Vectors) -> Result<(), EngineError> {
    let mut fields = vec![Field::new("cluster", DataType::UInt32, false), Field::new("label", DataType::Utf8, false)];
    fields.extend((0..centroids.dimension()).map(|at| Field::new(format!("v{at}"), DataType::Float32, false)));
    let schema = Arc::new(Schema::new(fields));
    let mut columns: Vec<ArrayRef> = vec![
        Arc::new(UInt32Array::from_iter_values(clusters.iter().map(|cluster| cluster.cluster))),
        Arc::new(StringArray::from_iter_values(clusters.iter().map(|cluster| &cluster.label))),
    ];
    columns.extend((0..centroids.dimension()).map(|at| -> ArrayRef {
        Arc::new(Float32Array::from_iter_values(centroids.iter().map(|centroid| centroid[at])))
    }));
    let batch = RecordBatch::try_new(schema.clone(), columns)
        .map_err(|e| EngineError::internal(format!("the centroids do not fit into a table: {e}")))?;
    let mut table = work.results.table(TABLE, schema)?;
    table.write(&batch)?;
    table.finish()
}

/// Reads the clusters of the job `id`, whose vectors must be of the embedder of `work`'s documents.
pub(super) fn load(work: &Work<'_>, id: &str) -> Result<SavedClusters, EngineError> {
    let none = || {
        let message = format!(
            "there is no clustering {id} to assign documents to; name the job of an anser cluster that has succeeded"
        );
        EngineError::invalid("assign", message)
    };
    let folder = work.parts.data.job_results(id).map_err(|_| none())?;
    let report = std::fs::read_to_string(folder.join(crate::analysis::REPORT)).map_err(|_| none())?;
    let report: ClusterReport = serde_json::from_str(&report).map_err(|_| none())?;
    check_embedder(&report.embedder, &work.subject.embedder, id)?;
    let path = folder.join(format!("{TABLE}.parquet"));
    let unreadable = |error: std::io::Error| EngineError::io("read", &path, error);
    let file = File::open(&path).map_err(|_| none())?;
    let reader = ParquetRecordBatchReaderBuilder::try_new(file)
        .and_then(ParquetRecordBatchReaderBuilder::build)
        .map_err(|e| unreadable(std::io::Error::other(e)))?;
    let mut values = Vec::new();
    for batch in reader {
        let batch = batch.map_err(|e| unreadable(std::io::Error::other(e)))?;
        let columns: Vec<&Float32Array> =
            batch.columns().iter().skip(BEFORE).filter_map(|column| column.as_primitive_opt::<Float32Type>()).collect();
        if columns.len() != report.embedder.dimension {
            return Err(unreadable(std::io::Error::other("the table has other columns than one for each dimension")));
        }
        for row in 0..batch.num_rows() {
            values.extend(columns.iter().map(|column| column.value(row)));
        }
    }
    let centroids = Vectors::new(values, report.embedder.dimension)?;
    if centroids.len() != report.clusters.len() {
        return Err(unreadable(std::io::Error::other("the table has not one row for each cluster")));
    }
    Ok(SavedClusters { report, centroids })
}

fn check_embedder(theirs: &EmbedderInfo, ours: &EmbedderInfo, id: &str) -> Result<(), EngineError> {
    if theirs.fingerprint == ours.fingerprint && theirs.dimension == ours.dimension {
        return Ok(());
    }
    let message = format!(
        "the clusters of {id} were made with the embedder {}, these documents have vectors of {}; embed them with the same \
         model",
        theirs.model, ours.model
    );
    Err(EngineError::invalid("assign", message))
}
