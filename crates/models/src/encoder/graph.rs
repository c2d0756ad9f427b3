//! An encoder's tensors in an ONNX graph. Exports keep the names of tables, biases and norms; the weights of products lose
//! theirs, are transposed and often quantised, and are found from their biases through the nodes between the two.

use std::collections::HashMap;

use crate::encoder::assemble::NamedTensors;
use crate::encoder::names::prefix;
use crate::encoder::walk::walk;
use crate::encoder::{Dense, EncoderConfig};
use crate::onnx::{GraphProto, ModelProto, NodeProto, TensorProto, shown};

/// What quantisers put behind the name of a tensor that they replace.
pub(crate) const QUANTISED: &str = "_quantized";
/// Nodes followed from a name to its constant at most: a chain of copies is short, a ring has no end.
const LONGEST_CHAIN: usize = 8;

/// A graph with its constants, makers and readers at hand.
pub(crate) struct GraphTensors<'a> {
    constants: HashMap<&'a str, &'a TensorProto>,
    makers: HashMap<&'a str, &'a NodeProto>,
    readers: HashMap<&'a str, Vec<&'a NodeProto>>,
    /// Where the graph has lost its names: what a walk along its nodes found.
    found: Found<'a>,
}

/// Tensors by the names that they should have.
#[derive(Default)]
pub(crate) struct Found<'a> {
    /// Tables, biases and norms.
    pub(crate) tensors: HashMap<String, &'a str>,
    /// The nodes that add the biases of products.
    pub(crate) products: HashMap<String, &'a NodeProto>,
}

/// A constant matrix, row-major.
struct Matrix {
    rows: usize,
    columns: usize,
    values: Vec<f32>,
}

impl Matrix {
    fn transposed(self) -> Self {
        let (rows, columns) = (self.rows, self.columns);
        let mut values = Vec::with_capacity(self.values.len());
        for column in 0..columns {
            values.extend(self.values.iter().skip(column).step_by(columns));
        }
        Self { rows: columns, columns: rows, values }
    }
}

impl<'a> GraphTensors<'a> {
    pub(crate) fn new(model: &'a ModelProto, config: &EncoderConfig) -> Self {
        static EMPTY: GraphProto = GraphProto {
            node: Vec::new(),
            name: String::new(),
            initializer: Vec::new(),
            input: Vec::new(),
            output: Vec::new(),
            value_info: Vec::new(),
        };
        let graph = model.graph.as_ref().unwrap_or(&EMPTY);
        let mut constants: HashMap<&str, &TensorProto> =
            graph.initializer.iter().map(|tensor| (tensor.name.as_str(), tensor)).collect();
        let mut makers = HashMap::new();
        let mut readers: HashMap<&str, Vec<&NodeProto>> = HashMap::new();
        for node in &graph.node {
            if node.op_type == "Constant"
                && let (Some(name), Some(tensor)) =
                    (node.output.first(), node.attribute("value").and_then(|value| value.t.as_deref()))
            {
                constants.insert(name, tensor);
                continue;
            }
            makers.extend(node.output.iter().map(|name| (name.as_str(), node)));
            for name in &node.input {
                readers.entry(name).or_default().push(node);
            }
        }
        let mut tensors = Self { constants, makers, readers, found: Found::default() };
        if prefix(NamedTensors::names(&tensors).iter().map(String::as_str)).is_err()
            && let Some(found) = walk(&tensors, &graph.node, config)
        {
            tensors.found = found;
        }
        tensors
    }

    /// The name in the graph of the tensor that should be called `name`.
    fn own<'n>(&'n self, name: &'n str) -> &'n str {
        self.found.tensors.get(name).copied().unwrap_or(name)
    }

    /// The constant called `name`, seen through the copies that exporters make of equal tensors.
    pub(crate) fn constant(&self, name: &str) -> Option<&'a TensorProto> {
        let mut name = name;
        for _ in 0..LONGEST_CHAIN {
            if let Some(tensor) = self.constants.get(name) {
                return Some(tensor);
            }
            name = self.makers.get(name).filter(|node| node.op_type == "Identity")?.input.first()?;
        }
        None
    }

    /// The node that makes `name`.
    pub(crate) fn maker(&self, name: &str) -> Option<&'a NodeProto> {
        self.makers.get(name).copied()
    }

    /// The node that makes `name`, if it is one of these operators.
    pub(crate) fn made_by(&self, name: &str, operators: &[&str]) -> Option<&'a NodeProto> {
        self.makers.get(name).copied().filter(|node| operators.contains(&node.op_type.as_str()))
    }

    fn readers_of(&self, name: &str) -> &[&'a NodeProto] {
        self.readers.get(name).map_or(&[], Vec::as_slice)
    }

    /// The quantised table called `name`: q, scale and zero point.
    fn quantised_table(&self, name: &str) -> Option<(&'a TensorProto, &'a TensorProto, Option<&'a TensorProto>)> {
        let quantised = format!("{name}{QUANTISED}");
        let table = self.constant(&quantised)?;
        // Written by us: a scale for each row.
        if let Some(scale) = self.constants.get(format!("{name}_scale").as_str())
            && scale.dims.len() == 2
        {
            return Some((table, scale, None));
        }
        // The numbers are made floats again after rows were taken out of the table, or before.
        let gathered = self.readers_of(&quantised).iter().filter(|node| node.op_type == "Gather");
        let values = gathered.filter_map(|node| node.output.first().map(String::as_str)).chain([quantised.as_str()]);
        let back = values.flat_map(|value| self.readers_of(value)).find(|node| node.op_type == "DequantizeLinear")?;
        let [_, scale, rest @ ..] = back.input.as_slice() else { return None };
        Some((table, self.constant(scale)?, rest.first().and_then(|zero| self.constant(zero))))
    }

    /// A constant matrix of floats, or of integers that a node makes floats, perhaps transposed on the way.
    fn matrix(&self, name: &str) -> Result<Matrix, String> {
        if let Some(tensor) = self.constant(name) {
            let (rows, columns) = sides(tensor)?;
            return Ok(Matrix { rows, columns, values: tensor.to_f32()? });
        }
        if let Some(node) = self.made_by(name, &["Transpose"])
            && let Some(input) = node.input.first()
            && self.makers.get(input.as_str()).is_none_or(|node| node.op_type != "Transpose")
        {
            return Ok(self.matrix(input)?.transposed());
        }
        if let Some(node) = self.made_by(name, &["DequantizeLinear"])
            && let [quantised, scale, rest @ ..] = node.input.as_slice()
            && let (Some(quantised), Some(scale)) = (self.constant(quantised), self.constant(scale))
        {
            let axis = node.attribute("axis").map_or(1, |axis| axis.i);
            let zero = rest.first().and_then(|zero| self.constant(zero));
            return dequantised(quantised, scale, zero, axis == 0 || axis == -2);
        }
        Err(format!("multiplies with {}, which is no constant matrix", shown(name)))
    }

    /// The weight [outputs, inputs] of the product to which the bias `bias` is added.
    fn weight_beside(&self, bias: &str) -> Result<Matrix, String> {
        let mut products = self.readers_of(bias).iter().filter(|node| self.is_dense(node, bias));
        match (products.next(), products.next()) {
            (Some(node), None) => self.weight_at(node, bias),
            (None, _) => Err(format!("adds {} to no product that could be recognised", shown(bias))),
            (Some(_), Some(_)) => Err(format!("adds {} to more than one product", shown(bias))),
        }
    }

    /// Whether `node` adds `bias` to a product with a constant matrix.
    pub(crate) fn is_dense(&self, node: &NodeProto, bias: &str) -> bool {
        match (node.op_type.as_str(), node.input.as_slice()) {
            ("Add", [a, b]) => self.is_product(if a == bias { b } else { a }),
            ("Gemm", [_, weight, added]) => added == bias && self.is_matrix(weight),
            _ => false,
        }
    }

    /// The weight [outputs, inputs] of what [`Self::is_dense`] found.
    fn weight_at(&self, node: &NodeProto, bias: &str) -> Result<Matrix, String> {
        let lost = || format!("adds {} to no product that could be recognised", shown(bias));
        match (node.op_type.as_str(), node.input.as_slice()) {
            ("Gemm", [_, weight, _]) => {
                let scaled = ["alpha", "beta"]
                    .iter()
                    .any(|name| node.attribute(name).is_some_and(|a| (a.f - 1.0).abs() > f32::EPSILON));
                if scaled {
                    return Err(format!("scales the product beside {}, which is not read", shown(bias)));
                }
                let weight = self.matrix(weight)?;
                let outputs_first = node.attribute("transB").is_some_and(|flag| flag.i != 0);
                Ok(if outputs_first { weight } else { weight.transposed() })
            }
            (_, [a, b]) => self.product(if a == bias { b } else { a }).ok_or_else(lost)?,
            _ => Err(lost()),
        }
    }

    /// Whether `name` is a matrix that [`Self::matrix`] reads.
    fn is_matrix(&self, name: &str) -> bool {
        let maker = self.made_by(name, &["Transpose", "DequantizeLinear"]).and_then(|node| node.input.first());
        self.constant(name).or(maker.and_then(|input| self.constant(input))).is_some()
    }

    /// Whether `value` is made by a product that [`Self::product`] reads.
    fn is_product(&self, value: &str) -> bool {
        let plain = self.made_by(value, &["MatMul"]).and_then(|node| node.input.get(1));
        plain.is_some_and(|weight| self.is_matrix(weight)) || self.dynamic_product(value).is_some()
    }

    /// The weight [outputs, inputs] of the product that makes `value`; `None` when it is no product.
    fn product(&self, value: &str) -> Option<Result<Matrix, String>> {
        if let Some(node) = self.made_by(value, &["MatMul"]) {
            return Some(self.matrix(node.input.get(1)?).map(Matrix::transposed));
        }
        let (integers, scales) = self.dynamic_product(value)?;
        let [_, weight, zeros @ ..] = integers.input.as_slice() else { return None };
        let weight = self.constant(weight)?;
        let scale = self.made_by(scales, &["Mul"])?.input.iter().find_map(|name| self.constant(name))?;
        let zero = zeros.get(1).and_then(|zero| self.constant(zero));
        Some(dequantised(weight, scale, zero, false).map(Matrix::transposed))
    }

    /// Dynamic quantisation: integers are multiplied by the node returned, then scaled by the product, named beside it,
    /// of both sides' scales.
    fn dynamic_product(&self, value: &str) -> Option<(&'a NodeProto, &'a str)> {
        let scaled = self.made_by(value, &["Mul"])?;
        let [a, b] = scaled.input.as_slice() else { return None };
        let cast =
            self.made_by(a, &["Cast"]).map(|node| (node, b)).or(self.made_by(b, &["Cast"]).map(|node| (node, a)));
        let (cast, scales) = cast?;
        Some((self.made_by(cast.input.first()?, &["MatMulInteger"])?, scales))
    }
}

impl NamedTensors for GraphTensors<'_> {
    fn names(&self) -> Vec<String> {
        let copies = self.makers.iter().filter(|(_, node)| node.op_type == "Identity").map(|(name, _)| name);
        let names = self.constants.keys().chain(copies);
        let names = names.map(|name| name.strip_suffix(QUANTISED).unwrap_or(name).to_owned());
        names.chain(self.found.tensors.keys().cloned()).collect()
    }

    fn shape(&self, name: &str) -> Option<Vec<usize>> {
        let name = self.own(name);
        let tensor = self.constant(name).or_else(|| self.constant(&format!("{name}{QUANTISED}")))?;
        tensor.shape().ok()
    }

    fn read(&self, name: &str) -> Result<Vec<f32>, String> {
        let name = self.own(name);
        if let Some(tensor) = self.constant(name) {
            return tensor.to_f32();
        }
        let (table, scale, zero) =
            self.quantised_table(name).ok_or_else(|| format!("holds no tensor named {}", shown(name)))?;
        Ok(dequantised(table, scale, zero, true)?.values)
    }

    fn dense(&self, name: &str, outputs: usize, inputs: usize) -> Result<Dense, String> {
        let bias_name = format!("{name}.bias");
        let bias = self.read_shaped(&bias_name, &[outputs])?;
        let weight = match self.found.products.get(name) {
            Some(node) => self.weight_at(node, self.own(&bias_name))?,
            None => self.weight_beside(self.own(&bias_name))?,
        };
        if (weight.rows, weight.columns) != (outputs, inputs) {
            return Err(format!(
                "multiplies with a weight of {} outputs and {} inputs beside {bias_name}, where the config asks for \
                 {outputs} and {inputs}",
                weight.rows, weight.columns
            ));
        }
        Ok(Dense { weight: weight.values, bias })
    }
}

fn sides(tensor: &TensorProto) -> Result<(usize, usize), String> {
    match tensor.shape()?.as_slice() {
        [rows, columns] if *rows > 0 && *columns > 0 => Ok((*rows, *columns)),
        other => Err(format!("holds {} in the shape {other:?} where a matrix belongs", shown(&tensor.name))),
    }
}

/// (q - zero) · scale, where both are one number, or one for each row (`by_row`) or column.
fn dequantised(
    quantised: &TensorProto,
    scale: &TensorProto,
    zero: Option<&TensorProto>,
    by_row: bool,
) -> Result<Matrix, String> {
    let (rows, columns) = sides(quantised)?;
    let scales = scale.to_f32()?;
    let zeros = zero.map_or_else(|| Ok(vec![0]), TensorProto::to_i64)?;
    let count = if by_row { rows } else { columns };
    for (tensor, length) in [(Some(scale), scales.len()), (zero, zeros.len())] {
        if length != 1 && length != count {
            let name = tensor.map_or("", |tensor| tensor.name.as_str());
            return Err(format!("holds {length} numbers in {}, where 1 or {count} belong", shown(name)));
        }
    }
    let bytes = quantised.to_bytes()?;
    let mut values = Vec::with_capacity(bytes.len());
    for (row, bytes) in bytes.chunks_exact(columns).enumerate() {
        values.extend(bytes.iter().enumerate().map(|(column, byte)| {
            let at = if by_row { row } else { column };
            let zero = zeros.get(at).or(zeros.first()).copied().unwrap_or(0);
            // A wrapped difference can only come of a zero point outside of the type.
            i64::from(*byte).wrapping_sub(zero) as f32 * scales.get(at).or(scales.first()).copied().unwrap_or(0.0)
        }));
    }
    Ok(Matrix { rows, columns, values })
}
