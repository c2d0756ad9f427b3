//! Gradients against candle's automatic differentiation, through operators that do carry gradients.

use std::collections::BTreeMap;

use anser_core::TrainableParts;
use anser_generate::LlamaConfig;
use candle_core::{D, DType, Device, Tensor, Var};

use super::super::{Batch, TrainableModel};
use super::{Tensors, Weighted, batch, difference, gradients, lora, options, tensors, tiny_config, updated_model};

type Result<T> = candle_core::Result<T>;

/// The base's tensors, and the parameters as variables, by name.
struct Graph<'a> {
    config: &'a LlamaConfig,
    base: BTreeMap<String, Tensor>,
    variables: BTreeMap<String, Var>,
    scales: BTreeMap<String, f64>,
}

impl Graph<'_> {
    fn new<'a>(config: &'a LlamaConfig, base: &Tensors, model: &TrainableModel) -> Result<Graph<'a>> {
        let device = Device::Cpu;
        let mut named = BTreeMap::new();
        for (name, shape) in anser_generate::BaseModel::tensor_names(config) {
            named.insert(name.clone(), Tensor::from_slice(&base[&name], shape, &device)?);
        }
        let mut variables = BTreeMap::new();
        for parameter in model.parameters() {
            let tensor = Tensor::from_slice(&parameter.values, parameter.shape.as_slice(), &device)?;
            variables.insert(parameter.name.clone(), Var::from_tensor(&tensor)?);
        }
        let updates = model.adapter().map(|adapter| adapter.updates).unwrap_or_default();
        let scales = updates.into_iter().map(|(name, pair)| (name, f64::from(pair.scale))).collect();
        Ok(Graph { config, base: named, variables, scales })
    }

    fn weight(&self, name: &str) -> Tensor {
        self.variables.get(name).map_or_else(|| self.base[name].clone(), |variable| variable.as_tensor().clone())
    }

    fn linear(&self, x: &Tensor, name: &str) -> Result<Tensor> {
        let y = x.matmul(&self.weight(&format!("{name}.weight")).t()?)?;
        let part = |part: &str| self.variables.get(&format!("base_model.model.{name}.{part}.weight"));
        match (part("lora_A"), part("lora_B")) {
            (Some(a), Some(b)) => y + (x.matmul(&a.t()?)?.matmul(&b.t()?)? * self.scales[name])?,
            _ => Ok(y),
        }
    }

    fn norm(&self, x: &Tensor, name: &str) -> Result<Tensor> {
        let square = (x.sqr()?.mean_keepdim(D::Minus1)? + f64::from(self.config.norm_epsilon))?.sqrt()?;
        x.broadcast_div(&square)?.broadcast_mul(&self.weight(name))
    }

    /// Rotates the heads of [tokens, heads, `head_dim`].
    fn rotate(&self, x: &Tensor) -> Result<Tensor> {
        let (tokens, _, width) = x.dims3()?;
        let half = width / 2;
        let angle = |index: usize| {
            let (position, pair) = (index / half, index % half);
            position as f64 * f64::from(self.config.rope_base).powf(-2.0 * pair as f64 / width as f64)
        };
        let table = |of: fn(f64) -> f64| {
            let values: Vec<f32> = (0..tokens * half).map(|index| of(angle(index)) as f32).collect();
            Tensor::from_vec(values, (tokens, 1, half), &Device::Cpu)
        };
        let (cosine, sine) = (table(f64::cos)?, table(f64::sin)?);
        let (a, b) = (x.narrow(2, 0, half)?, x.narrow(2, half, half)?);
        let first = (a.broadcast_mul(&cosine)? - b.broadcast_mul(&sine)?)?;
        let second = (b.broadcast_mul(&cosine)? + a.broadcast_mul(&sine)?)?;
        Tensor::cat(&[first, second], 2)
    }

    fn attention(&self, x: &Tensor, prefix: &str) -> Result<Tensor> {
        let (config, tokens) = (self.config, x.dim(0)?);
        let heads = |name: &str, heads: usize| {
            self.linear(x, &format!("{prefix}.{name}"))?.reshape((tokens, heads, config.head_dim))
        };
        let query = self.rotate(&heads("q_proj", config.heads)?)?;
        let key = self.rotate(&heads("k_proj", config.kv_heads)?)?;
        let value = heads("v_proj", config.kv_heads)?;
        let mask: Vec<f32> =
            (0..tokens * tokens).map(|index| if index % tokens > index / tokens { -1e9 } else { 0.0 }).collect();
        let mask = Tensor::from_vec(mask, (tokens, tokens), &Device::Cpu)?;
        let mut all = Vec::new();
        for head in 0..config.heads {
            let group = head / (config.heads / config.kv_heads);
            let of = |rows: &Tensor, head: usize| rows.narrow(1, head, 1)?.squeeze(1)?.contiguous();
            let scores = (of(&query, head)?.matmul(&of(&key, group)?.t()?)? / (config.head_dim as f64).sqrt())?;
            let scores = (scores + &mask)?;
            let exponentials = scores.broadcast_sub(&scores.max_keepdim(1)?.detach())?.exp()?;
            let shares = exponentials.broadcast_div(&exponentials.sum_keepdim(1)?)?;
            all.push(shares.matmul(&of(&value, group)?)?);
        }
        self.linear(&Tensor::cat(&all, 1)?, &format!("{prefix}.o_proj"))
    }

    fn loss(&self, batch: &Batch) -> Result<Tensor> {
        let table = self.weight("model.embed_tokens.weight");
        let output = if self.config.tied_embeddings { table.clone() } else { self.weight("lm_head.weight") };
        let mut sum = Tensor::zeros((), DType::F32, &Device::Cpu)?;
        let mut target = 0;
        for pair in batch.sequence_starts.windows(2) {
            let tokens = &batch.tokens[pair[0]..pair[1]];
            let mut x = table.index_select(&Tensor::new(tokens, &Device::Cpu)?, 0)?;
            for block in 0..self.config.blocks {
                let prefix = format!("model.layers.{block}");
                let normed = self.norm(&x, &format!("{prefix}.input_layernorm.weight"))?;
                x = (&x + self.attention(&normed, &format!("{prefix}.self_attn"))?)?;
                let normed = self.norm(&x, &format!("{prefix}.post_attention_layernorm.weight"))?;
                let gate = self.linear(&normed, &format!("{prefix}.mlp.gate_proj"))?;
                let silu = (&gate / (gate.neg()?.exp()? + 1.0)?)?;
                let inner = (silu * self.linear(&normed, &format!("{prefix}.mlp.up_proj"))?)?;
                x = (&x + self.linear(&inner, &format!("{prefix}.mlp.down_proj"))?)?;
            }
            let logits = self.norm(&x, "model.norm.weight")?.matmul(&output.t()?)?;
            let sums = logits.exp()?.sum_keepdim(1)?.log()?;
            let scores = logits.broadcast_sub(&sums)?;
            for place in (pair[0]..pair[1]).filter(|&place| batch.learn[place]) {
                let score = scores.get(place - 1 - pair[0])?.get(batch.tokens[place] as usize)?;
                sum = (sum + (score * f64::from(Weighted::weight(target)))?)?;
                target += 1;
            }
        }
        Ok(sum)
    }
}

/// Every parameter's gradient is candle's.
fn agrees(config: &LlamaConfig, parts: TrainableParts) {
    let base = tensors(config, 1);
    let mut model = updated_model(config, &options(parts));
    let batch = batch(config, &[18, 7], 2);
    let graph = Graph::new(config, &base, &model).unwrap();
    let expected = graph.loss(&batch).unwrap().backward().unwrap();
    let (_, gradients) = gradients(&mut model, &batch);
    for (parameter, gradient) in model.parameters().iter().zip(&gradients.values) {
        let tensor = expected.get(graph.variables[&parameter.name].as_tensor()).unwrap();
        let tensor = tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let error = difference(gradient, &tensor);
        assert!(error < 1e-3, "{}: differs by {error}", parameter.name);
    }
}

#[test]
fn low_rank_gradients_are_candles() {
    agrees(&tiny_config(), lora(3, 0.0));
}

#[test]
fn all_gradients_are_candles_tied_and_untied() {
    agrees(&tiny_config(), TrainableParts::All);
    agrees(&LlamaConfig { tied_embeddings: false, kv_heads: 4, ..tiny_config() }, TrainableParts::All);
}

#[test]
fn gradients_of_the_last_block_are_candles() {
    agrees(&tiny_config(), TrainableParts::LastBlocks { blocks: 1 });
}
