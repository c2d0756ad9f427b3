//! Model folders and exported files: the same model whichever way it lies on disk, and one clear error for a folder that
//! is not what it should be.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use anser_core::{CancelToken, ChatMessage, ErrorKind, GenerateOptions, Generator, Prompt, Role};
use anser_generate::{
    BaseModel, FloatFormat, GenerateError, GeneratorOptions, GgufFormat, LlamaGenerator, LoraAdapter, export_gguf,
    export_safetensors, export_safetensors_as,
};
use candle_core::quantized::gguf_file::Value;
use proptest::prelude::*;
use serde_json::json;

use crate::adapters;
use crate::tiny_model::TinyModel;

fn options() -> GeneratorOptions {
    GeneratorOptions { threads: 1, ..GeneratorOptions::default() }
}

fn open(path: &Path) -> LlamaGenerator {
    LlamaGenerator::open("tiny", path, &options()).unwrap()
}

/// Scores of a fixed reply: they tell two models apart as sharply as their logits do.
pub(crate) fn scores(generator: &LlamaGenerator) -> Vec<f32> {
    let messages = [ChatMessage::new(Role::User, "né 12?")];
    let prompt = Prompt::Chat(&messages);
    generator.score(prompt, "An answer, 34 bytes long or so.", &CancelToken::new()).unwrap().log_probabilities
}

fn difference(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

fn base(path: &Path) -> BaseModel {
    BaseModel::open(path).unwrap()
}

#[test]
fn a_folder_exported_from_a_gguf_file_has_the_same_logits() {
    let folder = tempfile::tempdir().unwrap();
    let gguf = TinyModel::default().write(folder.path());
    let exported = folder.path().join("exported");
    export_safetensors(&mut base(&gguf), None, &exported).unwrap();
    assert_eq!(base(&exported).config(), base(&gguf).config());
    assert_eq!(base(&exported).codec().chat_template(), base(&gguf).codec().chat_template());
    assert_ne!(base(&exported).hash().unwrap(), base(&gguf).hash().unwrap());
    assert_eq!(scores(&open(&exported)), scores(&open(&gguf)));
    // From the folder once more, and back into a file.
    let again = folder.path().join("again");
    export_safetensors(&mut base(&exported), None, &again).unwrap();
    assert_eq!(base(&again).hash().unwrap(), base(&exported).hash().unwrap());
    for name in
        ["tokenizer.json", "config.json", "chat_template.jinja", "tokenizer_config.json", "generation_config.json"]
    {
        assert_eq!(fs::read(again.join(name)).unwrap(), fs::read(exported.join(name)).unwrap(), "{name}");
    }
    assert!(fs::read_dir(&again).unwrap().all(|entry| !entry.unwrap().file_name().to_string_lossy().contains("part")));
}

#[test]
fn each_format_keeps_what_it_can() {
    let folder = tempfile::tempdir().unwrap();
    let gguf = TinyModel::default().write(folder.path());
    let exact = scores(&open(&gguf));
    let exported = folder.path().join("exported");
    for (format, most) in [(FloatFormat::F16, 0.05), (FloatFormat::Bf16, 0.4)] {
        export_safetensors_as(&mut base(&gguf), None, format, &exported).unwrap();
        let apart = difference(&scores(&open(&exported)), &exact);
        assert!(apart > 0.0 && apart < most, "{format:?} {apart}");
    }
    export_safetensors(&mut base(&gguf), None, &exported).unwrap();
    for source in [&gguf, &exported] {
        let mut apart = Vec::new();
        for format in [GgufFormat::F16, GgufFormat::Q8_0, GgufFormat::Q4_1] {
            let path = folder.path().join(format!("{format:?}.gguf"));
            export_gguf(&mut base(source), None, format, &path).unwrap();
            apart.push(difference(&scores(&open(&path)), &exact));
        }
        assert!(apart[0] < 0.05 && apart[0] < apart[1] && apart[1] < 1.0 && apart[1] < apart[2], "{apart:?}");
    }
}

#[test]
fn a_merged_adapter_equals_the_unmerged_one() {
    let folder = tempfile::tempdir().unwrap();
    let gguf = TinyModel::default().write(folder.path());
    let adapter = adapters::adapter(&base(&gguf), 3, 0.4);
    let unmerged = scores(&open(&gguf).with_adapter("tuned", adapter.clone()).unwrap());
    assert!(difference(&unmerged, &scores(&open(&gguf))) > 0.1);
    let exported = folder.path().join("exported");
    export_safetensors(&mut base(&gguf), Some(&adapter), &exported).unwrap();
    assert!(difference(&unmerged, &scores(&open(&exported))) < 1e-3);
    let file = folder.path().join("merged.gguf");
    export_gguf(&mut base(&gguf), Some(&adapter), GgufFormat::F16, &file).unwrap();
    assert!(difference(&unmerged, &scores(&open(&file))) < 0.05);
}

#[test]
fn an_adapter_for_another_model_is_refused_before_anything_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let gguf = TinyModel::default().write(folder.path());
    let mut adapter = adapters::adapter(&base(&gguf), 3, 0.4);
    let pair = adapter.updates.values().next().unwrap().clone();
    adapter.updates.insert("model.layers.7.mlp.up_proj".to_owned(), pair);
    let exported = folder.path().join("exported");
    let error = export_safetensors(&mut base(&gguf), Some(&adapter), &exported).unwrap_err();
    assert!(
        error.kind() == ErrorKind::InvalidInput && error.to_string().contains("model.layers.7.mlp.up_proj"),
        "{error}"
    );
    assert!(!exported.exists());
    assert!(open(&gguf).with_adapter("tuned", adapter).is_err());
}

/// A model folder, its weights in two files.
fn split_folder() -> &'static Path {
    static FOLDER: OnceLock<tempfile::TempDir> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let gguf = TinyModel::default().write(folder.path());
        export_safetensors(&mut base(&gguf), None, folder.path()).unwrap();
        fs::remove_file(gguf).unwrap();
        let whole = fs::read(folder.path().join("model.safetensors")).unwrap();
        let whole = safetensors::SafeTensors::deserialize(&whole).unwrap();
        let mut map = serde_json::Map::new();
        for (file, wanted) in [("a.safetensors", true), ("b.safetensors", false)] {
            let part: Vec<_> = whole.iter().filter(|(name, _)| name.contains("layers.0") == wanted).collect();
            map.extend(part.iter().map(|(name, _)| ((*name).to_owned(), json!(file))));
            fs::write(folder.path().join(file), safetensors::serialize(part, None).unwrap()).unwrap();
        }
        let index = json!({"metadata": {}, "weight_map": map}).to_string();
        fs::write(folder.path().join("model.safetensors.index.json"), index).unwrap();
        folder
    });
    FOLDER.get().unwrap().path()
}

fn copy(folder: &Path) -> tempfile::TempDir {
    let copied = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), copied.path().join(entry.file_name())).unwrap();
    }
    copied
}

#[test]
fn a_model_in_several_files_equals_the_one_in_a_single_file() {
    let several = copy(split_folder());
    fs::remove_file(several.path().join("model.safetensors")).unwrap();
    assert_eq!(scores(&open(several.path())), scores(&open(split_folder())));
    assert_eq!(base(several.path()).hash().unwrap().len(), 64);
    let index = several.path().join("model.safetensors.index.json");
    let escaping = fs::read_to_string(&index).unwrap().replace("a.safetensors", "../a.safetensors");
    fs::write(&index, escaping).unwrap();
    let error = BaseModel::open(several.path()).err().unwrap();
    assert!(error.kind() == ErrorKind::Corrupt && error.to_string().contains("plain"), "{error}");
}

/// The error of a folder in which one file has been changed.
fn refused(file: &str, change: impl FnOnce(String) -> String) -> GenerateError {
    let folder = copy(split_folder());
    let path = folder.path().join(file);
    let text = change(fs::read_to_string(&path).unwrap());
    fs::write(&path, text).unwrap();
    match LlamaGenerator::open("tiny", folder.path(), &options()) {
        Ok(_) => panic!("the folder was accepted"),
        Err(error) => error,
    }
}

fn field(name: &'static str, value: serde_json::Value) -> impl FnOnce(String) -> String {
    move |text| {
        let mut fields: serde_json::Value = serde_json::from_str(&text).unwrap();
        fields[name] = value;
        fields.to_string()
    }
}

#[test]
fn a_folder_that_cannot_be_run_says_why() {
    let missing = |name: &str| {
        let folder = copy(split_folder());
        fs::remove_file(folder.path().join(name)).unwrap();
        BaseModel::open(folder.path()).err()
    };
    for name in ["config.json", "tokenizer.json"] {
        let error = missing(name).unwrap();
        assert!(error.kind() == ErrorKind::Io && error.to_string().contains(name), "{error}");
    }
    assert!(missing("tokenizer_config.json").is_none() && missing("chat_template.jinja").is_none());
    for (name, value, named) in [
        ("model_type", json!("mistral"), "mistral"),
        ("rope_scaling", json!({"rope_type": "linear", "factor": 2.0}), "rotary"),
        ("attention_bias", json!(true), "attention_bias"),
        ("hidden_size", json!(64), "shape"),
        ("num_hidden_layers", json!(3), "model.layers.2"),
        ("num_hidden_layers", json!(200_000_000), "model.layers.2"),
        ("vocab_size", json!(300), "shape"),
    ] {
        let error = refused("config.json", field(name, value));
        assert!(error.to_string().contains(named), "{name}: {error}");
        assert!(matches!(error.kind(), ErrorKind::InvalidInput | ErrorKind::Corrupt), "{error}");
    }
    for (name, value, named) in [
        ("pre_tokenizer", json!({"type": "Metaspace", "replacement": "_", "prepend_scheme": "always"}), "byte-level"),
        ("pre_tokenizer", json!({"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true}), "space"),
        ("model", json!({"type": "WordPiece", "vocab": {}}), "byte-level"),
        ("added_tokens", json!([{"id": 4000, "content": "<far>", "special": true}]), "4000"),
        ("added_tokens", json!([{"id": 5, "content": "<taken>", "special": true}]), "same id"),
        ("added_tokens", json!([{"id": 258, "content": "<|endoftext|>", "special": false, "lstrip": true}]), "space"),
    ] {
        let error = refused("tokenizer.json", field(name, value));
        assert!(error.kind() == ErrorKind::InvalidInput && error.to_string().contains(named), "{name}: {error}");
    }
    for (file, change) in [("tokenizer_config.json", "{"), ("config.json", "no"), ("tokenizer.json", "[1]")] {
        assert!(refused(file, |_| change.to_owned()).to_string().contains(file));
    }
}

#[test]
fn a_model_without_a_template_or_names_of_its_tokens_still_answers() {
    let folder = copy(split_folder());
    for name in ["chat_template.jinja", "tokenizer_config.json", "special_tokens_map.json", "generation_config.json"] {
        fs::remove_file(folder.path().join(name)).unwrap();
    }
    let plain = open(folder.path());
    assert_eq!(plain.codec().end_of_turn(), 257);
    assert_eq!(scores(&plain), scores(&open(split_folder())));
    // As GGUF it brings the template along.
    let file = folder.path().join("exported.gguf");
    export_gguf(&mut base(folder.path()), None, GgufFormat::F16, &file).unwrap();
    assert_eq!(base(&file).codec().chat_template(), plain.codec().chat_template());
}

#[test]
fn the_usual_byte_level_rule_goes_through_every_format() {
    let folder = tempfile::tempdir().unwrap();
    let pre = vec![("tokenizer.ggml.pre", Value::String("gpt-2".to_owned()))];
    let gguf = TinyModel { metadata: pre, ..TinyModel::default() }.write(folder.path());
    let exported = folder.path().join("exported");
    export_safetensors(&mut base(&gguf), None, &exported).unwrap();
    let again = folder.path().join("again.gguf");
    export_gguf(&mut base(&exported), None, GgufFormat::F16, &again).unwrap();
    let text = "It's 2024 — née  Zoë\n";
    let tokens = |path: &PathBuf| base(path).codec().encode_text(text).unwrap();
    assert_eq!(tokens(&again), tokens(&gguf));
    assert_eq!(base(&again).codec().decode(&tokens(&again)), text);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    /// Any few bytes of any file of the folder can be wrong or missing, and nothing panics.
    #[test]
    fn a_mutated_folder_never_panics(
        file in prop::sample::select(vec![
            "config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "generation_config.json",
            "chat_template.jinja",
        ]),
        edits in prop::collection::vec((0.0_f64..1.0, any::<bool>(), prop::collection::vec(any::<u8>(), 1..9)), 1..4),
        cut in prop::option::weighted(0.1, 0.0_f64..1.0),
    ) {
        let folder = copy(split_folder());
        let path = folder.path().join(file);
        let mut bytes = fs::read(&path).unwrap();
        for (place, in_header, values) in edits {
            let range = if in_header { bytes.len().min(3_000) } else { bytes.len() };
            let start = (range.saturating_sub(8) as f64 * place) as usize;
            for (target, value) in bytes[start..].iter_mut().zip(values) {
                *target = value;
            }
        }
        if let Some(cut) = cut {
            bytes.truncate((bytes.len() as f64 * cut) as usize);
        }
        fs::write(&path, bytes).unwrap();
        if let Ok(generator) = LlamaGenerator::open("tiny", folder.path(), &options()) {
            let options = GenerateOptions { max_tokens: Some(3), ..GenerateOptions::default() };
            let messages = [ChatMessage::new(Role::User, "hi 中")];
            if let Err(error) = generator.generate(Prompt::Chat(&messages), &options, &CancelToken::new(), &mut |_| ()) {
                prop_assert!(!error.to_string().contains("panicked"), "{}", error);
            }
        }
    }

    /// The same for an adapter.
    #[test]
    fn a_mutated_adapter_never_panics(
        weights in any::<bool>(),
        edits in prop::collection::vec((0.0_f64..1.0, prop::collection::vec(any::<u8>(), 1..9)), 1..4),
        cut in prop::option::weighted(0.1, 0.0_f64..1.0),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let adapter = adapters::adapter(&base(split_folder()), 2, 0.1);
        adapter.write(folder.path()).unwrap();
        let path = folder.path().join(if weights { "adapter_model.safetensors" } else { "adapter_config.json" });
        let mut bytes = fs::read(&path).unwrap();
        for (place, values) in edits {
            let start = (bytes.len().min(3_000) as f64 * place) as usize;
            for (target, value) in bytes[start..].iter_mut().zip(values) {
                *target = value;
            }
        }
        if let Some(cut) = cut {
            bytes.truncate((bytes.len() as f64 * cut) as usize);
        }
        fs::write(&path, bytes).unwrap();
        if let Ok(read) = LoraAdapter::read(folder.path()) {
            read.check(base(split_folder()).config()).ok();
        }
    }
}
