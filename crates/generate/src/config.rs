//! The shape of a llama decoder, and Hugging Face's `config.json` that states it.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// Most tensors' worth of blocks, rows or positions that a configuration may claim; far above any model, and small
/// enough that products of two claims cannot overflow.
const LIMIT: usize = 1 << 28;

/// The shape of a llama-architecture decoder.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LlamaConfig {
    /// Transformer blocks.
    pub blocks: usize,
    /// Width of the residual stream.
    pub hidden: usize,
    /// Inner width of the feed-forward part.
    pub feed_forward: usize,
    /// Attention (query) heads.
    pub heads: usize,
    /// Key and value heads; divides `heads`.
    pub kv_heads: usize,
    /// Width of a head; even.
    pub head_dim: usize,
    /// Rows of the embedding table.
    pub vocabulary: usize,
    /// Positions that the model was trained for.
    pub context: usize,
    /// Added to the mean square in RMS norms.
    pub norm_epsilon: f32,
    /// Base of the rotary frequencies.
    pub rope_base: f32,
    /// Whether the output matrix is the embedding table.
    pub tied_embeddings: bool,
}

impl LlamaConfig {
    /// Reads the text of a Hugging Face `config.json`. The error says what is wrong with it or not supported.
    pub fn from_json(text: &str) -> Result<Self, String> {
        let value: Value = serde_json::from_str(text).map_err(|error| format!("config.json is not JSON: {error}"))?;
        let fields = value.as_object().ok_or("config.json is not a JSON object")?;
        let model_type = fields.get("model_type").and_then(Value::as_str).unwrap_or("unnamed");
        if model_type != "llama" {
            return Err(format!("its architecture is {model_type}, and only llama is known"));
        }
        refuse_variants(fields)?;
        let count = |name: &str| whole_number(fields, name)?.ok_or(format!("config.json lacks {name}"));
        let (hidden, heads) = (count("hidden_size")?, count("num_attention_heads")?);
        let per_head = || (heads > 0 && hidden % heads == 0).then(|| hidden / heads);
        let config = Self {
            blocks: count("num_hidden_layers")?,
            hidden,
            feed_forward: count("intermediate_size")?,
            heads,
            kv_heads: whole_number(fields, "num_key_value_heads")?.unwrap_or(heads),
            head_dim: whole_number(fields, "head_dim")?.or_else(per_head).ok_or("config.json lacks head_dim")?,
            vocabulary: count("vocab_size")?,
            context: count("max_position_embeddings")?,
            norm_epsilon: positive(fields.get("rms_norm_eps")).unwrap_or(1e-6),
            rope_base: positive(fields.get("rope_theta"))
                .or_else(|| positive(fields.get("rope_parameters")?.get("rope_theta")))
                .unwrap_or(10_000.0),
            tied_embeddings: fields.get("tie_word_embeddings").and_then(Value::as_bool).unwrap_or(false),
        };
        config.check()?;
        Ok(config)
    }

    /// The configuration as a Hugging Face `config.json`; `dtype` is the tensors' (`float32`, `float16` or `bfloat16`).
    pub fn to_json(&self, dtype: &str, bos: Option<u32>, eos: Option<u32>) -> String {
        let value = json!({
            "architectures": ["LlamaForCausalLM"],
            "attention_bias": false,
            "attention_dropout": 0.0,
            "bos_token_id": bos,
            "eos_token_id": eos,
            "head_dim": self.head_dim,
            "hidden_act": "silu",
            "hidden_size": self.hidden,
            "initializer_range": 0.02,
            "intermediate_size": self.feed_forward,
            "max_position_embeddings": self.context,
            "mlp_bias": false,
            "model_type": "llama",
            "num_attention_heads": self.heads,
            "num_hidden_layers": self.blocks,
            "num_key_value_heads": self.kv_heads,
            "pretraining_tp": 1,
            "rms_norm_eps": decimal(self.norm_epsilon),
            "rope_scaling": null,
            "rope_theta": decimal(self.rope_base),
            "tie_word_embeddings": self.tied_embeddings,
            "torch_dtype": dtype,
            "use_cache": true,
            "vocab_size": self.vocabulary,
        });
        format!("{value:#}\n")
    }

    /// Width of all query heads together.
    pub fn query_width(&self) -> usize {
        self.heads * self.head_dim
    }

    /// Width of all key heads together, and of all value heads.
    pub fn kv_width(&self) -> usize {
        self.kv_heads * self.head_dim
    }

    /// Rows and columns of a projection of every block, by PEFT's name (`q_proj`, …, `down_proj`).
    pub fn projection(&self, name: &str) -> Option<(usize, usize)> {
        let (hidden, inner) = (self.hidden, self.feed_forward);
        match name {
            "q_proj" => Some((self.query_width(), hidden)),
            "k_proj" | "v_proj" => Some((self.kv_width(), hidden)),
            "o_proj" => Some((hidden, self.query_width())),
            "gate_proj" | "up_proj" => Some((inner, hidden)),
            "down_proj" => Some((hidden, inner)),
            _ => None,
        }
    }

    /// How many weights the model has.
    pub fn parameters(&self) -> u64 {
        let matrices = PROJECTIONS.iter().filter_map(|name| self.projection(name));
        let block = matrices.map(|(rows, columns)| rows as u64 * columns as u64).sum::<u64>() + 2 * self.hidden as u64;
        let tables = if self.tied_embeddings { 1 } else { 2 };
        self.blocks as u64 * block + (self.vocabulary as u64 * tables + 1) * self.hidden as u64
    }

    /// Whether the numbers fit together.
    pub(crate) fn check(&self) -> Result<(), String> {
        let sizes =
            [self.blocks, self.hidden, self.feed_forward, self.heads, self.kv_heads, self.vocabulary, self.context];
        if sizes.iter().chain([&self.head_dim]).any(|size| *size == 0 || *size > LIMIT) {
            return Err(format!("a size in its configuration is 0 or absurd: {sizes:?}, head width {}", self.head_dim));
        }
        if !self.heads.is_multiple_of(self.kv_heads) || !self.head_dim.is_multiple_of(2) {
            return Err(format!(
                "{} attention heads of width {} and {} key heads do not fit together",
                self.heads, self.head_dim, self.kv_heads
            ));
        }
        let widest = self.hidden.max(self.feed_forward).max(self.vocabulary);
        if self.heads.checked_mul(self.head_dim).is_none_or(|width| width > LIMIT) || widest > LIMIT {
            return Err(format!("{} attention heads of width {} are absurd", self.heads, self.head_dim));
        }
        Ok(())
    }
}

/// The matrices of a block that can carry an adapter, by PEFT's name.
pub(crate) const PROJECTIONS: [&str; 7] = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"];

/// Which part of a block (`self_attn` or `mlp`) holds a projection.
pub(crate) fn part_of(projection: &str) -> &'static str {
    match projection {
        "gate_proj" | "up_proj" | "down_proj" => "mlp",
        _ => "self_attn",
    }
}

/// Refuses what a llama configuration can ask for and this decoder does not do: computing without it would answer, and
/// wrongly.
fn refuse_variants(fields: &Map<String, Value>) -> Result<(), String> {
    let scales = |key: &str| {
        let scaling = fields.get(key).filter(|value| !value.is_null())?;
        let kind = scaling.get("rope_type").or_else(|| scaling.get("type")).and_then(Value::as_str);
        (kind.unwrap_or("default") != "default").then_some(())
    };
    if scales("rope_scaling").or_else(|| scales("rope_parameters")).is_some() {
        return Err("it scales its rotary positions, which the decoder does not do".to_owned());
    }
    for name in ["attention_bias", "mlp_bias", "rope_interleaved"] {
        if fields.get(name).and_then(Value::as_bool) == Some(true) {
            return Err(format!("its configuration sets {name}, which the decoder does not do"));
        }
    }
    if fields.get("num_local_experts").and_then(Value::as_u64).is_some_and(|experts| experts > 1) {
        return Err("it is a mixture of experts, and only dense models are known".to_owned());
    }
    if fields.get("quantization_config").is_some_and(|value| !value.is_null()) {
        return Err("its weights are quantized; use the model in f32, f16 or bf16, or as GGUF".to_owned());
    }
    let activation = fields.get("hidden_act").and_then(Value::as_str).unwrap_or("silu");
    if activation != "silu" {
        return Err(format!("its activation is {activation}, and only silu is known"));
    }
    if positive(fields.get("partial_rotary_factor")).is_some_and(|factor| factor < 1.0) {
        return Err("it rotates only a part of each head, which the decoder does not do".to_owned());
    }
    Ok(())
}

fn whole_number(fields: &Map<String, Value>, name: &str) -> Result<Option<usize>, String> {
    match fields.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => {
            let number = value.as_u64().and_then(|number| usize::try_from(number).ok());
            number.map(Some).ok_or_else(|| format!("{name} of config.json is {value}, not a whole number"))
        }
    }
}

fn positive(value: Option<&Value>) -> Option<f32> {
    let number = value?.as_f64()? as f32;
    (number.is_finite() && number > 0.0).then_some(number)
}

/// The shortest decimal of an f32, so that 1e-5 is not written as 9.999999747378752e-6.
fn decimal(value: f32) -> f64 {
    value.to_string().parse().unwrap_or_else(|_| f64::from(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn smollm() -> LlamaConfig {
        LlamaConfig {
            blocks: 30,
            hidden: 576,
            feed_forward: 1536,
            heads: 9,
            kv_heads: 3,
            head_dim: 64,
            vocabulary: 49152,
            context: 8192,
            norm_epsilon: 1e-5,
            rope_base: 100_000.0,
            tied_embeddings: true,
        }
    }

    #[test]
    fn what_is_written_is_read_again() {
        let text = smollm().to_json("float32", Some(1), Some(2));
        assert_eq!(LlamaConfig::from_json(&text).unwrap(), smollm());
        assert!(text.contains("\"rms_norm_eps\": 0.00001"), "{text}");
        assert_eq!(smollm().parameters(), 134_515_008);
    }

    #[test]
    fn variants_that_would_be_computed_wrongly_are_refused() {
        let text = smollm().to_json("float32", None, None);
        let with = |name: &str, value: Value| {
            let mut fields: Value = serde_json::from_str(&text).unwrap();
            fields[name] = value;
            LlamaConfig::from_json(&fields.to_string()).unwrap_err()
        };
        for (name, value, named) in [
            ("model_type", json!("qwen2"), "qwen2"),
            ("rope_scaling", json!({"rope_type": "llama3", "factor": 8.0}), "rotary"),
            ("rope_parameters", json!({"rope_type": "yarn"}), "rotary"),
            ("attention_bias", json!(true), "attention_bias"),
            ("num_local_experts", json!(8), "experts"),
            ("quantization_config", json!({"bits": 4}), "quantized"),
            ("hidden_act", json!("gelu"), "gelu"),
            ("num_attention_heads", json!(-9), "num_attention_heads"),
            ("num_key_value_heads", json!(2), "fit together"),
            ("head_dim", json!(63), "fit together"),
            ("num_hidden_layers", json!(0), "absurd"),
            ("vocab_size", json!(1_u64 << 60), "absurd"),
        ] {
            let error = with(name, value);
            assert!(error.contains(named), "{name}: {error}");
        }
        assert!(LlamaConfig::from_json("[]").is_err() && LlamaConfig::from_json("{").is_err());
    }
}
