//! Planning: the data read and encoded, every open question answered, and what it will take.

use std::path::Path;

use anser_core::{Precision, StopSignal, TrainableParts, TrainingPlan, TrainingRequest};
use anser_generate::{BaseModel, LlamaConfig, LoraAdapter};

use super::clock;
use super::course::PART_TOKENS;
use super::examples::{ExampleEncoder, Examples, fingerprint};
use super::{TrainerOptions, defaults, throughput};
use crate::TuneError;
use crate::data::{read_training_file, read_validation_file};
use crate::model::{ModelOptions, TrainableModel};
use crate::rank_allocation::starting_rank;

/// Share of the free memory that a run may take before activations are computed again instead of kept.
const MEMORY_SHARE: f64 = 0.8;

/// Encoded training and validation data.
pub(super) struct Data {
    pub(super) training: Examples,
    pub(super) validation: Examples,
}

impl Data {
    pub(super) fn fingerprint(&self) -> String {
        fingerprint(&self.training, &self.validation)
    }
}

/// Reads and encodes both files of a request.
pub(super) fn read_data(request: &TrainingRequest, base: &BaseModel, stop: &StopSignal) -> Result<Data, TuneError> {
    let codec = base.codec();
    let encoder = ExampleEncoder {
        codec: &codec,
        objective: &request.objective,
        max_tokens: defaults::max_tokens(request, base.config()),
        stop,
    };
    let training = read_examples(&encoder, &request.training_file, false)?;
    if training.units.is_empty() {
        let reason = "no example has anything left to learn within max_tokens; raise it".to_owned();
        return Err(TuneError::File { path: request.training_file.clone(), line: 0, field: None, reason });
    }
    let validation = match &request.validation_file {
        Some(path) => read_examples(&encoder, path, true)?,
        None => Examples::default(),
    };
    Ok(Data { training, validation })
}

fn read_examples(encoder: &ExampleEncoder<'_>, path: &Path, validation: bool) -> Result<Examples, TuneError> {
    let (examples, check) = if validation { read_validation_file(path)? } else { read_training_file(path)? };
    if let Some(problem) = check.problems.into_iter().next() {
        let more = match check.problem_count {
            0 | 1 => String::new(),
            count => format!(" ({} more problems follow)", count - 1),
        };
        return Err(TuneError::File {
            path: path.to_owned(),
            line: problem.line,
            field: problem.field,
            reason: format!("{}{more}", problem.message),
        });
    }
    encoder.encode(&examples, path)
}

/// How the model of a planned request is set up.
pub(super) fn model_options(request: &TrainingRequest, options: &TrainerOptions) -> Result<ModelOptions, TuneError> {
    let open = |name| TuneError::hyperparameter(name, "is open; train with a plan that was made by planning");
    let mut parts = request.parts.clone();
    if let TrainableParts::Lora(lora) = &mut parts
        && lora.adaptive
    {
        // The update's scale stays what was asked for while there are more directions.
        let rank = starting_rank(lora.rank);
        lora.alpha *= rank as f64 / lora.rank as f64;
        lora.rank = rank;
    }
    Ok(ModelOptions {
        parts,
        precision: request.hyperparameters.precision.ok_or_else(|| open("precision"))?,
        recompute: request.hyperparameters.recompute.ok_or_else(|| open("recompute"))?,
        seed: request.seed,
        threads: options.threads,
        device: options.device,
    })
}

/// Answers every open question of `request`.
pub(super) fn plan(
    request: &TrainingRequest,
    base: &BaseModel,
    options: &TrainerOptions,
) -> Result<TrainingPlan, TuneError> {
    let config = base.config();
    defaults::check(request, config)?;
    let mut request = request.clone();
    take_over_adapter(&mut request, config)?;
    let data = read_data(&request, base, &StopSignal::default())?;
    let examples = data.training.units.len();
    let mut chosen = defaults::fill(&request, config, examples);
    let precision: Precision = chosen.precision.unwrap_or_else(|| defaults::usual_precision(options.device));
    chosen.precision = Some(precision);
    let given_recompute = chosen.recompute;
    // A GPU keeps the attention of every block where a processor makes it again, and has less memory.
    chosen.recompute = Some(given_recompute.unwrap_or(!options.device.is_cpu()));
    request.hyperparameters = chosen;

    let mut model = model_options(&request, options)?;
    let batch = request.hyperparameters.batch_size.unwrap_or(1);
    let mut memory = memory_estimate(config, &model, &data, batch);
    if given_recompute.is_none() && memory as f64 > free_memory() as f64 * MEMORY_SHARE {
        model.recompute = true;
        request.hyperparameters.recompute = Some(true);
        memory = memory_estimate(config, &model, &data, batch);
    }
    let epochs = request.hyperparameters.n_epochs.unwrap_or(1);
    let tokens = data.training.tokens();
    let rate = options.throughput.as_deref().and_then(|file| throughput::measured(file, &request, &options.by()));
    let validation_tokens = data.validation.tokens() * epochs as u64;
    Ok(TrainingPlan {
        examples,
        validation_examples: data.validation.units.len(),
        tokens_per_epoch: tokens,
        loss_tokens_per_epoch: data.training.targets(),
        total_steps: epochs * examples.div_ceil(batch),
        trainable_parameters: trainable_parameters(config, &model.parts),
        data_fingerprint: data.fingerprint(),
        estimated_seconds: rate.map(|rate| clock::estimate(rate, tokens * epochs as u64, validation_tokens)),
        estimated_memory_bytes: memory,
        request,
    })
}

/// A run that goes on from an adapter has that adapter's shape.
fn take_over_adapter(request: &mut TrainingRequest, config: &LlamaConfig) -> Result<(), TuneError> {
    let (Some(folder), TrainableParts::Lora(options)) = (&request.start_from, &mut request.parts) else {
        return Ok(());
    };
    let adapter = LoraAdapter::read(folder)?;
    adapter.check(config)?;
    options.rank = adapter.config.rank;
    options.alpha = adapter.config.alpha;
    let mut modules: Vec<String> =
        adapter.updates.keys().filter_map(|name| name.rsplit('.').next()).map(str::to_owned).collect();
    modules.sort();
    modules.dedup();
    options.target_modules = modules;
    Ok(())
}

fn memory_estimate(config: &LlamaConfig, options: &ModelOptions, data: &Data, batch: usize) -> u64 {
    let mean = data.training.tokens() as usize / data.training.units.len().max(1);
    let longest = data.training.longest().max(data.validation.longest());
    let tokens = PART_TOKENS.min(mean * batch * 2).max(longest);
    let targets = tokens as u64 * data.training.targets() / data.training.tokens().max(1);
    TrainableModel::memory_estimate(config, options, tokens, targets as usize)
}

/// Weights that learn.
fn trainable_parameters(config: &LlamaConfig, parts: &TrainableParts) -> u64 {
    let block = |config: &LlamaConfig| {
        let one = LlamaConfig { blocks: 1, ..config.clone() };
        let none = LlamaConfig { blocks: 0, ..config.clone() };
        one.parameters() - none.parameters()
    };
    match parts {
        TrainableParts::Lora(options) => {
            let of_module = |module: &String| config.projection(module).map_or(0, |(rows, columns)| rows + columns);
            let of_block: usize = options.target_modules.iter().map(of_module).sum();
            (config.blocks * of_block * options.rank) as u64
        }
        TrainableParts::LastBlocks { blocks } => *blocks as u64 * block(config) + config.hidden as u64,
        TrainableParts::All => config.parameters(),
    }
}

/// Memory that can be taken without pushing anything out.
fn free_memory() -> u64 {
    let mut system = sysinfo::System::new();
    system.refresh_memory();
    system.available_memory()
}
