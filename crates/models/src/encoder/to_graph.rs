//! Writing an encoder as an ONNX graph of its own making: plain operators in the patterns that ONNX Runtime fuses into
//! its attention, layer norm and GELU kernels when it loads them, with pooling and normalisation in the graph.

use std::collections::HashSet;

use crate::encoder::names::Names;
use crate::encoder::{Activation, Dense, Encoder, EncoderFamily, EncoderLayer, Norm};
use crate::onnx::{
    AttributeProto, DataType, Dimension, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto,
    ValueInfoProto,
};
use crate::{ModelsError, Pooling};

/// Version of the file format, and of the standard operators: the first with `LayerNormalization`.
const IR_VERSION: i64 = 8;
const OPERATORS: i64 = 17;
/// Added to the scores of padding: exp(-10000) is 0 in f32.
const MASKED: f32 = -10_000.0;
/// Largest file that protobuf's readers accept, less a margin for what is not weights.
const MOST_BYTES: u128 = (1 << 31) - (1 << 24);

/// Number format of a graph's weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GraphFormat {
    /// 32-bit floats.
    F32,
    /// Signed bytes with one scale for each output of a product (each row of the token embeddings); activations are
    /// quantised while the graph runs.
    Int8,
}

impl Encoder {
    /// A graph that reads `input_ids` and `attention_mask` ([batch, sequence], 64-bit integers) and makes
    /// `last_hidden_state` [batch, sequence, hidden] and `sentence_embedding` [batch, hidden]: pooled, of length 1.
    ///
    /// [`ModelsError::NotConvertible`] for a pooling that encoders do not have, and for more weights than such a file
    /// can hold.
    pub fn to_onnx(&self, pooling: Pooling, format: GraphFormat) -> Result<ModelProto, ModelsError> {
        let size = if format == GraphFormat::F32 { 4 } else { 1 };
        if self.config.parameters().saturating_mul(size) > MOST_BYTES {
            return Err(ModelsError::NotConvertible {
                reason: "its weights exceed the 2 GiB that an ONNX file may have; choose int8 or safetensors"
                    .to_owned(),
            });
        }
        let mut writer = Writer { graph: GraphProto::default(), encoder: self, format };
        writer.constants();
        writer.embeddings();
        let mut state = "state".to_owned();
        for (number, layer) in self.layers.iter().enumerate() {
            let last = number + 1 == self.layers.len();
            let out = if last { "last_hidden_state".to_owned() } else { format!("state.{number}") };
            writer.layer(number, layer, &state, &out);
            state = out;
        }
        writer.pooling(&state, pooling)?;
        Ok(writer.finish())
    }
}

struct Writer<'a> {
    graph: GraphProto,
    encoder: &'a Encoder,
    format: GraphFormat,
}

impl Writer<'_> {
    fn node(&mut self, operator: &str, inputs: &[&str], output: &str) {
        self.graph.node.push(NodeProto::new(operator, inputs, &[output]));
    }

    fn node_with(&mut self, operator: &str, inputs: &[&str], output: &str, attribute: AttributeProto) {
        self.graph.node.push(NodeProto::new(operator, inputs, &[output]).with(attribute));
    }

    fn floats(&mut self, name: &str, shape: &[usize], values: &[f32]) {
        self.graph.initializer.push(TensorProto::f32(name, shape, values));
    }

    fn integers(&mut self, name: &str, shape: &[usize], values: &[i64]) {
        self.graph.initializer.push(TensorProto::i64(name, shape, values));
    }

    /// Numbers that nodes use here and there; those that none uses are dropped at the end. Scalars have no dimensions: ONNX Runtime's fusions ask for that.
    fn constants(&mut self) {
        let config = &self.encoder.config;
        let (heads, width) = (config.heads as i64, (config.hidden / config.heads) as i64);
        let hidden = config.hidden as i64;
        for (name, value) in [
            ("one", 1.0),
            ("half", 0.5),
            ("masked", MASKED),
            ("root_of_two", std::f32::consts::SQRT_2),
            ("root_of_width", (width as f32).sqrt()),
            ("smallest", 1e-12),
        ] {
            self.floats(name, &[], &[value]);
        }
        self.integers("axes_of_heads_and_queries", &[2], &[1, 2]);
        self.integers("first", &[], &[0]);
        self.integers("last_axis", &[1], &[-1]);
        self.integers("sequence_axis", &[1], &[1]);
        self.integers("in_heads", &[4], &[0, 0, heads, width]);
        self.integers("out_of_heads", &[3], &[0, 0, hidden]);
    }

    /// `state`: the norm of the sum of the embeddings; and `mask_bias`, what is added to every score.
    fn embeddings(&mut self) {
        let encoder = self.encoder;
        let (names, config) = (Names::of(encoder.config.family), &encoder.config);
        let hidden = config.hidden;
        self.floats(names.positions, &[config.positions, hidden], &encoder.positions);
        match self.format {
            GraphFormat::F32 => {
                self.floats(names.tokens, &[config.vocabulary, hidden], &encoder.tokens);
                self.node("Gather", &[names.tokens, "input_ids"], "token_rows");
            }
            GraphFormat::Int8 => {
                let (bytes, scales) = quantised_rows(&encoder.tokens, hidden);
                let (table, scale) = (format!("{}_quantized", names.tokens), format!("{}_scale", names.tokens));
                self.graph.initializer.push(TensorProto::i8(&table, &[config.vocabulary, hidden], &bytes));
                self.floats(&scale, &[config.vocabulary, 1], &scales);
                self.node("Gather", &[&table, "input_ids"], "token_bytes");
                self.node("Gather", &[&scale, "input_ids"], "token_scales");
                self.cast("token_bytes", "token_bytes_as_floats");
                self.node("Mul", &["token_bytes_as_floats", "token_scales"], "token_rows");
            }
        }
        let mut sum = "token_rows";
        if let Some(name) = names.token_types {
            self.floats(name, &[1, hidden], &encoder.token_type);
            self.node("Add", &[sum, name], "token_and_type_rows");
            sum = "token_and_type_rows";
        }
        if config.family == EncoderFamily::Roberta {
            // Positions count the tokens that are not padding, from `first_position` on.
            self.integers("before_first_position", &[], &[config.first_position as i64 - 1]);
            self.node("CumSum", &["attention_mask", "sequence_axis"], "count");
            self.node("Mul", &["count", "attention_mask"], "count_of_tokens");
            self.node("Add", &["count_of_tokens", "before_first_position"], "positions");
            self.node("Gather", &[names.positions, "positions"], "position_rows");
        } else {
            self.integers("table_start", &[1], &[0]);
            self.integers("table_axis", &[1], &[0]);
            let length = NodeProto::new("Shape", &["input_ids"], &["length"]);
            self.graph.node.push(length.with(AttributeProto::int("start", 1)).with(AttributeProto::int("end", 2)));
            self.node("Slice", &[names.positions, "table_start", "length", "table_axis"], "position_rows");
        }
        self.node("Add", &[sum, "position_rows"], "embedded");
        self.norm(names.norm, &encoder.norm, "embedded", "state");

        self.cast("attention_mask", "mask");
        self.node("Unsqueeze", &["mask", "axes_of_heads_and_queries"], "mask_of_keys");
        self.node("Sub", &["one", "mask_of_keys"], "padding");
        self.node("Mul", &["padding", "masked"], "mask_bias");
    }

    fn cast(&mut self, from: &str, to: &str) {
        self.node_with("Cast", &[from], to, AttributeProto::int("to", DataType::Float as i64));
    }

    fn norm(&mut self, name: &str, norm: &Norm, input: &str, output: &str) {
        let (weight, bias) = (format!("{name}.weight"), format!("{name}.bias"));
        self.floats(&weight, &[norm.weight.len()], &norm.weight);
        self.floats(&bias, &[norm.bias.len()], &norm.bias);
        let node = NodeProto::new("LayerNormalization", &[input, &weight, &bias], &[output]);
        let node = node.with(AttributeProto::int("axis", -1));
        self.graph.node.push(node.with(AttributeProto::float("epsilon", self.encoder.config.epsilon)));
    }

    /// `output` = `input`·Wᵀ + b. In int8 `input` has been quantised by [`Self::quantise`].
    fn dense(&mut self, name: &str, dense: &Dense, input: &str, output: &str) {
        let outputs = dense.bias.len();
        let inputs = dense.weight.len().checked_div(outputs).unwrap_or(0);
        let (bias, product) = (format!("{name}.bias"), format!("{output}.product"));
        self.floats(&bias, &[outputs], &dense.bias);
        match self.format {
            GraphFormat::F32 => {
                let weight = format!("{name}.weight_transposed");
                self.floats(&weight, &[inputs, outputs], &transposed(&dense.weight, inputs));
                self.node("MatMul", &[input, &weight], &product);
            }
            GraphFormat::Int8 => {
                let (bytes, scales) = quantised_rows(&dense.weight, inputs);
                let (weight, scale) = (format!("{name}.weight_quantized"), format!("{name}.weight_scale"));
                self.graph.initializer.push(TensorProto::i8(&weight, &[inputs, outputs], &transposed(&bytes, inputs)));
                self.floats(&scale, &[outputs], &scales);
                let [bytes, factor, zero] = quantised_names(input);
                let (sums, floats, scales) =
                    (format!("{output}.sums"), format!("{output}.sums_as_floats"), format!("{output}.scales"));
                self.node("MatMulInteger", &[&bytes, &weight, &zero], &sums);
                self.cast(&sums, &floats);
                self.node("Mul", &[&factor, &scale], &scales);
                self.node("Mul", &[&floats, &scales], &product);
            }
        }
        self.node("Add", &[&product, &bias], output);
    }

    /// In int8, makes bytes of `value` for the products that follow.
    fn quantise(&mut self, value: &str) {
        if self.format == GraphFormat::Int8 {
            let [bytes, factor, zero] = quantised_names(value);
            self.graph.node.push(NodeProto::new("DynamicQuantizeLinear", &[value], &[&bytes, &factor, &zero]));
        }
    }

    fn layer(&mut self, number: usize, layer: &EncoderLayer, input: &str, output: &str) {
        let names = Names::of(self.encoder.config.family);
        let within = |name: &str| format!("{}.{number}.{name}", names.blocks);
        let of = |what: &str| format!("{what}.{number}");
        let [q, k, v] = [of("query"), of("key"), of("value")];
        self.quantise(input);
        for (value, name, dense, order) in [
            (&q, names.query, &layer.query, [0, 2, 1, 3]),
            (&k, names.key, &layer.key, [0, 2, 3, 1]),
            (&v, names.value, &layer.value, [0, 2, 1, 3]),
        ] {
            self.dense(&within(name), dense, input, value);
            let split = format!("{value}.split");
            self.node("Reshape", &[value, "in_heads"], &split);
            self.node_with("Transpose", &[&split], &format!("{value}.heads"), AttributeProto::ints("perm", &order));
        }
        let [scores, scaled, masked, shares] = [of("scores"), of("scaled"), of("masked"), of("shares")];
        self.node("MatMul", &[&format!("{q}.heads"), &format!("{k}.heads")], &scores);
        self.node("Div", &[&scores, "root_of_width"], &scaled);
        self.node("Add", &[&scaled, "mask_bias"], &masked);
        self.node_with("Softmax", &[&masked], &shares, AttributeProto::int("axis", -1));
        let [mixed, order, attended] = [of("mixed"), of("mixed_by_token"), of("attended")];
        self.node("MatMul", &[&shares, &format!("{v}.heads")], &mixed);
        self.node_with("Transpose", &[&mixed], &order, AttributeProto::ints("perm", &[0, 2, 1, 3]));
        self.node("Reshape", &[&order, "out_of_heads"], &attended);
        self.quantise(&attended);
        let [gathered, sum, middle] = [of("gathered"), of("attention_sum"), of("middle")];
        self.dense(&within(names.attention_output), &layer.attention_output, &attended, &gathered);
        self.node("Add", &[&gathered, input], &sum);
        self.norm(&within(names.attention_norm), &layer.attention_norm, &sum, &middle);

        let [up, active, down, sum] = [of("up"), of("active"), of("down"), of("sum")];
        self.quantise(&middle);
        self.dense(&within(names.up), &layer.up, &middle, &up);
        self.activation(&up, &active);
        self.quantise(&active);
        self.dense(&within(names.down), &layer.down, &active, &down);
        self.node("Add", &[&down, &middle], &sum);
        self.norm(&within(names.output_norm), &layer.output_norm, &sum, output);
    }

    fn activation(&mut self, input: &str, output: &str) {
        let of = |what: &str| format!("{input}.{what}");
        match self.encoder.config.activation {
            Activation::Relu => self.node("Relu", &[input], output),
            Activation::Gelu => {
                let [divided, erf, shifted, product] = [of("divided"), of("erf"), of("shifted"), of("gated")];
                self.node("Div", &[input, "root_of_two"], &divided);
                self.node("Erf", &[&divided], &erf);
                self.node("Add", &[&erf, "one"], &shifted);
                self.node("Mul", &[input, &shifted], &product);
                self.node("Mul", &[&product, "half"], output);
            }
            Activation::GeluTanh => {
                if !self.graph.initializer.iter().any(|tensor| tensor.name == "cubic") {
                    self.floats("cubic", &[], &[0.044_715]);
                    self.floats("three", &[], &[3.0]);
                    self.floats("root_of_two_over_pi", &[], &[(2.0 / std::f32::consts::PI).sqrt()]);
                }
                let [cube, small, sum, scaled, tanh, shifted, product] =
                    ["cube", "small", "sum", "scaled", "tanh", "shifted", "gated"].map(of);
                self.node("Pow", &[input, "three"], &cube);
                self.node("Mul", &[&cube, "cubic"], &small);
                self.node("Add", &[input, &small], &sum);
                self.node("Mul", &[&sum, "root_of_two_over_pi"], &scaled);
                self.node("Tanh", &[&scaled], &tanh);
                self.node("Add", &[&tanh, "one"], &shifted);
                self.node("Mul", &[input, &shifted], &product);
                self.node("Mul", &[&product, "half"], output);
            }
        }
    }

    /// `sentence_embedding`: pooled over the tokens that are not padding, divided by its length.
    fn pooling(&mut self, state: &str, pooling: Pooling) -> Result<(), ModelsError> {
        match pooling {
            Pooling::Cls => {
                self.node_with("Gather", &[state, "first"], "pooled", AttributeProto::int("axis", 1));
            }
            Pooling::Mean => {
                let whole = |node: NodeProto| node.with(AttributeProto::int("keepdims", 0));
                self.node("Unsqueeze", &["mask", "last_axis"], "mask_of_states");
                self.node("Mul", &[state, "mask_of_states"], "kept_states");
                self.graph.node.push(whole(NodeProto::new(
                    "ReduceSum",
                    &["kept_states", "sequence_axis"],
                    &["state_sum"],
                )));
                self.graph.node.push(whole(NodeProto::new(
                    "ReduceSum",
                    &["mask_of_states", "sequence_axis"],
                    &["token_count"],
                )));
                self.node("Max", &["token_count", "smallest"], "token_count_above_zero");
                self.node("Div", &["state_sum", "token_count_above_zero"], "pooled");
            }
            Pooling::LastToken => {
                let reason = "it pools the last token, which encoders do not".to_owned();
                return Err(ModelsError::NotConvertible { reason });
            }
        }
        self.node_with("ReduceL2", &["pooled"], "length_of_pooled", AttributeProto::ints("axes", &[1]));
        self.node("Max", &["length_of_pooled", "smallest"], "length_above_zero");
        self.node("Div", &["pooled", "length_above_zero"], "sentence_embedding");
        Ok(())
    }

    fn finish(mut self) -> ModelProto {
        let read: HashSet<&str> = self.graph.node.iter().flat_map(|node| &node.input).map(String::as_str).collect();
        self.graph.initializer.retain(|tensor| read.contains(tensor.name.as_str()));
        let [batch, sequence] = ["batch", "sequence"].map(|name| Dimension::Named(name.to_owned()));
        let hidden = Dimension::Fixed(self.encoder.config.hidden as i64);
        let ids = [batch.clone(), sequence.clone()];
        self.graph.input =
            ["input_ids", "attention_mask"].map(|name| ValueInfoProto::tensor(name, DataType::Int64, &ids)).to_vec();
        self.graph.output = vec![
            ValueInfoProto::tensor("last_hidden_state", DataType::Float, &[batch.clone(), sequence, hidden.clone()]),
            ValueInfoProto::tensor("sentence_embedding", DataType::Float, &[batch, hidden]),
        ];
        "encoder".clone_into(&mut self.graph.name);
        ModelProto {
            ir_version: IR_VERSION,
            producer_name: "anser".to_owned(),
            producer_version: env!("CARGO_PKG_VERSION").to_owned(),
            graph: Some(self.graph),
            opset_import: vec![OperatorSetIdProto { domain: String::new(), version: OPERATORS }],
            metadata_props: Vec::new(),
        }
    }
}

/// Bytes, scale and zero point of a quantised value.
fn quantised_names(value: &str) -> [String; 3] {
    ["bytes", "factor", "zero"].map(|part| format!("{value}.{part}"))
}

/// Rows of `columns` numbers as columns.
fn transposed<T: Copy>(values: &[T], columns: usize) -> Vec<T> {
    let mut out = Vec::with_capacity(values.len());
    for column in 0..columns {
        out.extend(values.iter().skip(column).step_by(columns));
    }
    out
}

/// Signed bytes and a scale for each row: q = round(x · 127 / max|x|).
fn quantised_rows(values: &[f32], columns: usize) -> (Vec<i8>, Vec<f32>) {
    let mut bytes = Vec::with_capacity(values.len());
    let mut scales = Vec::new();
    for row in values.chunks_exact(columns.max(1)) {
        let largest = row.iter().fold(0.0f32, |largest, value| largest.max(value.abs()));
        let scale = if largest > 0.0 { largest / 127.0 } else { 1.0 };
        bytes.extend(row.iter().map(|value| (value / scale).round() as i8));
        scales.push(scale);
    }
    (bytes, scales)
}
