//! Exported GGUF files in llama.cpp: the same greedy text as ours.
//!
//! Runs where `ANSER_TEST_PYTHON` names a Python that has the xllamacpp wheel (`crates/bench/peers/requirements.txt`), and
//! says so otherwise.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use anser_core::{CancelToken, ChatMessage, GenerateOptions, Generator, Prompt, Role};
use anser_generate::{
    AdapterConfig, BaseModel, GeneratorOptions, GgufFormat, LlamaGenerator, LoraAdapter, LoraPair, export_gguf,
    export_safetensors,
};

use crate::real_model;

const QUESTIONS: [&str; 8] = [
    "What is the capital of France?",
    "Name three primary colours.",
    "How many days are in a leap year?",
    "Write one sentence about the sea.",
    "What do bees make?",
    "Translate 'good morning' into French.",
    "Why is the sky blue? Answer briefly.",
    "List two animals that can fly.",
];
const TOKENS: usize = 24;

/// The last line that a Python script of this crate writes about `job`; `None` if its packages are missing.
pub(crate) fn run_script(python: &str, script: &Path, job: &serde_json::Value) -> Option<String> {
    let mut child = Command::new(python)
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join(script))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(job.to_string().as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    if output.status.code() == Some(3) {
        return None;
    }
    assert!(output.status.success(), "{}", output.status);
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().last().map(str::to_owned)
}

/// Replies of llama.cpp; `None` where there is none to ask.
fn llama_cpp(python: &str, model: &Path) -> Option<Vec<String>> {
    let job = serde_json::json!({"model": model, "context": 1024, "max_tokens": TOKENS, "questions": QUESTIONS});
    let replies = run_script(python, Path::new("tests/fixtures/greedy_llama_cpp.py"), &job)?;
    Some(serde_json::from_str(&replies).unwrap())
}

fn ours(generator: &LlamaGenerator) -> Vec<String> {
    let options = GenerateOptions { max_tokens: Some(TOKENS), ..GenerateOptions::default() };
    let reply = |question: &&str| {
        let messages = [ChatMessage::new(Role::User, *question)];
        generator.generate(Prompt::Chat(&messages), &options, &CancelToken::new(), &mut |_| ()).unwrap().text
    };
    QUESTIONS.iter().map(reply).collect()
}

/// A small adapter with fixed numbers on every projection of two blocks.
fn adapter(base: &BaseModel) -> LoraAdapter {
    let mut updates = std::collections::BTreeMap::new();
    for (name, shape) in BaseModel::tensor_names(base.config()) {
        let block_matters = name.starts_with("model.layers.3.") || name.starts_with("model.layers.20.");
        if let (true, &[outputs, inputs]) = (block_matters, shape.as_slice()) {
            let value = |at: usize| ((at * 7919 + name.len() * 31) % 1009) as f32 / 1009.0 - 0.5;
            let pair = LoraPair {
                a: (0..4 * inputs).map(|at| 0.1 * value(at)).collect(),
                b: (0..outputs * 4).map(|at| 0.1 * value(at + 3)).collect(),
                rank: 4,
                inputs,
                outputs,
                scale: 2.0,
            };
            updates.insert(name.trim_end_matches(".weight").to_owned(), pair);
        }
    }
    LoraAdapter { config: AdapterConfig { rank: 4, alpha: 8.0, ..AdapterConfig::default() }, updates }
}

#[test]
fn llama_cpp_reads_exported_files_and_says_the_same() {
    let Ok(python) = std::env::var("ANSER_TEST_PYTHON") else {
        println!("skipped: ANSER_TEST_PYTHON names no Python with xllamacpp");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let gguf = real_model::files().path("model.gguf").unwrap();
    let mut base = BaseModel::open(&gguf).unwrap();
    let adapter = adapter(&base);
    let model_folder = folder.path().join("folder");
    export_safetensors(&mut base, None, &model_folder).unwrap();
    let mut from_folder = BaseModel::open(&model_folder).unwrap();
    let path = folder.path().join("exported.gguf");
    for (what, format, base, adapter) in [
        ("F16", GgufFormat::F16, &mut base, None),
        ("F16 merged", GgufFormat::F16, &mut BaseModel::open(&gguf).unwrap(), Some(&adapter)),
        ("F16 from a folder", GgufFormat::F16, &mut from_folder, None),
        ("Q8_0", GgufFormat::Q8_0, &mut BaseModel::open(&gguf).unwrap(), None),
        ("Q4_1", GgufFormat::Q4_1, &mut BaseModel::open(&gguf).unwrap(), None),
    ] {
        export_gguf(base, adapter, format, &path).unwrap();
        let generator = LlamaGenerator::open("exported", &path, &GeneratorOptions::default()).unwrap();
        let own = ours(&generator);
        drop(generator);
        let Some(theirs) = llama_cpp(&python, &path) else {
            println!("skipped: {python} has no xllamacpp");
            return;
        };
        let differ: Vec<_> = own.iter().zip(&theirs).filter(|(own, theirs)| own.trim() != theirs.trim()).collect();
        println!("{what}: {} of {} replies are equal", own.len() - differ.len(), own.len());
        for (own, theirs) in &differ {
            println!("  ours   {own:?}\n  theirs {theirs:?}");
        }
        // With quantised weights llama.cpp rounds the activations to eight bits as well, and a model of this size then
        // takes another turn at close choices; a file that was laid out wrongly would agree on nothing.
        let allowed = if format == GgufFormat::F16 { 0 } else { own.len() - 2 };
        assert!(differ.len() <= allowed, "{what}");
    }
}
