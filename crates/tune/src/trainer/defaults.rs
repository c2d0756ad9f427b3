//! The hyperparameters: checked where they were given, chosen where they were left open.

use anser_core::{
    Device, Hyperparameters, LoraOptions, Objective, Precision, Schedule, TrainableParts, TrainingRequest,
};
use anser_generate::LlamaConfig;

use crate::TuneError;

/// Longest example in tokens when none is given: most answers fit, and attention's memory stays small.
const MAX_TOKENS: usize = 1024;
/// Steps that small training sets should get in all.
const WANTED_STEPS: usize = 100;
/// Largest rank of an update.
const MAX_RANK: usize = 256;

/// Projections that can have an update, in PEFT's names.
const TARGETS: [&str; 7] = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"];

/// Checks everything of a request that does not depend on its data.
pub(crate) fn check(request: &TrainingRequest, config: &LlamaConfig) -> Result<(), TuneError> {
    let Hyperparameters { batch_size, n_epochs, eval_interval, max_tokens, .. } = request.hyperparameters;
    let Hyperparameters { learning_rate_multiplier, learning_rate, warmup_ratio, .. } = request.hyperparameters;
    let Hyperparameters { weight_decay, max_grad_norm, .. } = request.hyperparameters;
    require("batch_size", batch_size, |value| (1..=256).contains(value), "is a whole number from 1 to 256")?;
    require("n_epochs", n_epochs, |value| (1..=50).contains(value), "is a whole number from 1 to 50")?;
    require("eval_interval", eval_interval, |value| *value >= 1, "is a whole number of steps from 1")?;
    let tokens = format!("is a whole number from 8 to {}, the model's context", config.context);
    require("max_tokens", max_tokens, |value| (8..=config.context).contains(value), &tokens)?;
    let positive = |value: &f64| value.is_finite() && *value > 0.0;
    require("learning_rate_multiplier", learning_rate_multiplier, positive, "is a number above 0")?;
    require("learning_rate", learning_rate, positive, "is a number above 0")?;
    require("warmup_ratio", warmup_ratio, |value| (0.0..1.0).contains(value), "is a number from 0 to below 1")?;
    let decay = |value: &f64| (0.0..=1.0).contains(value);
    require("weight_decay", weight_decay, decay, "is a number from 0 to 1")?;
    require("max_grad_norm", max_grad_norm, positive, "is a number above 0")?;
    if let (Some(multiplier), Some(rate)) = (learning_rate_multiplier, learning_rate) {
        // A finished plan has both filled in, in agreement.
        let usual = usual_learning_rate(request) * multiplier;
        if (rate - usual).abs() > 1e-6 * usual {
            return Err(TuneError::hyperparameter(
                "learning_rate",
                "cannot be given together with learning_rate_multiplier; give one of them",
            ));
        }
    }
    if let Objective::Preference { beta: Some(beta) } = request.objective
        && !(beta > 0.0 && beta <= 2.0)
    {
        return Err(TuneError::hyperparameter("beta", "is a number above 0 and at most 2"));
    }
    check_parts(request, config)
}

fn require<T>(
    name: &'static str,
    value: Option<T>,
    allowed: impl Fn(&T) -> bool,
    takes: &str,
) -> Result<(), TuneError> {
    match value {
        Some(value) if !allowed(&value) => Err(TuneError::hyperparameter(name, takes)),
        _ => Ok(()),
    }
}

fn check_parts(request: &TrainingRequest, config: &LlamaConfig) -> Result<(), TuneError> {
    let continued = request.start_from.is_some();
    match &request.parts {
        TrainableParts::Lora(options) => check_lora(options, continued),
        _ if continued => Err(TuneError::hyperparameter(
            "start_from",
            "names an adapter, which only low-rank updates can go on from; leave it out or choose LoRA",
        )),
        TrainableParts::LastBlocks { blocks } if !(1..=config.blocks).contains(blocks) => {
            Err(TuneError::hyperparameter("blocks", format!("is a whole number from 1 to {}", config.blocks)))
        }
        _ => Ok(()),
    }
}

fn check_lora(options: &LoraOptions, continued: bool) -> Result<(), TuneError> {
    let fault = |param, reason: &str| Err(TuneError::hyperparameter(param, reason));
    if !(1..=MAX_RANK).contains(&options.rank) {
        return fault("rank", &format!("is a whole number from 1 to {MAX_RANK}"));
    }
    if !(options.alpha.is_finite() && options.alpha > 0.0) {
        return fault("alpha", "is a number above 0");
    }
    if !(0.0..1.0).contains(&options.dropout) {
        return fault("dropout", "is a number from 0 to below 1");
    }
    if options.target_modules.is_empty() {
        return fault("target_modules", &format!("needs at least one of {}", TARGETS.join(", ")));
    }
    if let Some(unknown) = options.target_modules.iter().find(|module| !TARGETS.contains(&module.as_str())) {
        return fault("target_modules", &format!("has no module {unknown:?}; choose from {}", TARGETS.join(", ")));
    }
    if options.adaptive && continued {
        return fault("adaptive", "ranks need a fresh adapter; leave out start_from or adaptive");
    }
    Ok(())
}

/// Answers what `request` leaves open, all but the learning rate's own fields, from the number of examples. Precision
/// and recomputation depend on the machine and are the caller's to choose.
pub(crate) fn fill(request: &TrainingRequest, config: &LlamaConfig, examples: usize) -> Hyperparameters {
    let given = &request.hyperparameters;
    let batch_size = given.batch_size.unwrap_or_else(|| usual_batch_size(examples).min(examples).max(1));
    let steps_per_epoch = examples.div_ceil(batch_size).max(1);
    let n_epochs = given.n_epochs.unwrap_or_else(|| WANTED_STEPS.div_ceil(steps_per_epoch).clamp(3, 10));
    let total_steps = n_epochs * steps_per_epoch;
    let usual = usual_learning_rate(request);
    let learning_rate =
        given.learning_rate.unwrap_or_else(|| round(usual * given.learning_rate_multiplier.unwrap_or(1.0)));
    Hyperparameters {
        batch_size: Some(batch_size),
        learning_rate_multiplier: Some(round(learning_rate / usual)),
        n_epochs: Some(n_epochs),
        learning_rate: Some(learning_rate),
        warmup_ratio: given.warmup_ratio.or(Some(0.06)),
        schedule: given.schedule.or(Some(Schedule::Cosine)),
        weight_decay: given.weight_decay.or(Some(0.01)),
        max_grad_norm: given.max_grad_norm.or(Some(1.0)),
        early_stopping_patience: given.early_stopping_patience.or(Some(0)),
        eval_interval: given.eval_interval.or(Some((total_steps / 20).clamp(5, 200))),
        max_tokens: given.max_tokens.or(Some(config.context.min(MAX_TOKENS))),
        precision: given.precision,
        recompute: given.recompute,
    }
}

/// Longest example that a request allows.
pub(crate) fn max_tokens(request: &TrainingRequest, config: &LlamaConfig) -> usize {
    request.hyperparameters.max_tokens.unwrap_or(config.context.min(MAX_TOKENS))
}

/// About 0.2 % of the examples, as hosted fine-tuning chooses, but for small sets at least what keeps a pass at some 25
/// steps: 4 to 16.
fn usual_batch_size(examples: usize) -> usize {
    let hosted = examples.div_ceil(500);
    let small = (examples / 25).clamp(4, 16);
    hosted.max(small).min(256)
}

/// Peak learning rate of each method: fewer and fresher weights take larger steps. Tried on real support answers with the
/// default chat model, where half of each still learned clearly slower and twice as much was still stable.
pub(crate) fn usual_learning_rate(request: &TrainingRequest) -> f64 {
    let supervised = match request.parts {
        TrainableParts::Lora(_) => 1e-3,
        TrainableParts::LastBlocks { .. } => 5e-4,
        TrainableParts::All => 1e-4,
    };
    match request.objective {
        Objective::Supervised => supervised,
        // A margin grows with every token of a pair, so small steps are enough.
        Objective::Preference { .. } => round(supervised / 10.0),
    }
}

/// Six significant digits: a number that people can read and every JSON reader reads alike.
pub(crate) fn round(value: f64) -> f64 {
    format!("{value:.5e}").parse().unwrap_or(value)
}

/// 16-bit products where the processor has them, and on every GPU.
pub(crate) fn usual_precision(device: Device) -> Precision {
    if !device.is_cpu() {
        return Precision::Bf16;
    }
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx512bf16") {
        return Precision::Bf16;
    }
    Precision::F32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> LlamaConfig {
        LlamaConfig {
            blocks: 4,
            hidden: 32,
            feed_forward: 64,
            heads: 4,
            kv_heads: 2,
            head_dim: 8,
            vocabulary: 300,
            context: 512,
            norm_epsilon: 1e-5,
            rope_base: 10_000.0,
            tied_embeddings: true,
        }
    }

    fn request() -> TrainingRequest {
        TrainingRequest {
            base: "tiny".to_owned(),
            training_file: "train.jsonl".into(),
            validation_file: None,
            objective: Objective::Supervised,
            parts: TrainableParts::default(),
            hyperparameters: Hyperparameters::default(),
            seed: 1,
            start_from: None,
        }
    }

    #[test]
    fn batches_and_passes_follow_the_number_of_examples() {
        let chosen = |examples| {
            let filled = fill(&request(), &config(), examples);
            (filled.batch_size.unwrap(), filled.n_epochs.unwrap())
        };
        assert_eq!(chosen(10), (4, 10));
        assert_eq!(chosen(100), (4, 4));
        assert_eq!(chosen(240), (9, 4));
        assert_eq!(chosen(1000), (16, 3));
        assert_eq!(chosen(20_000), (40, 3));
        assert_eq!(chosen(1_000_000), (256, 3));
        assert_eq!(fill(&request(), &config(), 3).batch_size, Some(3));
    }

    #[test]
    fn what_was_given_stays_and_a_filled_plan_can_be_planned_again() {
        let mut request = request();
        request.hyperparameters.learning_rate_multiplier = Some(1.0 / 3.0);
        request.hyperparameters.batch_size = Some(7);
        let filled = fill(&request, &config(), 100);
        assert_eq!((filled.batch_size, filled.max_tokens), (Some(7), Some(512)));
        assert_eq!(filled.learning_rate, Some(3.333_33e-4));
        request.hyperparameters = filled.clone();
        check(&request, &config()).unwrap();
        assert_eq!(fill(&request, &config(), 100), filled);
    }

    #[test]
    fn each_value_out_of_range_is_named() {
        let faults = |change: fn(&mut TrainingRequest)| {
            let mut request = request();
            change(&mut request);
            let error = anser_core::Error::from(check(&request, &config()).unwrap_err());
            assert_eq!(error.kind(), anser_core::ErrorKind::InvalidInput);
            error.param().unwrap().to_owned()
        };
        assert_eq!(faults(|request| request.hyperparameters.batch_size = Some(0)), "batch_size");
        assert_eq!(faults(|request| request.hyperparameters.batch_size = Some(257)), "batch_size");
        assert_eq!(faults(|request| request.hyperparameters.n_epochs = Some(51)), "n_epochs");
        assert_eq!(faults(|request| request.hyperparameters.eval_interval = Some(0)), "eval_interval");
        assert_eq!(faults(|request| request.hyperparameters.max_tokens = Some(513)), "max_tokens");
        let multiplier = faults(|request| request.hyperparameters.learning_rate_multiplier = Some(0.0));
        assert_eq!(multiplier, "learning_rate_multiplier");
        assert_eq!(faults(|request| request.hyperparameters.learning_rate = Some(f64::NAN)), "learning_rate");
        assert_eq!(faults(|request| request.hyperparameters.warmup_ratio = Some(1.0)), "warmup_ratio");
        assert_eq!(faults(|request| request.hyperparameters.weight_decay = Some(-0.1)), "weight_decay");
        assert_eq!(faults(|request| request.hyperparameters.max_grad_norm = Some(0.0)), "max_grad_norm");
        let both = faults(|request| {
            request.hyperparameters.learning_rate = Some(0.1);
            request.hyperparameters.learning_rate_multiplier = Some(2.0);
        });
        assert_eq!(both, "learning_rate");
        assert_eq!(faults(|request| request.objective = Objective::Preference { beta: Some(2.5) }), "beta");
        assert_eq!(faults(|request| request.parts = TrainableParts::LastBlocks { blocks: 5 }), "blocks");
        let continued = faults(|request| {
            request.parts = TrainableParts::All;
            request.start_from = Some("adapter".into());
        });
        assert_eq!(continued, "start_from");
        let lora = |change: fn(&mut LoraOptions)| {
            let mut options = LoraOptions::default();
            change(&mut options);
            let error = check_lora(&options, true).unwrap_err();
            anser_core::Error::from(error).param().unwrap().to_owned()
        };
        assert_eq!(lora(|options| options.rank = 0), "rank");
        assert_eq!(lora(|options| options.alpha = -1.0), "alpha");
        assert_eq!(lora(|options| options.dropout = 1.0), "dropout");
        assert_eq!(lora(|options| options.target_modules = vec!["lm_head".to_owned()]), "target_modules");
        assert_eq!(lora(|options| options.target_modules.clear()), "target_modules");
        assert_eq!(lora(|options| options.adaptive = true), "adaptive");
    }
}
