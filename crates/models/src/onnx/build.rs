//! Making the parts of a graph, and reading the numbers of tensors.

use half::{bf16, f16};

use crate::onnx::file::shown;
use crate::onnx::proto::{
    AttributeKind, AttributeProto, DataType, Dimension, DimensionProto, NodeProto, TensorProto, TensorShapeProto,
    TensorTypeProto, TypeProto, ValueInfoProto,
};

impl NodeProto {
    /// A node of a standard operator; it is named like its first output.
    pub fn new(operator: &str, inputs: &[&str], outputs: &[&str]) -> Self {
        Self {
            input: inputs.iter().map(|name| (*name).to_owned()).collect(),
            output: outputs.iter().map(|name| (*name).to_owned()).collect(),
            name: outputs.first().map_or_else(String::new, |name| format!("{operator}/{name}")),
            op_type: operator.to_owned(),
            attribute: Vec::new(),
            domain: String::new(),
        }
    }

    /// The same with one more attribute.
    #[must_use]
    pub fn with(mut self, attribute: AttributeProto) -> Self {
        self.attribute.push(attribute);
        self
    }

    /// The attribute of this name.
    pub fn attribute(&self, name: &str) -> Option<&AttributeProto> {
        self.attribute.iter().find(|attribute| attribute.name == name)
    }
}

impl AttributeProto {
    fn of(name: &str, kind: AttributeKind) -> Self {
        Self { name: name.to_owned(), kind: kind as i32, ..Self::default() }
    }

    /// A whole number.
    pub fn int(name: &str, value: i64) -> Self {
        Self { i: value, ..Self::of(name, AttributeKind::Int) }
    }

    /// A number.
    pub fn float(name: &str, value: f32) -> Self {
        Self { f: value, ..Self::of(name, AttributeKind::Float) }
    }

    /// Whole numbers.
    pub fn ints(name: &str, values: &[i64]) -> Self {
        Self { ints: values.to_vec(), ..Self::of(name, AttributeKind::Ints) }
    }
}

impl ValueInfoProto {
    /// A tensor, by name, type and shape.
    pub fn tensor(name: &str, elements: DataType, shape: &[Dimension]) -> Self {
        let dim = shape.iter().map(|length| DimensionProto { value: Some(length.clone()) }).collect();
        let tensor_type = TensorTypeProto { elem_type: elements as i32, shape: Some(TensorShapeProto { dim }) };
        Self { name: name.to_owned(), kind: Some(TypeProto { tensor_type: Some(tensor_type) }) }
    }
}

impl TensorProto {
    fn raw(name: &str, shape: &[usize], elements: DataType, raw: Vec<u8>) -> Self {
        Self {
            dims: shape.iter().map(|length| *length as i64).collect(),
            data_type: elements as i32,
            name: name.to_owned(),
            raw_data: raw.into(),
            ..Self::default()
        }
    }

    /// Floats; an empty `shape` makes a scalar.
    pub fn f32(name: &str, shape: &[usize], values: &[f32]) -> Self {
        Self::raw(name, shape, DataType::Float, values.iter().flat_map(|value| value.to_le_bytes()).collect())
    }

    /// 64-bit integers.
    pub fn i64(name: &str, shape: &[usize], values: &[i64]) -> Self {
        Self::raw(name, shape, DataType::Int64, values.iter().flat_map(|value| value.to_le_bytes()).collect())
    }

    /// Signed bytes.
    pub fn i8(name: &str, shape: &[usize], values: &[i8]) -> Self {
        Self::raw(name, shape, DataType::Int8, values.iter().map(|value| value.to_le_bytes()[0]).collect())
    }

    /// Its shape; an error (completing "the file ...") when a length is negative or the product overflows.
    pub fn shape(&self) -> Result<Vec<usize>, String> {
        let lengths: Option<Vec<usize>> = self.dims.iter().map(|length| usize::try_from(*length).ok()).collect();
        lengths
            .filter(|lengths| lengths.iter().try_fold(1usize, |all, length| all.checked_mul(*length)).is_some())
            .ok_or_else(|| format!("holds the tensor {} in the impossible shape {:?}", shown(&self.name), self.dims))
    }

    /// Its numbers as floats, row-major, out of any float type; an error (completing "the file ...") when they are of
    /// another type or not as many as its shape says.
    pub fn to_f32(&self) -> Result<Vec<f32>, String> {
        let raw = &self.raw_data;
        let values: Vec<f32> = match DataType::try_from(self.data_type) {
            Ok(DataType::Float) if raw.is_empty() => self.float_data.clone(),
            Ok(DataType::Float) => self.chunks(raw)?.iter().map(|four| f32::from_le_bytes(*four)).collect(),
            Ok(DataType::Double) if raw.is_empty() => self.double_data.iter().map(|value| *value as f32).collect(),
            Ok(DataType::Double) => self.chunks(raw)?.iter().map(|eight| f64::from_le_bytes(*eight) as f32).collect(),
            Ok(DataType::Float16) if raw.is_empty() => {
                self.int32_data.iter().map(|bits| f16::from_bits(*bits as u16).to_f32()).collect()
            }
            Ok(DataType::Float16) => self.chunks(raw)?.iter().map(|two| f16::from_le_bytes(*two).to_f32()).collect(),
            Ok(DataType::Bfloat16) if raw.is_empty() => {
                self.int32_data.iter().map(|bits| bf16::from_bits(*bits as u16).to_f32()).collect()
            }
            Ok(DataType::Bfloat16) => self.chunks(raw)?.iter().map(|two| bf16::from_le_bytes(*two).to_f32()).collect(),
            _ => return Err(self.wrong("floats")),
        };
        self.counted(values)
    }

    /// Its numbers as integers, row-major, out of any integer type of up to 64 bits and sign; otherwise an error
    /// (completing "the file ...").
    pub fn to_i64(&self) -> Result<Vec<i64>, String> {
        let raw = &self.raw_data;
        let values: Vec<i64> = match DataType::try_from(self.data_type) {
            Ok(DataType::Int64) if raw.is_empty() => self.int64_data.clone(),
            Ok(DataType::Int64) => self.chunks(raw)?.iter().map(|eight| i64::from_le_bytes(*eight)).collect(),
            Ok(DataType::Int32 | DataType::Int8 | DataType::Uint8 | DataType::Bool) if raw.is_empty() => {
                self.int32_data.iter().map(|value| i64::from(*value)).collect()
            }
            Ok(DataType::Int32) => self.chunks(raw)?.iter().map(|four| i32::from_le_bytes(*four).into()).collect(),
            Ok(DataType::Int8) => raw.iter().map(|byte| i8::from_le_bytes([*byte]).into()).collect(),
            Ok(DataType::Uint8 | DataType::Bool) => raw.iter().map(|byte| i64::from(*byte)).collect(),
            _ => return Err(self.wrong("integers")),
        };
        self.counted(values)
    }

    /// Its numbers out of either type of bytes, row-major; otherwise an error (completing "the file ...").
    pub(crate) fn to_bytes(&self) -> Result<Vec<i16>, String> {
        let raw = &self.raw_data;
        let values = match DataType::try_from(self.data_type) {
            Ok(DataType::Int8 | DataType::Uint8) if raw.is_empty() => {
                self.int32_data.iter().map(|value| *value as i16).collect()
            }
            Ok(DataType::Int8) => raw.iter().map(|byte| i8::from_le_bytes([*byte]).into()).collect(),
            Ok(DataType::Uint8) => raw.iter().map(|byte| i16::from(*byte)).collect(),
            _ => return Err(self.wrong("bytes")),
        };
        self.counted(values)
    }

    fn chunks<'a, const N: usize>(&self, raw: &'a [u8]) -> Result<&'a [[u8; N]], String> {
        match raw.as_chunks() {
            (chunks, []) => Ok(chunks),
            _ => {
                Err(format!("holds {} bytes for the tensor {}, which is no whole number", raw.len(), shown(&self.name)))
            }
        }
    }

    fn wrong(&self, wanted: &str) -> String {
        let found =
            DataType::try_from(self.data_type).map_or_else(|_| self.data_type.to_string(), |t| format!("{t:?}"));
        format!("holds the tensor {} as {found} where {wanted} are wanted", shown(&self.name))
    }

    fn counted<T>(&self, values: Vec<T>) -> Result<Vec<T>, String> {
        let expected: usize = self.shape()?.iter().product();
        if values.len() == expected {
            return Ok(values);
        }
        Err(format!(
            "holds {} numbers for the tensor {}, whose shape asks for {expected}",
            values.len(),
            shown(&self.name)
        ))
    }
}
