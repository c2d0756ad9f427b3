//! What each family calls its tensors in Hugging Face's files.

use crate::encoder::EncoderFamily;

/// Names without the model's own prefix; those of a block stand behind `blocks` and its number.
#[derive(Debug)]
pub(crate) struct Names {
    pub(crate) tokens: &'static str,
    pub(crate) positions: &'static str,
    /// Families without token types have none.
    pub(crate) token_types: Option<&'static str>,
    pub(crate) norm: &'static str,
    pub(crate) blocks: &'static str,
    pub(crate) query: &'static str,
    pub(crate) key: &'static str,
    pub(crate) value: &'static str,
    pub(crate) attention_output: &'static str,
    pub(crate) attention_norm: &'static str,
    pub(crate) up: &'static str,
    pub(crate) down: &'static str,
    pub(crate) output_norm: &'static str,
}

/// The tensor that every family has under the same name, by which a prefix is recognised.
pub(crate) const TOKENS: &str = "embeddings.word_embeddings.weight";

const BERT: Names = Names {
    tokens: TOKENS,
    positions: "embeddings.position_embeddings.weight",
    token_types: Some("embeddings.token_type_embeddings.weight"),
    norm: "embeddings.LayerNorm",
    blocks: "encoder.layer",
    query: "attention.self.query",
    key: "attention.self.key",
    value: "attention.self.value",
    attention_output: "attention.output.dense",
    attention_norm: "attention.output.LayerNorm",
    up: "intermediate.dense",
    down: "output.dense",
    output_norm: "output.LayerNorm",
};

const DISTILBERT: Names = Names {
    tokens: TOKENS,
    positions: "embeddings.position_embeddings.weight",
    token_types: None,
    norm: "embeddings.LayerNorm",
    blocks: "transformer.layer",
    query: "attention.q_lin",
    key: "attention.k_lin",
    value: "attention.v_lin",
    attention_output: "attention.out_lin",
    attention_norm: "sa_layer_norm",
    up: "ffn.lin1",
    down: "ffn.lin2",
    output_norm: "output_layer_norm",
};

impl Names {
    /// The names of `family`.
    pub(crate) fn of(family: EncoderFamily) -> &'static Self {
        match family {
            EncoderFamily::Bert | EncoderFamily::Roberta => &BERT,
            EncoderFamily::DistilBert => &DISTILBERT,
        }
    }
}

/// What stands before every name of the encoder among `names`: nothing, `bert.`, `roberta.`, `0.auto_model.` and the like.
/// An error (completing "the file ...") when no or more than one encoder is there.
pub(crate) fn prefix<'a>(names: impl Iterator<Item = &'a str>) -> Result<&'a str, String> {
    let mut prefixes: Vec<&str> = names
        .filter_map(|name| name.strip_suffix(TOKENS))
        .filter(|prefix| prefix.is_empty() || prefix.ends_with('.'))
        .collect();
    prefixes.sort_unstable();
    prefixes.dedup();
    match prefixes.as_slice() {
        [prefix] => Ok(prefix),
        [] => Err(format!("holds no tensor named {TOKENS}")),
        _ => Err(format!("holds {} encoders, and one is read", prefixes.len())),
    }
}
