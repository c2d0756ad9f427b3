//! The shape of an encoder, read out of `config.json`, for every family that can be run.

use serde_json::{Map, Value};

/// How a family names its tensors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    /// BERT (Devlin et al. 2018), `RoBERTa` (Liu et al. 2019), XLM-R (Conneau et al. 2020).
    Bert,
    /// `DistilBERT` (Sanh et al. 2019).
    DistilBert,
    /// `ModernBERT` (Warner et al. 2024).
    ModernBert,
    /// Nomic's BERT with rotary positions (Nussbaum et al. 2024).
    NomicBert,
    /// Jina's BERT with linear biases (Günther et al. 2023).
    JinaBert,
    /// Qwen3 (Yang et al. 2025) as Qwen3-Embedding uses it.
    Qwen3,
}

/// The function in the middle of a feed-forward block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Activation {
    /// x·Φ(x) with the error function.
    Gelu,
    /// Its approximation by tanh.
    GeluTanh,
    /// max(x, 0).
    Relu,
    /// x·σ(x).
    Silu,
}

/// How a token's place enters.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Positions {
    /// A table of `rows` vectors; the first token takes row `first`.
    Learned { rows: usize, first: usize },
    /// Queries and keys are turned (Su et al. 2021). Layers that see a window only turn by `local_base`.
    Rotary { base: f32, local_base: f32 },
    /// A bias that falls with the distance (Press et al. 2022).
    LinearBias,
}

/// A window that some layers see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Window {
    /// Farthest distance seen.
    pub(super) distance: usize,
    /// Every layer whose number is a multiple sees everything.
    pub(super) global_every: usize,
}

/// Shape of an encoder.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Architecture {
    pub(super) family: Family,
    pub(super) hidden: usize,
    pub(super) layers: usize,
    pub(super) heads: usize,
    /// Heads of keys and values; `heads` is a multiple.
    pub(super) key_heads: usize,
    pub(super) head_dim: usize,
    pub(super) intermediate: usize,
    pub(super) vocabulary: usize,
    /// Rows of the token type embeddings; 0 for none.
    pub(super) token_types: usize,
    pub(super) epsilon: f32,
    pub(super) activation: Activation,
    pub(super) positions: Positions,
    /// Most tokens of a text.
    pub(super) max_tokens: usize,
    /// Whether a token sees only itself and those before it.
    pub(super) causal: bool,
    pub(super) window: Option<Window>,
    /// Whether norms stand before the products rather than after the sums.
    pub(super) pre_norm: bool,
}

/// Larger numbers in a configuration are damage.
const LARGEST: u64 = 1 << 24;

impl Architecture {
    /// Reads the text of a `config.json`. The error completes "config.json: ...".
    pub(super) fn read(json: &str) -> Result<Self, String> {
        let value: Value = serde_json::from_str(json).map_err(|error| error.to_string())?;
        let fields = Fields(value.as_object().ok_or("it is not an object")?);
        let architecture = match fields.text("model_type")? {
            "bert" if fields.0.get("position_embedding_type").and_then(Value::as_str) == Some("alibi") => jina(fields),
            "bert" | "roberta" | "xlm-roberta" | "camembert" => bert(fields),
            "distilbert" => distilbert(fields),
            "modernbert" => modernbert(fields),
            "nomic_bert" => nomic(fields),
            "jina_bert" => jina(fields),
            "qwen3" => qwen3(fields),
            other => Err(format!(
                "model_type {other:?} is none of bert, roberta, xlm-roberta, camembert, distilbert, modernbert, nomic_bert, \
                 jina_bert and qwen3"
            )),
        }?;
        architecture.check()?;
        Ok(architecture)
    }

    /// Width of all query heads.
    pub(super) fn query_width(&self) -> usize {
        self.heads * self.head_dim
    }

    /// Width of all key heads.
    pub(super) fn key_width(&self) -> usize {
        self.key_heads * self.head_dim
    }

    /// Farthest distance that layer `index` sees, if it has a window.
    pub(super) fn window_of(&self, index: usize) -> Option<usize> {
        self.window.filter(|window| !index.is_multiple_of(window.global_every)).map(|window| window.distance)
    }

    fn check(&self) -> Result<(), String> {
        let counts = [
            self.hidden,
            self.layers,
            self.heads,
            self.key_heads,
            self.head_dim,
            self.intermediate,
            self.vocabulary,
            self.max_tokens,
        ];
        if counts.contains(&0) {
            return Err("a size in it is 0".to_owned());
        }
        if !self.heads.is_multiple_of(self.key_heads) {
            return Err(format!("{} heads cannot share {} heads of keys", self.heads, self.key_heads));
        }
        if matches!(self.positions, Positions::Rotary { .. }) && !self.head_dim.is_multiple_of(2) {
            return Err(format!("heads of {} dimensions cannot be turned: it is odd", self.head_dim));
        }
        if self.window.is_some_and(|window| window.global_every == 0) {
            return Err("global_attn_every_n_layers is 0".to_owned());
        }
        Ok(())
    }
}

/// The fields of a configuration.
#[derive(Clone, Copy)]
struct Fields<'a>(&'a Map<String, Value>);

impl<'a> Fields<'a> {
    fn text(self, name: &str) -> Result<&'a str, String> {
        self.0.get(name).and_then(Value::as_str).ok_or_else(|| format!("{name} is missing or no text"))
    }

    fn number(self, name: &str) -> Result<usize, String> {
        let number = self.0.get(name).and_then(Value::as_u64).filter(|number| *number <= LARGEST);
        number
            .map(|number| number as usize)
            .ok_or_else(|| format!("{name} is missing or no whole number up to {LARGEST}"))
    }

    fn number_or(self, name: &str, otherwise: usize) -> Result<usize, String> {
        if self.0.get(name).is_none_or(Value::is_null) { Ok(otherwise) } else { self.number(name) }
    }

    fn float(self, name: &str) -> Result<f32, String> {
        let float = self.0.get(name).and_then(Value::as_f64).filter(|float| *float > 0.0 && float.is_finite());
        float.map(|float| float as f32).ok_or_else(|| format!("{name} is missing or no positive number"))
    }

    fn float_or(self, name: &str, otherwise: f32) -> Result<f32, String> {
        if self.0.get(name).is_none_or(Value::is_null) { Ok(otherwise) } else { self.float(name) }
    }

    fn flag(self, name: &str) -> bool {
        self.0.get(name).and_then(Value::as_bool).unwrap_or(false)
    }

    fn activation(self, name: &str) -> Result<Activation, String> {
        match self.text(name)? {
            "gelu" => Ok(Activation::Gelu),
            "gelu_new" | "gelu_pytorch_tanh" | "gelu_fast" => Ok(Activation::GeluTanh),
            "relu" => Ok(Activation::Relu),
            "silu" | "swish" => Ok(Activation::Silu),
            other => Err(format!("{name} {other:?} is none of gelu, gelu_new, gelu_pytorch_tanh, relu and silu")),
        }
    }

    /// Refuses a field that would change the network in a way that is not implemented.
    fn must_be(self, name: &str, expected: &Value) -> Result<(), String> {
        match self.0.get(name) {
            None | Some(Value::Null) => Ok(()),
            Some(value) if value == expected => Ok(()),
            Some(value) => Err(format!("{name} is {value}, and only {expected} can be run")),
        }
    }
}

fn head_dim(hidden: usize, heads: usize) -> Result<usize, String> {
    if heads == 0 || !hidden.is_multiple_of(heads) {
        return Err(format!("{hidden} dimensions cannot be shared by {heads} heads"));
    }
    Ok(hidden / heads)
}

fn bert(fields: Fields<'_>) -> Result<Architecture, String> {
    fields.must_be("position_embedding_type", &"absolute".into())?;
    let (hidden, heads) = (fields.number("hidden_size")?, fields.number("num_attention_heads")?);
    let rows = fields.number("max_position_embeddings")?;
    let first = if fields.text("model_type")? == "bert" { 0 } else { fields.number_or("pad_token_id", 1)? + 1 };
    Ok(Architecture {
        family: Family::Bert,
        hidden,
        layers: fields.number("num_hidden_layers")?,
        heads,
        key_heads: heads,
        head_dim: head_dim(hidden, heads)?,
        intermediate: fields.number("intermediate_size")?,
        vocabulary: fields.number("vocab_size")?,
        token_types: fields.number_or("type_vocab_size", 2)?,
        epsilon: fields.float_or("layer_norm_eps", 1e-12)?,
        activation: fields.activation("hidden_act")?,
        positions: Positions::Learned { rows, first },
        max_tokens: rows.saturating_sub(first),
        causal: false,
        window: None,
        pre_norm: false,
    })
}

fn distilbert(fields: Fields<'_>) -> Result<Architecture, String> {
    let (hidden, heads) = (fields.number("dim")?, fields.number("n_heads")?);
    let rows = fields.number("max_position_embeddings")?;
    Ok(Architecture {
        family: Family::DistilBert,
        hidden,
        layers: fields.number("n_layers")?,
        heads,
        key_heads: heads,
        head_dim: head_dim(hidden, heads)?,
        intermediate: fields.number("hidden_dim")?,
        vocabulary: fields.number("vocab_size")?,
        token_types: 0,
        epsilon: 1e-12,
        activation: fields.activation("activation")?,
        positions: Positions::Learned { rows, first: 0 },
        max_tokens: rows,
        causal: false,
        window: None,
        pre_norm: false,
    })
}

fn modernbert(fields: Fields<'_>) -> Result<Architecture, String> {
    let (hidden, heads) = (fields.number("hidden_size")?, fields.number("num_attention_heads")?);
    let epsilon = if fields.0.contains_key("norm_eps") { "norm_eps" } else { "layer_norm_eps" };
    Ok(Architecture {
        family: Family::ModernBert,
        hidden,
        layers: fields.number("num_hidden_layers")?,
        heads,
        key_heads: heads,
        head_dim: head_dim(hidden, heads)?,
        intermediate: fields.number("intermediate_size")?,
        vocabulary: fields.number("vocab_size")?,
        token_types: 0,
        epsilon: fields.float_or(epsilon, 1e-5)?,
        activation: if fields.0.contains_key("hidden_activation") {
            fields.activation("hidden_activation")?
        } else {
            Activation::Gelu
        },
        positions: Positions::Rotary {
            base: fields.float_or("global_rope_theta", 160_000.0)?,
            local_base: fields.float_or("local_rope_theta", 10_000.0)?,
        },
        max_tokens: fields.number("max_position_embeddings")?,
        causal: false,
        window: Some(Window {
            distance: fields.number_or("local_attention", 128)? / 2,
            global_every: fields.number_or("global_attn_every_n_layers", 3)?,
        }),
        pre_norm: true,
    })
}

fn nomic(fields: Fields<'_>) -> Result<Architecture, String> {
    fields.must_be("rotary_emb_interleaved", &false.into())?;
    if (fields.float_or("rotary_emb_fraction", 1.0)? - 1.0).abs() > f32::EPSILON {
        return Err("rotary_emb_fraction is not 1, and only 1 can be run".to_owned());
    }
    let (hidden, heads) = (fields.number("n_embd")?, fields.number("n_head")?);
    let base = fields.float_or("rotary_emb_base", 1000.0)?;
    let activation = match fields.text("activation_function")? {
        "swiglu" => Activation::Silu,
        "geglu" => Activation::Gelu,
        other => return Err(format!("activation_function {other:?} is neither swiglu nor geglu")),
    };
    Ok(Architecture {
        family: Family::NomicBert,
        hidden,
        layers: fields.number("n_layer")?,
        heads,
        key_heads: heads,
        head_dim: head_dim(hidden, heads)?,
        intermediate: fields.number_or("n_inner", 4 * hidden)?,
        vocabulary: fields.number("vocab_size")?,
        token_types: fields.number_or("type_vocab_size", 0)?,
        epsilon: fields.float_or("layer_norm_epsilon", 1e-12)?,
        activation,
        positions: Positions::Rotary { base, local_base: base },
        max_tokens: fields.number("n_positions")?,
        causal: false,
        window: None,
        pre_norm: fields.flag("prenorm"),
    })
}

fn jina(fields: Fields<'_>) -> Result<Architecture, String> {
    fields.must_be("feed_forward_type", &"geglu".into())?;
    Ok(Architecture {
        family: Family::JinaBert,
        positions: Positions::LinearBias,
        activation: Activation::Gelu,
        ..bert_with_bias(fields)?
    })
}

/// The sizes of Jina's configuration, which are BERT's.
fn bert_with_bias(fields: Fields<'_>) -> Result<Architecture, String> {
    fields.must_be("position_embedding_type", &"alibi".into())?;
    let mut plain = fields.0.clone();
    plain.insert("position_embedding_type".to_owned(), "absolute".into());
    plain.insert("model_type".to_owned(), "bert".into());
    bert(Fields(&plain))
}

fn qwen3(fields: Fields<'_>) -> Result<Architecture, String> {
    fields.must_be("use_sliding_window", &false.into())?;
    fields.must_be("rope_scaling", &Value::Null)?;
    let (hidden, heads) = (fields.number("hidden_size")?, fields.number("num_attention_heads")?);
    let base = fields.float("rope_theta")?;
    let head_dim = match fields.0.get("head_dim") {
        Some(Value::Number(_)) => fields.number("head_dim")?,
        _ => head_dim(hidden, heads)?,
    };
    Ok(Architecture {
        family: Family::Qwen3,
        hidden,
        layers: fields.number("num_hidden_layers")?,
        heads,
        key_heads: fields.number_or("num_key_value_heads", heads)?,
        head_dim,
        intermediate: fields.number("intermediate_size")?,
        vocabulary: fields.number("vocab_size")?,
        token_types: 0,
        epsilon: fields.float("rms_norm_eps")?,
        activation: fields.activation("hidden_act")?,
        positions: Positions::Rotary { base, local_base: base },
        max_tokens: fields.number("max_position_embeddings")?,
        causal: true,
        window: None,
        pre_norm: true,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BERT: &str = r#"{"model_type": "bert", "hidden_size": 384, "num_attention_heads": 12, "num_hidden_layers": 6,
        "intermediate_size": 1536, "vocab_size": 30522, "max_position_embeddings": 512, "hidden_act": "gelu",
        "layer_norm_eps": 1e-12, "type_vocab_size": 2, "pad_token_id": 0}"#;

    #[test]
    fn positions_of_roberta_start_behind_the_padding_token() {
        let bert = Architecture::read(BERT).unwrap();
        assert_eq!((bert.positions, bert.max_tokens), (Positions::Learned { rows: 512, first: 0 }, 512));
        let roberta = BERT.replace("\"bert\"", "\"xlm-roberta\"").replace("\"pad_token_id\": 0", "\"pad_token_id\": 1");
        let roberta = Architecture::read(&roberta.replace(": 512", ": 514")).unwrap();
        assert_eq!((roberta.positions, roberta.max_tokens), (Positions::Learned { rows: 514, first: 2 }, 512));
    }

    #[test]
    fn what_cannot_be_run_is_refused_by_name() {
        for (from, to, named) in [
            ("\"bert\"", "\"t5\"", "\"t5\""),
            ("\"num_attention_heads\": 12", "\"num_attention_heads\": 7", "7 heads"),
            ("\"num_hidden_layers\": 6", "\"num_hidden_layers\": 0", "0"),
            ("\"hidden_act\": \"gelu\"", "\"hidden_act\": \"mish\"", "mish"),
            ("\"pad_token_id\": 0", "\"position_embedding_type\": \"relative_key\"", "relative_key"),
            ("\"vocab_size\": 30522", "\"vocab_size\": -1", "vocab_size"),
            ("\"hidden_size\": 384, ", "", "hidden_size"),
        ] {
            let error = Architecture::read(&BERT.replace(from, to)).unwrap_err();
            assert!(error.contains(named), "{error}");
        }
        assert!(Architecture::read("[]").is_err() && Architecture::read("{").is_err());
    }

    proptest! {
        #[test]
        fn no_configuration_panics(field in "[a-z_]{1,20}", number in any::<i64>(), cut in 0_usize..400) {
            let text: String = BERT.chars().take(cut).collect();
            let _ = Architecture::read(&text);
            let mut value: Value = serde_json::from_str(BERT).unwrap();
            for name in ["hidden_size", "num_attention_heads", "max_position_embeddings", field.as_str()] {
                value[name] = number.into();
                for family in ["bert", "roberta", "distilbert", "modernbert", "nomic_bert", "jina_bert", "qwen3"] {
                    value["model_type"] = family.into();
                    let _ = Architecture::read(&value.to_string());
                }
            }
        }
    }
}
