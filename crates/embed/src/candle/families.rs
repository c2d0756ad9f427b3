//! Where each family keeps its tensors.

use candle_core::{IndexOp, Result};

use super::architecture::{Architecture, Family, Positions};
use super::encoder::{Attention, Embeddings, FeedForward, Layer};
use super::weights::Weights;

/// A tensor that every model of the family has, by which the names' prefix is found.
pub(super) fn probe(family: Family) -> &'static str {
    match family {
        Family::Bert | Family::DistilBert | Family::NomicBert | Family::JinaBert => "embeddings.word_embeddings.weight",
        Family::ModernBert => "embeddings.tok_embeddings.weight",
        Family::Qwen3 => "embed_tokens.weight",
    }
}

/// The embeddings and the norm behind the last layer.
pub(super) fn embeddings(weights: &Weights, of: &Architecture) -> Result<Embeddings> {
    let norm = |name: &str| weights.layer_norm(name, of.hidden, of.epsilon);
    let (norm, last_norm) = match of.family {
        Family::Bert | Family::DistilBert | Family::JinaBert => (Some(norm("embeddings.LayerNorm")?), None),
        Family::NomicBert => (Some(norm("emb_ln")?), None),
        Family::ModernBert => (Some(norm("embeddings.norm")?), Some(norm("final_norm")?)),
        Family::Qwen3 => (None, Some(weights.rms_norm("norm", of.hidden, of.epsilon)?)),
    };
    let positions = match of.positions {
        Positions::Learned { rows, first } => {
            let table = weights.tensor("embeddings.position_embeddings.weight", &[rows, of.hidden])?;
            Some(table.narrow(0, first, of.max_tokens)?)
        }
        Positions::Rotary { .. } | Positions::LinearBias => None,
    };
    let token_type = if of.token_types > 0 {
        let table = weights.tensor("embeddings.token_type_embeddings.weight", &[of.token_types, of.hidden])?;
        Some(table.i(0)?)
    } else {
        None
    };
    Ok(Embeddings {
        tokens: weights.tensor(probe(of.family), &[of.vocabulary, of.hidden])?,
        positions,
        token_type,
        norm,
        last_norm,
    })
}

/// Layer `index`.
pub(super) fn layer(weights: &Weights, of: &Architecture, index: usize) -> Result<Layer> {
    let at = |layers: &str| format!("{layers}.{index}");
    match of.family {
        Family::Bert => bert(weights, of, &at("encoder.layer")),
        Family::DistilBert => distilbert(weights, of, &at("transformer.layer")),
        Family::ModernBert => modernbert(weights, of, &at("layers")),
        Family::NomicBert => nomic(weights, of, &at("encoder.layers")),
        Family::JinaBert => jina(weights, of, &at("encoder.layer")),
        Family::Qwen3 => qwen3(weights, of, &at("layers")),
    }
}

fn bert(weights: &Weights, of: &Architecture, at: &str) -> Result<Layer> {
    Ok(Layer {
        attention: bert_attention(weights, of, at)?,
        feed_forward: FeedForward {
            up: weights.linear(&[(&format!("{at}.intermediate.dense"), of.intermediate)], of.hidden)?,
            gated: false,
            down: weights.linear(&[(&format!("{at}.output.dense"), of.hidden)], of.intermediate)?,
            norm: weights.layer_norm(&format!("{at}.output.LayerNorm"), of.hidden, of.epsilon)?,
        },
    })
}

/// The attention of BERT and of what descends from it.
fn bert_attention(weights: &Weights, of: &Architecture, at: &str) -> Result<Attention> {
    let [query, key, value] = ["query", "key", "value"].map(|part| format!("{at}.attention.self.{part}"));
    Ok(Attention {
        projections: weights.linear(&[(&query, of.hidden), (&key, of.hidden), (&value, of.hidden)], of.hidden)?,
        head_norms: None,
        output: weights.linear(&[(&format!("{at}.attention.output.dense"), of.hidden)], of.hidden)?,
        norm: Some(weights.layer_norm(&format!("{at}.attention.output.LayerNorm"), of.hidden, of.epsilon)?),
    })
}

fn distilbert(weights: &Weights, of: &Architecture, at: &str) -> Result<Layer> {
    let [query, key, value] = ["q_lin", "k_lin", "v_lin"].map(|part| format!("{at}.attention.{part}"));
    Ok(Layer {
        attention: Attention {
            projections: weights.linear(&[(&query, of.hidden), (&key, of.hidden), (&value, of.hidden)], of.hidden)?,
            head_norms: None,
            output: weights.linear(&[(&format!("{at}.attention.out_lin"), of.hidden)], of.hidden)?,
            norm: Some(weights.layer_norm(&format!("{at}.sa_layer_norm"), of.hidden, of.epsilon)?),
        },
        feed_forward: FeedForward {
            up: weights.linear(&[(&format!("{at}.ffn.lin1"), of.intermediate)], of.hidden)?,
            gated: false,
            down: weights.linear(&[(&format!("{at}.ffn.lin2"), of.hidden)], of.intermediate)?,
            norm: weights.layer_norm(&format!("{at}.output_layer_norm"), of.hidden, of.epsilon)?,
        },
    })
}

fn modernbert(weights: &Weights, of: &Architecture, at: &str) -> Result<Layer> {
    Ok(Layer {
        attention: Attention {
            projections: weights.linear(&[(&format!("{at}.attn.Wqkv"), 3 * of.hidden)], of.hidden)?,
            head_norms: None,
            output: weights.linear(&[(&format!("{at}.attn.Wo"), of.hidden)], of.hidden)?,
            // The first layer has none: the embeddings' norm stands right before it.
            norm: weights.optional_layer_norm(&format!("{at}.attn_norm"), of.hidden, of.epsilon)?,
        },
        feed_forward: FeedForward {
            up: weights.linear(&[(&format!("{at}.mlp.Wi"), 2 * of.intermediate)], of.hidden)?,
            gated: true,
            down: weights.linear(&[(&format!("{at}.mlp.Wo"), of.hidden)], of.intermediate)?,
            norm: weights.layer_norm(&format!("{at}.mlp_norm"), of.hidden, of.epsilon)?,
        },
    })
}

fn nomic(weights: &Weights, of: &Architecture, at: &str) -> Result<Layer> {
    // The second product is the one that goes through the activation.
    let [value, gate] = ["fc11", "fc12"].map(|part| format!("{at}.mlp.{part}"));
    Ok(Layer {
        attention: Attention {
            projections: weights.linear(&[(&format!("{at}.attn.Wqkv"), 3 * of.hidden)], of.hidden)?,
            head_norms: None,
            output: weights.linear(&[(&format!("{at}.attn.out_proj"), of.hidden)], of.hidden)?,
            norm: Some(weights.layer_norm(&format!("{at}.norm1"), of.hidden, of.epsilon)?),
        },
        feed_forward: FeedForward {
            up: weights.linear(&[(&gate, of.intermediate), (&value, of.intermediate)], of.hidden)?,
            gated: true,
            down: weights.linear(&[(&format!("{at}.mlp.fc2"), of.hidden)], of.intermediate)?,
            norm: weights.layer_norm(&format!("{at}.norm2"), of.hidden, of.epsilon)?,
        },
    })
}

fn jina(weights: &Weights, of: &Architecture, at: &str) -> Result<Layer> {
    Ok(Layer {
        attention: bert_attention(weights, of, at)?,
        feed_forward: FeedForward {
            up: weights.linear(&[(&format!("{at}.mlp.gated_layers"), 2 * of.intermediate)], of.hidden)?,
            gated: true,
            down: weights.linear(&[(&format!("{at}.mlp.wo"), of.hidden)], of.intermediate)?,
            norm: weights.layer_norm(&format!("{at}.mlp.layernorm"), of.hidden, of.epsilon)?,
        },
    })
}

fn qwen3(weights: &Weights, of: &Architecture, at: &str) -> Result<Layer> {
    let [query, key, value] = ["q_proj", "k_proj", "v_proj"].map(|part| format!("{at}.self_attn.{part}"));
    let parts = [(query.as_str(), of.query_width()), (key.as_str(), of.key_width()), (value.as_str(), of.key_width())];
    let [gate, up] = ["gate_proj", "up_proj"].map(|part| format!("{at}.mlp.{part}"));
    let norm = |name: &str, width: usize| weights.rms_norm(&format!("{at}.{name}"), width, of.epsilon);
    Ok(Layer {
        attention: Attention {
            projections: weights.linear(&parts, of.hidden)?,
            head_norms: Some((norm("self_attn.q_norm", of.head_dim)?, norm("self_attn.k_norm", of.head_dim)?)),
            output: weights.linear(&[(&format!("{at}.self_attn.o_proj"), of.hidden)], of.query_width())?,
            norm: Some(norm("input_layernorm", of.hidden)?),
        },
        feed_forward: FeedForward {
            up: weights.linear(&[(&gate, of.intermediate), (&up, of.intermediate)], of.hidden)?,
            gated: true,
            down: weights.linear(&[(&format!("{at}.mlp.down_proj"), of.hidden)], of.intermediate)?,
            norm: norm("post_attention_layernorm", of.hidden)?,
        },
    })
}
