//! Model files that are not what they should be: one clear error, never a panic.

use std::path::Path;
use std::sync::OnceLock;

use anser_core::{CancelToken, ChatMessage, ErrorKind, GenerateOptions, Generator, Prompt, Role};
use anser_generate::{GenerateError, GeneratorOptions, LlamaGenerator};
use candle_core::quantized::gguf_file::Value;
use proptest::prelude::*;

use crate::tiny_model::TinyModel;

fn open_bytes(bytes: &[u8]) -> Result<LlamaGenerator, GenerateError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    std::fs::write(&path, bytes).unwrap();
    LlamaGenerator::open("tiny", &path, &GeneratorOptions { threads: 1, ..GeneratorOptions::default() })
}

fn refused(bytes: &[u8]) -> GenerateError {
    match open_bytes(bytes) {
        Ok(_) => panic!("the file was accepted"),
        Err(error) => error,
    }
}

fn refused_with(metadata: Vec<(&'static str, Value)>) -> GenerateError {
    refused(&TinyModel { metadata, ..TinyModel::default() }.bytes())
}

fn tiny() -> &'static [u8] {
    static BYTES: OnceLock<Vec<u8>> = OnceLock::new();
    BYTES.get_or_init(|| TinyModel::default().bytes())
}

#[test]
fn a_file_that_is_not_there_is_an_io_error() {
    let missing = LlamaGenerator::open("tiny", Path::new("no/such/model.gguf"), &GeneratorOptions::default());
    let error = missing.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Io);
    assert!(error.to_string().contains("no/such/model.gguf"), "{error}");
}

#[test]
fn a_file_cut_off_anywhere_is_damaged() {
    let whole = tiny();
    assert!(open_bytes(whole).is_ok());
    for length in [0, 3, 4, 23, 24, 100, 2000, whole.len() / 2, whole.len() - 40] {
        let error = refused(&whole[..length]);
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{length}: {error}");
        assert!(error.to_string().contains("download it again"), "{error}");
        assert!(!error.to_string().contains('\n'), "{error}");
    }
}

#[test]
fn another_kind_of_file_is_damaged() {
    assert_eq!(refused(b"<!DOCTYPE html><title>404</title>").kind(), ErrorKind::Corrupt);
    assert_eq!(refused(&[0; 4096]).kind(), ErrorKind::Corrupt);
}

#[test]
fn an_alignment_of_zero_is_damaged() {
    assert_eq!(refused_with(vec![("general.alignment", Value::U32(0))]).kind(), ErrorKind::Corrupt);
}

#[test]
fn a_block_format_that_cannot_be_unpacked_is_damaged() {
    let mut bytes = tiny().to_vec();
    let name = b"blk.1.ffn_down.weight";
    let at = bytes.windows(name.len()).position(|window| window == name).unwrap();
    // Behind the name: the number of dimensions, two dimensions, and the format; 9 is the one of activations.
    let format = at + name.len() + 4 + 8 + 8;
    bytes[format..format + 4].copy_from_slice(&9_u32.to_le_bytes());
    let error = refused(&bytes);
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
}

#[test]
fn sizes_that_do_not_fit_are_damaged_or_unsupported() {
    for (key, value) in [
        ("llama.block_count", 3),
        ("llama.block_count", u32::MAX),
        ("llama.feed_forward_length", 65),
        ("llama.embedding_length", 0),
        ("llama.embedding_length", 64),
        ("llama.attention.head_count", 0),
        ("llama.attention.head_count", 5),
        ("llama.attention.head_count_kv", 3),
        ("llama.rope.dimension_count", 1 << 30),
        ("llama.context_length", 0),
    ] {
        let error = refused_with(vec![(key, Value::U32(value))]);
        assert!(matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::InvalidInput), "{key} {value}: {error}");
    }
}

#[test]
fn models_that_cannot_be_run_are_named() {
    let text = |text: &str| Value::String(text.to_owned());
    for (key, value, named) in [
        ("general.architecture", text("qwen2"), "qwen2"),
        ("tokenizer.ggml.model", text("llama"), "byte-level BPE"),
        ("tokenizer.ggml.pre", text("tekken"), "tekken"),
        ("tokenizer.chat_template", Value::U32(1), "no chat template"),
        ("tokenizer.chat_template", text("{% for %}"), "does not parse"),
        ("llama.expert_count", Value::U32(8), "mixture of experts"),
        ("llama.rope.scaling.type", text("yarn"), "rotary"),
    ] {
        let error = refused_with(vec![(key, value)]);
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
        assert!(error.to_string().contains(named), "{error}");
    }
}

#[test]
fn a_tokenizer_that_does_not_fit_is_damaged() {
    let texts = |texts: &[&str]| Value::Array(texts.iter().map(|text| Value::String((*text).to_owned())).collect());
    for (key, value) in [
        ("tokenizer.ggml.tokens", texts(&["a"])),
        ("tokenizer.ggml.tokens", texts(&["a"; 259])),
        ("tokenizer.ggml.token_type", texts(&["a"])),
        ("tokenizer.ggml.merges", texts(&["one"])),
        ("tokenizer.ggml.merges", texts(&["not there"])),
        ("tokenizer.ggml.merges", Value::Bool(true)),
    ] {
        let error = refused_with(vec![(key, value)]);
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{key}: {error}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    /// Any few bytes of the file can be wrong: it loads or it does not, it answers or it does not, and it never panics.
    #[test]
    fn a_mutated_file_never_panics(
        edits in prop::collection::vec((0.0_f64..1.0, any::<bool>(), prop::collection::vec(any::<u8>(), 1..9)), 1..4),
        cut in prop::option::weighted(0.1, 0.0_f64..1.0),
    ) {
        let mut bytes = tiny().to_vec();
        for (place, in_header, values) in edits {
            // Most of the file is weights; the header is where a wrong byte can mislead.
            let range = if in_header { 12_000 } else { bytes.len() };
            let start = ((range - 8) as f64 * place) as usize;
            for (target, value) in bytes[start..].iter_mut().zip(values) {
                *target = value;
            }
        }
        if let Some(cut) = cut {
            bytes.truncate((bytes.len() as f64 * cut) as usize);
        }
        if let Ok(generator) = open_bytes(&bytes) {
            let options = GenerateOptions { max_tokens: Some(3), ..GenerateOptions::default() };
            let messages = [ChatMessage::new(Role::User, "hi 中")];
            if let Err(error) = generator.generate(Prompt::Chat(&messages), &options, &CancelToken::new(), &mut |_| ()) {
                prop_assert!(!error.to_string().contains("panicked"), "{}", error);
            }
        }
    }
}
