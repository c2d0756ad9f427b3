//! The training forward pass against the serving one, on the real chat model.

use std::path::PathBuf;
use std::sync::Arc;

use anser_core::{
    CancelToken, ChatMessage, Device, Generator, LoraOptions, NoProgress, Precision, Prompt, Role, TrainableParts,
};
use anser_generate::{BaseModel, GeneratorOptions, LlamaGenerator};
use anser_models::{DEFAULT_CHAT, ModelFiles, ModelStore, ModelStoreOptions};
use anser_tune::{Batch, ModelOptions, TrainableModel};

fn files() -> ModelFiles {
    let workspace = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..");
    let cache = std::env::var_os("ANSER_MODELS_DIR").map_or_else(|| workspace.join("target/models"), PathBuf::from);
    let store = ModelStore::new(ModelStoreOptions { cache, offline: false, local: None, python: None });
    store.ensure(DEFAULT_CHAT, &NoProgress).unwrap()
}

fn model(precision: Precision) -> TrainableModel {
    let mut base = BaseModel::open(&files().path("model.gguf").unwrap()).unwrap();
    let parts = TrainableParts::Lora(LoraOptions::default());
    let options = ModelOptions { parts, precision, recompute: false, seed: 1, threads: 2, device: Device::Cpu };
    TrainableModel::load(&mut base, &options, None).unwrap()
}

const REPLY: &str = "The capital of France is Paris, which lies on the Seine. Its best-known sights are the Eiffel Tower \
    (1889, 330 m) and the Louvre; “la Ville Lumière” has about 2,100,000 inhabitants.";

/// Largest error relative to the larger of an expected value and one.
fn worst(scores: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(scores.len(), expected.len());
    let errors =
        scores.iter().zip(expected).map(|(score, expected)| (score - expected).abs() / expected.abs().max(1.0));
    errors.fold(0.0, f32::max)
}

#[test]
fn training_scores_are_those_of_serving() {
    let generator = Arc::new(LlamaGenerator::load(&files(), &GeneratorOptions::default()).unwrap());
    let codec = BaseModel::open(&files().path("model.gguf").unwrap()).unwrap().codec();
    let messages = [ChatMessage::new(Role::User, "What is the capital of France, and what is it known for?")];
    let mut tokens = codec.encode_prompt(&messages).unwrap();
    let asked = tokens.len();
    tokens.extend(codec.encode_text(REPLY).unwrap());
    tokens.push(codec.end_of_turn());
    let learn: Vec<bool> = (0..tokens.len()).map(|index| index >= asked).collect();
    let mut batch = Batch::default();
    batch.push(&tokens, &learn);

    let served = generator.score(Prompt::Chat(&messages), REPLY, &CancelToken::new()).unwrap();
    let mut model_f32 = model(Precision::F32);
    let scores = model_f32.score(&batch, true, &|| false).unwrap();
    let error = worst(&scores.log_probabilities, &served.log_probabilities);
    println!("f32: largest relative difference {error:.1e} over {} tokens", served.log_probabilities.len());
    assert!(error < 1e-3, "{error}");
    assert_eq!(scores.likeliest, served.likeliest);

    for (index, parameter) in model_f32.parameters_mut().iter_mut().enumerate() {
        let values = parameter.values.iter_mut().enumerate();
        values.for_each(|(place, value)| *value += 0.01 * (((place * 31 + index * 17) % 13) as f32 - 6.0) / 6.0);
    }
    model_f32.refresh().unwrap();
    let tuned = generator.with_adapter("tuned", model_f32.adapter().unwrap()).unwrap();
    let served_tuned = tuned.score(Prompt::Chat(&messages), REPLY, &CancelToken::new()).unwrap();
    let scores = model_f32.score(&batch, true, &|| false).unwrap();
    let moved = worst(&served_tuned.log_probabilities, &served.log_probabilities);
    let error = worst(&scores.log_probabilities, &served_tuned.log_probabilities);
    println!("f32 with an adapter: {error:.1e}, where the adapter moves scores by {moved:.1e}");
    assert!(moved > 0.05, "the adapter hardly changes anything: {moved}");
    assert!(error < 1e-3, "{error}");
    drop(model_f32);

    let scores = model(Precision::Bf16).score(&batch, true, &|| false).unwrap();
    let error = worst(&scores.log_probabilities, &served.log_probabilities);
    let mean = |values: &[f32]| values.iter().sum::<f32>() / values.len() as f32;
    let (rounded, full) = (mean(&scores.log_probabilities), mean(&served.log_probabilities));
    println!("bf16: largest relative difference {error:.1e}, mean log probability {rounded:.4} instead of {full:.4}");
    assert!(error < 0.15 && (rounded - full).abs() < 0.02, "{error}, {rounded} instead of {full}");
}
