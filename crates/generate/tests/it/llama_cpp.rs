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

/// What llama.cpp says of a model.
#[derive(serde::Deserialize)]
struct Theirs {
    replies: Vec<String>,
    following: Vec<u32>,
}

/// Our greedy replies, and each of their tokens with what stands before it.
fn ours(generator: &LlamaGenerator) -> (Vec<String>, Vec<(Vec<u32>, u32)>) {
    let options = GenerateOptions { max_tokens: Some(TOKENS), ..GenerateOptions::default() };
    let mut choices = Vec::new();
    let mut reply = |question: &&str| {
        let messages = [ChatMessage::new(Role::User, *question)];
        let text =
            generator.generate(Prompt::Chat(&messages), &options, &CancelToken::new(), &mut |_| ()).unwrap().text;
        let mut tokens = generator.codec().encode_prompt(&messages).unwrap();
        for token in generator.codec().encode_text(&text).unwrap() {
            choices.push((tokens.clone(), token));
            tokens.push(token);
        }
        text
    };
    (QUESTIONS.iter().map(&mut reply).collect(), choices)
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
        let (own, choices) = ours(&generator);
        drop(generator);
        let prompts: Vec<&Vec<u32>> = choices.iter().map(|(before, _)| before).collect();
        let job = serde_json::json!({
            "model": path, "context": 1024, "max_tokens": TOKENS, "questions": QUESTIONS, "prompts": prompts,
        });
        let Some(theirs) = run_script(&python, Path::new("tests/fixtures/greedy_llama_cpp.py"), &job) else {
            println!("skipped: {python} has no xllamacpp");
            return;
        };
        let theirs: Theirs = serde_json::from_str(&theirs).unwrap();
        let equal = own.iter().zip(&theirs.replies).filter(|(own, theirs)| own.trim() == theirs.trim()).count();
        let alike = choices.iter().zip(&theirs.following).filter(|((_, own), theirs)| own == *theirs).count();
        println!("{what}: {equal} of {} replies and {alike} of {} next tokens are equal", own.len(), choices.len());
        // With quantised weights llama.cpp rounds the activations to eight bits as well, which turns the closest choices;
        // a reply that has turned once goes its own way. A file that was laid out wrongly would agree on next to nothing.
        if format == GgufFormat::F16 {
            assert_eq!((equal, alike), (own.len(), choices.len()), "{what}");
        } else {
            assert!(alike * 10 >= choices.len() * 8, "{what}");
        }
    }
}
