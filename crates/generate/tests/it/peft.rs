//! Adapters and exported folders in transformers and peft: the same scores as ours.
//!
//! Runs where `ANSER_TEST_PYTHON` names a Python that has torch, transformers, peft and gguf
//! (`crates/bench/peers/requirements-training.txt`), and says so otherwise.

use std::path::Path;

use anser_core::{CancelToken, ChatMessage, Generator, Prompt, Role};
use anser_generate::{BaseModel, GeneratorOptions, LlamaGenerator, export_safetensors};
use serde_json::json;

use crate::llama_cpp::run_script;
use crate::{adapters, real_model};

#[derive(serde::Deserialize)]
struct Scores {
    prompt: Vec<u32>,
    tokens: Vec<u32>,
    gguf: Vec<f32>,
    folder: Vec<f32>,
    adapter: Vec<f32>,
    merged: Vec<f32>,
}

fn ours(generator: &LlamaGenerator, messages: &[ChatMessage], continuation: &str) -> Vec<f32> {
    generator.score(Prompt::Chat(messages), continuation, &CancelToken::new()).unwrap().log_probabilities
}

/// Largest difference of two lists of scores.
fn apart(name: &str, a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    let apart = a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    println!("{name}: largest difference of a log-probability {apart:.2e} over {} tokens", a.len());
    apart
}

#[test]
fn peft_reads_our_adapters_and_transformers_our_folders() {
    let folder = tempfile::tempdir().unwrap();
    let place = |name: &str| folder.path().join(name);
    let gguf = real_model::files().path("model.gguf").unwrap();
    let mut base = BaseModel::open(&gguf).unwrap();
    let adapter = adapters::adapter(&base, 4, 0.03);
    let messages = [
        ChatMessage::new(Role::System, "You answer in one sentence."),
        ChatMessage::new(Role::User, "How many moons does Mars have, in 2024?"),
    ];
    let continuation = "Mars has two small moons, Phobos and Deimos; both were found in 1877.";
    let Ok(python) = std::env::var("ANSER_TEST_PYTHON") else {
        println!("skipped: ANSER_TEST_PYTHON names no Python with peft");
        return;
    };
    export_safetensors(&mut base, None, &place("folder")).unwrap();
    export_safetensors(&mut base, Some(&adapter), &place("merged")).unwrap();
    adapter.write(&place("adapter")).unwrap();
    let job = json!({
        "gguf": gguf, "folder": place("folder"), "adapter": place("adapter"), "merged": place("merged"),
        "continuation": continuation,
        "messages": [
            {"role": "system", "content": messages[0].content}, {"role": "user", "content": messages[1].content},
        ],
    });
    let Some(theirs) = run_script(&python, Path::new("tests/fixtures/scores_peft.py"), &job) else {
        println!("skipped: {python} has no peft");
        return;
    };
    let theirs: Scores = serde_json::from_str(&theirs).unwrap();
    let generator = LlamaGenerator::open("base", &gguf, &GeneratorOptions::default()).unwrap();
    assert_eq!(generator.codec().encode_prompt(&messages).unwrap(), theirs.prompt);
    let mut tokens = generator.codec().encode_text(continuation).unwrap();
    tokens.push(generator.codec().end_of_turn());
    assert_eq!(tokens, theirs.tokens);

    let plain = ours(&generator, &messages, continuation);
    let tuned = ours(&generator.with_adapter("tuned", adapter).unwrap(), &messages, continuation);
    assert!(apart("adapter against base, ours", &tuned, &plain) > 0.05);
    assert!(apart("GGUF file", &plain, &theirs.gguf) < 1e-3);
    assert!(apart("exported folder", &plain, &theirs.folder) < 1e-3);
    assert!(apart("adapter", &tuned, &theirs.adapter) < 1e-3);
    assert!(apart("merged folder", &tuned, &theirs.merged) < 1e-3);
}
