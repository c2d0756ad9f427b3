//! What must hold of the model besides its gradients.

use std::cell::Cell;

use anser_core::{Precision, StopReason, TrainableParts};
use anser_generate::LlamaConfig;

use super::super::{Batch, Gradients, ModelOptions, TrainableModel};
use super::reference::merged;
use super::{
    Weighted, batch, build, difference, go_on, gradients, lora, model, options, tensors, tiny_config, updated_model,
};
use crate::TuneError;

fn log_probabilities(model: &TrainableModel, batch: &Batch) -> Vec<f32> {
    model.score(batch, true, &go_on).unwrap().log_probabilities
}

#[test]
fn a_fresh_low_rank_update_changes_nothing() {
    let config = tiny_config();
    let batch = batch(&config, &[12, 20], 1);
    for precision in [Precision::F32, Precision::Bf16] {
        let fresh = model(&config, &ModelOptions { precision, ..options(lora(4, 0.0)) });
        let plain = fresh.score(&batch, false, &go_on).unwrap();
        assert_eq!(fresh.score(&batch, true, &go_on).unwrap(), plain, "{precision:?}");
        let updated = updated_model(&config, &ModelOptions { precision, ..options(lora(4, 0.0)) });
        assert_eq!(updated.score(&batch, false, &go_on).unwrap(), plain, "{precision:?}");
        assert_ne!(updated.score(&batch, true, &go_on).unwrap(), plain, "{precision:?}");
    }
}

#[test]
fn a_merged_update_equals_the_update_beside_the_weights() {
    let config = tiny_config();
    let batch = batch(&config, &[12, 20], 2);
    let updated = updated_model(&config, &options(lora(3, 0.0)));
    let whole = build(&config, &merged(&tensors(&config, 1), &updated), &options(TrainableParts::All), None).unwrap();
    let (beside, merged) = (log_probabilities(&updated, &batch), log_probabilities(&whole, &batch));
    assert!(difference(&beside, &merged) < 1e-5, "{beside:?} {merged:?}");
}

#[test]
fn packed_sequences_score_as_each_alone() {
    let config = tiny_config();
    for precision in [Precision::F32, Precision::Bf16] {
        let model = updated_model(&config, &ModelOptions { precision, ..options(lora(3, 0.0)) });
        let packed = batch(&config, &[30, 1, 47, 5], 3);
        let together = model.score(&packed, true, &go_on).unwrap();
        let mut next = 0;
        for (pair, targets) in packed.sequence_starts.windows(2).zip(&together.targets_of_sequence) {
            let mut alone = Batch::default();
            alone.push(&packed.tokens[pair[0]..pair[1]], &packed.learn[pair[0]..pair[1]]);
            let scores = model.score(&alone, true, &go_on).unwrap();
            assert_eq!(scores.log_probabilities, together.log_probabilities[targets.clone()], "{precision:?}");
            assert_eq!(scores.likeliest, together.likeliest[targets.clone()]);
            assert_eq!(targets.start, next);
            next = targets.end;
        }
        assert_eq!(next, together.log_probabilities.len());
    }
}

#[test]
fn the_likeliest_token_is_known() {
    let config = tiny_config();
    let model = model(&config, &options(TrainableParts::All));
    let tokens = [5, 9, 33, 7];
    let scored = |last: u32| {
        let mut batch = Batch::default();
        batch.push(&[tokens.as_slice(), &[last]].concat(), &[false, false, false, false, true]);
        let scores = model.score(&batch, true, &go_on).unwrap();
        (scores.log_probabilities[0], scores.likeliest[0])
    };
    let all: Vec<(f32, bool)> = (0..config.vocabulary as u32).map(scored).collect();
    let highest = all.iter().fold(f32::NEG_INFINITY, |highest, (score, _)| highest.max(*score));
    assert!(all.iter().all(|(score, likeliest)| *likeliest == (*score >= highest)));
    let sum: f64 = all.iter().map(|(score, _)| f64::from(*score).exp()).sum();
    assert!((sum - 1.0).abs() < 1e-5, "probabilities add up to {sum}");
}

/// Scores and gradients with some options, of a batch that has several row blocks.
fn trained(precision: Precision, dropout: f64, recompute: bool, threads: usize) -> (Vec<f32>, Gradients) {
    let config = tiny_config();
    let options = ModelOptions { precision, recompute, threads, ..options(lora(3, dropout)) };
    let mut model = updated_model(&config, &options);
    let (scores, gradients) = gradients(&mut model, &batch(&config, &[70, 33, 60, 2], 4));
    (scores.log_probabilities, gradients)
}

#[test]
fn recomputing_and_threads_change_not_a_single_bit() {
    for precision in [Precision::F32, Precision::Bf16] {
        for dropout in [0.0, 0.2] {
            let expected = trained(precision, dropout, false, 1);
            assert_eq!(trained(precision, dropout, true, 1), expected, "{precision:?}, recomputed");
            assert_eq!(trained(precision, dropout, false, 3), expected, "{precision:?}, three threads");
            assert_eq!(trained(precision, dropout, true, 2), expected, "{precision:?}, recomputed on two threads");
        }
    }
}

#[test]
fn all_weights_do_not_depend_on_threads_either() {
    let run = |threads| {
        let mut model = model(&tiny_config(), &ModelOptions { threads, ..options(TrainableParts::All) });
        gradients(&mut model, &batch(&tiny_config(), &[70, 33, 60], 4))
    };
    assert_eq!(run(1), run(3));
}

#[test]
fn brain_floats_come_close_to_full_precision() {
    let (full_scores, full) = trained(Precision::F32, 0.0, false, 2);
    let (scores, gradients) = trained(Precision::Bf16, 0.0, false, 2);
    assert!(difference(&scores, &full_scores) < 0.02, "scores {}", difference(&scores, &full_scores));
    for (gradient, full) in gradients.values.iter().zip(&full.values) {
        let product: f64 = gradient.iter().zip(full).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
        let length = |values: &[f32]| values.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>().sqrt();
        let cosine = product / (length(gradient) * length(full));
        assert!(cosine > 0.995, "a gradient points elsewhere, cosine {cosine}");
    }
}

#[test]
fn dropout_masks_follow_seed_and_step() {
    let config = tiny_config();
    let batch = batch(&config, &[30], 4);
    let run = |seed, step| {
        let mut model = updated_model(&config, &ModelOptions { seed: 7, ..options(lora(3, 0.5)) });
        model.options.seed = seed;
        model.set_step(step);
        gradients(&mut model, &batch).0.log_probabilities
    };
    assert_eq!(run(1, 1), run(1, 1));
    assert_ne!(run(1, 1), run(1, 2));
    assert_ne!(run(1, 1), run(2, 1));
    let model = updated_model(&config, &options(lora(3, 0.5)));
    let without = updated_model(&config, &options(lora(3, 0.0)));
    assert_eq!(log_probabilities(&model, &batch), log_probabilities(&without, &batch), "scoring drops nothing");
}

#[test]
fn an_adapter_goes_out_and_comes_back() {
    let config = tiny_config();
    let batch = batch(&config, &[30], 4);
    let updated = updated_model(&config, &options(lora(3, 0.0)));
    let mut adapter = updated.adapter().unwrap();
    assert_eq!((adapter.updates.len(), adapter.config.rank, adapter.config.rank_pattern.len()), (14, 3, 0));
    assert_eq!(adapter.check(&config).map_err(|error| error.to_string()), Ok(()));
    let again = build(&config, &tensors(&config, 1), &options(lora(3, 0.0)), Some(&adapter)).unwrap();
    assert_eq!(log_probabilities(&again, &batch), log_probabilities(&updated, &batch));
    assert_eq!(again.adapter(), Some(adapter.clone()));

    let pair = adapter.updates.get_mut("model.layers.1.mlp.up_proj").unwrap();
    pair.rank = 2;
    pair.a.truncate(2 * pair.inputs);
    pair.b = pair.b.chunks_exact(3).flat_map(|row| [row[0], row[1]]).collect();
    adapter.updates.remove("model.layers.0.self_attn.q_proj");
    let uneven = build(&config, &tensors(&config, 1), &options(lora(3, 0.0)), Some(&adapter)).unwrap();
    let back = uneven.adapter().unwrap();
    assert_eq!(back.updates, adapter.updates);
    assert_eq!(back.config.rank_of("model.layers.1.mlp.up_proj"), 2);
    assert_eq!(uneven.parameters().len(), 26);
    let name = "base_model.model.model.layers.0.self_attn.k_proj.lora_A.weight";
    assert!(uneven.parameters().iter().any(|parameter| parameter.name == name && parameter.shape == [3, 20]));
}

#[test]
fn stopping_is_seen_within_one_block() {
    let config = LlamaConfig { blocks: 4, ..tiny_config() };
    let mut model = model(&config, &options(lora(2, 0.0)));
    let batch = batch(&config, &[30], 4);
    let asked = Cell::new(0);
    let count = || {
        asked.set(asked.get() + 1);
        false
    };
    let mut gradients = Gradients::zeros(model.parameters());
    model.forward_backward(&batch, &Weighted, &mut gradients, &count).unwrap();
    let looks = asked.get();
    assert_eq!(looks, 4 + 1 + 4, "once a block each way and once for the head");
    for last in 0..looks {
        asked.set(0);
        let stop = || {
            asked.set(asked.get() + 1);
            asked.get() > last
        };
        let result = model.forward_backward(&batch, &Weighted, &mut gradients, &stop);
        assert!(matches!(result, Err(TuneError::Stopped(StopReason::Cancel))));
        assert_eq!(asked.get(), last + 1, "went on after it was told to stop");
    }
    assert!(matches!(model.score(&batch, true, &|| true), Err(TuneError::Stopped(_))));
}

#[test]
fn frozen_parts_have_no_parameters_and_no_way_back() {
    let config = LlamaConfig { blocks: 3, ..tiny_config() };
    let last = model(&config, &options(TrainableParts::LastBlocks { blocks: 1 }));
    let names: Vec<&str> = last.parameters().iter().map(|parameter| parameter.name.as_str()).collect();
    assert_eq!(names.len(), 10);
    assert!(names.iter().all(|name| name.starts_with("model.layers.2.") || *name == "model.norm.weight"));
    assert!(last.parameters().iter().all(|parameter| parameter.decay == (parameter.shape.len() == 2)));
    assert_eq!(last.weights().count(), 10);
    assert_eq!(last.network.first, 2);
    assert_eq!(last.network.blocks[1].groups[0].backward.bytes(), 0);
    let low_rank = model(&config, &options(lora(2, 0.0)));
    assert_eq!((low_rank.weights().count(), low_rank.parameters().len()), (0, 3 * 14));
    assert_eq!(model(&config, &options(TrainableParts::All)).parameters().len(), 3 * 9 + 2);
}

#[test]
fn a_random_model_knows_nothing_and_follows_its_seed() {
    let config = LlamaConfig { hidden: 32, head_dim: 8, ..tiny_config() };
    let new =
        |seed| TrainableModel::from_scratch(&config, &ModelOptions { seed, ..options(TrainableParts::All) }).unwrap();
    let batch = batch(&config, &[40, 40], 4);
    let scores = log_probabilities(&new(1), &batch);
    let mean = scores.iter().sum::<f32>() / scores.len() as f32;
    assert!((mean + (config.vocabulary as f32).ln()).abs() < 0.05, "mean log probability {mean}");
    assert_eq!(log_probabilities(&new(1), &batch), scores);
    assert_ne!(log_probabilities(&new(2), &batch), scores);
}

#[test]
fn gradient_steps_lower_the_loss() {
    struct CrossEntropy;
    impl super::BatchObjective for CrossEntropy {
        fn gradient(&self, scores: &super::BatchScores) -> super::ObjectiveResult {
            let count = scores.log_probabilities.len() as f32;
            let sum: f32 = scores.log_probabilities.iter().sum();
            super::ObjectiveResult {
                loss: f64::from(-sum / count),
                weights: vec![-1.0 / count; scores.log_probabilities.len()],
            }
        }
    }
    let config = tiny_config();
    let batch = batch(&config, &[20, 20], 4);
    for precision in [Precision::F32, Precision::Bf16] {
        for parts in [lora(4, 0.0), TrainableParts::LastBlocks { blocks: 1 }, TrainableParts::All] {
            let mut model = model(&config, &ModelOptions { precision, ..options(parts) });
            let mut losses = Vec::new();
            for _ in 0..30 {
                let mut gradients = Gradients::zeros(model.parameters());
                let scores = model.forward_backward(&batch, &CrossEntropy, &mut gradients, &go_on).unwrap();
                losses.push(super::BatchObjective::gradient(&CrossEntropy, &scores).loss);
                for (parameter, gradient) in model.parameters_mut().iter_mut().zip(&gradients.values) {
                    parameter.values.iter_mut().zip(gradient).for_each(|(value, slope)| *value -= 0.05 * slope);
                }
                model.refresh().unwrap();
            }
            assert!(losses[29] < losses[0] - 0.1, "{precision:?}: {losses:?}");
        }
    }
}

#[test]
fn wrong_settings_and_batches_are_refused() {
    let config = tiny_config();
    let refused = |parts, name: &str| match build(&config, &tensors(&config, 1), &options(parts), None) {
        Err(TuneError::Hyperparameter { param, .. }) => assert_eq!(param, name),
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("{name} was accepted"),
    };
    refused(TrainableParts::LastBlocks { blocks: 0 }, "blocks");
    refused(TrainableParts::LastBlocks { blocks: 3 }, "blocks");
    refused(lora(0, 0.0), "rank");
    refused(lora(2, 1.0), "dropout");
    let mut unknown = lora(2, 0.0);
    if let TrainableParts::Lora(lora) = &mut unknown {
        lora.target_modules = vec!["lm_head".into()];
    }
    refused(unknown, "target_modules");

    let model = model(&config, &options(lora(2, 0.0)));
    let mut long = Batch::default();
    long.push(&[1; 97], &[true; 97]);
    let error = model.score(&long, true, &go_on).unwrap_err();
    assert!(matches!(error, TuneError::Hyperparameter { param: "max_tokens", .. }), "{error}");
    let mut unknown = Batch::default();
    unknown.push(&[1, 61], &[true; 2]);
    assert!(matches!(model.score(&unknown, true, &go_on), Err(TuneError::Internal(_))));
    let mut nothing = Batch::default();
    nothing.push(&[1, 2], &[false; 2]);
    assert_eq!(model.score(&nothing, true, &go_on).unwrap().log_probabilities, Vec::<f32>::new());
}
