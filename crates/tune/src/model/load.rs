//! Setting a network up: from a base model's file or from random numbers, with the chosen parts as parameters.

use std::collections::HashMap;

use anser_core::{LoraOptions, Precision, TrainableParts};
use anser_generate::{GenerateError, LlamaConfig, LoraAdapter};
use anser_kernels::{PackedMatrix, Rotary, WeightFormat};
use candle_core::Tensor;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};

use super::ModelOptions;
use super::device::Place;
use super::network::{Block, Embedding, Group, Head, Member, MemberUpdate, Network, Norm, Update};
use super::parameters::Parameter;
use crate::TuneError;

/// Where weights come from.
pub(super) enum Source<'a> {
    /// A model's file: tensors by name.
    Read(&'a mut dyn FnMut(&str) -> Result<Vec<f32>, GenerateError>),
    /// A normal distribution.
    Random(&'a mut ChaCha8Rng),
}

/// Standard deviation of random weights, as in GPT-2 (Radford et al. 2019) and in Hugging Face's llama.
const DEVIATION: f32 = 0.02;
/// Prefix that peft puts before a tensor's name in the model.
pub(super) const PEFT: &str = "base_model.model.";
/// The matrices of a block, by what they share their input with.
const MEMBERS: [(&str, &[&str]); 4] = [
    ("self_attn", &["q_proj", "k_proj", "v_proj"]),
    ("self_attn", &["o_proj"]),
    ("mlp", &["gate_proj", "up_proj"]),
    ("mlp", &["down_proj"]),
];

/// Builds the network and its parameters. With a device, every matrix is also brought there, under its name.
pub(super) fn build<'a, 'd>(
    config: &'a LlamaConfig,
    options: &'a ModelOptions,
    source: Source<'a>,
    start: Option<&'a LoraAdapter>,
    device: Option<(&'d Place, &'d mut HashMap<String, Tensor>)>,
) -> Result<(Network, Vec<Parameter>), TuneError> {
    let lowest = match &options.parts {
        TrainableParts::Lora(lora) => {
            check_lora(lora)?;
            0
        }
        TrainableParts::LastBlocks { blocks } if *blocks == 0 || *blocks > config.blocks => {
            let range = format!("must be between 1 and {}, the model's number of blocks", config.blocks);
            return Err(TuneError::hyperparameter("blocks", range));
        }
        TrainableParts::LastBlocks { blocks } => config.blocks - blocks,
        TrainableParts::All => 0,
    };
    let format = format_of(options.precision);
    let odd = [config.hidden, config.feed_forward, config.head_dim].into_iter().any(|width| width % 2 == 1);
    if format == WeightFormat::Bf16 && odd {
        return Err(TuneError::hyperparameter("precision", "must be f32 for a model with an odd width"));
    }
    let random = ChaCha8Rng::seed_from_u64(options.seed);
    let parameters = Vec::new();
    let mut builder = Builder { config, options, format, source, random, start, lowest, parameters, device };
    let network = builder.network()?;
    Ok((network, builder.parameters))
}

/// The kernels' word for a precision.
pub(super) fn format_of(precision: Precision) -> WeightFormat {
    match precision {
        Precision::F32 => WeightFormat::F32,
        Precision::Bf16 => WeightFormat::Bf16,
    }
}

fn check_lora(lora: &LoraOptions) -> Result<(), TuneError> {
    let known = MEMBERS.iter().flat_map(|(_, names)| names.iter()).copied().collect::<Vec<_>>();
    if lora.rank == 0 || lora.rank > 1024 {
        return Err(TuneError::hyperparameter("rank", "must be between 1 and 1024"));
    }
    if !(lora.alpha.is_finite() && lora.alpha > 0.0) {
        return Err(TuneError::hyperparameter("alpha", "must be a number above 0"));
    }
    if !(0.0..1.0).contains(&lora.dropout) {
        return Err(TuneError::hyperparameter("dropout", "must be at least 0 and below 1"));
    }
    if lora.target_modules.is_empty() {
        return Err(TuneError::hyperparameter(
            "target_modules",
            format!("must name at least one of {}", known.join(", ")),
        ));
    }
    match lora.target_modules.iter().find(|name| !known.contains(&name.as_str())) {
        Some(name) => {
            let reason = format!("names {name}, which is none of {}", known.join(", "));
            Err(TuneError::hyperparameter("target_modules", reason))
        }
        None => Ok(()),
    }
}

struct Builder<'a, 'd> {
    config: &'a LlamaConfig,
    options: &'a ModelOptions,
    format: WeightFormat,
    source: Source<'a>,
    random: ChaCha8Rng,
    start: Option<&'a LoraAdapter>,
    /// The lowest block that learns.
    lowest: usize,
    parameters: Vec<Parameter>,
    /// Where every matrix is also brought to.
    device: Option<(&'d Place, &'d mut HashMap<String, Tensor>)>,
}

impl Builder<'_, '_> {
    fn network(&mut self) -> Result<Network, TuneError> {
        let config = self.config;
        let all = self.options.parts == TrainableParts::All;
        let lora = matches!(self.options.parts, TrainableParts::Lora(_));
        let (vocabulary, hidden) = (config.vocabulary, config.hidden);
        let table = self.tensor("model.embed_tokens.weight", &[vocabulary, hidden])?;
        let output =
            if config.tied_embeddings { None } else { Some(self.tensor("lm_head.weight", &[vocabulary, hidden])?) };
        let packed = output.as_deref().unwrap_or(&table);
        let mut head = Head {
            forward: PackedMatrix::pack(packed, vocabulary, hidden, self.format),
            backward: PackedMatrix::pack_transposed(packed, hidden, vocabulary, self.format),
            parameter: None,
        };
        let embedding = if all {
            Embedding::Learned(self.parameter("model.embed_tokens.weight".into(), vec![vocabulary, hidden], table))
        } else if config.tied_embeddings {
            Embedding::Tied
        } else {
            Embedding::Frozen(PackedMatrix::pack(&table, vocabulary, hidden, self.format))
        };
        let blocks = (0..config.blocks).map(|index| self.block(index)).collect::<Result<Vec<_>, _>>()?;
        let final_norm = self.norm("model.norm.weight", !lora)?;
        if let (true, Embedding::Learned(table)) = (all, &embedding) {
            head.parameter = Some(match output {
                Some(output) => self.parameter("lm_head.weight".into(), vec![vocabulary, hidden], output),
                None => *table,
            });
        }
        let learning = blocks.iter().position(Block::learns).unwrap_or(config.blocks);
        let rotary = Rotary::new(config.context, config.head_dim, config.rope_base);
        let first = if all { 0 } else { learning };
        Ok(Network { config: config.clone(), rotary, embedding, blocks, final_norm, head, first })
    }

    fn block(&mut self, index: usize) -> Result<Block, TuneError> {
        let whole = !matches!(self.options.parts, TrainableParts::Lora(_)) && index >= self.lowest;
        let prefix = format!("model.layers.{index}");
        let norm_in = self.norm(&format!("{prefix}.input_layernorm.weight"), whole)?;
        let qkv = self.group(&prefix, MEMBERS[0], whole)?;
        let out = self.group(&prefix, MEMBERS[1], whole)?;
        let norm_mid = self.norm(&format!("{prefix}.post_attention_layernorm.weight"), whole)?;
        let gate_up = self.group(&prefix, MEMBERS[2], whole)?;
        let down = self.group(&prefix, MEMBERS[3], whole)?;
        let mut block = Block { norm_in, norm_mid, groups: [qkv, out, gate_up, down] };
        let reached = self.lowest < self.config.blocks && index >= self.lowest;
        if !reached {
            block.groups.iter_mut().for_each(|group| group.backward = PackedMatrix::empty(self.format));
        }
        Ok(block)
    }

    fn group(&mut self, prefix: &str, (part, names): (&str, &[&str]), whole: bool) -> Result<Group, TuneError> {
        let mut stacked = Vec::new();
        let mut members = Vec::new();
        let (mut offset, mut inputs, mut rank) = (0, 0, 0);
        for projection in names {
            let name = format!("{prefix}.{part}.{projection}");
            let (outputs, width) = self.shape(projection);
            inputs = width;
            let tensor = format!("{name}.weight");
            let values = self.tensor(&tensor, &[outputs, inputs])?;
            stacked.extend_from_slice(&values);
            let weight = whole.then(|| self.parameter(tensor, vec![outputs, inputs], values));
            let update = self.update(&name, projection, (outputs, inputs), rank)?;
            rank += update.map_or(0, |update| update.rank);
            members.push(Member { name, offset, outputs, weight, update });
            offset += outputs;
        }
        let update = (rank > 0).then(|| Update::new(rank, self.format));
        Ok(Group {
            inputs,
            outputs: offset,
            forward: PackedMatrix::pack(&stacked, offset, inputs, self.format),
            backward: PackedMatrix::pack_transposed(&stacked, inputs, offset, self.format),
            members,
            update,
        })
    }

    /// Rows and columns of a projection's matrix.
    fn shape(&self, projection: &str) -> (usize, usize) {
        let config = self.config;
        let (queries, keys) = (config.heads * config.head_dim, config.kv_heads * config.head_dim);
        match projection {
            "q_proj" => (queries, config.hidden),
            "k_proj" | "v_proj" => (keys, config.hidden),
            "o_proj" => (config.hidden, queries),
            "down_proj" => (config.hidden, config.feed_forward),
            _ => (config.feed_forward, config.hidden),
        }
    }

    /// The low-rank update of a projection: the adapter's that is gone on from, or a fresh one that changes nothing yet.
    fn update(
        &mut self,
        name: &str,
        projection: &str,
        (outputs, inputs): (usize, usize),
        first: usize,
    ) -> Result<Option<MemberUpdate>, TuneError> {
        let TrainableParts::Lora(lora) = &self.options.parts else { return Ok(None) };
        let (a, b, rank, scale) = match self.start {
            Some(start) => {
                let Some(pair) = start.updates.get(name).filter(|pair| pair.rank > 0) else { return Ok(None) };
                if (pair.inputs, pair.outputs) != (inputs, outputs) {
                    let (has, wants) =
                        (format!("[{}, {}]", pair.outputs, pair.inputs), format!("[{outputs}, {inputs}]"));
                    let reason = format!("is for a model whose {name} is {has}, but this one's is {wants}");
                    return Err(TuneError::hyperparameter("start_from", reason));
                }
                (pair.a.clone(), pair.b.clone(), pair.rank, pair.scale)
            }
            None if !lora.target_modules.iter().any(|target| target == projection) => return Ok(None),
            None => {
                // peft's own start: Kaiming-uniform with a = √5, which is ±1/√inputs, and zeros.
                let bound = 1.0 / (inputs as f32).sqrt();
                let a = (0..lora.rank * inputs).map(|_| self.random.random_range(-bound..bound)).collect();
                (a, vec![0.0; outputs * lora.rank], lora.rank, (lora.alpha / lora.rank as f64) as f32)
            }
        };
        let a = self.parameter(format!("{PEFT}{name}.lora_A.weight"), vec![rank, inputs], a);
        let b = self.parameter(format!("{PEFT}{name}.lora_B.weight"), vec![outputs, rank], b);
        Ok(Some(MemberUpdate { a, b, rank, first, scale }))
    }

    fn norm(&mut self, name: &str, learns: bool) -> Result<Norm, TuneError> {
        let weight = self.tensor(name, &[self.config.hidden])?;
        let parameter = learns.then(|| self.parameter(name.to_owned(), vec![weight.len()], weight.clone()));
        Ok(Norm { weight, parameter })
    }

    fn parameter(&mut self, name: String, shape: Vec<usize>, values: Vec<f32>) -> usize {
        let decay = shape.len() > 1;
        self.parameters.push(Parameter { name, shape, values, decay });
        self.parameters.len() - 1
    }

    fn tensor(&mut self, name: &str, shape: &[usize]) -> Result<Vec<f32>, TuneError> {
        let count = shape.iter().product::<usize>();
        let values = match &mut self.source {
            Source::Read(read) => read(name)?,
            Source::Random(_) if shape.len() == 1 => vec![1.0; count],
            Source::Random(random) => {
                // GPT-2's rule: what adds to the residual stream shrinks with the number of additions.
                let adds = name.contains("o_proj") || name.contains("down_proj");
                let additions = if adds { 2.0 * self.config.blocks as f32 } else { 1.0 };
                let deviation = DEVIATION / additions.sqrt();
                let normal = StandardNormal.sample_iter(random);
                normal.take(count).map(|value: f32| value * deviation).collect()
            }
        };
        if values.len() != count {
            let reason = format!("the tensor {name} has {} numbers instead of {count}", values.len());
            return Err(TuneError::Internal(reason));
        }
        if let Some((place, tensors)) = self.device.as_mut().filter(|_| shape.len() == 2) {
            let tensor = place.matrix(&values, shape).map_err(|error| place.failed(&error))?;
            tensors.insert(name.to_owned(), tensor);
        }
        Ok(values)
    }
}
