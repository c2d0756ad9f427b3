//! The engines that run the default embedder, and how one of them is chosen.

use std::fs;
use std::path::PathBuf;

use anser_core::{CancelToken, Device, EmbedPurpose, Embedded, Embedder, ErrorKind};
use anser_embed::{EmbedError, EmbedOptions, Engine, NumberFormat, RuntimeLibrary, TextEmbedder, recorded_choice};

use crate::models::{mixed_texts, models, options};

/// A runtime library that must not be needed.
struct NoRuntime;

impl RuntimeLibrary for NoRuntime {
    fn obtain(&self) -> Result<PathBuf, EmbedError> {
        Err(EmbedError::RuntimeMissing { path: "nowhere".into() })
    }

    fn is_here(&self) -> bool {
        false
    }
}

fn native(format: NumberFormat, batch_tokens: Option<usize>) -> TextEmbedder {
    let (engine, format) = (Some(Engine::Native), Some(format));
    let options = EmbedOptions { engine, format, batch_tokens, ..options() };
    TextEmbedder::load(&models().embedder, &NoRuntime, &options).unwrap()
}

fn embed(embedder: &TextEmbedder, texts: &[String]) -> Vec<Embedded> {
    embedder.embed(texts, EmbedPurpose::Passage, &CancelToken::new()).unwrap()
}

#[test]
fn the_fastest_correct_engine_is_chosen_once_and_its_figures_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("engines.json");
    let options = EmbedOptions { measurements: Some(file.clone()), ..options() };
    let load = || TextEmbedder::load(&models().embedder, &models().runtime, &options).unwrap();
    assert_eq!(recorded_choice(&models().embedder, &options), None);
    let chosen = load();
    let choice = chosen.choice();
    let names: Vec<&str> = choice.measured.iter().map(|measured| measured.backend.as_str()).collect();
    assert_eq!(names, ["native f32", "native bf16", "native int8", "onnx"]);
    let correct = choice.measured.iter().filter(|measured| measured.correct);
    let fastest = correct.max_by(|a, b| a.texts_per_second.total_cmp(&b.texts_per_second)).unwrap();
    assert_eq!((&fastest.backend, &choice.backend), (&choice.backend, &chosen.backend().to_owned()));
    assert_eq!(recorded_choice(&models().embedder, &options).as_ref(), Some(choice));
    assert_eq!(recorded_choice(&models().embedder, &EmbedOptions { threads: 1, ..options.clone() }), None);

    // What the file says is done, and nothing is measured again.
    let told = fs::read_to_string(&file).unwrap();
    let other = if choice.backend == "native f32" { "native bf16" } else { "native f32" };
    let pattern = format!("\"choice\": {{\n      \"backend\": \"{}\"", choice.backend);
    assert!(told.contains(&pattern), "{told}");
    fs::write(&file, told.replace(&pattern, &pattern.replace(&choice.backend, other))).unwrap();
    let again = load();
    assert_eq!((again.backend(), &again.choice().measured), (other, &choice.measured));
}

#[test]
fn a_model_that_runs_natively_needs_no_runtime_library() {
    let embedder = TextEmbedder::load(&models().embedder, &NoRuntime, &options()).unwrap();
    assert!(embedder.backend().starts_with("native"), "{}", embedder.backend());
    assert!(embedder.choice().measured.iter().all(|measured| measured.backend != "onnx"));
    let onnx = EmbedOptions { engine: Some(Engine::Onnx), ..options() };
    let error = TextEmbedder::load(&models().embedder, &NoRuntime, &onnx).map(|_| ()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
}

#[test]
fn engine_and_format_can_be_asked_for_and_what_is_impossible_is_refused_with_advice() {
    let load = |engine, format| {
        let options = EmbedOptions { engine, format, ..options() };
        TextEmbedder::load(&models().embedder, &models().runtime, &options)
    };
    assert_eq!(load(Some(Engine::Onnx), None).unwrap().backend(), "onnx");
    let int8 = load(None, Some(NumberFormat::Int8)).unwrap();
    assert_eq!((int8.backend(), int8.choice().measured.len()), ("native int8", 0));
    let error = load(Some(Engine::Onnx), Some(NumberFormat::Int8)).map(|_| ()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    let message = error.to_string();
    assert!(message.contains("by the engine onnx in int8") && message.contains("leave the format out"), "{message}");
}

/// Short and middling texts: long ones show nothing more here.
fn texts() -> Vec<String> {
    mixed_texts().into_iter().filter(|text| text.len() < 500).collect()
}

#[test]
fn every_format_of_the_native_engine_is_near_the_exact_one() {
    let texts = texts();
    let exact = embed(&native(NumberFormat::F32, None), &texts);
    for (format, least) in [(NumberFormat::Bf16, 0.9995), (NumberFormat::Int8, 0.99)] {
        let embedder = native(format, None);
        assert_eq!(embedder.backend(), format!("native {format}"));
        for ((text, exact), got) in texts.iter().zip(&exact).zip(embed(&embedder, &texts)) {
            let cosine = exact.embedding.cosine(&got.embedding).unwrap();
            assert!(cosine > least, "{format} {cosine} {text}");
            assert_eq!((exact.tokens, exact.truncated), (got.tokens, got.truncated));
        }
    }
}

#[test]
fn a_text_has_the_same_bits_in_runs_of_every_size() {
    let texts = texts();
    for format in NumberFormat::ALL {
        let expected = embed(&native(format, Some(0)), &texts);
        for batch_tokens in [None, Some(2000)] {
            assert_eq!(embed(&native(format, batch_tokens), &texts), expected, "{format} {batch_tokens:?}");
        }
    }
}

fn on_candle(device: Device) -> Result<TextEmbedder, EmbedError> {
    let (engine, format) = (Some(Engine::Candle), Some(NumberFormat::F32));
    TextEmbedder::load(&models().embedder, &NoRuntime, &EmbedOptions { engine, format, device, ..options() })
}

#[test]
fn candle_gives_the_vectors_of_the_native_engine_on_every_device() {
    let texts = mixed_texts();
    let exact = embed(&native(NumberFormat::F32, None), &texts);
    for device in [Device::Cpu, Device::Cuda(0), Device::Metal] {
        let embedder = match on_candle(device) {
            Ok(embedder) => embedder,
            Err(error) => {
                assert!(!device.is_cpu(), "{error}");
                assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
                eprintln!("skipped: {error}");
                continue;
            }
        };
        let title = if device.is_cpu() { "candle f32".to_owned() } else { format!("candle f32 on {device}") };
        assert_eq!(embedder.backend(), title);
        for ((text, exact), got) in texts.iter().zip(&exact).zip(embed(&embedder, &texts)) {
            let cosine = exact.embedding.cosine(&got.embedding).unwrap();
            assert!(cosine > 0.99999, "{device} {cosine} {text}");
        }
    }
}

#[test]
fn a_device_that_is_not_there_is_refused_with_advice() {
    let error = on_candle(Device::Cuda(4096)).map(|_| ()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.to_string().contains("--device cpu"), "{error}");
}
