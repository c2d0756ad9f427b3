//! How much memory training takes, before anything is loaded.

use anser_core::{Precision, TrainableParts};
use anser_generate::{BaseModel, LlamaConfig};
use half::bf16;

use super::ModelOptions;
use super::workspace::{self, Shape};

/// Bytes of a parameter while it trains: its value, its gradient and two moments.
const PER_PARAMETER: u64 = 16;
/// What the program takes besides: code, tokenizer, data, buffers while loading.
const BASE: u64 = 96 << 20;

/// Peak bytes of a run.
pub(super) fn estimate(config: &LlamaConfig, options: &ModelOptions, tokens: usize, targets: usize) -> u64 {
    let element: u64 = if options.precision == Precision::Bf16 { 2 } else { 4 };
    let tensors = BaseModel::tensor_names(config);
    let numbers = |shape: &[usize]| shape.iter().product::<usize>() as u64;
    let whole: u64 = tensors.iter().map(|(_, shape)| numbers(shape)).sum();
    let table = (config.vocabulary * config.hidden) as u64;
    // The embedding table is packed in both directions as the output matrix, and once more when the two are not tied.
    let packed = if config.tied_embeddings { 2 * whole } else { 2 * whole - table };
    let (first, parameters) = match &options.parts {
        TrainableParts::All => (0, whole),
        TrainableParts::LastBlocks { blocks } => {
            let first = config.blocks.saturating_sub(*blocks);
            (first, block_numbers(config) * (config.blocks - first) as u64 + config.hidden as u64)
        }
        TrainableParts::Lora(lora) => {
            let per_block: usize = lora.target_modules.iter().map(|name| lora.rank * sides(config, name)).sum();
            (0, (per_block * config.blocks) as u64)
        }
    };
    let unused = block_numbers(config) * first as u64;
    let rank = match &options.parts {
        TrainableParts::Lora(lora) => lora.rank * lora.target_modules.len(),
        _ => 0,
    };
    let (queries, keys) = (config.heads * config.head_dim, config.kv_heads * config.head_dim);
    let widths = [queries + 2 * keys, queries, 2 * config.feed_forward];
    let shape = Shape { hidden: config.hidden, heads: config.heads, widths, rank };
    let learning = config.blocks - first;
    let (kept, inputs) = if options.recompute { (1, learning) } else { (learning, 0) };
    let activations = match options.precision {
        Precision::Bf16 => workspace::bytes::<bf16>(&shape, tokens, kept, inputs),
        Precision::F32 => workspace::bytes::<f32>(&shape, tokens, kept, inputs),
    };
    let head = (targets * config.hidden) as u64 * (8 + 2 * element);
    let scratch = (options.threads as u64) * (4 << 20);
    // One tensor is read and converted at a time.
    let loading = table * 4;
    BASE + (packed - unused) * element + parameters * PER_PARAMETER + activations as u64 + head + scratch + loading
}

fn block_numbers(config: &LlamaConfig) -> u64 {
    let prefix = "model.layers.0.";
    let tensors = BaseModel::tensor_names(config);
    let own = tensors.iter().filter(|(name, _)| name.starts_with(prefix));
    own.map(|(_, shape)| shape.iter().product::<usize>() as u64).sum()
}

/// Inputs and outputs of a projection together.
fn sides(config: &LlamaConfig, projection: &str) -> usize {
    let (queries, keys) = (config.heads * config.head_dim, config.kv_heads * config.head_dim);
    config.hidden
        + match projection {
            "q_proj" | "o_proj" => queries,
            "k_proj" | "v_proj" => keys,
            _ => config.feed_forward,
        }
}
