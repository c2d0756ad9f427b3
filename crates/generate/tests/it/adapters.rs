//! Adapters: their files as peft knows them, and many of them over one model.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::thread;

use anser_core::{CancelToken, ChatMessage, ErrorKind, FinishReason, GenerateOptions, Generator, Prompt, Role};
use anser_generate::{
    AdapterConfig, BaseModel, GenerateError, GeneratorOptions, LlamaGenerator, LoraAdapter, LoraPair,
};
use safetensors::SafeTensors;
use serde_json::{Value, json};

use crate::folders::scores;
use crate::tiny_model::TinyModel;

/// An adapter of `rank` on every projection of `base`, with fixed numbers up to `size`.
pub(crate) fn adapter(base: &BaseModel, rank: usize, size: f32) -> LoraAdapter {
    let mut updates = BTreeMap::new();
    for (name, shape) in BaseModel::tensor_names(base.config()) {
        if let (true, &[outputs, inputs]) = (name.contains("_proj"), shape.as_slice()) {
            let seed = name.bytes().map(usize::from).sum::<usize>() * 131 + rank;
            let value = |at: usize| size * (((at + seed) * 7919 % 2003) as f32 / 1001.0 - 1.0);
            let pair = LoraPair {
                a: (0..rank * inputs).map(value).collect(),
                b: (0..outputs * rank).map(|at| value(at + 977)).collect(),
                rank,
                inputs,
                outputs,
                scale: 2.0,
            };
            updates.insert(name.trim_end_matches(".weight").to_owned(), pair);
        }
    }
    let config =
        AdapterConfig { rank, alpha: 2.0 * rank as f64, base_model: "tiny".to_owned(), ..AdapterConfig::default() };
    LoraAdapter { config, updates }
}

fn tiny() -> (tempfile::TempDir, BaseModel) {
    let folder = tempfile::tempdir().unwrap();
    let base = BaseModel::open(&TinyModel::default().write(folder.path())).unwrap();
    (folder, base)
}

fn generator(options: &GeneratorOptions) -> LlamaGenerator {
    let (_folder, base) = tiny();
    LlamaGenerator::open("tiny", base.path(), options).unwrap()
}

fn say(generator: &LlamaGenerator, question: &str, tokens: usize) -> String {
    let options = GenerateOptions { max_tokens: Some(tokens), ..GenerateOptions::default() };
    let messages = [ChatMessage::new(Role::User, question)];
    generator.generate(Prompt::Chat(&messages), &options, &CancelToken::new(), &mut |_| ()).unwrap().text
}

#[test]
fn the_files_are_those_that_peft_writes() {
    let (_, base) = tiny();
    let folder = tempfile::tempdir().unwrap();
    let written = adapter(&base, 3, 0.5);
    written.write(folder.path()).unwrap();

    let bytes = fs::read(folder.path().join("adapter_model.safetensors")).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    assert_eq!(tensors.len(), 2 * 2 * 7);
    for (part, name, outputs, inputs) in [
        ("self_attn", "q_proj", 32, 32),
        ("self_attn", "k_proj", 16, 32),
        ("self_attn", "v_proj", 16, 32),
        ("self_attn", "o_proj", 32, 32),
        ("mlp", "gate_proj", 64, 32),
        ("mlp", "up_proj", 64, 32),
        ("mlp", "down_proj", 32, 64),
    ] {
        for block in 0..2 {
            let key = format!("base_model.model.model.layers.{block}.{part}.{name}");
            let a = tensors.tensor(&format!("{key}.lora_A.weight")).unwrap();
            let b = tensors.tensor(&format!("{key}.lora_B.weight")).unwrap();
            assert_eq!((a.shape(), b.shape()), (&[3, inputs][..], &[outputs, 3][..]), "{key}");
            assert_eq!((a.dtype(), b.dtype()), (safetensors::Dtype::F32, safetensors::Dtype::F32));
        }
    }
    let config: Value =
        serde_json::from_str(&fs::read_to_string(folder.path().join("adapter_config.json")).unwrap()).unwrap();
    for (field, value) in [
        ("peft_type", json!("LORA")),
        ("task_type", json!("CAUSAL_LM")),
        ("r", json!(3)),
        ("lora_alpha", json!(6.0)),
        ("lora_dropout", json!(0.0)),
        ("bias", json!("none")),
        ("base_model_name_or_path", json!("tiny")),
        ("rank_pattern", json!({})),
        ("target_modules", json!(["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"])),
    ] {
        assert_eq!(config[field], value, "{field}");
    }
    assert_eq!(LoraAdapter::read(folder.path()).unwrap(), written);
}

#[test]
fn uneven_ranks_and_scales_are_kept() {
    let (_, base) = tiny();
    let folder = tempfile::tempdir().unwrap();
    let mut written = adapter(&base, 3, 0.5);
    let narrow = adapter(&base, 1, 0.5).updates.remove("model.layers.1.mlp.up_proj").unwrap();
    written.updates.insert("model.layers.1.mlp.up_proj".to_owned(), LoraPair { scale: 0.5, ..narrow });
    written.updates.remove("model.layers.0.self_attn.k_proj");
    written.write(folder.path()).unwrap();
    let read = LoraAdapter::read(folder.path()).unwrap();
    assert_eq!(read.updates, written.updates);
    assert_eq!(read.config.rank_pattern, BTreeMap::from([("model.layers.1.mlp.up_proj".to_owned(), 1)]));
    assert_eq!(read.config.alpha_pattern, BTreeMap::from([("model.layers.1.mlp.up_proj".to_owned(), 0.5)]));
    // Whole names: peft would give the missing projection an update of its own.
    assert_eq!(read.config.target_modules.len(), 13);
}

/// The error of an adapter in which a file has been changed.
fn refused(file: &str, change: impl FnOnce(&Path)) -> GenerateError {
    let (_, base) = tiny();
    let folder = tempfile::tempdir().unwrap();
    adapter(&base, 3, 0.5).write(folder.path()).unwrap();
    change(&folder.path().join(file));
    LoraAdapter::read(folder.path()).unwrap_err()
}

#[test]
fn an_adapter_that_is_not_whole_or_of_another_kind_is_refused() {
    let config = |field: &'static str, value: Value| {
        refused("adapter_config.json", |path| {
            let mut fields: Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
            fields[field] = value;
            fs::write(path, fields.to_string()).unwrap();
        })
    };
    for (field, value, kind, named) in [
        ("peft_type", json!("LOHA"), ErrorKind::InvalidInput, "LOHA"),
        ("use_dora", json!(true), ErrorKind::InvalidInput, "use_dora"),
        ("use_rslora", json!(true), ErrorKind::InvalidInput, "use_rslora"),
        ("modules_to_save", json!(["lm_head"]), ErrorKind::InvalidInput, "modules_to_save"),
        ("target_modules", json!(["q_proj", "embed_tokens"]), ErrorKind::InvalidInput, "embed_tokens"),
        ("bias", json!("all"), ErrorKind::InvalidInput, "biases"),
        ("r", json!(0), ErrorKind::InvalidInput, "rank"),
        ("r", json!(4), ErrorKind::Corrupt, "rank 3"),
        ("rank_pattern", json!({"up_proj": 2}), ErrorKind::Corrupt, "up_proj"),
        ("rank_pattern", json!({"up.*": 2}), ErrorKind::InvalidInput, "up.*"),
    ] {
        let error = config(field, value);
        assert!(error.kind() == kind && error.to_string().contains(named), "{field}: {error}");
    }
    let tensors = |change: fn(&mut Vec<(String, Vec<usize>)>)| {
        refused("adapter_model.safetensors", |path| {
            let mut tensors = vec![
                ("base_model.model.model.layers.0.mlp.up_proj.lora_A.weight".to_owned(), vec![3, 32]),
                ("base_model.model.model.layers.0.mlp.up_proj.lora_B.weight".to_owned(), vec![64, 3]),
            ];
            change(&mut tensors);
            let zeros = vec![0; 64 * 64 * 4];
            let views = tensors.iter().map(|(name, shape)| {
                let bytes = &zeros[..shape.iter().product::<usize>() * 4];
                (name, safetensors::tensor::TensorView::new(safetensors::Dtype::F32, shape.clone(), bytes).unwrap())
            });
            fs::write(path, safetensors::serialize(views, None).unwrap()).unwrap();
        })
    };
    for (change, named) in [
        ((|t| drop(t.pop())) as fn(&mut Vec<(String, Vec<usize>)>), "no lora_B"),
        (|t| drop(t.remove(0)), "no lora_A"),
        (|t| t[1].1 = vec![64, 2], "lora_B [64, 2]"),
        (|t| t[0].1 = vec![3, 32, 1], "not a matrix"),
        (|t| t.push(("base_model.model.lm_head.lora_A.weight".to_owned(), vec![3, 32])), "lm_head"),
        (|t| t[0].0 = t[0].0.replace("layers.0", "layers.../../0"), "projection"),
        (|t| t.iter_mut().for_each(|t| t.0 = t.0.replace("mlp.up_proj", "self_attn.up_proj")), "projection"),
        (Vec::clear, "no update"),
    ] {
        let error = tensors(change);
        assert!(error.to_string().contains(named), "{named}: {error}");
        assert!(matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::InvalidInput), "{error}");
    }
    let error = refused("adapter_model.safetensors", |path| {
        let bytes = fs::read(path).unwrap();
        fs::write(path, &bytes[..bytes.len() - 1]).unwrap();
    });
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    assert_eq!(refused("adapter_config.json", |path| fs::remove_file(path).unwrap()).kind(), ErrorKind::Io);
    assert_eq!(refused("adapter_model.safetensors", |path| fs::remove_file(path).unwrap()).kind(), ErrorKind::Io);
}

#[test]
fn an_adapter_with_b_zero_changes_nothing() {
    let (_, base) = tiny();
    let generator = generator(&GeneratorOptions { threads: 1, ..GeneratorOptions::default() });
    let mut zero = adapter(&base, 3, 0.5);
    zero.updates.values_mut().for_each(|pair| pair.b.fill(0.0));
    assert_eq!(scores(&generator.with_adapter("zero", zero).unwrap()), scores(&generator));
}

#[test]
fn requests_through_different_adapters_run_side_by_side_and_each_gets_its_own() {
    let (_, base) = tiny();
    let options = GeneratorOptions { threads: 2, active: 3, ..GeneratorOptions::default() };
    let shared = generator(&options);
    let views: Vec<LlamaGenerator> =
        (1..=3).map(|rank| shared.with_adapter("tuned", adapter(&base, rank, 0.3)).unwrap()).collect();
    let alone: Vec<String> = [1, 2, 3]
        .map(|rank| {
            let own = generator(&options);
            say(&own.with_adapter("tuned", adapter(&base, rank, 0.3)).unwrap(), "hello", 60)
        })
        .into();
    let plain = say(&generator(&options), "hello", 60);
    assert!(alone.iter().all(|text| *text != plain) && alone[0] != alone[1] && alone[1] != alone[2]);
    thread::scope(|scope| {
        for _ in 0..4 {
            for (view, expected) in views.iter().zip(&alone) {
                scope.spawn(move || assert_eq!(say(view, "hello", 60), *expected));
            }
            scope.spawn(|| assert_eq!(say(&shared, "hello", 60), plain));
        }
    });
    // A view costs what the adapter takes, and outlives the generator that it was made from.
    assert_eq!(views[2].memory_bytes(), adapter(&base, 3, 0.3).bytes() as u64);
    assert!(shared.memory_bytes() > 10 * views[0].memory_bytes());
    assert_eq!((views[0].info().model.as_str(), shared.info().model.as_str()), ("tuned", "tiny"));
    drop(shared);
    assert_eq!(say(&views[0], "hello", 60), alone[0]);
}

#[test]
fn a_long_generation_does_not_hold_up_another() {
    let (_, base) = tiny();
    let shared = generator(&GeneratorOptions { threads: 1, active: 2, ..GeneratorOptions::default() });
    let view = shared.with_adapter("tuned", adapter(&base, 2, 0.3)).unwrap();
    let cancel = CancelToken::new();
    thread::scope(|scope| {
        let (started, first_delta) = std::sync::mpsc::channel();
        let (shared, cancel_long) = (&shared, cancel.clone());
        // A penalty below 1 makes it repeat itself, so that it does not end on its own.
        let long = scope.spawn(move || {
            let options = GenerateOptions { repetition_penalty: 0.1, ..GenerateOptions::default() };
            let messages = [ChatMessage::new(Role::User, "long")];
            shared
                .generate(Prompt::Chat(&messages), &options, &cancel_long, &mut |_| {
                    started.send(()).ok();
                })
                .unwrap()
        });
        first_delta.recv().unwrap();
        say(&view, "short", 5);
        cancel.cancel();
        assert_eq!(long.join().unwrap().finish_reason, FinishReason::Cancelled);
    });
}
