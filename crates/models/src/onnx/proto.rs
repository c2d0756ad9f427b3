//! The messages of the Open Neural Network Exchange format (onnx.proto3 of the ONNX specification, IR version 10), as far
//! as encoders need them. Fields that are not declared here are dropped when a file is read.

use prost::bytes::Bytes;

/// A whole file: a graph and the operator sets that it is written in.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ModelProto {
    /// Version of the format itself.
    #[prost(int64, tag = "1")]
    pub ir_version: i64,
    /// What wrote the file.
    #[prost(string, tag = "2")]
    pub producer_name: String,
    /// Version of what wrote the file.
    #[prost(string, tag = "3")]
    pub producer_version: String,
    /// The computation.
    #[prost(message, optional, tag = "7")]
    pub graph: Option<GraphProto>,
    /// Operator sets used, one for each domain.
    #[prost(message, repeated, tag = "8")]
    pub opset_import: Vec<OperatorSetIdProto>,
    /// Notes of whatever kind.
    #[prost(message, repeated, tag = "14")]
    pub metadata_props: Vec<StringStringEntryProto>,
}

/// An operator set.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
pub struct OperatorSetIdProto {
    /// Empty for the standard operators.
    #[prost(string, tag = "1")]
    pub domain: String,
    /// Its version.
    #[prost(int64, tag = "2")]
    pub version: i64,
}

/// A pair of texts.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
pub struct StringStringEntryProto {
    /// Its name.
    #[prost(string, tag = "1")]
    pub key: String,
    /// What it says.
    #[prost(string, tag = "2")]
    pub value: String,
}

/// Nodes in an order in which each stands after those whose outputs it reads.
#[derive(Clone, PartialEq, prost::Message)]
pub struct GraphProto {
    /// The operations.
    #[prost(message, repeated, tag = "1")]
    pub node: Vec<NodeProto>,
    /// Its name.
    #[prost(string, tag = "2")]
    pub name: String,
    /// Constants, the weights among them.
    #[prost(message, repeated, tag = "5")]
    pub initializer: Vec<TensorProto>,
    /// What the caller gives.
    #[prost(message, repeated, tag = "11")]
    pub input: Vec<ValueInfoProto>,
    /// What the caller gets.
    #[prost(message, repeated, tag = "12")]
    pub output: Vec<ValueInfoProto>,
    /// Types of values in between.
    #[prost(message, repeated, tag = "13")]
    pub value_info: Vec<ValueInfoProto>,
}

/// One operation.
#[derive(Clone, PartialEq, prost::Message)]
pub struct NodeProto {
    /// Names of the values that it reads; an empty one stands for an optional value left out.
    #[prost(string, repeated, tag = "1")]
    pub input: Vec<String>,
    /// Names of the values that it makes.
    #[prost(string, repeated, tag = "2")]
    pub output: Vec<String>,
    /// Its own name.
    #[prost(string, tag = "3")]
    pub name: String,
    /// The operator.
    #[prost(string, tag = "4")]
    pub op_type: String,
    /// Settings of the operator.
    #[prost(message, repeated, tag = "5")]
    pub attribute: Vec<AttributeProto>,
    /// The operator set that the operator belongs to; empty for the standard one.
    #[prost(string, tag = "7")]
    pub domain: String,
}

/// A setting of an operator. Which field counts is said by `kind`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct AttributeProto {
    /// Its name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// A number.
    #[prost(float, tag = "2")]
    pub f: f32,
    /// A whole number.
    #[prost(int64, tag = "3")]
    pub i: i64,
    /// Text or other bytes.
    #[prost(bytes = "bytes", tag = "4")]
    pub s: Bytes,
    /// A tensor.
    #[prost(message, optional, boxed, tag = "5")]
    pub t: Option<Box<TensorProto>>,
    /// A graph, for operators that run one.
    #[prost(message, optional, boxed, tag = "6")]
    pub g: Option<Box<GraphProto>>,
    /// Numbers.
    #[prost(float, repeated, tag = "7")]
    pub floats: Vec<f32>,
    /// Whole numbers.
    #[prost(int64, repeated, tag = "8")]
    pub ints: Vec<i64>,
    /// Texts.
    #[prost(bytes = "bytes", repeated, tag = "9")]
    pub strings: Vec<Bytes>,
    /// Tensors.
    #[prost(message, repeated, tag = "10")]
    pub tensors: Vec<TensorProto>,
    /// Graphs.
    #[prost(message, repeated, tag = "11")]
    pub graphs: Vec<GraphProto>,
    /// The field that counts; the specification calls it `type`.
    #[prost(enumeration = "AttributeKind", tag = "20")]
    pub kind: i32,
}

/// Kinds of attributes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum AttributeKind {
    /// Not said.
    Undefined = 0,
    /// `f`.
    Float = 1,
    /// `i`.
    Int = 2,
    /// `s`.
    String = 3,
    /// `t`.
    Tensor = 4,
    /// `g`.
    Graph = 5,
    /// `floats`.
    Floats = 6,
    /// `ints`.
    Ints = 7,
    /// `strings`.
    Strings = 8,
    /// `tensors`.
    Tensors = 9,
    /// `graphs`.
    Graphs = 10,
}

/// Numbers of one type in the shape `dims`. They lie in `raw_data` (little-endian), or in the field of their type.
#[derive(Clone, PartialEq, prost::Message)]
pub struct TensorProto {
    /// Its shape; empty for a single number.
    #[prost(int64, repeated, tag = "1")]
    pub dims: Vec<i64>,
    /// Type of the numbers.
    #[prost(enumeration = "DataType", tag = "2")]
    pub data_type: i32,
    /// Numbers of type `Float`.
    #[prost(float, repeated, tag = "4")]
    pub float_data: Vec<f32>,
    /// Numbers of 32 bits and fewer; 16-bit floats as their bits.
    #[prost(int32, repeated, tag = "5")]
    pub int32_data: Vec<i32>,
    /// Texts.
    #[prost(bytes = "bytes", repeated, tag = "6")]
    pub string_data: Vec<Bytes>,
    /// Numbers of type `Int64`.
    #[prost(int64, repeated, tag = "7")]
    pub int64_data: Vec<i64>,
    /// By which nodes call it.
    #[prost(string, tag = "8")]
    pub name: String,
    /// The numbers of any type but texts.
    #[prost(bytes = "bytes", tag = "9")]
    pub raw_data: Bytes,
    /// Numbers of type `Double`.
    #[prost(double, repeated, tag = "10")]
    pub double_data: Vec<f64>,
    /// Numbers of type `Uint64` and `Uint32`.
    #[prost(uint64, repeated, tag = "11")]
    pub uint64_data: Vec<u64>,
    /// Where in another file the numbers lie: `location`, `offset`, `length`.
    #[prost(message, repeated, tag = "13")]
    pub external_data: Vec<StringStringEntryProto>,
    /// 1 when the numbers lie in another file.
    #[prost(int32, tag = "14")]
    pub data_location: i32,
}

/// Types of numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum DataType {
    /// Not said.
    Undefined = 0,
    /// 32-bit floats.
    Float = 1,
    /// Unsigned bytes.
    Uint8 = 2,
    /// Signed bytes.
    Int8 = 3,
    /// Unsigned 16-bit integers.
    Uint16 = 4,
    /// Signed 16-bit integers.
    Int16 = 5,
    /// Signed 32-bit integers.
    Int32 = 6,
    /// Signed 64-bit integers.
    Int64 = 7,
    /// Texts.
    String = 8,
    /// True or false, a byte each.
    Bool = 9,
    /// 16-bit floats.
    Float16 = 10,
    /// 64-bit floats.
    Double = 11,
    /// Unsigned 32-bit integers.
    Uint32 = 12,
    /// Unsigned 64-bit integers.
    Uint64 = 13,
    /// 16-bit brain floats.
    Bfloat16 = 16,
}

/// Name and type of a value.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ValueInfoProto {
    /// Its name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Its type; the specification calls it `type`.
    #[prost(message, optional, tag = "2")]
    pub kind: Option<TypeProto>,
}

/// The type of a value. Of the specification's kinds, tensors are read.
#[derive(Clone, PartialEq, prost::Message)]
pub struct TypeProto {
    /// A tensor.
    #[prost(message, optional, tag = "1")]
    pub tensor_type: Option<TensorTypeProto>,
}

/// Type and shape of a tensor.
#[derive(Clone, PartialEq, prost::Message)]
pub struct TensorTypeProto {
    /// Type of its numbers.
    #[prost(enumeration = "DataType", tag = "1")]
    pub elem_type: i32,
    /// Its shape; `None` when unknown.
    #[prost(message, optional, tag = "2")]
    pub shape: Option<TensorShapeProto>,
}

/// A shape.
#[derive(Clone, PartialEq, prost::Message)]
pub struct TensorShapeProto {
    /// Its dimensions.
    #[prost(message, repeated, tag = "1")]
    pub dim: Vec<DimensionProto>,
}

/// One dimension of a shape.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
pub struct DimensionProto {
    /// Its length, or a name for one that is not fixed.
    #[prost(oneof = "Dimension", tags = "1, 2")]
    pub value: Option<Dimension>,
}

/// Length of a dimension.
#[derive(Clone, PartialEq, Eq, Hash, prost::Oneof)]
pub enum Dimension {
    /// Fixed.
    #[prost(int64, tag = "1")]
    Fixed(i64),
    /// Not fixed; equal names mean equal lengths.
    #[prost(string, tag = "2")]
    Named(String),
}
