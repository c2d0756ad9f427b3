//! The default models from the real registry. Downloads them when the test cache lacks them.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use anser_core::{Progress, ProgressUnit};
use anser_models::{
    Catalogue, DEFAULT_CHAT, DEFAULT_EMBEDDER, DEFAULT_RERANKER, ModelStatus, ModelStore, ModelStoreOptions,
};

fn cache() -> PathBuf {
    std::env::var_os("ANSER_MODELS_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../target/models"), PathBuf::from)
}

/// Prints what happens, for whoever wonders why the first run takes long.
struct Printed(AtomicU64);

impl Progress for Printed {
    fn start(&self, what: &str, total: Option<u64>, _: ProgressUnit) {
        println!("{what}: {total:?} bytes");
        self.0.store(total.unwrap_or(u64::MAX), Ordering::Relaxed);
    }
    fn set(&self, done: u64) {
        assert!(done <= self.0.load(Ordering::Relaxed), "progress went past its total");
    }
    fn note(&self, message: &str) {
        println!("{message}");
    }
    fn finish(&self) {}
}

#[test]
fn models_beside_the_default_ones_can_be_had() {
    let progress = Printed(AtomicU64::new(0));
    let store = ModelStore::new(ModelStoreOptions { cache: cache(), offline: false, local: None, python: None });
    for name in ["all-MiniLM-L6-v2", "universal-sentence-encoder-multilingual-3"] {
        let files = store.ensure(name, &progress).unwrap();
        for file in &files.spec.files {
            assert_eq!(std::fs::metadata(files.path(&file.name).unwrap()).unwrap().len(), file.bytes);
        }
    }
}

#[test]
fn every_default_model_and_the_runtime_can_be_had() {
    let progress = Printed(AtomicU64::new(0));
    let store = |offline| ModelStore::new(ModelStoreOptions { cache: cache(), offline, local: None, python: None });
    let runtime = store(false).ensure_runtime(&progress).unwrap();
    assert!(runtime.is_file());
    for name in [DEFAULT_EMBEDDER, DEFAULT_RERANKER, DEFAULT_CHAT] {
        let files = store(false).ensure(name, &progress).unwrap();
        assert_eq!(files.dir, store(true).ensure(name, &progress).unwrap().dir, "the second time needs no network");
        for file in &files.spec.files {
            assert_eq!(std::fs::metadata(files.path(&file.name).unwrap()).unwrap().len(), file.bytes);
        }
        let bytes = Catalogue::builtin().find(name).unwrap().total_bytes();
        assert_eq!(store(true).status(name).unwrap(), ModelStatus::Present { path: files.dir, bytes });
    }
}
