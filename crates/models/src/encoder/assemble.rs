//! Putting an encoder together from named tensors, whatever file they lie in; every shape is checked on the way.

use crate::encoder::names::{Names, prefix};
use crate::encoder::{Dense, Encoder, EncoderConfig, EncoderLayer, Norm};

/// Tensors by name. Errors complete "the file ...".
pub(crate) trait NamedTensors {
    /// All names.
    fn names(&self) -> Vec<String>;

    /// The shape of a tensor; `None` when there is none of this name.
    fn shape(&self, name: &str) -> Option<Vec<usize>>;

    /// The numbers of a tensor, row-major.
    fn read(&self, name: &str) -> Result<Vec<f32>, String>;

    /// Weight [outputs, inputs] and bias [outputs] of the product whose tensors are `name.weight` and `name.bias`.
    fn dense(&self, name: &str, outputs: usize, inputs: usize) -> Result<Dense, String> {
        Ok(Dense {
            weight: self.read_shaped(&format!("{name}.weight"), &[outputs, inputs])?,
            bias: self.read_shaped(&format!("{name}.bias"), &[outputs])?,
        })
    }

    /// The numbers of a tensor that must have this shape.
    fn read_shaped(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, String> {
        let found = self.shape(name).ok_or_else(|| format!("holds no tensor named {name}"))?;
        if found != shape {
            return Err(format!("holds the tensor {name} in the shape {found:?} where the config asks for {shape:?}"));
        }
        self.read(name)
    }
}

/// The encoder of the shape `config` in `tensors`.
pub(crate) fn encoder(config: EncoderConfig, tensors: &dyn NamedTensors) -> Result<Encoder, String> {
    let prefix = prefix(tensors.names().iter().map(String::as_str))?.to_owned();
    let reader = Reader { names: Names::of(config.family), prefix, tensors };
    let (names, hidden) = (reader.names, config.hidden);
    let tokens = reader.table(names.tokens, config.vocabulary, hidden)?;
    let positions = reader.table(names.positions, config.positions, hidden)?;
    let token_type = match names.token_types {
        Some(name) => reader.first_row(name, hidden)?,
        None => vec![0.0; hidden],
    };
    let norm = reader.norm(names.norm, hidden)?;
    // The number of blocks is only a claim until their tensors are found: no room is taken in advance.
    let mut layers = Vec::new();
    for number in 0..config.layers {
        layers.push(reader.layer(number, &config)?);
    }
    Ok(Encoder { config, tokens, positions, token_type, norm, layers })
}

struct Reader<'a> {
    names: &'static Names,
    prefix: String,
    tensors: &'a dyn NamedTensors,
}

impl Reader<'_> {
    fn table(&self, name: &str, rows: usize, columns: usize) -> Result<Vec<f32>, String> {
        self.tensors.read_shaped(&format!("{}{name}", self.prefix), &[rows, columns])
    }

    /// Row 0 of a table of any number of rows.
    fn first_row(&self, name: &str, columns: usize) -> Result<Vec<f32>, String> {
        let name = format!("{}{name}", self.prefix);
        let shape = self.tensors.shape(&name).ok_or_else(|| format!("holds no tensor named {name}"))?;
        if shape.len() != 2 || shape.first() == Some(&0) || shape.get(1) != Some(&columns) {
            return Err(format!("holds the tensor {name} in the shape {shape:?} where rows of {columns} belong"));
        }
        let mut rows = self.tensors.read(&name)?;
        rows.truncate(columns);
        Ok(rows)
    }

    fn norm(&self, name: &str, columns: usize) -> Result<Norm, String> {
        let name = format!("{}{name}", self.prefix);
        // Files converted from TensorFlow use the paper's letters.
        let (weight, bias) = (format!("{name}.weight"), format!("{name}.bias"));
        let (weight, bias) =
            if self.tensors.shape(&weight).is_none() && self.tensors.shape(&format!("{name}.gamma")).is_some() {
                (format!("{name}.gamma"), format!("{name}.beta"))
            } else {
                (weight, bias)
            };
        Ok(Norm {
            weight: self.tensors.read_shaped(&weight, &[columns])?,
            bias: self.tensors.read_shaped(&bias, &[columns])?,
        })
    }

    fn layer(&self, number: usize, config: &EncoderConfig) -> Result<EncoderLayer, String> {
        let (names, hidden, intermediate) = (self.names, config.hidden, config.intermediate);
        let within = |name: &str| format!("{}.{number}.{name}", names.blocks);
        let dense = |name: &str, outputs: usize, inputs: usize| {
            self.tensors.dense(&format!("{}{}", self.prefix, within(name)), outputs, inputs)
        };
        Ok(EncoderLayer {
            query: dense(names.query, hidden, hidden)?,
            key: dense(names.key, hidden, hidden)?,
            value: dense(names.value, hidden, hidden)?,
            attention_output: dense(names.attention_output, hidden, hidden)?,
            attention_norm: self.norm(&within(names.attention_norm), hidden)?,
            up: dense(names.up, intermediate, hidden)?,
            down: dense(names.down, hidden, intermediate)?,
            output_norm: self.norm(&within(names.output_norm), hidden)?,
        })
    }
}
