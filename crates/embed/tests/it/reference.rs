//! Every engine against vectors that other implementations made of the same models (see the fixtures' README).

use std::path::Path;

use anser_core::{CancelToken, EmbedPurpose, Embedded, Embedder};
use anser_embed::{EmbedOptions, Engine, NumberFormat, TextEmbedder};
use anser_models::{ConvertTarget, GraphFormat, ModelFiles};
use serde_json::Value;

use crate::models::{model, models};

/// Texts, the number of their tokens, and their vectors.
struct Reference {
    texts: Vec<String>,
    tokens: Vec<usize>,
    vectors: Vec<Vec<f32>>,
}

impl Reference {
    fn read(folder: &str, dimension: usize) -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(folder);
        let lines = std::fs::read_to_string(folder.join("texts.jsonl")).unwrap();
        let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let bytes = std::fs::read(folder.join("vectors.f32")).unwrap();
        let numbers: Vec<f32> = bytes.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
        let vectors: Vec<Vec<f32>> = numbers.chunks_exact(dimension).map(<[f32]>::to_vec).collect();
        assert_eq!(vectors.len(), lines.len());
        Self {
            texts: lines.iter().map(|line| line["text"].as_str().unwrap().to_owned()).collect(),
            tokens: lines.iter().map(|line| usize::try_from(line["tokens"].as_u64().unwrap()).unwrap()).collect(),
            vectors,
        }
    }

    fn embedded(&self, embedder: &TextEmbedder) -> Vec<Embedded> {
        embedder.embed(&self.texts, EmbedPurpose::Passage, &CancelToken::new()).unwrap()
    }

    /// The largest difference of a number, and the smallest cosine.
    fn compared(&self, embedded: &[Embedded]) -> (f32, f32) {
        let pairs = || embedded.iter().map(|e| e.embedding.as_slice()).zip(&self.vectors);
        let differences = pairs().flat_map(|(got, expected)| got.iter().zip(expected).map(|(a, b)| (a - b).abs()));
        let cosines = pairs().map(|(got, expected)| got.iter().zip(expected).map(|(a, b)| a * b).sum::<f32>());
        (differences.fold(0.0, f32::max), cosines.fold(1.0, f32::min))
    }
}

fn load(files: &ModelFiles, engine: Engine, format: Option<NumberFormat>, batch_tokens: Option<usize>) -> TextEmbedder {
    let options = EmbedOptions { threads: 2, engine: Some(engine), format, batch_tokens, ..EmbedOptions::default() };
    TextEmbedder::load(files, &models().runtime, &options).unwrap()
}

fn largest_difference(a: &[Embedded], b: &[Embedded]) -> f32 {
    let numbers =
        |embedded: &[Embedded]| -> Vec<f32> { embedded.iter().flat_map(|e| e.embedding.as_slice().to_vec()).collect() };
    numbers(a).iter().zip(numbers(b)).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

#[test]
fn minilm_is_what_other_implementations_say_in_every_format() {
    let reference = Reference::read("minilm-reference", 384);
    let files = model("all-MiniLM-L6-v2");
    for (format, difference, cosine) in
        [(NumberFormat::F32, 1e-4, 0.999_999), (NumberFormat::Bf16, 1e-2, 0.9995), (NumberFormat::Int8, 3e-2, 0.995)]
    {
        let embedder = load(&files, Engine::Native, Some(format), None);
        let embedded = reference.embedded(&embedder);
        let (apart, alike) = reference.compared(&embedded);
        println!("{}: largest difference {apart:.1e}, smallest cosine {alike:.6}", embedder.backend());
        assert!(apart < difference && alike > cosine, "{format:?}: {apart} {alike}");
        for ((embedded, tokens), text) in embedded.iter().zip(&reference.tokens).zip(&reference.texts) {
            assert_eq!((embedded.tokens, embedded.truncated), ((*tokens).min(256), *tokens > 256), "{text}");
        }
    }
}

#[test]
fn minilm_as_an_onnx_graph_is_the_same_and_padding_moves_nothing() {
    let reference = Reference::read("minilm-reference", 384);
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("minilm-onnx");
    model("all-MiniLM-L6-v2").convert(ConvertTarget::Onnx(GraphFormat::F32), &out, false).unwrap();
    let files = model(out.to_str().unwrap());
    let alone = reference.embedded(&load(&files, Engine::Onnx, None, Some(0)));
    let (apart, _) = reference.compared(&alone);
    let together = reference.embedded(&load(&files, Engine::Onnx, None, Some(2048)));
    let moved = largest_difference(&alone, &together);
    println!("largest difference {apart:.1e}, by padding {moved:.1e}");
    assert!(apart < 1e-4 && moved < 1e-5, "{apart} {moved}");
}

#[test]
fn the_multilingual_model_is_what_it_was_with_its_own_tokenizer() {
    let reference = Reference::read("multilingual-reference", 512);
    let embedder = load(&model("universal-sentence-encoder-multilingual-3"), Engine::Onnx, None, None);
    let embedded = reference.embedded(&embedder);
    for ((embedded, tokens), text) in embedded.iter().zip(&reference.tokens).zip(&reference.texts) {
        assert_eq!(embedded.tokens, *tokens, "{text}");
    }
    let (apart, alike) = reference.compared(&embedded);
    println!("largest difference {apart:.1e}, smallest cosine {alike:.6}");
    // Without these instructions sums of bytes are rounded on the way.
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx512vnni") {
        assert!(apart < 1e-4, "{apart}");
    }
    assert!(alike > 0.99, "{alike}");
}

#[test]
fn translations_are_nearer_than_other_sentences() {
    let embedder = load(&model("universal-sentence-encoder-multilingual-3"), Engine::Onnx, None, None);
    let meanings = [
        ["Where is my parcel?", "我的包裹在哪里？", "Wo ist mein Paket?"],
        ["The soup tastes wonderful.", "这汤的味道好极了。", "Die Suppe schmeckt wunderbar."],
        ["He plays the guitar every evening.", "他每天晚上弹吉他。", "Er spielt jeden Abend Gitarre."],
        ["The battery is empty after an hour.", "电池一个小时后就没电了。", "Der Akku ist nach einer Stunde leer."],
    ];
    let texts: Vec<String> = meanings.iter().flatten().map(|text| (*text).to_owned()).collect();
    let embedded = embedder.embed(&texts, EmbedPurpose::Passage, &CancelToken::new()).unwrap();
    let cosine = |a: usize, b: usize| embedded[a].embedding.cosine(&embedded[b].embedding).unwrap();
    for (at, text) in texts.iter().enumerate() {
        let (same, others): (Vec<usize>, Vec<usize>) =
            (0..texts.len()).filter(|other| *other != at).partition(|other| other / 3 == at / 3);
        let worst = same.iter().map(|other| cosine(at, *other)).fold(1.0, f32::min);
        let best = others.iter().map(|other| cosine(at, *other)).fold(-1.0, f32::max);
        assert!(worst > best + 0.1, "{text}: {worst} {best}");
    }
}

#[test]
fn odd_texts_of_the_multilingual_model_have_vectors_too() {
    let embedder = load(&model("universal-sentence-encoder-multilingual-3"), Engine::Onnx, None, None);
    let texts: Vec<String> =
        ["\u{200b}", "\u{ad}\u{301}", "\u{10ffff}", "▁", "\0", "\u{feff}x", "\u{1112}\u{1161}\u{11ab}"]
            .map(str::to_owned)
            .into_iter()
            .chain(["很".repeat(5000), "word ".repeat(5000), "x".repeat(100_000)])
            .collect();
    for (embedded, text) in embedder.embed(&texts, EmbedPurpose::Query, &CancelToken::new()).unwrap().iter().zip(&texts)
    {
        assert!(embedded.tokens >= 2 && embedded.tokens <= 512);
        assert_eq!(embedded.truncated, text.len() > 10_000, "{}", text.chars().take(9).collect::<String>());
    }
}
