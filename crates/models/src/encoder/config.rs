//! Reading an encoder's shape out of `config.json`.

use std::path::Path;

use serde_json::Value;

use crate::ModelsError;
use crate::encoder::{Activation, EncoderConfig, EncoderFamily};
use crate::small_file::read_small;

/// Epsilon of the layer norms where the file names none (`DistilBERT`'s files never do).
const DEFAULT_EPSILON: f32 = 1e-12;
/// Padding token of the `RoBERTa` family where the file names none.
const DEFAULT_PADDING: usize = 1;

/// What `config.json` calls the counts of a family.
struct Keys {
    hidden: &'static str,
    layers: &'static str,
    heads: &'static str,
    intermediate: &'static str,
    activation: &'static str,
}

const BERT_KEYS: Keys = Keys {
    hidden: "hidden_size",
    layers: "num_hidden_layers",
    heads: "num_attention_heads",
    intermediate: "intermediate_size",
    activation: "hidden_act",
};

const DISTILBERT_KEYS: Keys =
    Keys { hidden: "dim", layers: "n_layers", heads: "n_heads", intermediate: "hidden_dim", activation: "activation" };

impl EncoderConfig {
    /// The shape that the text of a `config.json` describes; the error completes "the file ...".
    pub(crate) fn parse(text: &[u8]) -> Result<Self, ConfigFault> {
        let file: Value =
            serde_json::from_slice(text).map_err(|error| ConfigFault::Damaged(format!("is not JSON ({error})")))?;
        let model_type = file.get("model_type").and_then(Value::as_str).unwrap_or_default();
        let Some(family) = family(model_type) else {
            return Err(ConfigFault::Unsupported(format!(
                "says model_type \"{}\", and only bert, distilbert, roberta, xlm-roberta and camembert are read",
                shown(model_type)
            )));
        };
        if text_field(&file, "position_embedding_type").is_some_and(|kind| kind != "absolute")
            || file.get("is_decoder").and_then(Value::as_bool) == Some(true)
        {
            return Err(ConfigFault::Unsupported(
                "asks for relative positions or for a decoder, which encoders of these families do not have".to_owned(),
            ));
        }
        let keys = if family == EncoderFamily::DistilBert { DISTILBERT_KEYS } else { BERT_KEYS };
        let config = Self {
            family,
            hidden: count(&file, keys.hidden)?,
            layers: count(&file, keys.layers)?,
            heads: count(&file, keys.heads)?,
            intermediate: count(&file, keys.intermediate)?,
            vocabulary: count(&file, "vocab_size")?,
            positions: count(&file, "max_position_embeddings")?,
            first_position: match family {
                EncoderFamily::Roberta if file.get("pad_token_id").is_some_and(|id| !id.is_null()) => {
                    count(&file, "pad_token_id")?.saturating_add(1)
                }
                EncoderFamily::Roberta => DEFAULT_PADDING + 1,
                EncoderFamily::Bert | EncoderFamily::DistilBert => 0,
            },
            epsilon: match file.get("layer_norm_eps") {
                None => DEFAULT_EPSILON,
                Some(epsilon) => epsilon.as_f64().map_or(f32::NAN, |epsilon| epsilon as f32),
            },
            activation: activation(text_field(&file, keys.activation).unwrap_or("gelu"))?,
        };
        config.check()?;
        Ok(config)
    }

    /// Reads and parses the file at `path`.
    pub(crate) fn read(path: &Path) -> Result<Self, ModelsError> {
        Self::parse(&read_small(path)?).map_err(|fault| match fault {
            ConfigFault::Damaged(reason) => ModelsError::BadModelFile { path: path.to_owned(), reason },
            ConfigFault::Unsupported(reason) => ModelsError::UnsupportedModel { path: path.to_owned(), reason },
        })
    }

    fn check(&self) -> Result<(), ConfigFault> {
        let counts = [
            ("hidden size", self.hidden),
            ("number of layers", self.layers),
            ("number of heads", self.heads),
            ("intermediate size", self.intermediate),
            ("vocabulary", self.vocabulary),
            ("number of positions", self.positions),
        ];
        if let Some((what, _)) = counts.iter().find(|(_, count)| *count == 0) {
            return Err(ConfigFault::Damaged(format!("gives 0 as its {what}")));
        }
        if !self.hidden.is_multiple_of(self.heads) {
            return Err(ConfigFault::Damaged(format!(
                "gives {} heads, which do not divide its hidden size {}",
                self.heads, self.hidden
            )));
        }
        if self.first_position >= self.positions {
            return Err(ConfigFault::Damaged(format!(
                "gives {} positions, of which the first {} are never used",
                self.positions, self.first_position
            )));
        }
        if !self.epsilon.is_finite() || self.epsilon < 0.0 {
            return Err(ConfigFault::Damaged(format!("gives {} as the epsilon of its layer norms", self.epsilon)));
        }
        Ok(())
    }
}

/// Why a `config.json` is refused; the text completes "the file ...".
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ConfigFault {
    /// Nonsense.
    Damaged(String),
    /// Another kind of model.
    Unsupported(String),
}

/// The whole number in `key`.
fn count(file: &Value, key: &str) -> Result<usize, ConfigFault> {
    let number = file.get(key).and_then(Value::as_u64).and_then(|number| usize::try_from(number).ok());
    number.ok_or_else(|| ConfigFault::Damaged(format!("gives no whole number as {key}")))
}

fn text_field<'a>(file: &'a Value, key: &str) -> Option<&'a str> {
    file.get(key).and_then(Value::as_str)
}

/// The beginning of a text out of the file, safe to print.
fn shown(text: &str) -> String {
    text.chars().take(40).flat_map(char::escape_default).collect()
}

fn family(model_type: &str) -> Option<EncoderFamily> {
    match model_type {
        "bert" => Some(EncoderFamily::Bert),
        "distilbert" => Some(EncoderFamily::DistilBert),
        "roberta" | "xlm-roberta" | "camembert" => Some(EncoderFamily::Roberta),
        _ => None,
    }
}

/// The function of this name in Hugging Face's files.
fn activation(name: &str) -> Result<Activation, ConfigFault> {
    match name {
        "gelu" => Ok(Activation::Gelu),
        "gelu_new" | "gelu_pytorch_tanh" => Ok(Activation::GeluTanh),
        "relu" => Ok(Activation::Relu),
        other => Err(ConfigFault::Unsupported(format!(
            "names the activation \"{}\", and only gelu, gelu_new, gelu_pytorch_tanh and relu are known",
            shown(other)
        ))),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BERT: &str = r#"{"model_type": "bert", "hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2,
        "intermediate_size": 16, "vocab_size": 11, "max_position_embeddings": 10, "hidden_act": "gelu",
        "layer_norm_eps": 1e-7, "position_embedding_type": "absolute", "type_vocab_size": 2}"#;

    #[test]
    fn each_family_s_own_names_are_read() {
        let bert = EncoderConfig::parse(BERT.as_bytes()).unwrap();
        assert_eq!((bert.family, bert.hidden, bert.layers, bert.heads), (EncoderFamily::Bert, 8, 2, 2));
        assert_eq!((bert.intermediate, bert.vocabulary, bert.positions, bert.first_position), (16, 11, 10, 0));
        assert!((bert.epsilon - 1e-7).abs() < 1e-12);

        let distil = r#"{"model_type": "distilbert", "dim": 8, "n_layers": 3, "n_heads": 4, "hidden_dim": 32,
            "vocab_size": 11, "max_position_embeddings": 10, "activation": "relu", "sinusoidal_pos_embds": false}"#;
        let distil = EncoderConfig::parse(distil.as_bytes()).unwrap();
        assert_eq!((distil.layers, distil.heads, distil.intermediate), (3, 4, 32));
        assert_eq!((distil.activation, distil.epsilon), (Activation::Relu, DEFAULT_EPSILON));

        let roberta = BERT.replace("\"bert\"", "\"xlm-roberta\"").replace("\"gelu\"", "\"gelu_new\"");
        let roberta = EncoderConfig::parse(roberta.as_bytes()).unwrap();
        assert_eq!((roberta.family, roberta.first_position), (EncoderFamily::Roberta, 2));
        assert_eq!(roberta.activation, Activation::GeluTanh);
    }

    #[test]
    fn what_cannot_be_is_refused_with_a_reason() {
        for (from, to, expected) in [
            ("\"bert\"", "\"t5\"", "t5"),
            ("\"hidden_size\": 8", "\"hidden_size\": 9", "divide"),
            ("\"hidden_size\": 8", "\"hidden_size\": 0", "hidden size"),
            ("\"hidden_size\": 8,", "", "hidden_size"),
            ("\"gelu\"", "\"swish\"", "swish"),
            ("absolute", "relative_key", "relative"),
            ("1e-7", "-1", "epsilon"),
            ("\"vocab_size\": 11", "\"vocab_size\": -1", "vocab_size"),
        ] {
            let text = BERT.replace(from, to);
            assert_ne!(text, BERT);
            let fault = format!("{:?}", EncoderConfig::parse(text.as_bytes()).unwrap_err());
            assert!(fault.contains(expected), "{to}: {fault}");
        }
        let few = BERT
            .replace("\"bert\"", "\"roberta\"")
            .replace("\"max_position_embeddings\": 10", "\"max_position_embeddings\": 2");
        assert!(EncoderConfig::parse(few.as_bytes()).is_err());
    }

    proptest! {
        #[test]
        fn any_damage_parses_or_is_refused(at in 0..BERT.len(), with in "\\PC{0,4}") {
            let mut text = BERT.to_owned();
            text.replace_range(at..=at, &with);
            if let Ok(config) = EncoderConfig::parse(text.as_bytes()) {
                prop_assert!(config.hidden % config.heads == 0 && config.first_position < config.positions);
            }
        }
    }
}
