//! The real models, obtained once and shared by the tests of this binary.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use anser_core::{CancelToken, EmbedPurpose, Embedded, Embedder, ErrorKind, NoProgress};
use anser_embed::{EmbedOptions, Engine, OnnxReranker, TextEmbedder, load_runtime};
use anser_models::{DEFAULT_EMBEDDER, DEFAULT_RERANKER, ModelFiles, ModelStore, ModelStoreOptions};

/// Verified models on disk and a loaded runtime.
pub(crate) struct Models {
    pub(crate) runtime: PathBuf,
    pub(crate) embedder: ModelFiles,
    pub(crate) reranker: ModelFiles,
}

/// Obtains the models on first use. Before the first library is loaded, wrong ones are tried: that must fail without a
/// panic, and must not stand in the way of the right one.
pub(crate) fn models() -> &'static Models {
    static MODELS: OnceLock<Models> = OnceLock::new();
    MODELS.get_or_init(|| {
        let store = store();
        let models = Models {
            runtime: store.ensure_runtime(&NoProgress).unwrap(),
            embedder: store.ensure(DEFAULT_EMBEDDER, &NoProgress).unwrap(),
            reranker: store.ensure(DEFAULT_RERANKER, &NoProgress).unwrap(),
        };
        refuse_wrong_runtimes(&models.embedder);
        load_runtime(&models.runtime).unwrap();
        models
    })
}

/// The files of another embedder, by its name in the catalogue or its folder.
pub(crate) fn model(name: &str) -> ModelFiles {
    store().ensure_embedder(name, &NoProgress).unwrap()
}

fn store() -> ModelStore {
    let cache = std::env::var_os("ANSER_MODELS_DIR")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/models"), PathBuf::from);
    ModelStore::new(ModelStoreOptions { cache, offline: false, local: None, python: None })
}

fn refuse_wrong_runtimes(embedder: &ModelFiles) {
    let folder = tempfile::tempdir().unwrap();
    let text = folder.path().join("libonnxruntime.so");
    fs::write(&text, "not a library").unwrap();
    let onnx = EmbedOptions { engine: Some(Engine::Onnx), ..options() };
    for (wrong, complaint) in [
        (folder.path().join("missing.so"), "there is no ONNX Runtime library at"),
        (folder.path().to_path_buf(), "there is no ONNX Runtime library at"),
        (text, "cannot be used as the ONNX Runtime library"),
    ] {
        let error = TextEmbedder::load(embedder, &wrong, &onnx).map(|_| ()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert!(error.to_string().contains(complaint), "{error}");
        assert!(error.to_string().contains(&*folder.path().canonicalize().unwrap().to_string_lossy()), "{error}");
    }
}

/// Two threads; engines are measured once for all tests.
pub(crate) fn options() -> EmbedOptions {
    static FOLDER: OnceLock<tempfile::TempDir> = OnceLock::new();
    let folder = FOLDER.get_or_init(|| tempfile::tempdir().unwrap());
    EmbedOptions { threads: 2, measurements: Some(folder.path().join("engines.json")), ..EmbedOptions::default() }
}

/// One embedder for all tests that only use it.
pub(crate) fn embedder() -> &'static TextEmbedder {
    static EMBEDDER: OnceLock<TextEmbedder> = OnceLock::new();
    EMBEDDER.get_or_init(|| TextEmbedder::load(&models().embedder, &models().runtime, &options()).unwrap())
}

/// The same model on ONNX Runtime.
pub(crate) fn onnx() -> &'static TextEmbedder {
    static EMBEDDER: OnceLock<TextEmbedder> = OnceLock::new();
    let options = EmbedOptions { engine: Some(Engine::Onnx), ..options() };
    EMBEDDER.get_or_init(|| TextEmbedder::load(&models().embedder, &models().runtime, &options).unwrap())
}

/// One reranker for all tests that only use it.
pub(crate) fn reranker() -> &'static OnnxReranker {
    static RERANKER: OnceLock<OnnxReranker> = OnceLock::new();
    RERANKER.get_or_init(|| OnnxReranker::load(&models().reranker, &models().runtime, &options()).unwrap())
}

pub(crate) fn strings<T: AsRef<str>>(texts: &[T]) -> Vec<String> {
    texts.iter().map(|text| text.as_ref().to_owned()).collect()
}

pub(crate) fn embed<T: AsRef<str>>(texts: &[T], purpose: EmbedPurpose) -> Vec<Embedded> {
    embedder().embed(&strings(texts), purpose, &CancelToken::new()).unwrap()
}

/// Texts of very different lengths, also without a Latin letter in them.
pub(crate) fn mixed_texts() -> Vec<String> {
    let sentence = "The beans were roasted three days before they arrived and smell of chocolate and oranges. ";
    let mut texts: Vec<String> = (1..24).map(|n| sentence.repeat(n).chars().take(n * n * 5).collect()).collect();
    texts.extend(strings(&["狗粮很好吃", "😀", "?", "a", "Ünïcödé ÀÉ", "1 2 3\n\n\t4"]));
    texts
}
