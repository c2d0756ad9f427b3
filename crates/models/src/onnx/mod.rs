//! Graphs in the Open Neural Network Exchange format: its messages, files and parts.

mod build;
mod file;
mod proto;

pub(crate) use file::shown;
pub use proto::{
    AttributeKind, AttributeProto, DataType, Dimension, DimensionProto, GraphProto, ModelProto, NodeProto,
    OperatorSetIdProto, StringStringEntryProto, TensorProto, TensorShapeProto, TensorTypeProto, TypeProto,
    ValueInfoProto,
};
