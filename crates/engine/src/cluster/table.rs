//! The assignments as a table: one row a document, typed columns for attributes that have one type.

use std::collections::HashSet;
use std::sync::Arc;

use anser_core::AttributeValue;
use arrow::array::{
    ArrayRef, BooleanArray, Float32Array, Float64Array, Int64Array, RecordBatch, StringArray,
    TimestampMicrosecondArray, UInt32Array,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use arrow::error::ArrowError;

use super::columns::{ColumnKind, number, uniform_columns};
use super::report::{Assignment, ClusterReport};

/// The columns that every table has, in order.
pub(super) const FIXED_COLUMNS: [&str; 8] = ["id", "cluster", "label", "similarity", "x", "y", "title", "text"];

/// An attribute and the column it becomes.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct AttributeColumn {
    pub(super) attribute: String,
    /// The attribute's name, with `attribute.` before it where a fixed column has that name.
    pub(super) column: String,
    pub(super) kind: ColumnKind,
}

/// A report seen as a table.
pub(super) struct AssignmentTable<'a> {
    pub(super) report: &'a ClusterReport,
    pub(super) attributes: Vec<AttributeColumn>,
    schema: SchemaRef,
}

impl<'a> AssignmentTable<'a> {
    pub(super) fn new(report: &'a ClusterReport) -> Self {
        let mut used: HashSet<String> = FIXED_COLUMNS.map(str::to_owned).into();
        let attributes: Vec<AttributeColumn> = uniform_columns(report.assignments.iter().map(|a| &a.attributes))
            .into_iter()
            .map(|(attribute, kind)| {
                let mut column = attribute.clone();
                while !used.insert(column.clone()) {
                    column.insert_str(0, "attribute.");
                }
                AttributeColumn { attribute, column, kind }
            })
            .collect();
        let schema = Arc::new(schema(&attributes));
        Self { report, attributes, schema }
    }

    pub(super) fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    /// The label of the cluster a row is in.
    pub(super) fn label(&self, row: &Assignment) -> &'a str {
        self.report.clusters.get(row.cluster as usize).map_or("", |cluster| &cluster.label)
    }

    /// Some of the rows as an Arrow batch of [`AssignmentTable::schema`].
    pub(super) fn batch(&self, rows: &[Assignment]) -> Result<RecordBatch, ArrowError> {
        let float = |value: fn(&Assignment) -> f32| -> ArrayRef {
            Arc::new(rows.iter().map(value).collect::<Vec<f32>>().into_iter().collect::<Float32Array>())
        };
        let mut columns: Vec<ArrayRef> = vec![
            Arc::new(StringArray::from_iter_values(rows.iter().map(|a| a.document_id.as_str()))),
            Arc::new(rows.iter().map(|a| Some(a.cluster)).collect::<UInt32Array>()),
            Arc::new(StringArray::from_iter_values(rows.iter().map(|a| self.label(a)))),
            float(|a| a.similarity),
            float(|a| a.x),
            float(|a| a.y),
            Arc::new(rows.iter().map(|a| a.title.as_deref()).collect::<StringArray>()),
            Arc::new(StringArray::from_iter_values(rows.iter().map(|a| &a.text))),
        ];
        columns.extend(self.attributes.iter().map(|column| attribute_array(column, rows)));
        RecordBatch::try_new(self.schema(), columns)
    }
}

fn schema(attributes: &[AttributeColumn]) -> Schema {
    let fixed = FIXED_COLUMNS.map(|name| {
        let data_type = match name {
            "cluster" => DataType::UInt32,
            "similarity" | "x" | "y" => DataType::Float32,
            _ => DataType::Utf8,
        };
        Field::new(name, data_type, name == "title")
    });
    let typed = attributes.iter().map(|column| {
        let data_type = match column.kind {
            ColumnKind::Bool => DataType::Boolean,
            ColumnKind::Integer => DataType::Int64,
            ColumnKind::Float => DataType::Float64,
            ColumnKind::Time => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            ColumnKind::String => DataType::Utf8,
        };
        Field::new(&column.column, data_type, true)
    });
    Schema::new(fixed.into_iter().chain(typed).collect::<Vec<_>>())
}

fn attribute_array(column: &AttributeColumn, rows: &[Assignment]) -> ArrayRef {
    let values = rows.iter().map(|a| a.attributes.get(&column.attribute));
    match column.kind {
        ColumnKind::Bool => Arc::new(
            values
                .map(|v| if let Some(AttributeValue::Bool(v)) = v { Some(*v) } else { None })
                .collect::<BooleanArray>(),
        ),
        ColumnKind::Integer => Arc::new(
            values
                .map(|v| if let Some(AttributeValue::Integer(v)) = v { Some(*v) } else { None })
                .collect::<Int64Array>(),
        ),
        ColumnKind::Float => Arc::new(values.map(|v| v.and_then(number)).collect::<Float64Array>()),
        ColumnKind::Time => Arc::new(
            values.map(|v| v.and_then(microseconds)).collect::<TimestampMicrosecondArray>().with_timezone("UTC"),
        ),
        ColumnKind::String => Arc::new(
            values
                .map(|v| if let Some(AttributeValue::String(v)) = v { Some(v.as_str()) } else { None })
                .collect::<StringArray>(),
        ),
    }
}

/// Microseconds since 1970 of a time.
fn microseconds(value: &AttributeValue) -> Option<i64> {
    match value {
        AttributeValue::Time(time) => i64::try_from(time.unix_timestamp_nanos().div_euclid(1000)).ok(),
        _ => None,
    }
}
