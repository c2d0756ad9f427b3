//! Saved predictors: versions, a reopened engine, other embedders, and labels written back into a collection.

use std::sync::Arc;

use anser_core::storage::DataDir;
use anser_core::{
    AttributeValue, CancelToken, DocumentId, Embedder, EmbedderInfo, ErrorKind, Generator, Reranker, Result,
};
use anser_engine::classify::{ClassifierMethod, ClassifierOptions, ClassifierReport, ZeroShotLabel};
use anser_engine::predictors::{PredictOptions, PredictReport, PredictorKind};
use anser_engine::regress::{RegressorOptions, RegressorReport};
use anser_engine::{Analysis, Engine, EngineOptions, JobState, ModelLoader, ResultFormat, ServedModels, TunedModel};
use serde_json::{Value, json};

use super::classify::planted;
use super::{Bench, DIMENSION, Loader, WordEmbedder};

fn filled() -> Bench {
    let bench = Bench::new();
    let planted = planted(60);
    let size = |label: &str| if label == "garage" { 10.0 } else { 2.5 };
    bench.fill(
        "things",
        planted.iter().map(|(id, text, label)| {
            (id.as_str(), text.as_str(), json!({"room": label, "size": size(label), "kept": "as it is"}))
        }),
    );
    bench
}

fn classifier(save_as: &str) -> Analysis {
    let (label, save_as) = (Some("room".to_owned()), Some(save_as.to_owned()));
    Analysis::TrainClassifier(ClassifierOptions { label, save_as, ..ClassifierOptions::default() })
}

fn texts() -> Vec<String> {
    ["kettle pan spoon", "rake lawn hose", "tyre engine bolt"].map(str::to_owned).into()
}

fn labels(engine: &Engine, name: &str, version: Option<u32>) -> Vec<Option<String>> {
    let found = engine.classify_texts(name, version, &texts(), &CancelToken::new()).unwrap();
    found.predictions.into_iter().map(|prediction| prediction.label).collect()
}

#[test]
fn versions_are_counted_kept_and_deleted_one_by_one() {
    let bench = filled();
    let report: ClassifierReport = bench.report("things", classifier("rooms"));
    let saved = report.saved.unwrap();
    assert_eq!((saved.name.as_str(), saved.version), ("rooms", 1));
    let nearest = ClassifierOptions {
        method: ClassifierMethod::Nearest,
        label: Some("room".to_owned()),
        save_as: Some("rooms".to_owned()),
        ..ClassifierOptions::default()
    };
    let second: ClassifierReport = bench.report("things", Analysis::TrainClassifier(nearest));
    assert_eq!(second.saved.unwrap().version, 2);
    let regressor = RegressorOptions {
        target: "size".to_owned(),
        save_as: Some("sizes".to_owned()),
        ..RegressorOptions::default()
    };
    let regression: RegressorReport = bench.report("things", Analysis::TrainRegressor(regressor));
    assert_eq!(regression.saved.unwrap().version, 1);

    let folder = bench.folder;
    drop(bench.engine);
    let data = DataDir::open(folder.path().join("data")).unwrap();
    let engine = Engine::open(&data, ServedModels::new(Loader), None, EngineOptions::default()).unwrap();
    let listed = engine.predictors().unwrap();
    let listed: Vec<(&str, u32, PredictorKind)> =
        listed.iter().map(|saved| (saved.name.as_str(), saved.version, saved.kind)).collect();
    let expected = [
        ("rooms", 2, PredictorKind::Nearest),
        ("rooms", 1, PredictorKind::Logistic),
        ("sizes", 1, PredictorKind::Ridge),
    ];
    assert_eq!(listed, expected);
    let first = engine.predictor("rooms", Some(1)).unwrap();
    assert_eq!(first.collection.as_deref(), Some("things"));
    assert!(first.summary["accuracy"].as_f64().unwrap() > 0.9 && first.summary["attribute"] == "room");
    let rooms = ["kitchen", "garden", "garage"].map(|room| Some(room.to_owned()));
    assert_eq!(labels(&engine, "rooms", None), rooms);
    assert_eq!(labels(&engine, "rooms", Some(1)), rooms);
    let found = engine.classify_texts("rooms", Some(1), &texts(), &CancelToken::new()).unwrap();
    assert_eq!(found.labels, ["garage", "garden", "kitchen"]);
    for prediction in &found.predictions {
        assert!((prediction.scores.iter().sum::<f64>() - 1.0).abs() < 1e-6);
        let highest = prediction.scores.iter().copied().fold(0.0, f64::max);
        assert_eq!(prediction.probability, Some(highest));
    }
    let sizes = engine.regress_texts("sizes", None, &texts(), &CancelToken::new()).unwrap();
    assert!(sizes.predictions[2].value.unwrap() > sizes.predictions[0].value.unwrap() + 3.0, "{sizes:?}");

    let cancel = CancelToken::new();
    assert_eq!(engine.classify_texts("sizes", None, &texts(), &cancel).unwrap_err().param(), Some("predictor"));
    assert_eq!(engine.regress_texts("rooms", None, &texts(), &cancel).unwrap_err().param(), Some("predictor"));
    assert_eq!(engine.classify_texts("rooms", None, &[], &cancel).unwrap_err().param(), Some("texts"));
    assert_eq!(engine.classify_texts("rooms", None, &[" ".to_owned()], &cancel).unwrap_err().param(), Some("texts"));
    assert!(engine.delete_predictor("rooms", Some(2)).unwrap() && !engine.delete_predictor("rooms", Some(2)).unwrap());
    assert_eq!(engine.predictor("rooms", None).unwrap().version, 1);
    assert!(engine.delete_predictor("rooms", None).unwrap());
    let error = engine.classify_texts("rooms", None, &texts(), &cancel).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    assert_eq!(engine.predictors().unwrap().len(), 1);
}

#[test]
fn a_predictor_labels_a_collection_and_writes_back_without_touching_anything_else() {
    let bench = filled();
    let _: ClassifierReport = bench.report("things", classifier("rooms"));
    let planted = planted(30);
    bench
        .fill("new", planted.iter().map(|(id, text, _)| (id.as_str(), text.as_str(), json!({"guess": "old", "n": 1}))));
    let collection = bench.engine.collection("new").unwrap();
    let id = |name: &str| DocumentId::new(name).unwrap();
    let (chunks, fingerprints) =
        (collection.chunks(&id("d004")).unwrap(), collection.fingerprints(&[id("d004")]).unwrap());
    let options = PredictOptions {
        predictor: "rooms".to_owned(),
        write_to: Some("guess".to_owned()),
        ..PredictOptions::default()
    };
    let job = bench.run("new", Analysis::Predict(options.clone()));
    assert_eq!(job.state, JobState::Succeeded, "{:?}", job.failure);
    let report: PredictReport = bench.engine.job_report(&job.id).unwrap();
    assert_eq!((report.documents, report.abstained, report.predictor.version), (30, 0, 1));
    assert_eq!(report.labels.iter().map(|label| label.documents).sum::<usize>(), 30);
    let written = report.written.unwrap();
    assert_eq!((written.attribute.as_str(), written.documents), ("guess", 30));
    let mut right = 0;
    for (name, text, label) in &planted {
        let document = collection.document(&id(name)).unwrap().unwrap();
        assert_eq!((&document.text, &document.attributes["n"]), (text, &AttributeValue::Integer(1)));
        right += usize::from(document.attributes["guess"] == AttributeValue::String((*label).to_owned()));
    }
    assert!(right >= 28, "{right} of 30");
    assert_eq!(collection.chunks(&id("d004")).unwrap(), chunks);
    assert_eq!(collection.fingerprints(&[id("d004")]).unwrap(), fingerprints);
    let mut out = Vec::new();
    bench.engine.write_job_table(&job.id, "documents", ResultFormat::Json, &mut out).unwrap();
    let rows: Vec<Value> = serde_json::from_slice(&out).unwrap();
    assert!(
        rows.iter().all(|row| row["predicted"].is_string() && row["probability"].is_f64() && row["abstained"] == false)
    );

    let again: PredictReport = bench.report("new", Analysis::Predict(options.clone()));
    assert_eq!(again.written.unwrap().documents, 0, "nothing changed");
    let over = PredictOptions { write_to: Some("room".to_owned()), ..options.clone() };
    let failure = bench.run("new", Analysis::Predict(over)).failure.unwrap();
    assert!(failure.message.contains("learnt from the attribute \"room\""), "{}", failure.message);
    let unknown = PredictOptions { version: Some(9), ..options };
    assert!(bench.run("new", Analysis::Predict(unknown)).failure.unwrap().message.contains("no version 9"));
}

#[test]
fn an_abstaining_classifier_writes_nothing_and_takes_away_what_stood_there() {
    let bench = filled();
    let labels = ["kitchen", "garden"].map(|name| ZeroShotLabel { name: name.to_owned(), description: None });
    let unsure = ClassifierOptions {
        method: ClassifierMethod::ZeroShot,
        labels: labels.into(),
        temperature: 100.0,
        abstain_below: Some(0.9),
        save_as: Some("unsure".to_owned()),
        ..ClassifierOptions::default()
    };
    let trained: ClassifierReport = bench.report("things", Analysis::TrainClassifier(unsure));
    assert_eq!(bench.engine.predictor("unsure", None).unwrap().kind, PredictorKind::ZeroShot);
    assert_eq!(trained.saved.unwrap().version, 1);
    let options = PredictOptions {
        predictor: "unsure".to_owned(),
        write_to: Some("kept".to_owned()),
        ..PredictOptions::default()
    };
    let report: PredictReport = bench.report("things", Analysis::Predict(options));
    assert_eq!((report.abstained, report.written.unwrap().documents), (60, 60));
    let collection = bench.engine.collection("things").unwrap();
    assert!(collection.documents(None, 100).unwrap().iter().all(|document| !document.attributes.contains_key("kept")));
    let prediction =
        &bench.engine.classify_texts("unsure", None, &texts(), &CancelToken::new()).unwrap().predictions[0];
    assert!(prediction.label.is_none() && prediction.probability.unwrap() < 0.6);
}

/// The same words, under another fingerprint.
struct OtherLoader;

impl ModelLoader for OtherLoader {
    fn embedder_name(&self) -> &'static str {
        "others"
    }
    fn reranker_name(&self) -> Option<&str> {
        None
    }
    fn generator_name(&self) -> &'static str {
        "none"
    }
    fn embedder(&self) -> Result<Arc<dyn Embedder>> {
        let info = EmbedderInfo {
            model: "others".to_owned(),
            dimension: DIMENSION,
            max_tokens: 512,
            fingerprint: "others".to_owned(),
        };
        Ok(Arc::new(WordEmbedder(info)))
    }
    fn reranker(&self) -> Result<Arc<dyn Reranker>> {
        Loader.reranker()
    }
    fn generator(&self) -> Result<Arc<dyn Generator>> {
        Loader.generator()
    }
    fn tuned(&self, model: &TunedModel) -> Result<Arc<dyn Generator>> {
        Loader.tuned(model)
    }
}

#[test]
fn vectors_of_another_embedder_are_refused() {
    let bench = filled();
    let _: ClassifierReport = bench.report("things", classifier("rooms"));
    drop(bench.engine);
    let data = DataDir::open(bench.folder.path().join("data")).unwrap();
    let engine = Engine::open(&data, ServedModels::new(OtherLoader), None, EngineOptions::default()).unwrap();
    let error = engine.classify_texts("rooms", None, &texts(), &CancelToken::new()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
    assert!(error.to_string().contains("vectors of words, not of others"), "{error}");
}
