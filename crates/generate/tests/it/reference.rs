//! The decoder against an independent one: candle-transformers' llama on the same file.

use anser_core::{CancelToken, Generator, Prompt};
use anser_generate::{BaseModel, GeneratorOptions, GgufFormat, LlamaGenerator, export_gguf};
use candle_core::quantized::gguf_file::Content;
use candle_core::{D, Device, Tensor};
use candle_transformers::models::quantized_llama::ModelWeights;

use crate::real_model;
use crate::tiny_model::TinyModel;

/// candle-transformers' natural logarithms of the probabilities of `tokens[from..]`, each after those before it.
fn reference(path: &std::path::Path, tokens: &[u32], from: usize) -> Vec<f32> {
    let mut file = std::fs::File::open(path).unwrap();
    let content = Content::read(&mut file).unwrap();
    let mut model = ModelWeights::from_gguf(content, &mut file, &Device::Cpu).unwrap();
    let mut scores = Vec::new();
    for (position, token) in tokens[..tokens.len() - 1].iter().enumerate() {
        let input = Tensor::new(&[[*token]], &Device::Cpu).unwrap();
        let logits = model.forward(&input, position).unwrap().squeeze(0).unwrap();
        if position + 1 >= from {
            let row = logits.to_vec1::<f32>().unwrap();
            let sum = logits.log_sum_exp(D::Minus1).unwrap().to_scalar::<f32>().unwrap();
            scores.push(row[tokens[position + 1] as usize] - sum);
        }
    }
    scores
}

fn assert_near(ours: &[f32], theirs: &[f32]) {
    assert_eq!(ours.len(), theirs.len());
    for (ours, theirs) in ours.iter().zip(theirs) {
        assert!((ours - theirs).abs() < 1e-3 * theirs.abs().max(1.0), "{ours} {theirs}");
    }
}

#[test]
fn a_tiny_model_scores_as_candle_does() {
    let folder = tempfile::tempdir().unwrap();
    let path = TinyModel::default().write(folder.path());
    let generator = LlamaGenerator::open("tiny", &path, &GeneratorOptions::default()).unwrap();
    let (prompt, text) = ("The lighthouse ", "keeper counted forty-one gulls and went to bed.");
    let ours = generator.score(Prompt::Text(prompt), text, &CancelToken::new()).unwrap();
    // One token for each byte.
    let tokens: Vec<u32> = prompt.bytes().chain(text.bytes()).map(u32::from).collect();
    assert_near(&ours.log_probabilities, &reference(&path, &tokens, prompt.len()));
}

#[test]
fn the_default_chat_model_scores_as_candle_does() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    let mut base = BaseModel::open(&real_model::files().path("model.gguf").unwrap()).unwrap();
    // candle rounds activations to eight bits beside quantised weights, but not beside these.
    export_gguf(&mut base, None, GgufFormat::F16, &path).unwrap();
    let generator = LlamaGenerator::open("f16", &path, &GeneratorOptions::default()).unwrap();
    let (prompt, text) = ("The capital of France is", " Paris, and the capital of Italy is Rome.");
    let ours = generator.score(Prompt::Text(prompt), text, &CancelToken::new()).unwrap();
    let codec = base.codec();
    let (before, after) = (codec.encode_text_prompt(prompt).unwrap(), codec.encode_text(text).unwrap());
    let tokens: Vec<u32> = before.iter().chain(&after).copied().collect();
    assert_near(&ours.log_probabilities, &reference(&path, &tokens, before.len()));
}
