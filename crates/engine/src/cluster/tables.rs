//! The tables of a clustering.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{ArrayRef, Float32Array, Float64Array, RecordBatch, StringArray, UInt32Array, UInt64Array};
use arrow::datatypes::{DataType, Field, Schema};

use super::naming::NOISE;
use super::partition::Partition;
use super::report::ClusterSummary;
use crate::EngineError;
use crate::analysis::Work;
use crate::table::write_documents;

/// Between the texts of a list.
const SEPARATOR: &str = "; ";

/// Writes the table `documents`, one row a document in order of id: `id` (text), `cluster` (unsigned 32-bit, missing for
/// noise), `label` (text; `noise` where there is no cluster), `similarity` (32-bit float, cosine with the centroid of its
/// cluster, of noise with the nearest), `margin` (32-bit float: that less the cosine with the nearest other centroid,
/// missing for noise and for a single cluster), `x`, `y` (32-bit floats, the place on the map), `title`, `text`, and a
/// column for each attribute.
pub(super) fn write_rows(
    work: &Work<'_>,
    partition: &Partition,
    clusters: &[ClusterSummary],
    points: &[[f32; 2]],
) -> Result<(), EngineError> {
    let float = |name: &str, missing: bool| Field::new(name, DataType::Float32, missing);
    let own = vec![
        Field::new("cluster", DataType::UInt32, true),
        Field::new("label", DataType::Utf8, false),
        float("similarity", false),
        float("margin", true),
        float("x", false),
        float("y", false),
    ];
    let label = |cluster: Option<u32>| {
        cluster.and_then(|cluster| clusters.get(cluster as usize)).map_or(NOISE, |cluster| cluster.label.as_str())
    };
    write_documents(work, "documents", own, &mut |rows| {
        let assigned = &partition.assignments[rows.clone()];
        let axis = |axis: usize| Float32Array::from_iter_values(points[rows.clone()].iter().map(|point| point[axis]));
        let columns: [ArrayRef; 6] = [
            Arc::new(assigned.iter().copied().collect::<UInt32Array>()),
            Arc::new(StringArray::from_iter_values(assigned.iter().map(|cluster| label(*cluster)))),
            Arc::new(Float32Array::from_iter_values(partition.similarities[rows.clone()].iter().copied())),
            Arc::new(rows.clone().map(|at| partition.margin(at)).collect::<Float32Array>()),
            Arc::new(axis(0)),
            Arc::new(axis(1)),
        ];
        columns.into()
    })
}

/// Writes the table `clusters`, one row a cluster: `cluster` (unsigned 32-bit), `label` (text), `size` (unsigned 64-bit),
/// `share` (64-bit float), `cohesion` (32-bit float, missing for an empty cluster), `keywords` (text, joined by `; `),
/// `typical_ids` (text, joined by `; `), `typical_text` (text of the most typical document), and for each attribute with
/// numbers its mean over the cluster, `mean_NAME` (64-bit float).
pub(super) fn write_clusters(work: &Work<'_>, clusters: &[ClusterSummary]) -> Result<(), EngineError> {
    let numeric: BTreeSet<&String> = clusters
        .iter()
        .flat_map(|cluster| cluster.attributes.iter().filter(|(_, a)| a.mean.is_some()).map(|(name, _)| name))
        .collect();
    let text = |name: &str, missing: bool| Field::new(name, DataType::Utf8, missing);
    let mut fields = vec![
        Field::new("cluster", DataType::UInt32, false),
        text("label", false),
        Field::new("size", DataType::UInt64, false),
        Field::new("share", DataType::Float64, false),
        Field::new("cohesion", DataType::Float32, true),
        text("keywords", false),
        text("typical_ids", false),
        text("typical_text", true),
    ];
    fields.extend(numeric.iter().map(|name| Field::new(format!("mean_{name}"), DataType::Float64, true)));
    let schema = Arc::new(Schema::new(fields));
    let joined = |of: &dyn Fn(&ClusterSummary) -> Vec<String>| -> ArrayRef {
        Arc::new(StringArray::from_iter_values(clusters.iter().map(|cluster| of(cluster).join(SEPARATOR))))
    };
    let mut columns: Vec<ArrayRef> = vec![
        Arc::new(UInt32Array::from_iter_values(clusters.iter().map(|cluster| cluster.cluster))),
        Arc::new(StringArray::from_iter_values(clusters.iter().map(|cluster| &cluster.label))),
        Arc::new(UInt64Array::from_iter_values(clusters.iter().map(|cluster| cluster.size as u64))),
        Arc::new(Float64Array::from_iter_values(clusters.iter().map(|cluster| cluster.share))),
        Arc::new(clusters.iter().map(|cluster| cluster.cohesion).collect::<Float32Array>()),
        joined(&|cluster| cluster.keywords.iter().map(|keyword| keyword.term.clone()).collect()),
        joined(&|cluster| cluster.typical.iter().map(|document| document.id.to_string()).collect()),
        Arc::new(
            clusters.iter().map(|c| c.typical.first().map(|document| document.text.as_str())).collect::<StringArray>(),
        ),
    ];
    columns.extend(numeric.iter().map(|name| -> ArrayRef {
        let mean = |cluster: &ClusterSummary| cluster.attributes.get(*name).and_then(|summary| summary.mean);
        Arc::new(clusters.iter().map(mean).collect::<Float64Array>())
    }));
    let batch = RecordBatch::try_new(schema.clone(), columns)
        .map_err(|e| EngineError::internal(format!("the clusters do not fit into a table: {e}")))?;
    let mut table = work.results.table("clusters", schema)?;
    table.write(&batch)?;
    table.finish()
}
