//! Writing an encoder as the files that Hugging Face's libraries read: `model.safetensors` and `config.json`.

use std::io;
use std::path::Path;

use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensorError};
use serde_json::{Value, json};

use crate::ModelsError;
use crate::encoder::names::Names;
use crate::encoder::{Activation, Dense, Encoder, EncoderConfig, EncoderFamily, Norm};

/// A tensor on its way into a file: its name, shape and numbers.
struct Named<'a> {
    name: String,
    shape: Vec<usize>,
    values: &'a [f32],
}

impl Encoder {
    /// Writes the weights in f32 to a new safetensors file at `path`, under the names of the family. Token types other
    /// than 0 are not kept: the file has one row of them.
    pub fn write_safetensors(&self, path: &Path) -> Result<(), ModelsError> {
        let mut bytes = Vec::new();
        let tensors = self.tensors();
        for tensor in &tensors {
            bytes.push(tensor.values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>());
        }
        let views = tensors.iter().zip(&bytes).map(|(tensor, bytes)| {
            TensorView::new(Dtype::F32, tensor.shape.clone(), bytes).map(|view| (tensor.name.as_str(), view))
        });
        let metadata = Some([("format".to_owned(), "pt".to_owned())].into());
        let written = views
            .collect::<Result<Vec<_>, _>>()
            .and_then(|views| safetensors::serialize_to_file(views, metadata, path));
        written.map_err(|error| match error {
            SafeTensorError::IoError(source) => ModelsError::io("write", path)(source),
            other => ModelsError::io("write", path)(io::Error::other(other.to_string())),
        })
    }

    fn tensors(&self) -> Vec<Named<'_>> {
        let names = Names::of(self.config.family);
        let hidden = self.config.hidden;
        let mut all = vec![
            table(names.tokens, self.config.vocabulary, hidden, &self.tokens),
            table(names.positions, self.config.positions, hidden, &self.positions),
        ];
        if let Some(name) = names.token_types {
            all.push(table(name, 1, hidden, &self.token_type));
        }
        norm(&mut all, names.norm, &self.norm);
        for (number, layer) in self.layers.iter().enumerate() {
            let within = |name: &str| format!("{}.{number}.{name}", names.blocks);
            dense(&mut all, &within(names.query), &layer.query);
            dense(&mut all, &within(names.key), &layer.key);
            dense(&mut all, &within(names.value), &layer.value);
            dense(&mut all, &within(names.attention_output), &layer.attention_output);
            norm(&mut all, &within(names.attention_norm), &layer.attention_norm);
            dense(&mut all, &within(names.up), &layer.up);
            dense(&mut all, &within(names.down), &layer.down);
            norm(&mut all, &within(names.output_norm), &layer.output_norm);
        }
        all
    }
}

fn table<'a>(name: &str, rows: usize, columns: usize, values: &'a [f32]) -> Named<'a> {
    Named { name: name.to_owned(), shape: vec![rows, columns], values }
}

fn dense<'a>(all: &mut Vec<Named<'a>>, name: &str, dense: &'a Dense) {
    let outputs = dense.bias.len();
    let inputs = dense.weight.len().checked_div(outputs).unwrap_or(0);
    all.push(table(&format!("{name}.weight"), outputs, inputs, &dense.weight));
    all.push(Named { name: format!("{name}.bias"), shape: vec![outputs], values: &dense.bias });
}

fn norm<'a>(all: &mut Vec<Named<'a>>, name: &str, norm: &'a Norm) {
    all.push(Named { name: format!("{name}.weight"), shape: vec![norm.weight.len()], values: &norm.weight });
    all.push(Named { name: format!("{name}.bias"), shape: vec![norm.bias.len()], values: &norm.bias });
}

impl EncoderConfig {
    /// The `config.json` of this shape, with one token type.
    pub fn to_json(&self) -> Value {
        let activation = match self.activation {
            Activation::Gelu => "gelu",
            Activation::GeluTanh => "gelu_new",
            Activation::Relu => "relu",
        };
        let mut file = match self.family {
            EncoderFamily::DistilBert => json!({
                "model_type": "distilbert",
                "architectures": ["DistilBertModel"],
                "dim": self.hidden,
                "n_layers": self.layers,
                "n_heads": self.heads,
                "hidden_dim": self.intermediate,
                "activation": activation,
            }),
            EncoderFamily::Bert | EncoderFamily::Roberta => {
                let (kind, class) = if self.family == EncoderFamily::Bert {
                    ("bert", "BertModel")
                } else {
                    ("xlm-roberta", "XLMRobertaModel")
                };
                json!({
                    "model_type": kind,
                    "architectures": [class],
                    "hidden_size": self.hidden,
                    "num_hidden_layers": self.layers,
                    "num_attention_heads": self.heads,
                    "intermediate_size": self.intermediate,
                    "hidden_act": activation,
                    "type_vocab_size": 1,
                    "layer_norm_eps": self.epsilon,
                    "position_embedding_type": "absolute",
                    "pad_token_id": self.first_position.saturating_sub(1),
                })
            }
        };
        if let Some(file) = file.as_object_mut() {
            file.insert("vocab_size".to_owned(), json!(self.vocabulary));
            file.insert("max_position_embeddings".to_owned(), json!(self.positions));
        }
        file
    }
}
