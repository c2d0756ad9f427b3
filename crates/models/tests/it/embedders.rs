//! Embedders by folder and by repository of the hub, and the user's own catalogue.

#![expect(clippy::unwrap_used, reason = "the scaffolding of tests may fail them")]

use std::fs;
use std::path::Path;

use anser_core::storage::sha256_hex;
use anser_core::{ErrorKind, NoProgress};
use anser_models::{EmbedderSettings, ModelFiles, ModelStatus, ModelStore, ModelStoreOptions, ModelsError, Pooling};

use crate::hub::serve_owned;
use crate::support::{HONEST, Place};

const CONFIG: &str = r#"{"model_type": "bert", "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2,
    "intermediate_size": 16, "vocab_size": 11, "max_position_embeddings": 32}"#;
const PROMPTS: &str = r#"{"prompts": {"query": "query: ", "passage": "passage: "}}"#;
const MODULES: &str = r#"[{"type": "a.Transformer", "path": ""}, {"type": "a.Pooling", "path": "1_Pooling"}]"#;
const POOLING: &str = r#"{"pooling_mode_cls_token": true}"#;
const WEIGHTS: &[u8] = b"weights";
const SHA: &str = "0123456789abcdef0123456789abcdef01234567";

fn fill(folder: &Path) {
    fs::create_dir_all(folder.join("1_Pooling")).unwrap();
    for (name, content) in [
        ("config.json", CONFIG),
        ("tokenizer.json", "{}"),
        ("config_sentence_transformers.json", PROMPTS),
        ("modules.json", MODULES),
        ("1_Pooling/config.json", POOLING),
        ("model.safetensors", "weights"),
    ] {
        fs::write(folder.join(name), content).unwrap();
    }
}

fn add(store: &ModelStore, source: &str, name: Option<&str>) -> Result<ModelFiles, ModelsError> {
    store.add(source, name, &EmbedderSettings::default(), &NoProgress)
}

#[test]
fn a_folder_is_an_embedder_by_itself() {
    let place = Place::serving(&HONEST);
    let folder = place.path("mine");
    fill(&folder);
    let path = folder.to_str().unwrap();
    let files = place.store().ensure_embedder(path, &NoProgress).unwrap();
    assert_eq!((files.dir.as_path(), files.spec.name.as_str()), (folder.as_path(), path));
    assert_eq!((files.spec.pooling, files.spec.max_tokens), (Some(Pooling::Cls), Some(32)));
    assert_eq!(files.spec.query_prefix, "query: ");
    assert_eq!(files.spec.files[0].sha256, sha256_hex(WEIGHTS));

    for lacking in ["tokenizer.json", "model.safetensors", "config.json"] {
        fill(&folder);
        fs::remove_file(folder.join(lacking)).unwrap();
        let error = place.store().ensure_embedder(path, &NoProgress).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(error.to_string().contains(lacking), "{error}");
    }
}

#[test]
fn an_added_folder_lives_on_in_the_cache_under_its_name() {
    let place = Place::serving(&HONEST);
    let folder = place.path("mine");
    fill(&folder);
    let settings = EmbedderSettings { query_prefix: Some("ask: ".to_owned()), ..EmbedderSettings::default() };
    let added = place.store().add(folder.to_str().unwrap(), None, &settings, &NoProgress).unwrap();
    assert_eq!((added.spec.name.as_str(), added.spec.query_prefix.as_str()), ("mine", "ask: "));
    fs::remove_dir_all(&folder).unwrap();

    let store = place.store();
    assert!(matches!(store.status("mine").unwrap(), ModelStatus::Present { .. }));
    let files = store.ensure_embedder("mine", &NoProgress).unwrap();
    assert_eq!(files.spec, added.spec);
    assert_eq!(fs::read(files.path("model.safetensors").unwrap()).unwrap(), WEIGHTS);

    assert!(store.remove("mine").unwrap());
    assert!(matches!(place.store().status("mine"), Err(ModelsError::UnknownModel { .. })));
    assert!(!place.cached().iter().any(|file| file.starts_with("mine/")));
}

#[test]
fn a_name_is_given_once_and_must_be_plain() {
    let place = Place::serving(&HONEST);
    let folder = place.path("mine");
    fill(&folder);
    let path = folder.to_str().unwrap();
    add(&place.store(), path, Some("one")).unwrap();
    for taken in ["one", "ONE", "first"] {
        let error = add(&place.store(), path, Some(taken)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Conflict, "{taken}: {error}");
    }
    assert!(add(&place.store(), path, Some("../two")).is_err());
    let error = add(&place.store(), "no-such-thing", None).unwrap_err();
    assert!(error.to_string().contains("owner/name"), "{error}");
}

/// What the hub answers for a repository of `files`; those in `large` with their hash.
fn repository(files: &[(&str, &[u8])], large: &[&str]) -> Vec<(String, Vec<u8>)> {
    let siblings: Vec<_> = files
        .iter()
        .map(|(name, content)| {
            let lfs = large.contains(name).then(|| serde_json::json!({"sha256": sha256_hex(content)}));
            serde_json::json!({"rfilename": name, "size": content.len(), "lfs": lfs})
        })
        .collect();
    let about = serde_json::json!({"sha": SHA, "siblings": siblings}).to_string().into_bytes();
    let mut served: Vec<(String, Vec<u8>)> = files
        .iter()
        .map(|(name, content)| (format!("/some/tiny-model/resolve/{SHA}/{name}"), content.to_vec()))
        .collect();
    for revision in ["main", "v2"] {
        served.push((format!("/api/models/some/tiny-model/revision/{revision}?blobs=true"), about.clone()));
    }
    served
}

fn files() -> Vec<(&'static str, &'static [u8])> {
    vec![
        ("config.json", CONFIG.as_bytes()),
        ("tokenizer.json", b"{}"),
        ("config_sentence_transformers.json", PROMPTS.as_bytes()),
        ("modules.json", MODULES.as_bytes()),
        ("1_Pooling/config.json", POOLING.as_bytes()),
        ("model.safetensors", WEIGHTS),
        ("onnx/model.onnx", b"graph"),
        ("pytorch_model.bin", b"never fetched"),
    ]
}

#[test]
fn a_repository_of_the_hub_is_added_when_first_used_and_pinned_to_its_commit() {
    let place = Place::serving(&HONEST);
    let (address, asked) = serve_owned(repository(&files(), &["model.safetensors"]));
    let store = place.store().with_hub_endpoint(address);
    let got = store.ensure_embedder("some/tiny-model", &NoProgress).unwrap();
    assert_eq!((got.spec.name.as_str(), got.spec.pooling), ("tiny-model", Some(Pooling::Cls)));
    assert_eq!(got.spec.passage_prefix, "passage: ");
    assert_eq!(got.spec.hub.as_ref().unwrap().revision, SHA);
    assert!(!asked.lock().unwrap().iter().any(|path| path.contains("pytorch") || path.contains("onnx")));

    // The next process knows it by repository and by name, and needs no network.
    let store = place.store_with(ModelStoreOptions { offline: true, ..place.options() });
    for name in ["some/tiny-model", "tiny-model", &format!("some/tiny-model@{SHA}")] {
        assert_eq!(store.ensure_embedder(name, &NoProgress).unwrap().fingerprint(), got.fingerprint());
    }
    let error = store.ensure_embedder("some/other", &NoProgress).unwrap_err();
    assert!(error.to_string().contains("`anser models add some/other`"), "{error}");
    assert_eq!(error.kind(), ErrorKind::Unavailable);
}

#[test]
fn a_repository_without_weights_that_run_here_gives_its_graph() {
    let place = Place::serving(&HONEST);
    let other = CONFIG.replace("\"bert\"", "\"mpnet\"");
    let mut listed = files();
    listed[0].1 = Box::leak(other.into_boxed_str()).as_bytes();
    let (address, _) = serve_owned(repository(&listed, &[]));
    let got = add(&place.store().with_hub_endpoint(address), "some/tiny-model@v2", Some("mp")).unwrap();
    assert_eq!(fs::read(got.path("model.onnx").unwrap()).unwrap(), b"graph");
    assert!(got.path("model.safetensors").is_err());
    assert_eq!(got.spec.files[0].hub_file.as_deref(), Some("onnx/model.onnx"));
}

#[test]
fn a_hub_that_serves_other_bytes_or_lacks_a_file_adds_nothing() {
    for (change, expected) in [("bytes", "SHA-256"), ("tokenizer", "tokenizer.json"), ("length", "announced")] {
        let place = Place::serving(&HONEST);
        let mut served = repository(&files(), &["model.safetensors"]);
        for (path, content) in &mut served {
            match change {
                "bytes" if path.ends_with("model.safetensors") => *content = b"WEIGHTS".to_vec(),
                "length" if path.ends_with("tokenizer.json") => *content = b"{     }".to_vec(),
                "tokenizer" if path.starts_with("/api") => {
                    *content = String::from_utf8(content.clone()).unwrap().replace("tokenizer.json", "t.json").into();
                }
                _ => {}
            }
        }
        let (address, _) = serve_owned(served);
        let message = add(&place.store().with_hub_endpoint(address), "some/tiny-model", None).unwrap_err().to_string();
        assert!(message.contains(expected), "{change}: {message}");
        assert!(place.cached().is_empty(), "{change}: {:?}", place.cached());
    }
}

#[test]
fn a_damaged_list_of_own_models_is_named_and_hides_no_other_model() {
    let place = Place::serving(&HONEST);
    fs::create_dir_all(place.cache()).unwrap();
    fs::write(place.cache().join("catalogue.json"), "{\"model\": 3}").unwrap();
    place.store().ensure("first", &NoProgress).unwrap();
    let message = place.store().ensure("mine", &NoProgress).unwrap_err().to_string();
    assert!(message.contains("catalogue.json"), "{message}");
}
