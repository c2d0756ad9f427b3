//! A llama in plain 64-bit loops: slow, short, and written without a look at the kernels.

use anser_generate::LlamaConfig;

use super::super::{Batch, TrainableModel};
use super::{Tensors, Weighted};

/// Tensors in 64 bits, with all low-rank updates merged in.
pub(super) type Doubles = std::collections::BTreeMap<String, Vec<f64>>;

pub(super) fn doubles(tensors: &Tensors) -> Doubles {
    tensors.iter().map(|(name, values)| (name.clone(), values.iter().copied().map(f64::from).collect())).collect()
}

/// The base's tensors with the model's parameters in place of them or merged into them.
pub(super) fn merged(base: &Tensors, model: &TrainableModel) -> Tensors {
    let mut tensors = base.clone();
    for (name, _, values) in model.weights() {
        tensors.insert(name.to_owned(), values.into_owned());
    }
    for (name, pair) in model.adapter().map(|adapter| adapter.updates).unwrap_or_default() {
        let weights = tensors.get_mut(&format!("{name}.weight")).unwrap();
        weights.iter_mut().zip(pair.delta()).for_each(|(weight, delta)| *weight += delta);
    }
    tensors
}

/// x·Wᵀ.
fn product(x: &[f64], weights: &[f64]) -> Vec<f64> {
    weights.chunks_exact(x.len()).map(|row| row.iter().zip(x).map(|(w, x)| w * x).sum()).collect()
}

fn norm(x: &[f64], weight: &[f64], epsilon: f32) -> Vec<f64> {
    let square = x.iter().map(|x| x * x).sum::<f64>() / x.len() as f64;
    let scale = 1.0 / (square + f64::from(epsilon)).sqrt();
    x.iter().zip(weight).map(|(x, w)| x * scale * w).collect()
}

fn rotate(x: &mut [f64], head_dim: usize, position: usize, base: f32) {
    for head in x.chunks_exact_mut(head_dim) {
        let half = head_dim / 2;
        for index in 0..half {
            let angle = position as f64 * f64::from(base).powf(-(2.0 * index as f64) / head_dim as f64);
            let (a, b) = (head[index], head[index + half]);
            head[index] = a * angle.cos() - b * angle.sin();
            head[index + half] = a * angle.sin() + b * angle.cos();
        }
    }
}

/// The residual stream after all blocks, of one sequence.
fn blocks(config: &LlamaConfig, tensors: &Doubles, tokens: &[u32]) -> Vec<Vec<f64>> {
    let table = &tensors["model.embed_tokens.weight"];
    let row = |token: &u32| table[*token as usize * config.hidden..(*token as usize + 1) * config.hidden].to_vec();
    let mut stream: Vec<Vec<f64>> = tokens.iter().map(row).collect();
    for block in 0..config.blocks {
        let get = |name: &str| &tensors[&format!("model.layers.{block}.{name}.weight")];
        let (mut queries, mut keys, mut values) = (Vec::new(), Vec::new(), Vec::new());
        for (position, x) in stream.iter().enumerate() {
            let x = norm(x, get("input_layernorm"), config.norm_epsilon);
            let mut query = product(&x, get("self_attn.q_proj"));
            let mut key = product(&x, get("self_attn.k_proj"));
            rotate(&mut query, config.head_dim, position, config.rope_base);
            rotate(&mut key, config.head_dim, position, config.rope_base);
            queries.push(query);
            keys.push(key);
            values.push(product(&x, get("self_attn.v_proj")));
        }
        for (position, x) in stream.iter_mut().enumerate() {
            let mut attended = Vec::new();
            for head in 0..config.heads {
                let width = config.head_dim;
                let group = head / (config.heads / config.kv_heads);
                let query = &queries[position][head * width..(head + 1) * width];
                let of = |rows: &[Vec<f64>], row: usize| rows[row][group * width..(group + 1) * width].to_vec();
                let dot = |row| query.iter().zip(of(&keys, row)).map(|(a, b)| a * b).sum::<f64>();
                let scores: Vec<f64> = (0..=position).map(|row| dot(row) / (width as f64).sqrt()).collect();
                let sum: f64 = scores.iter().map(|score| score.exp()).sum();
                let mut out = vec![0.0; width];
                for (row, score) in scores.iter().enumerate() {
                    let share = score.exp() / sum;
                    out.iter_mut().zip(of(&values, row)).for_each(|(out, value)| *out += share * value);
                }
                attended.extend(out);
            }
            let out = product(&attended, get("self_attn.o_proj"));
            x.iter_mut().zip(out).for_each(|(x, out)| *x += out);
            let normed = norm(x, get("post_attention_layernorm"), config.norm_epsilon);
            let gate = product(&normed, get("mlp.gate_proj"));
            let up = product(&normed, get("mlp.up_proj"));
            let inner: Vec<f64> = gate.iter().zip(up).map(|(gate, up)| gate / (1.0 + (-gate).exp()) * up).collect();
            let out = product(&inner, get("mlp.down_proj"));
            x.iter_mut().zip(out).for_each(|(x, out)| *x += out);
        }
    }
    stream
}

/// Log probabilities of a batch's targets.
pub(super) fn log_probabilities(config: &LlamaConfig, tensors: &Doubles, batch: &Batch) -> Vec<f64> {
    let output = if config.tied_embeddings { "model.embed_tokens.weight" } else { "lm_head.weight" };
    let mut scores = Vec::new();
    for pair in batch.sequence_starts.windows(2) {
        let stream = blocks(config, tensors, &batch.tokens[pair[0]..pair[1]]);
        for target in (pair[0]..pair[1]).filter(|&target| batch.learn[target]) {
            let x = norm(&stream[target - 1 - pair[0]], &tensors["model.norm.weight"], config.norm_epsilon);
            let logits = product(&x, &tensors[output]);
            let sum: f64 = logits.iter().map(|logit| logit.exp()).sum();
            scores.push(logits[batch.tokens[target] as usize] - sum.ln());
        }
    }
    scores
}

/// The loss of [`Weighted`].
pub(super) fn loss(config: &LlamaConfig, tensors: &Doubles, batch: &Batch) -> f64 {
    let scores = log_probabilities(config, tensors, batch).into_iter().enumerate();
    scores.map(|(target, score)| score * f64::from(Weighted::weight(target))).sum()
}
