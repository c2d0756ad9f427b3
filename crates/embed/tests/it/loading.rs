//! Loading: what is refused, and how it is said.

use std::fs;

use anser_core::{CancelToken, EmbedPurpose, Embedder, ErrorKind};
use anser_embed::{EmbedError, EmbedOptions, Engine, OnnxReranker, TextEmbedder, load_runtime};
use anser_models::{ModelFiles, Pooling};

use crate::models::{models, options, strings};

fn load(files: &ModelFiles) -> Result<TextEmbedder, EmbedError> {
    TextEmbedder::load(files, &models().runtime, &options())
}

fn refusal(files: &ModelFiles) -> (ErrorKind, String) {
    let error = load(files).map(|_| ()).unwrap_err();
    (error.kind(), error.to_string())
}

/// The embedder's files in a folder of the test's own, with `file` replaced by `bytes`.
fn with_file(file: &str, bytes: &[u8]) -> (tempfile::TempDir, ModelFiles) {
    let folder = tempfile::tempdir().unwrap();
    let mut files = models().embedder.clone();
    for name in files.spec.files.iter().map(|f| &f.name).filter(|name| *name != file) {
        fs::copy(files.dir.join(name), folder.path().join(name)).unwrap();
    }
    fs::write(folder.path().join(file), bytes).unwrap();
    files.dir = folder.path().to_path_buf();
    (folder, files)
}

#[test]
fn damaged_files_are_refused_with_their_path() {
    let graph = fs::read(models().embedder.path("model.onnx").unwrap()).unwrap();
    let tokenizer = fs::read(models().embedder.path("tokenizer.json").unwrap()).unwrap();
    for (file, bytes) in [
        ("model.onnx", &b""[..]),
        ("model.onnx", b"not a graph"),
        ("model.onnx", &graph[..graph.len() / 2]),
        ("tokenizer.json", b""),
        ("tokenizer.json", &tokenizer[..tokenizer.len() / 2]),
    ] {
        let (folder, files) = with_file(file, bytes);
        let (kind, message) = refusal(&files);
        assert_eq!(kind, ErrorKind::Corrupt, "{message}");
        assert!(message.contains(&*folder.path().join(file).to_string_lossy()), "{message}");
    }
}

#[test]
fn a_graph_with_other_outputs_is_refused_by_onnx_runtime() {
    let graph = fs::read(models().reranker.path("model.onnx").unwrap()).unwrap();
    let (folder, files) = with_file("model.onnx", &graph);
    let onnx = EmbedOptions { engine: Some(Engine::Onnx), ..options() };
    let error = TextEmbedder::load(&files, &models().runtime, &onnx).map(|_| ()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    assert!(error.to_string().contains(&*folder.path().join("model.onnx").to_string_lossy()), "{error}");
}

#[test]
fn a_missing_file_is_refused_with_its_path() {
    let (folder, files) = with_file("model.onnx", b"");
    fs::remove_file(folder.path().join("model.onnx")).unwrap();
    let (kind, message) = refusal(&files);
    assert_eq!(kind, ErrorKind::Io);
    assert!(message.contains("model.onnx"), "{message}");
}

#[test]
fn a_catalogue_entry_that_does_not_fit_is_refused() {
    let changed = |change: &dyn Fn(&mut ModelFiles)| {
        let mut files = models().embedder.clone();
        change(&mut files);
        refusal(&files)
    };
    let (kind, message) = changed(&|files| files.spec.dimension = Some(768));
    assert_eq!(kind, ErrorKind::Corrupt);
    assert!(message.contains("384 dimensions where the catalogue says 768"), "{message}");
    for (message, word) in [
        (changed(&|files| files.spec.dimension = None), "dimension"),
        (changed(&|files| files.spec.pooling = None), "pooling"),
        (changed(&|files| files.spec.max_tokens = None), "max_tokens"),
        (changed(&|files| files.spec.role = anser_models::ModelRole::Reranker), "role"),
    ] {
        assert_eq!(message.0, ErrorKind::InvalidInput);
        assert!(message.1.contains(word), "{}", message.1);
    }
    let error = OnnxReranker::load(&models().embedder, &models().runtime, &options()).map(|_| ()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    let zero = EmbedOptions { queue: 0, ..options() };
    let error = OnnxReranker::load(&models().reranker, &models().runtime, &zero).map(|_| ()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
}

#[test]
fn a_second_runtime_is_a_conflict_and_the_same_one_by_another_path_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let runtime = models().runtime.canonicalize().unwrap();
    let home = runtime.parent().unwrap();
    let detour = home.join("..").join(home.file_name().unwrap()).join(runtime.file_name().unwrap());
    assert_ne!(detour, runtime);
    assert!(load_runtime(&detour).unwrap().contains("ORT"));
    let other = folder.path().join("other.so");
    fs::write(&other, "another library").unwrap();
    let error = load_runtime(&other).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
    assert_eq!(load_runtime(&folder.path().join("none.so")).unwrap_err().kind(), ErrorKind::Unavailable);
}

#[test]
fn pooling_limit_and_prefixes_come_from_the_catalogue_entry() {
    let mut files = models().embedder.clone();
    files.spec.pooling = Some(Pooling::Mean);
    files.spec.max_tokens = Some(16);
    files.spec.passage_prefix = "passage: ".to_owned();
    let other = load(&files).unwrap();
    let usual = load(&models().embedder).unwrap();
    let embed = |embedder: &TextEmbedder, text: &str| {
        embedder.embed(&strings(&[text]), EmbedPurpose::Passage, &CancelToken::new()).unwrap().remove(0)
    };
    let (with_prefix, prefix_written_out) = (embed(&other, "a red hat"), embed(&usual, "passage: a red hat"));
    assert_eq!(with_prefix.tokens, prefix_written_out.tokens);
    let pooled = with_prefix.embedding.cosine(&prefix_written_out.embedding).unwrap();
    assert!(pooled > 0.5 && pooled < 0.999, "{pooled}");
    let long = embed(&other, &"hat ".repeat(30));
    assert_eq!((long.tokens, long.truncated), (16, true));
    assert_ne!(other.info().fingerprint, usual.info().fingerprint);
}

#[test]
fn an_embedder_can_be_dropped_and_loaded_again() {
    for _ in 0..2 {
        let embedder = load(&models().embedder).unwrap();
        let texts = vec!["a few words".to_owned(); 40];
        assert_eq!(embedder.embed(&texts, EmbedPurpose::Passage, &CancelToken::new()).unwrap().len(), 40);
    }
}
