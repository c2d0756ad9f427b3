//! The content filter with the real default embedder, and how its shipped model is made.

#![expect(clippy::expect_used, reason = "what the tests share is made outside of test functions")]

use std::path::Path;
use std::sync::Arc;

use anser_core::storage::DataDir;
use anser_core::{CancelToken, Embedder, Error, Generator, NoProgress, Reranker, Result};
use anser_embed::{EmbedOptions, TextEmbedder};
use anser_engine::{Engine, EngineOptions, ModelLoader, ModerationExample, ModerationModel, ServedModels, TunedModel};
use anser_models::{DEFAULT_EMBEDDER, ModelStore, ModelStoreOptions};

struct OnlyEmbedder(Arc<dyn Embedder>);

impl ModelLoader for OnlyEmbedder {
    fn embedder_name(&self) -> &str {
        DEFAULT_EMBEDDER
    }

    fn reranker_name(&self) -> Option<&str> {
        None
    }

    fn generator_name(&self) -> &'static str {
        "none"
    }

    fn embedder(&self) -> Result<Arc<dyn Embedder>> {
        Ok(Arc::clone(&self.0))
    }

    fn reranker(&self) -> Result<Arc<dyn Reranker>> {
        Err(Error::not_found("there is no reranker in this test"))
    }

    fn generator(&self) -> Result<Arc<dyn Generator>> {
        Err(Error::not_found("there is no chat model in this test"))
    }

    fn tuned(&self, _: &TunedModel) -> Result<Arc<dyn Generator>> {
        Err(Error::not_found("there is no tuned model in this test"))
    }
}

fn default_embedder() -> Arc<dyn Embedder> {
    let cache = std::env::var_os("ANSER_MODELS_DIR")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/models"), Into::into);
    let store = ModelStore::new(ModelStoreOptions { cache, offline: false, local: None, python: None });
    let runtime = store.ensure_runtime(&NoProgress).expect("a runtime library");
    let files = store.ensure(DEFAULT_EMBEDDER, &NoProgress).expect("the default embedder");
    let options = EmbedOptions { threads: 2, ..EmbedOptions::default() };
    Arc::new(TextEmbedder::load(&files, &runtime, &options).expect("the embedder loads"))
}

#[test]
fn the_shipped_model_finds_harm_and_leaves_the_rest_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = DataDir::open(folder.path()).expect("a data folder");
    let embedder = default_embedder();
    let shipped = ModerationModel::shipped().expect("a shipped model");
    assert!(shipped.fits(embedder.info()), "the shipped model belongs to another embedder than the default one");
    let models = ServedModels::new(OnlyEmbedder(embedder));
    let engine = Engine::open(&data, models, None, EngineOptions::default()).expect("an engine");
    let cancel = CancelToken::new();

    // What examples/data/README.md states, less what another processor's rounding may change.
    let evaluation =
        engine.evaluate_moderation(&ModerationExample::shipped_held_out(), &cancel).expect("an evaluation");
    println!("{evaluation}");
    assert!(evaluation.any.precision >= 0.80 && evaluation.any.recall >= 0.72, "{evaluation}");

    // Real shop texts are harmless, angry reviews among them.
    let shop =
        [include_str!("../../../../examples/data/faq.jsonl"), include_str!("../../../../examples/data/reviews.csv")];
    let texts: Vec<String> =
        shop.iter().flat_map(|file| file.lines()).filter(|line| line.len() > 40).map(str::to_owned).collect();
    let flagged: Vec<(&String, Vec<&str>)> = texts
        .iter()
        .zip(engine.moderate(&texts, &cancel).expect("scores"))
        .filter(|(_, found)| found.flagged)
        .map(|(text, found)| (text, found.flagged_categories()))
        .collect();
    println!("{} of {} shop texts are flagged: {flagged:#?}", flagged.len(), texts.len());
    assert!(flagged.len() * 20 <= texts.len(), "{} of {}: {flagged:#?}", flagged.len(), texts.len());

    let harmless = "Thank you for your order. The parcel leaves our warehouse tomorrow and reaches you within three days. \
        You can follow it with the number in this mail. If nobody is at home, the courier takes it to the nearest shop. \
        Please keep the box, because returned articles travel best in it. We wish you much joy with the new lamp. \
        Should a part be missing, write to us and we will send it at once. "
        .to_owned();
    let hidden = format!("{harmless}I am going to kill you, you pathetic liar. {harmless}");
    let texts = [harmless, hidden, " ".to_owned()];
    let found = engine.moderate(&texts, &cancel).expect("scores");
    assert!(!found[0].flagged, "{:?}", found[0]);
    assert!(found[1].flags("harassment/threatening") && found[1].flags("harassment"), "{:?}", found[1]);
    assert!(!found[2].flagged && found[2].scores.iter().all(|(_, score)| *score <= 0.0));
    assert_eq!(found[0].scores.len(), 13);
    let offensive = engine.offensive_scores(&texts, &cancel).expect("scores");
    assert!(offensive[1] > 0.5 && offensive[0] < 0.5);
}

#[test]
#[ignore = "writes the shipped model; run it by hand when the training examples or the default embedder changed"]
fn make_the_shipped_model() {
    let examples = ModerationExample::shipped_training();
    let model = ModerationModel::train(&examples, default_embedder().as_ref(), &CancelToken::new()).expect("a model");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/moderation/default_model.json");
    model.write(&path).expect("the model is written");
}
