//! Measures training: tokens a second of LoRA rank 8 on all seven projections of the default chat model, beside what the
//! processor's matrix products reach in the same run.
//!
//! `throughput [--precision bf16|f32] [--batch 8] [--length 128] [--steps 5] [--threads 2] [--recompute] [--parts lora|last4|all]
//! [--model FILE]`

use std::error::Error;
use std::path::PathBuf;
use std::time::Instant;

use anser_core::{LoraOptions, NoProgress, Precision, TrainableParts};
use anser_generate::BaseModel;
use anser_kernels::{InstructionSet, PackedMatrix, WeightFormat};
use anser_models::{DEFAULT_CHAT, ModelStore, ModelStoreOptions};
use anser_tune::{Batch, BatchObjective, BatchScores, Gradients, ModelOptions, ObjectiveResult, TrainableModel};

/// Mean cross-entropy.
struct CrossEntropy;

impl BatchObjective for CrossEntropy {
    fn gradient(&self, scores: &BatchScores) -> ObjectiveResult {
        let count = scores.log_probabilities.len() as f64;
        let sum = scores.log_probabilities.iter().map(|&score| f64::from(score)).sum::<f64>();
        ObjectiveResult { loss: -sum / count, weights: vec![(-1.0 / count) as f32; scores.log_probabilities.len()] }
    }
}

struct Arguments {
    precision: Precision,
    batch: usize,
    length: usize,
    steps: usize,
    threads: usize,
    recompute: bool,
    parts: TrainableParts,
    model: Option<PathBuf>,
}

fn arguments() -> Result<Arguments, Box<dyn Error>> {
    let lora = TrainableParts::Lora(LoraOptions::default());
    let mut read = Arguments {
        precision: Precision::Bf16,
        batch: 8,
        length: 128,
        steps: 5,
        threads: 2,
        recompute: false,
        parts: lora,
        model: None,
    };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        if word == "--recompute" {
            read.recompute = true;
            continue;
        }
        let value = words.next().ok_or_else(|| format!("{word} needs a value"))?;
        match word.as_str() {
            "--precision" => read.precision = if value == "f32" { Precision::F32 } else { Precision::Bf16 },
            "--batch" => read.batch = value.parse()?,
            "--length" => read.length = value.parse()?,
            "--steps" => read.steps = value.parse()?,
            "--threads" => read.threads = value.parse()?,
            "--model" => read.model = Some(value.into()),
            "--parts" => match value.as_str() {
                "all" => read.parts = TrainableParts::All,
                "last4" => read.parts = TrainableParts::LastBlocks { blocks: 4 },
                _ => {}
            },
            _ => return Err(format!("{word} is not known").into()),
        }
    }
    Ok(read)
}

/// GFLOP/s of packed products on all threads.
fn limit(format: WeightFormat, threads: usize) -> Result<f64, Box<dyn Error>> {
    let (rows, n, k) = (64 * threads * 4, 1536, 576);
    let weights: Vec<f32> = (0..n * k).map(|index| ((index * 7919) % 1000) as f32 / 1000.0 - 0.5).collect();
    let packed = PackedMatrix::pack(&weights, n, k, format);
    let x = vec![0.25; rows * k];
    let mut y = vec![0.0; rows * n];
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build()?;
    let mut fastest = f64::INFINITY;
    for _ in 0..100 {
        let start = Instant::now();
        pool.install(|| packed.multiply(&x, rows, &mut y, false));
        fastest = fastest.min(start.elapsed().as_secs_f64());
    }
    Ok(2.0 * (rows * n * k) as f64 / fastest / 1e9)
}

/// Multiply-adds count twice. Products with weights, forward and back to their inputs; weights' own gradients where they
/// learn; attention without its masked half; the output matrix only for targets.
fn flops(model: &TrainableModel, arguments: &Arguments, targets: usize) -> f64 {
    let config = model.config();
    let tokens = arguments.batch * arguments.length;
    let heads = config.heads * config.head_dim;
    let attention = config.hidden * (2 * heads + 2 * config.kv_heads * config.head_dim);
    let block = (attention + 3 * config.hidden * config.feed_forward) as f64;
    let scores = (heads * arguments.length) as f64;
    let (backward, weights) = match arguments.parts {
        TrainableParts::Lora(_) => (config.blocks as f64, 0.0),
        TrainableParts::LastBlocks { blocks } => (blocks as f64, blocks as f64),
        TrainableParts::All => (config.blocks as f64, config.blocks as f64),
    };
    let again = if arguments.recompute { backward } else { 0.0 };
    let passes = config.blocks as f64 + again + backward;
    let products = 2.0 * block * (passes + weights) + scores * (2.0 * (config.blocks as f64 + again) + 5.0 * backward);
    let all = if arguments.parts == TrainableParts::All { 4.0 } else { 2.0 };
    tokens as f64 * products + targets as f64 * all * 2.0 * (config.hidden * config.vocabulary) as f64
}

/// Processor seconds of this process so far, on all threads: unlike the clock's, they do not count what others compute.
fn processor_seconds() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    let mut fields = stat.rsplit(')').next()?.split_whitespace().skip(11);
    let ticks = fields.next()?.parse::<f64>().ok()? + fields.next()?.parse::<f64>().ok()?;
    Some(ticks / 100.0)
}

fn peak_memory() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.map_or_else(|| "unknown".into(), |line| line.trim().to_owned())
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments = arguments()?;
    let path = match &arguments.model {
        Some(path) => path.clone(),
        None => {
            let cache = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../target/models");
            let store = ModelStore::new(ModelStoreOptions { cache, offline: false, local: None, python: None });
            store.ensure(DEFAULT_CHAT, &NoProgress)?.path("model.gguf")?
        }
    };
    let format = if arguments.precision == Precision::Bf16 { WeightFormat::Bf16 } else { WeightFormat::F32 };
    let limit = limit(format, arguments.threads)?;
    println!("{}; products reach {limit:.0} GFLOP/s on {} threads", InstructionSet::best().name(), arguments.threads);

    let options = ModelOptions {
        parts: arguments.parts.clone(),
        precision: arguments.precision,
        recompute: arguments.recompute,
        seed: 1,
        threads: arguments.threads,
    };
    let start = Instant::now();
    let mut base = BaseModel::open(&path)?;
    let mut model = TrainableModel::load(&mut base, &options, None)?;
    println!("loaded in {:.1} s, packed weights {} MB", start.elapsed().as_secs_f64(), model.weight_bytes() >> 20);

    let mut batch = Batch::default();
    for sequence in 0..arguments.batch {
        let token = |index: usize| ((sequence * 1009 + index * 7919) % 40_000 + 100) as u32;
        let tokens: Vec<u32> = (0..arguments.length).map(token).collect();
        let learn: Vec<bool> = (0..arguments.length).map(|index| index >= arguments.length / 2).collect();
        batch.push(&tokens, &learn);
    }
    let targets = batch.targets();
    let work = flops(&model, &arguments, targets) / 1e9;
    let mut gradients = Gradients::zeros(model.parameters());
    let mut fastest = f64::INFINITY;
    let mut before = None;
    for step in 0..=arguments.steps {
        if step == 1 {
            before = processor_seconds();
        }
        let start = Instant::now();
        gradients.clear();
        let scores = model.forward_backward(&batch, &CrossEntropy, &mut gradients, &|| false)?;
        for (parameter, gradient) in model.parameters_mut().iter_mut().zip(&gradients.values) {
            parameter.values.iter_mut().zip(gradient).for_each(|(value, gradient)| *value -= 0.02 * gradient);
        }
        model.refresh();
        let seconds = start.elapsed().as_secs_f64();
        fastest = fastest.min(seconds);
        let rate = batch.tokens.len() as f64 / seconds;
        println!("step {step}: loss {:.4}, {seconds:.3} s, {rate:.0} tokens/s", CrossEntropy.gradient(&scores).loss);
    }
    if let (Some(before), Some(after)) = (before, processor_seconds()) {
        let seconds = (after - before) / arguments.steps as f64;
        let rate = batch.tokens.len() as f64 / seconds;
        println!("{seconds:.2} processor seconds a step, {rate:.0} tokens a processor second");
    }
    let rate = batch.tokens.len() as f64 / fastest;
    let reached = work / fastest;
    let estimate = TrainableModel::memory_estimate(model.config(), &options, batch.tokens.len(), targets);
    println!("best: {rate:.0} tokens/s, {reached:.0} GFLOP/s, {:.0} % of the products' limit", 100.0 * reached / limit);
    println!("peak memory {} (estimated {} kB)", peak_memory(), estimate >> 10);
    Ok(())
}
